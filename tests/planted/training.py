"""Bugs in training: order of rows, validation, weights, clipping, averaging and resuming."""

import properties_of_training as properties
import torch

import pushforward as pf
from pushforward.train import averaging
from pushforward.train.checkpoint import read_checkpoint, write_checkpoint

from .registry import bug


def fitting():
    return (pf.fit,)


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


@bug(properties.validation_rows_are_never_trained_on, fitting)
def validated_on_rows_of_the_training(patch, fit):
    def spoiled(model, x, **options):
        return fit(model, x, **{**options, "validation": (x[:3],)})

    return spoiled


@bug(properties.gradients_weigh_rows, fitting)
def weights_ignored(patch, fit):
    return lambda model, x, weights, **options: fit(model, x, **options)


@bug(properties.gradients_are_clipped_by_their_norm, fitting)
def gradients_clipped_entry_by_entry(patch, fit):
    def clip(parameters, limit, **options):
        parameters = list(parameters)
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        torch.nn.utils.clip_grad_value_(parameters, limit)
        return norm

    patch.setattr(torch.nn.utils, "clip_grad_norm_", clip)


@bug(properties.gradients_are_clipped_by_their_norm, fitting)
def gradients_never_clipped(patch, fit):
    return lambda model, x, **options: fit(model, x, **{**options, "clip": 1e9})


@bug(properties.kept_weights_are_the_average, fitting)
def average_that_starts_one_step_late(patch, fit):
    lerp, calls = averaging.foreach_lerp_, []

    def late(means, weights, amount):
        calls.append(amount)
        if len(calls) > 1:
            lerp(means, weights, amount)

    patch.setattr(averaging, "foreach_lerp_", late)


@bug(properties.kept_weights_are_the_average, fitting)
def average_thrown_away(patch, fit):
    return lambda model, x, **options: fit(model, x, **{**options, "ema": None})


def editing_checkpoints(fit, edit):
    """A `fit` that edits the state in a checkpoint before it resumes from it."""

    def spoiled(model, x, **options):
        path = options.get("checkpoint")
        if path is not None and path.exists():
            state, groups = read_checkpoint(path)
            edit(state, groups)
            write_checkpoint(path, state, groups)
        return fit(model, x, **options)

    return spoiled


@bug(properties.a_resumed_run_is_the_same_run, fitting)
def resume_that_replays_a_batch(patch, fit):
    return editing_checkpoints(fit, lambda state, groups: state.update(step=state["step"] - 1))


@bug(properties.a_resumed_run_is_the_same_run, fitting)
def resume_that_forgets_the_optimiser(patch, fit):
    def forget(state, groups):
        for tensor in groups["now optimizer"].values():
            tensor.zero_()

    return editing_checkpoints(fit, forget)


@bug(properties.a_resumed_run_is_the_same_run, fitting)
def resume_that_starts_the_average_afresh(patch, fit):
    def forget(state, groups):
        groups["now average"] = {name: tensor.clone() for name, tensor in groups["now model"].items()}

    return editing_checkpoints(fit, forget)
