"""`fit`: learn a distribution by minimising a loss."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from pushforward.bijections.chain import Chain
from pushforward.core.checks import one_of
from pushforward.core.distribution import Distribution
from pushforward.core.execution_mode import MATMUL_DTYPES, MEMORY, current_execution, execution
from pushforward.core.files import check_writable
from pushforward.core.locks import InUseError, held
from pushforward.core.processes import ALONE, Processes, joined_processes
from pushforward.core.random_state import seeded
from pushforward.core.signals import end_by_interrupt
from pushforward.networks.precision import MixedPrecision
from pushforward.train.batches import Batch, Batches
from pushforward.train.checkpoint import fingerprint
from pushforward.train.engine import Trainer
from pushforward.train.events import Callback, Listeners
from pushforward.train.history import History, TrainingError
from pushforward.train.inputs import split, to_batch
from pushforward.train.interrupts import postponed_interrupts
from pushforward.train.losses import Loss, MaximumLikelihood
from pushforward.train.plan import Plan, described
from pushforward.train.progress import ProgressBar
from pushforward.train.schedule import Schedule, ScheduleOptions
from pushforward.train.sharding import check_shards, copy_with_constants, give_back

__all__ = ["fit"]

MATRIX = 2
"""Axes of a table of events that are vectors."""
START_NUMBERS = 2**21
"""Of events on grids from which layers are started: 2,674 images of MNIST."""
POINTS = 4096
"""Points drawn at each validation of a loss that learns without data."""


@end_by_interrupt()
def fit(
    flow: Distribution,
    x: Any = None,
    context: Any = None,
    *,
    loss: Loss | None = None,
    schedule: Schedule | None = None,
    weights: Any = None,
    validation: float | Sequence[Any] | None = 0.1,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    resume: bool = False,
    callbacks: Callback | Sequence[Callback] = (),
    progress: bool = True,
    distributed: bool | None = None,
    shard: bool = False,
    compile: bool = False,
    precision: str | None = None,
    memory: str | None = None,
    **options: Unpack[ScheduleOptions],
) -> History:
    r"""Fit a flow (or any `Distribution` with weights) to data, or to an unnormalised density.

    By default maximum likelihood by AdamW, with a linear warm-up and half a cosine down to zero over the budget,
    gradient clipping, weight averaging and early stopping. The weights that did best on validation are left in
    ``flow``, in evaluation mode, however the run ends.

    A loss that is not finite returns to the last validated state and halves the learning rate. With ``checkpoint``, a
    run killed at any moment goes on by ``resume=True`` and, with a budget in steps or epochs and the same number of
    threads on the CPU, ends in the same weights bit for bit. So do fits in several threads, compared with the same fits
    one after the other. Torch's global random state is left as it was.

    Args:
        flow: what to fit; its data-dependent parts that were not yet initialised are, from the training rows.
        x: data, (rows, *event_shape): a tensor or array, converted to the flow's dtype. NaN is a missing entry where
            the model learns from such rows, as `MixedTypeModel` does. Or a function that gives the rows of epoch
            0, 1, ... or ``(rows, context)``, as many each time, for data that does not fit into memory; ``validation``
            must then be data.
            None for losses that learn without data.
        context: (rows, *context_shape), for a conditional flow; NaN as in x.
        loss: what to minimise; `MaximumLikelihood` by default; ``pf.train.FlowMatching()`` for continuous flows
            (`flows.cnf`), which then learn without solving their equation; `ReverseKL`, from an unnormalised density
            without data; or another `Loss`.
        schedule: budget, batches, learning rate, optimiser and early stopping; see `Schedule`.
        weights: how much each row counts, (rows,), not negative.
        validation: part of the rows held out at random, or ``(x, context, weights)`` or less of it, such as ``(x,)``;
            None for no validation. Losses without data validate on points that they draw.
        checkpoint: file for the state of the run, written atomically every ``checkpoint_seconds``, at the end, and when
            an exception ends the run between two steps. Where that fails, as on a full disk, a `RuntimeWarning` says so
            and the run goes on. Two runs cannot have one file.
        checkpoint_seconds: time between two checkpoints; 0 to write one after every step.
        resume: go on from the checkpoint if it exists. Its run must have had the same data and options, but for the
            budget: a run may be extended, at the learning rate that the new budget has there.
        callbacks: called with each `Event` of the run, one or several; one that returns `Stop` ends it.
        progress: show a progress bar on standard error.
        distributed: share each batch out among the processes that ``torchrun`` has started, or those of the group of
            ``torch.distributed`` that has been joined. All of them call ``fit`` with the same arguments and end with
            the same weights; callbacks, progress and the checkpoint are the first one's. None: where there are
            several. False: this process learns by itself.
        shard: let each of several processes keep a part of the weights, gradients and averages and of the optimiser's
            state (FSDP2), for models that are large for one device; `MaximumLikelihood` only. The steps are the same.
            ``flow`` gets its weights at the end of the run or when it is interrupted, and keeps those that it had if
            an error ends it.
        compile: train by native kernels and with the loss and its gradients compiled (`torch.compile`; on a GPU as CUDA
            graphs). Worth it for long runs: compiling takes half a minute or more, less when torch's cache knows the
            flow. Without a C++ compiler a `RuntimeWarning` says so, and training is as it would be without. Not while
            ``memory`` recomputes. The result differs by rounding.
        precision: ``"bf16"`` lets the networks of the flow multiply in bfloat16 during the fit, for GPUs and CPUs that
            are fast at it; weights, splines, log-determinants and the optimiser keep their dtype. None: all in full.
        memory: what the chains of the flow keep for gradients, ``"plain"``, ``"checkpoint"`` or ``"invert"``, as in
            `bijections.Chain`: for deep flows and large batches. None leaves them as they are.
        **options: fields of `Schedule` by name, which override those of ``schedule``: ``steps``, ``epochs``,
            ``seconds``, ``batch_size``, ``lr``, ``decay``, ``optimizer``, ``weight_decay``, ``clip``, ``patience``,
            ``validate_every``, ``ema``, ``seed``.

    Returns:
        The history: the loss's metric on training and validation rows, log-likelihoods in nats by default.

    Raises:
        TrainingError: the data cannot be learnt from, an option is out of range, the checkpoint does not fit, or the
            loss stays non-finite. It is a `ValueError`, and so is an option that does not go with the flow.
        TypeError: the flow, the loss, the schedule or a callback is an object of another kind, or there is no option of
            this name.

    >>> import torch, pushforward as pf
    >>> x = 3 + 2 * torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    >>> flow = pf.flows.maf(1, depth=1)
    >>> history = pf.fit(flow, x, steps=100, progress=False)
    >>> round(history.best_validation)  # the entropy of N(3, 2²) is 2.11 nats
    -2
    """
    if not isinstance(flow, Distribution):
        raise TypeError(f"fit: flow must be a Distribution, such as pf.flows.nsf(2); got {type(flow).__name__}.")
    loss, schedule = _loss(loss), _schedule(schedule, options)
    listeners = [callbacks] if callable(callbacks) else list(callbacks)
    if not all(callable(listener) for listener in listeners):
        raise TypeError("fit: callbacks must be functions of an event, one or several.")
    _check_execution(flow, compile, precision, memory)
    processes = ALONE if distributed is False else joined_processes()
    if distributed and processes.count == 1:
        raise TrainingError("fit: distributed=True, but there is one process. Start several by torchrun.")
    with ExitStack() as stack:
        with postponed_interrupts() as interrupt:  # until there is a run that leaves a checkpoint
            load = None
            if callable(x) and not isinstance(x, Tensor):
                (x, context), load = _first_of_passes(flow, x, context, weights, validation)
            train, held_out = _rows(flow, loss, schedule, x, context, weights, validation)
            if train.x is not None:
                with seeded(schedule.seed, sorted({"cpu", str(train.x.device)})):
                    flow.initialize(*_start_rows(train.x, train.context))
            if checkpoint is not None:
                processes.of_first(partial(check_writable, checkpoint))
                stack.enter_context(_only_run(checkpoint, processes))
            processes.share_state(flow)
            plan = schedule.plan(
                None if train.draws else len(train),
                patience=schedule.patience if held_out is not None else None,
                loss=described(loss),
                data=_hash(train) if checkpoint is not None else "",
                validation=_hash(held_out) if checkpoint is not None else "",
                model=_hash_config(flow) if checkpoint is not None else "",
                compile=compile,
                precision=precision,
                memory="invert" if "invert" in _memory(flow, memory) else None,
            )
            batches = Batches(train, plan.batch_size, plan.seed, load)
            listeners = listeners if processes.is_first else []
            _check_same(processes, flow, train, plan)
            _check_statistics(flow, processes.count > 1 or plan.accumulate > 1)
            if shard:
                check_shards(flow, loss, plan, processes)
            learner = copy_with_constants(flow) if shard else flow
            trainer = Trainer(
                learner, loss, batches, held_out, schedule, plan, Listeners(listeners), processes, shard=shard
            )
            # Recomputing sets and restores torch's global states in each backward pass, which two threads must not do
            # at once.
            trainer.draws.always |= bool(_memory(flow, memory) - {"plain"})
            if resume and checkpoint is not None and processes.of_first(Path(checkpoint).exists):
                trainer.restore(checkpoint)
        if progress and processes.is_first:
            trainer.listeners.callbacks.append(stack.enter_context(ProgressBar(trainer.history)))
        stack.enter_context(
            execution(kernels=compile or None, matmul_dtype=precision, memory=memory, generator=trainer.draws.generator)
        )
        try:
            history = trainer.run(checkpoint, checkpoint_seconds, interrupt)
        except KeyboardInterrupt:
            if shard and not trainer.together:  # the parts of the others cannot be asked for
                raise TrainingError(
                    "fit: interrupted in the middle of a step, where no process has all weights. The last checkpoint, "
                    "if there is one, has them: go on from it by resume."
                ) from None
            if shard:
                give_back(learner, flow)
            raise
        if shard:
            give_back(learner, flow)
        return history


@contextmanager
def _only_run(checkpoint: str | os.PathLike[str], processes: Processes) -> Iterator[None]:
    """Refuse a checkpoint that another run writes."""
    with ExitStack() as stack:
        try:
            processes.of_first(lambda: stack.enter_context(held(checkpoint)))
        except InUseError as error:
            raise TrainingError(f"fit: the checkpoint {error} Give this one another.") from None
        yield


def _check_statistics(flow: Distribution, shared_out: bool) -> None:
    """Refuse layers that look at all rows of a batch where a pass sees a part of them."""
    kinds = map(type, flow.modules())
    layer = next((kind.__name__ for kind in kinds if getattr(kind, "in_training_changes", None) is True), "")
    if layer and shared_out:
        raise TrainingError(
            f"fit: {layer} takes its statistics from all rows of a batch, which several processes or accumulate= share "
            "out. Use ActNorm or Standardize in its place."
        )


def _check_same(processes: Processes, flow: Distribution, train: Batch, plan: Plan) -> None:
    """Refuse processes that learn different things."""
    rows = Batch(None) if train.draws else train.part(slice(0, 1))
    mine = f"{len(train)} rows, {_hash(rows)}, {plan}, {sum(p.numel() for p in flow.parameters())}"
    different = processes.sum([mine != processes.of_first(lambda: mine)])[0]
    if different:
        raise TrainingError(
            "fit: the processes do not learn the same: give all of them the same data, options and seeds."
        )


def _start_rows(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The rows from which layers that measure data are started: all of them, of images and other grids as many as hold
    so many numbers, for networks over grids are expensive and measure millions of cells in few events."""
    rows = START_NUMBERS // max(1, math.prod(x.shape[1:]))
    if x.ndim <= MATRIX or len(x) <= rows:
        return x, context
    chosen = torch.linspace(0, len(x) - 1, max(2, rows), dtype=torch.float64, device=x.device).round().long()
    return x[chosen], None if context is None else context[chosen]


