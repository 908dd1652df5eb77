"""Bugs in training: order of rows, validation, weights, clipping, averaging, rates, stopping and resuming."""

import inspect

import properties_of_training as properties
import torch

import pushforward as pf
from pushforward.train import averaging, engine, saving, schedule
from pushforward.train.averaging import WeightAverage
from pushforward.train.batches import Batch, Batches
from pushforward.train.engine import Trainer
from pushforward.train.losses import Loss
from pushforward.train.snapshot import Snapshot

from .registry import bug


def fitting():
    return (pf.fit,)


# --- batches -------------------------------------------------------------------------------------------------------


@bug(properties.every_epoch_is_a_new_order_of_all_rows, fitting)
def rows_in_the_order_of_the_table(patch, fit):
    patch.setattr(torch, "randperm", lambda count, **options: torch.arange(count))


@bug(properties.every_epoch_is_a_new_order_of_all_rows, fitting)
def one_order_for_all_epochs(patch, fit):
    draw = torch.randperm
    patch.setattr(torch, "randperm", lambda count, **options: draw(count, generator=torch.Generator().manual_seed(1)))


@bug(properties.every_epoch_is_a_new_order_of_all_rows, fitting)
def rows_drawn_with_replacement(patch, fit):
    patch.setattr(torch, "randperm", lambda count, **options: torch.randint(count, (count,), **options))


@bug(properties.every_batch_is_whole, fitting)
def rest_of_an_epoch_as_a_smaller_batch(patch, fit):
    def next_batch(batches):
        if batches.row >= len(batches.data):
            batches.epoch, batches.row = batches.epoch + 1, 0
        if batches._order_of != batches.epoch:
            batches._start_epoch()
        batch = batches.data.take(batches._order[batches.row : batches.row + batches.size])
        batches.row += batches.size
        return batch

    patch.setattr(Batches, "next", next_batch)


@bug(properties.every_batch_is_whole, fitting)
def last_whole_batch_left_out_too(patch, fit):
    take = Batches.next

    def early(batches):
        if batches.row + 2 * batches.size > len(batches.data):
            batches.epoch, batches.row = batches.epoch + 1, 0
        return take(batches)

    patch.setattr(Batches, "next", early)


@bug(properties.rows_keep_their_context_and_weight, fitting)
def context_in_another_order_than_the_rows(patch, fit):
    take = Batch.take
    patch.setattr(Batch, "take", lambda b, i: Batch(take(b, i).x, take(b, i.flip(0)).context, take(b, i).weights))


@bug(properties.rows_keep_their_context_and_weight, fitting)
def weights_in_another_order_than_the_rows(patch, fit):
    take = Batch.take
    patch.setattr(Batch, "take", lambda b, i: Batch(take(b, i).x, take(b, i).context, take(b, i.flip(0)).weights))


# --- validation and stopping ---------------------------------------------------------------------------------------


@bug(properties.validation_rows_are_never_trained_on, fitting)
def validation_rows_left_in_the_training(patch, fit):
    split = inspect.unwrap(pf.train.fit).__globals__["split"]
    patch.setitem(
        inspect.unwrap(pf.train.fit).__globals__,
        "split",
        lambda flow, rows, *options: (rows, split(flow, rows, *options)[1]),
    )


@bug(properties.validation_leaves_the_training_alone, fitting)
def validated_weights_left_in_the_model(patch, fit):
    patch.setattr(Trainer, "_settle", lambda trainer: True)


@bug(properties.validation_leaves_the_training_alone, fitting)
def newest_weights_validated_instead_of_the_average(patch, fit):
    patch.setattr(Trainer, "_candidate", lambda trainer: trainer.model.state_dict())


@bug(properties.stops_after_so_many_validations_without_a_better_one, fitting)
def validations_without_a_better_one_never_counted_afresh(patch, fit):
    validate = Trainer._validate

    def counting(trainer):
        before = trainer.stale_validations
        validate(trainer)
        trainer.stale_validations = max(before, trainer.stale_validations)

    patch.setattr(Trainer, "_validate", counting)


@bug(properties.stops_after_so_many_validations_without_a_better_one, fitting)
def equally_good_counts_as_better(patch, fit):
    patch.setattr(Trainer, "_is_better", lambda trainer, value, best: value >= best)


@bug(properties.stops_after_so_many_validations_without_a_better_one, fitting)
def lower_likelihood_counts_as_better(patch, fit):
    patch.setattr(Trainer, "_is_better", lambda trainer, value, best: value < best)


@bug(properties.stops_after_so_many_validations_without_a_better_one, fitting)
def last_weights_kept_instead_of_the_best(patch, fit):
    validate = Trainer._validate

    def latest(trainer):
        validate(trainer)
        trainer.best = engine.clone(trainer._candidate())

    patch.setattr(Trainer, "_validate", latest)


# --- gradients, rates and steps ------------------------------------------------------------------------------------


@bug(properties.gradients_weigh_rows, fitting)
def weights_ignored_by_the_loss(patch, fit):
    patch.setattr(Loss, "__call__", lambda loss, model, batch, generator: loss.per_row(model, batch, generator).mean())


