"""The training loop: its plan, its state, and one step after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.torch_internals import foreach_lerp_
from pushforward.kernels.native_build import compiled
from pushforward.train.callbacks import Progress
from pushforward.train.checkpoint import clone, load_optimizer, optimizer_tensors, read_checkpoint, write_checkpoint
from pushforward.train.history import History, Record, TrainingError
from pushforward.train.objectives import mean_log_likelihood, negative_log_likelihood

__all__ = ["Plan", "Rows", "Trainer"]

MAX_ROLLBACKS = 3
WARMUP = 0.02
"""Part of the budget in which the rate rises from zero."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides the course of a run; a resumed run must have the same."""

    batch_size: int
    lr: float
    weight_decay: float
    clip: float
    steps: int | None
    seconds: float | None
    every: int
    patience: int | None
    ema: float | None
    seed: int
    data: str
    compile: bool | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Rows:
    """A table as tensors: x (rows, *event), context (rows, *context) and weights (rows,)."""

    x: Tensor
    context: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Rows:
        """Some of the rows, in the order of ``index``."""
        pick = lambda t: None if t is None else t.index_select(0, index)  # noqa: E731
        return Rows(self.x.index_select(0, index), pick(self.context), pick(self.weights))


Averaged = tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]
"""Averages and what they follow, in the same order; and pairs that are only copied."""


@dataclass(frozen=True)
class Passes(Rows):
    """Rows that are others in every pass: those of a table that does not fit into memory."""

    load: Callable[[int], Rows] | None = None
    number: int = 0

    def at(self, number: int) -> Passes:
        """The rows of a pass."""
        if number == self.number or self.load is None:
            return self
        rows = self.load(number)
        if len(rows) != len(self):
            raise TrainingError(f"fit: pass {number} has {len(rows)} rows; the first one had {len(self)}.")
        return Passes(rows.x, rows.context, rows.weights, self.load, number)