def _loss(loss: Loss | None) -> Loss:
    if loss is not None and not isinstance(loss, Loss):
        raise TypeError(f"fit: loss must be a Loss, such as MaximumLikelihood(); got {loss!r}.")
    return MaximumLikelihood() if loss is None else loss


def _schedule(schedule: Schedule | None, options: Any) -> Schedule:
    if schedule is not None and not isinstance(schedule, Schedule):
        raise TypeError(f"fit: schedule must be a Schedule, such as Schedule(steps=1000); got {schedule!r}.")
    names = [field.name for field in fields(Schedule)]
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            raise TypeError(
                f"fit: there is no option {name!r}. "
                + (f"Did you mean {near[0]!r}?" if near else f"Those of a Schedule are {', '.join(names)}.")
            )
    return replace(schedule or Schedule(), **options)


def _check_execution(flow: Distribution, compile: bool, precision: str | None, memory: str | None) -> None:
    one_of("fit", "memory", memory, (None, *MEMORY))
    one_of("fit", "precision", precision, (None, *MATMUL_DTYPES))
    if compile and (recomputing := _memory(flow, memory) - {"plain"}):
        raise ValueError(
            f"fit: memory={recomputing.pop()!r} recomputes where compile=True does not; leave one of them out."
        )
    if precision and (
        flow.dtype == torch.float64 or not any(isinstance(part, MixedPrecision) for part in flow.modules())
    ):
        raise ValueError(
            f"fit: precision={precision!r} is for networks in float32, and this {type(flow).__name__} has none. "
            "Leave it out."
        )