@bug(properties.gradients_weigh_rows, fitting)
def weighted_sum_divided_by_the_number_of_rows(patch, fit):
    patch.setattr(
        Loss,
        "__call__",
        lambda loss, model, batch, generator: (
            (loss.per_row(model, batch, generator) * (1.0 if batch.weights is None else batch.weights)).sum()
            / (len(batch) + 1)
        ),
    )


@bug(properties.gradients_are_clipped_by_their_norm, fitting)
def gradients_clipped_entry_by_entry(patch, fit):
    def clip(parameters, limit, **options):
        parameters = list(parameters)
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        torch.nn.utils.clip_grad_value_(parameters, limit)
        return norm

    patch.setattr(torch.nn.utils, "clip_grad_norm_", clip)


@bug(properties.gradients_are_clipped_by_their_norm, fitting)
def gradients_clipped_by_their_largest_entry(patch, fit):
    clip = torch.nn.utils.clip_grad_norm_
    patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda p, limit, **options: clip(p, limit, torch.inf, **options))


@bug(properties.gradients_are_clipped_by_their_norm, fitting)
def gradients_measured_and_never_clipped(patch, fit):
    clip = torch.nn.utils.clip_grad_norm_
    patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda p, limit, **options: clip(p, torch.inf, **options))


@bug(properties.gradients_are_those_of_one_batch, fitting)
def gradients_added_up_over_steps(patch, fit):
    clip, kept = torch.nn.utils.clip_grad_norm_, {}

    def adding(parameters, limit, **options):
        for k, parameter in enumerate(parameters):
            kept[k] = parameter.grad.add_(kept.get(k, 0.0)).clone()
        return clip(parameters, limit, **options)

    patch.setattr(torch.nn.utils, "clip_grad_norm_", adding)


@bug(properties.rates_rise_and_fall, fitting)
def no_warm_up(patch, fit):
    patch.setattr(schedule, "_rise", lambda done, warmup: 1.0)


@bug(properties.rates_rise_and_fall, fitting)
def rate_of_the_step_before(patch, fit):
    factor = Trainer.factor

    def late(trainer):
        trainer.step -= 1
        try:
            return factor(trainer)
        finally:
            trainer.step += 1

    patch.setattr(Trainer, "factor", late)


@bug(properties.rates_rise_and_fall, fitting)
def one_rate_for_all_groups(patch, fit):
    start = Trainer.__init__

    def same(trainer, *args, **options):
        start(trainer, *args, **options)
        trainer.rates = [trainer.plan.lr] * len(trainer.rates)

    patch.setattr(Trainer, "__init__", same)


# --- the average of the weights ------------------------------------------------------------------------------------


@bug(properties.kept_weights_are_the_average, fitting)
def average_that_starts_one_step_late(patch, fit):
    lerp, calls = averaging.foreach_lerp_, []

    def late(means, weights, amount):
        calls.append(amount)
        if len(calls) > 1:
            lerp(means, weights, amount)

    patch.setattr(averaging, "foreach_lerp_", late)


@bug(properties.kept_weights_are_the_average, fitting)
def average_taken_before_the_step(patch, fit):
    step, update = Trainer._step, WeightAverage.update
    patch.setattr(WeightAverage, "update", lambda average, count: None)

    def early(trainer):
        if trainer.average is not None:
            update(trainer.average, trainer.step + 1)
        step(trainer)

    patch.setattr(Trainer, "_step", early)


@bug(properties.kept_weights_are_the_average, fitting)
def average_without_a_young_phase(patch, fit):
    update = WeightAverage.update
    patch.setattr(WeightAverage, "update", lambda average, step: update(average, 10**9))


@bug(properties.kept_weights_are_the_average, fitting)
def average_thrown_away(patch, fit):
    patch.setattr(Trainer, "_candidate", lambda trainer: trainer.model.state_dict())


# --- resuming ------------------------------------------------------------------------------------------------------


@bug(properties.a_resumed_run_is_the_same_run, fitting)
def resume_that_replays_a_batch(patch, fit):
    patch.setattr(saving, "COUNTERS", tuple(name for name in saving.COUNTERS if name != "step"))


@bug(properties.a_resumed_run_is_the_same_run, fitting)
def resume_at_the_start_of_the_epoch(patch, fit):
    go_back = Trainer.go_back_to
    patch.setattr(Trainer, "go_back_to", lambda trainer, epoch, row, draws: go_back(trainer, epoch, 0, draws))


def spoil_resumed(patch, change):
    """Change what a resumed run puts back."""
    back = Snapshot.put_back

    def spoiled(snapshot, model, optimizer, average):
        back(snapshot, model, optimizer, average)
        change(model, optimizer, average)

    patch.setattr(Snapshot, "put_back", spoiled)


@bug(properties.a_resumed_run_is_the_same_run, fitting)
def resume_that_forgets_the_optimiser(patch, fit):
    spoil_resumed(patch, lambda model, optimizer, average: optimizer.state.clear())


@bug(properties.a_resumed_run_is_the_same_run, fitting)
def resume_that_starts_the_average_afresh(patch, fit):
    spoil_resumed(patch, lambda model, optimizer, average: average.restore(model.state_dict()))