class Trainer:
    """A run under way. Its whole state goes into a checkpoint and comes back bit for bit."""

    def __init__(self, model: Distribution, train: Rows, validation: Rows | None, plan: Plan) -> None:
        self.model, self.train, self.validation, self.plan = model, train, validation, plan
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise TrainingError(f"fit: {type(model).__name__} has no weights to learn.")
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=plan.lr, weight_decay=plan.weight_decay, fused=True, betas=(0.9, 0.99)
        )
        self.loss: Callable[..., Tensor] = negative_log_likelihood
        if plan.compile:
            # Batches have one shape. On a GPU the kernels of both passes are recorded once and replayed.
            mode = "reduce-overhead" if train.x.is_cuda else None
            self.loss = compiled(negative_log_likelihood, dynamic=False, mode=mode, isolate_recompiles=True)
        self.history = History()
        self.step = 0
        self.elapsed = 0.0  # seconds of training in earlier processes
        self.lr_scale = 1.0
        self.bad_looks = 0
        self.train_sum, self.train_count = 0.0, 0
        self.order_epoch, self.order = -1, torch.empty(0)
        self.ema = clone(model.state_dict()) if plan.ema is not None else None
        self.averaged: Averaged | None = None
        self.best = clone(model.state_dict())
        self._keep_good()

    # The budget, from 0 at the start to 1 at the end.
    def done(self) -> float:
        """The part of the budget that is used."""
        parts = []
        if self.plan.steps is not None:
            parts.append(self.step / self.plan.steps)
        if self.plan.seconds is not None:
            parts.append(self.clock() / self.plan.seconds)
        return min(1.0, max(parts))

    def clock(self) -> float:
        """Seconds of training so far, those of earlier processes included."""
        return self.elapsed + time.monotonic() - self.started

    def rate(self) -> float:
        """The learning rate now: a linear rise, then half a cosine down to zero."""
        done = self.done()
        if self.plan.steps is not None and self.plan.seconds is None:
            done = (self.step + 0.5) / self.plan.steps  # the middle of the step: neither end has rate zero
        shape = min(1.0, done / WARMUP) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.plan.lr * self.lr_scale * shape

    def run(
        self,
        progress: Progress,
        callback: Callable[[Record], None] | None,
        checkpoint: Any,
        checkpoint_seconds: float,
    ) -> History:
        """Train until the budget is used or validation stops improving; leaves the best weights in the model."""
        self.started = last_written = time.monotonic()
        self.model.train()  # all parts, whatever state they were in
        try:
            while not self.history.stopped:
                self._step()
                due = self.step % self.plan.every == 0
                if due or self.done() >= 1:
                    self._look(progress, callback)
                progress.advance(self.done(), self.step)
                if checkpoint is not None and time.monotonic() - last_written >= checkpoint_seconds:
                    self.save(checkpoint)
                    last_written = time.monotonic()
            self.history.seconds = self.clock()
            if checkpoint is not None:
                self.save(checkpoint)
        except KeyboardInterrupt:
            if checkpoint is not None:
                self.save(checkpoint)  # not marked as stopped: it goes on from here
            raise
        finally:
            self.model.load_state_dict(self.best)
            self.model.eval()
        return self.history

    def _step(self) -> None:
        if not self.model.training:  # a walk over all parts, which takes a small model as long as a layer
            self.model.train()
        batch = self._batch()
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for parameter in self.parameters:
            parameter.grad = None
        loss = self.loss(self.model, batch.x, batch.context, batch.weights)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.plan.clip, foreach=True)
        if not math.isfinite(value := float(loss.detach())) or not math.isfinite(float(norm)):
            self._roll_back(batch)
            return
        self.optimizer.step()
        self.step += 1
        self.train_sum -= value
        self.train_count += 1
        if self.ema is not None and self.plan.ema is not None:
            # A young average forgets its start: the first steps weigh as in a plain mean.
            self._average(min(self.plan.ema, self.step / (self.step + 9)))

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """Move the averaged weights towards those of the model; what is no number of theirs is copied."""
        means, own, others = self.averaged or self._pair_up()
        foreach_lerp_(means, own, 1 - decay)
        for mean, tensor in others:
            mean.copy_(tensor)

    def _pair_up(self) -> Averaged:
        """The averages beside the model's tensors, whose memory they share until the next look."""
        pairs = [((self.ema or {})[name], tensor) for name, tensor in self.model.state_dict().items()]
        smooth = [pair for pair in pairs if pair[1].is_floating_point()]
        others = [pair for pair in pairs if not pair[1].is_floating_point()]
        self.averaged = [mean for mean, _ in smooth], [tensor for _, tensor in smooth], others
        return self.averaged

    def _batch(self) -> Rows:
        per_epoch = max(1, len(self.train) // self.plan.batch_size)
        epoch, k = divmod(self.step, per_epoch)
        if epoch != self.order_epoch:
            if isinstance(self.train, Passes):
                self.train = self.train.at(epoch)
            generator = torch.Generator().manual_seed((self.plan.seed + 0x9E3779B9 * (epoch + 1)) % 2**63)
            self.order = torch.randperm(len(self.train), generator=generator).to(self.train.x.device)
            self.order_epoch = epoch
        return self.train.take(self.order[k * self.plan.batch_size : (k + 1) * self.plan.batch_size])

    def _look(self, progress: Progress, callback: Callable[[Record], None] | None) -> None:
        """Validate, remember the best weights, and decide whether to stop."""
        history, plan, self.averaged = self.history, self.plan, None
        current = clone(self.model.state_dict()) if self.ema is None else self.ema
        value = self._validate(current)
        if value is not None and not math.isfinite(value) and self.history.best_validation is not None:
            self._roll_back(None)
        elif value is None or history.best_validation is None or value > history.best_validation:
            history.best_validation, history.best_step = value, self.step
            self.best = clone(current)
            self.bad_looks = 0
        else:
            self.bad_looks += 1
        self._keep_good()
        mean = self.train_sum / max(1, self.train_count)
        self.train_sum, self.train_count = 0.0, 0
        epoch = self.step * plan.batch_size / len(self.train)
        record = Record(self.step, epoch, self.clock(), mean, value, self.rate())
        history.records.append(record)
        if self.done() >= 1:
            history.stopped = "the budget was used"
        elif plan.patience is not None and self.bad_looks >= plan.patience:
            history.stopped = f"validation did not improve in {plan.patience} looks"
        progress.record(record, history.best_validation)
        if callback is not None:
            callback(record)

    def _validate(self, weights: dict[str, Tensor]) -> float | None:
        """Mean log-likelihood of the validation rows under these weights; the model keeps its own."""
        rows = self.validation
        if rows is None:
            return None
        own = clone(self.model.state_dict())
        self.model.load_state_dict(weights)
        value = mean_log_likelihood(self.model, rows.x, rows.context, rows.weights, max(self.plan.batch_size, 1024))
        self.model.load_state_dict(own)
        return value

    def _keep_good(self) -> None:
        self.good = clone(self.model.state_dict())
        self.good_optimizer = clone(optimizer_tensors(self.optimizer))
        self.good_ema = None if self.ema is None else clone(self.ema)

    def _roll_back(self, batch: Rows | None) -> None:
        """Return to the last good state and halve the rate; give up after three times, naming the cause."""
        self.history.rollbacks += 1
        cause = diagnose(self.model, batch) if batch is not None else "the validation likelihood is not finite"
        self.model.load_state_dict(self.good)
        load_optimizer(self.optimizer, self.good_optimizer)
        self.ema, self.averaged = None if self.good_ema is None else clone(self.good_ema), None
        self.lr_scale *= 0.5
        # The step counts all the same: the next batch is another one, and the budget runs out in any case.
        self.step += 1
        if self.history.rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"fit: the loss was not finite {self.history.rollbacks} times, although the rate was halved each time: "
                f"{cause}. Lower lr, or look at that column or layer."
            )

    def save(self, path: Any) -> None:
        """Write the whole state to a checkpoint."""
        names = ("step", "lr_scale", "bad_looks", "train_sum", "train_count")
        state: dict[str, Any] = {name: getattr(self, name) for name in names}
        state |= {"elapsed": self.clock(), "history": self.history.to_dict(), "plan": asdict(self.plan)}
        groups = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "best": self.best,
            "good": self.good,
            "good_optimizer": self.good_optimizer,
            "rng": {"state": torch.get_rng_state()},
        }
        if self.ema is not None and self.good_ema is not None:
            groups |= {"ema": self.ema, "good_ema": self.good_ema}
        write_checkpoint(path, state, groups)

    def restore(self, path: Any) -> None:
        """Take the state of a checkpoint over.

        Raises:
            TrainingError: it belongs to another run (other settings, data or model).
        """
        state, groups = read_checkpoint(path)
        mine, theirs = asdict(self.plan), state["plan"]
        changed = [name for name in mine if mine[name] != theirs.get(name)]
        if changed:
            what = ", ".join(
                "data" if name == "data" else f"{name} (there {theirs.get(name)}, here {mine[name]})"
                for name in changed
            )
            raise TrainingError(f"fit: {path} is the checkpoint of another run: it differs in {what}. Delete it first.")
        try:
            self.model.load_state_dict(groups["model"])
        except RuntimeError:
            raise TrainingError(f"fit: {path} is the checkpoint of another model. Delete it first.") from None
        load_optimizer(self.optimizer, groups["optimizer"])
        self.best, self.good, self.good_optimizer = groups["best"], groups["good"], groups["good_optimizer"]
        self.ema, self.good_ema, self.averaged = groups.get("ema"), groups.get("good_ema"), None
        torch.set_rng_state(groups["rng"]["state"])
        self.history = History.from_dict(state.pop("history"))
        state.pop("plan")
        for name, value in state.items():
            setattr(self, name, value)


def diagnose(model: Distribution, batch: Rows) -> str:
    """The likely cause of a loss that is not finite, in words."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            return f"parameter {name} is not finite"
    model.eval()
    with torch.no_grad():
        log_prob = model.estimate(batch.x, batch.context)
    model.train()
    bad = ~log_prob.isfinite()
    if bool(bad.any()):
        row = batch.x[bad][0].flatten()
        spread = batch.x.flatten(1).std(dim=0, correction=0).clamp(min=1e-30)
        column = int(((row - batch.x.flatten(1).median(dim=0).values).abs() / spread).argmax())
        return f"a row whose column {column} is {row[column].item():.6g} has log-density {log_prob[bad][0].item()}"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return f"the gradient of parameter {name} is not finite"
    return "no single row or parameter stands out"
