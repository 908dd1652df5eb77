"""The training loop: one step after the other, validations between them, and what happens when a loss diverges."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.processes import ALONE, Processes, ProcessLostError
from pushforward.train.averaging import WeightAverage, clone
from pushforward.train.batches import Batch, Batches
from pushforward.train.clock import Clock
from pushforward.train.diagnosis import diagnose
from pushforward.train.draws import Draws
from pushforward.train.events import Checkpointed, Listeners, RolledBack, Started, Stepped, Stop, Stopped, Validated
from pushforward.train.gradients import BatchGradients
from pushforward.train.history import History, Record, TrainingError
from pushforward.train.interrupts import postponed_interrupts
from pushforward.train.losses import Loss, Objective, mean_metric
from pushforward.train.plan import Plan
from pushforward.train.saving import LIMITS, restore_run, save_run
from pushforward.train.schedule import Schedule
from pushforward.train.sharding import Shards, whole
from pushforward.train.snapshot import Snapshot

__all__ = ["Trainer"]

MAX_ROLLBACKS = 3


class Trainer:
    """A run in progress. Its whole state goes into a checkpoint and comes back bit for bit.

    Args:
        model: what is trained.
        loss: what is minimised.
        batches: of the training rows.
        held_out: the validation rows, or None.
        schedule: brings the optimiser and the decay of the learning rate.
        plan: the schedule worked out for these rows.
        listeners: the callbacks.
        processes: those of the run. They take the same steps with the same weights; the first one has the listeners,
            the clock and the checkpoint.
        shard: let each process keep a part of the weights; the model is changed for good.
    """

    def __init__(
        self,
        model: Distribution,
        loss: Loss,
        batches: Batches,
        held_out: Batch | None,
        schedule: Schedule,
        plan: Plan,
        listeners: Listeners,
        processes: Processes = ALONE,
        *,
        shard: bool = False,
    ) -> None:
        self.model, self.loss, self.batches, self.held_out = model, loss, batches, held_out
        self.decay, self.plan, self.listeners, self.processes = schedule.rate, plan, listeners, processes
        self.objective = Objective(model, loss)
        self.shards = Shards(self.objective, processes) if shard else None  # before anything refers to the weights
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise TrainingError(f"fit: {type(model).__name__} has no weights to learn.")
        self.optimizer = schedule.optimizer_of(self.parameters)
        self.counted = "steps" if schedule.epochs is None or plan.steps == schedule.steps else "epochs"
        self.rates = [group["lr"] for group in self.optimizer.param_groups]  # the highest of each group
        self.gradients = BatchGradients(self.objective, self.parameters, plan, processes)
        self.draws = Draws(model, plan.seed)
        self.validation_draws = Draws(model, processes.rank)
        self.history = History(
            metric=loss.metric,
            unit=loss.unit,
            greater_is_better=loss.greater_is_better,
            exactness=loss.exactness(model),
        )
        self.step = 0
        self.clock = Clock(processes)
        self.lr_scale = 1.0
        self.stale_validations = 0  # since the last best one
        self.train_sum, self.train_count = 0.0, 0
        self.average = None if plan.ema is None else WeightAverage(model, plan.ema)
        self.best = clone(model.state_dict())
        self.good = self.snapshot().copy()  # what a rollback returns to
        self.together = False  # whether an interrupt has ended the run in all processes between the same two steps
        self.phase: Literal["between steps", "gradients", "update", "validation"] = "between steps"
        self._undo: Callable[[], None] | None = None  # takes an interrupted gradient or validation back

    # --- budget

    def done(self) -> float:
        """The part of the budget that is used, from 0 to 1."""
        parts = []
        if self.plan.steps is not None:
            parts.append(self.step / self.plan.steps)
        if self.plan.seconds is not None:
            parts.append(self.clock() / self.plan.seconds)
        return min(1.0, max(parts))

    def factor(self) -> float:
        """The learning rate of this step as a factor of its highest value."""
        done = self.done()
        if self.plan.steps is not None and self.plan.seconds is None:
            done = (self.step + 0.5) / self.plan.steps  # the middle of the step: neither end has rate zero
        return self.lr_scale * self.decay(done, self.step)

    # --- the loop

    def run(
        self, checkpoint: Any = None, checkpoint_seconds: float = 30.0, interrupt: Callable[[], None] = lambda: None
    ) -> History:
        """Train until the budget is used, validation stops improving or a callback asks for it. Leaves the best weights
        in the model, in evaluation mode, however the run ends."""
        self.clock.start()
        written = self.clock()
        self.model.train()  # all parts, whatever mode they were in
        try:
            self.listeners(Started(self.step, self.done(), self.history))
            self._agree(interrupt)  # raises if Ctrl-C was pressed while the run was prepared
            while not self.history.stopped and self.listeners.stop is None:
                with postponed_interrupts() as interrupt:
                    if self._validation_is_due():
                        self._validate()
                    else:
                        self._step()
                if checkpoint is not None and self.clock() - written >= checkpoint_seconds:
                    self._checkpoint(checkpoint)
                    written = self.clock()
                self._agree(interrupt)  # at last: a callback may have asked to stop at any of this
            self.history.seconds = self.clock()
            if checkpoint is not None:
                self._checkpoint(checkpoint)
            if not self.history.stopped:
                # The checkpoint was written before this validation, which an uninterrupted run would not have had.
                self._finish_early()
        except BaseException as error:
            # Where the others were not interrupted at the same place, they do not answer.
            if checkpoint is not None and self._settle() and (self.shards is None or self.together):
                try:
                    self.save(checkpoint)  # by the first process alone
                except OSError as failure:
                    error.add_note(f"fit: the checkpoint was not written either: {failure}")
            if isinstance(error, ProcessLostError):
                remedy = (
                    "" if checkpoint is None else f" The state of the run is in {checkpoint}: go on from it by resume."
                )
                raise TrainingError(f"fit: {error}.{remedy}") from error
            raise
        finally:
            # Before the first validation no weights are the best; those of the last step are kept then.
            self.model.load_state_dict(self.best if self.history.records else self._candidate())
            self.model.eval()
        self.listeners(Stopped(self.step, self.done(), self.history.stopped))
        return self.history

    def _step(self) -> None:
        if not self.model.training:  # a walk over all parts, which takes a small model as long as a layer
            self.model.train()
        self._undo = partial(self.go_back_to, self.batches.epoch, self.batches.row, self.draws.state())
        self.phase = "gradients"
        factor = self.factor()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        if self.processes.count > 1:
            self.draws.begin_step(self.step, self.processes.rank)
        with self.draws.scope():
            value, batch = self.gradients(self.batches.next(), self.draws.generator)
        limit = math.inf if self.plan.clip is None else self.plan.clip
        norm = whole(torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True))
        self.phase = "update"
        cause = None
        self.step += 1  # in any case, so that the budget runs out
        if math.isfinite(value) and math.isfinite(float(norm)):
            self.optimizer.step()
            self.train_sum += -value if self.loss.greater_is_better else value
            self.train_count += 1
            if self.average is not None:
                self.average.update(self.step)
        else:
            cause = self._roll_back(batch)
        self.phase = "between steps"
        if cause is not None:
            self.listeners(RolledBack(self.step, self.done(), cause))
        if self.listeners:
            self.listeners(Stepped(self.step, self.done(), value, self.plan.lr * factor))

    def _agree(self, interrupt: Callable[[], None]) -> None:
        """What the processes of a run decide together between two steps."""
        try:
            stops = self.clock.agree(interrupt, self.listeners.stop is not None)
        except KeyboardInterrupt:
            self.together = True
            raise
        if stops and self.listeners.stop is None:
            self.listeners.stop = Stop()  # a callback of the first process asked for it

    def go_back_to(self, epoch: int, row: int, draws: dict[str, Tensor]) -> None:
        """Return to a place in the data, with the random numbers that belong to it."""
        self.batches.epoch, self.batches.row = epoch, row
        self.draws.restore(draws)

    def _settle(self) -> bool:
        """Whether the state is one from which a resumed run repeats an uninterrupted one. A step that was interrupted
        before it changed any weight is taken back, but for buffers that the model itself changes in its passes."""
        if self.phase in ("gradients", "validation") and self._undo is not None:
            self._undo()
            self.phase, self._undo = "between steps", None
        return self.phase == "between steps"

    # --- validation

    def _validation_is_due(self) -> bool:
        if self.history.records and self.history.records[-1].step == self.step:
            return False
        return (self.step > 0 and self.step % self.plan.validate_every == 0) or self.done() >= 1

    def _candidate(self) -> dict[str, Tensor]:
        """The weights that validation judges."""
        return self.model.state_dict() if self.average is None else self.average.means

    def _validate(self) -> None:
        """Validate, remember the best weights, and decide whether to stop."""
        history, plan = self.history, self.plan
        candidate = clone(self._candidate())
        value = self._metric(candidate)
        cause = None
        self.phase = "update"
        is_best = value is None or history.best_validation is None or self._is_better(value, history.best_validation)
        if is_best:
            history.best_validation, history.best_step = value, self.step
            self.best, self.stale_validations = candidate, 0
        elif value is not None and math.isfinite(value):
            self.stale_validations += 1
        else:
            cause = self._roll_back(self.held_out)
        self.good = self.snapshot().copy()
        mean = self.train_sum / max(1, self.train_count)
        self.train_sum, self.train_count = 0.0, 0
        rows = len(self.batches.data)
        epoch = self.step * plan.batch_size / rows if rows else 0.0  # there are none where the loss draws its points
        record = Record(self.step, epoch, self.clock(), mean, value, plan.lr * self.factor())
        history.records.append(record)
        if self.done() >= 1:
            history.stopped = LIMITS[self.counted if plan.steps is not None and self.step >= plan.steps else "seconds"]
        elif plan.patience is not None and self.stale_validations >= plan.patience:
            history.stopped = f"no improvement in {plan.patience} validations"
        self.phase = "between steps"
        if cause is not None:
            self.listeners(RolledBack(self.step, self.done(), cause))
        self.listeners(Validated(self.step, self.done(), record, history.best_validation, is_best))

    def _finish_early(self) -> None:
        """End the run at a callback's request, with its newest weights judged."""
        reason = "stopped by a callback" if self.listeners.stop is None else self.listeners.stop.reason
        if not self.history.records or self.history.records[-1].step != self.step:
            self._validate()
        self.history.stopped = reason

    def _is_better(self, value: float, best: float) -> bool:
        if math.isnan(best):
            return not math.isnan(value)
        return value > best if self.loss.greater_is_better else value < best

    def _metric(self, weights: dict[str, Tensor]) -> float | None:
        """The validation number of the model with these weights; the model keeps its own. What a loss draws is the same
        at each validation, so that two of them can be compared."""
        if self.held_out is None:
            return None
        self._undo = partial(self.model.load_state_dict, clone(self.model.state_dict()))
        self.phase = "validation"
        self.model.load_state_dict(weights)
        self.validation_draws.restart()
        with self.validation_draws.scope():
            generator, size = self.validation_draws.generator, max(self.plan.batch_size, 1024)
            value = mean_metric(self.objective, self.held_out, generator, size, self.processes)
        self._settle()
        return value

    # --- rollback

    def snapshot(self) -> Snapshot:
        """The present state of weights and optimiser."""
        return Snapshot.take(self.model, self.optimizer, self.average)

    def _roll_back(self, rows: Batch | None) -> str:
        """Return to the last validated state and halve the learning rate; give up beyond `MAX_ROLLBACKS` times.
        Returns the likely cause, that of a metric which is not finite on these rows."""
        self.history.rollbacks += 1
        draws = Draws(self.model, 0)
        with draws.scope():
            cause = "" if rows is None else diagnose(self.objective, rows, draws.generator)
        self.good.put_back(self.model, self.optimizer, self.average)
        self.lr_scale *= 0.5
        if self.history.rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"fit: the loss was not finite {self.history.rollbacks} times, although the rate was halved each time: "
                f"{cause}. Lower lr, or look at that column or layer."
            )
        return cause

    # --- checkpoints

    def _checkpoint(self, path: Any) -> None:
        try:
            self.save(path)
        except OSError as error:  # hours of training are worth more than their checkpoint
            reason = (error.strerror or str(error)).rstrip(".")
            warnings.warn(f"fit: {reason}. The run goes on without this checkpoint.", RuntimeWarning, stacklevel=4)
            return
        self.listeners(Checkpointed(self.step, self.done(), str(path)))

    def save(self, path: Any) -> None:
        """Write the whole state to a checkpoint; of several processes the first one does, with the parts of all."""
        if self.processes.is_first or self.shards is not None:
            save_run(self, path)

    def restore(self, path: Any) -> None:
        """Take over the state of a checkpoint.

        Raises:
            TrainingError: it belongs to another run (other settings, data or model).
        """
        restore_run(self, path)