def _memory(flow: Distribution, memory: str | None) -> set[str]:
    """What the chains of the flow keep for gradients."""
    everywhere = memory or current_execution().memory
    return {everywhere} if everywhere else {part.memory for part in flow.modules() if isinstance(part, Chain)}


def _first_of_passes(
    flow: Distribution, passes: Callable[[int], Any], context: Any, weights: Any, validation: Any
) -> tuple[tuple[Any, Any], Callable[[int], Batch]]:
    """x and context of epoch 0, and a function for the rows of any epoch."""
    if isinstance(validation, int | float):
        raise TrainingError("fit: with a function of passes, validation must be data, (x,), or None.")
    if context is not None or weights is not None:
        raise TrainingError("fit: a function of passes gives x, or (x, context). Leave context and weights out.")

    def rows(epoch: int) -> tuple[Any, Any]:
        values = passes(epoch)
        return values if isinstance(values, tuple) else (values, None)

    return rows(0), lambda epoch: to_batch(flow, *rows(epoch))


def _rows(
    flow: Distribution, loss: Loss, schedule: Schedule, x: Any, context: Any, weights: Any, validation: Any
) -> tuple[Batch, Batch | None]:
    """The training and the validation rows."""
    if loss.uses_data and x is None:
        raise TrainingError(f"fit: {type(loss).__name__} learns from data; give x, a table of rows.")
    if not loss.uses_data and x is not None:
        raise TrainingError(f"fit: {type(loss).__name__} learns without data; leave x out.")
    if x is None and context is None and weights is not None:
        raise TrainingError(f"fit: weights are of rows, and {type(loss).__name__} has none here. Leave them out.")
    rows = to_batch(flow, x, context, weights)
    if rows.draws:
        return rows, None if validation is None else Batch(None, size=POINTS)
    return split(flow, rows, validation, schedule.seed)


def _hash_config(flow: Distribution) -> str:
    """A fingerprint of how a flow was built; empty for classes that keep no record of it."""
    config = getattr(flow, "config", None)
    try:
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16] if config else ""
    except TypeError:  # a part of it has no record
        return ""


def _hash(rows: Batch | None) -> str:
    return "" if rows is None else fingerprint(rows.x, rows.context, rows.weights)
