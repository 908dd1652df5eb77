"""`fit`: learn a distribution from data by maximum likelihood."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.bijections.chain import Chain
from pushforward.core.checks import check_context, one_of
from pushforward.core.distribution import Distribution
from pushforward.core.execution_mode import MATMUL_DTYPES, MEMORY, current_execution, execution
from pushforward.core.files import check_writable
from pushforward.networks.precision import MixedPrecision
from pushforward.train.callbacks import Progress
from pushforward.train.checkpoint import fingerprint
from pushforward.train.engine import Passes, Plan, Rows, Trainer
from pushforward.train.history import History, Record, TrainingError

__all__ = ["fit"]


def fit(
    flow: Distribution,
    x: Any,
    context: Any = None,
    *,
    weights: Any = None,
    validation: float | Sequence[Any] | None = 0.1,
    steps: int | None = None,
    epochs: float | None = None,
    seconds: float | None = None,
    batch_size: int | None = None,
    lr: float = 4e-3,
    weight_decay: float = 1e-4,
    clip: float = 5.0,
    patience: int | None = 20,
    ema: float | None = 0.998,
    seed: int = 0,
    generator: torch.Generator | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    resume: bool = False,
    memory: str | None = None,
    compile: bool = False,
    precision: str | None = None,
    progress: bool = True,
    callback: Callable[[Record], None] | None = None,
) -> History:
    r"""Fit a flow (or any `Distribution` with weights) to data by maximum likelihood.

    AdamW with a linear warm-up and half a cosine down to zero over the budget, gradient clipping, weight averaging and
    early stopping. The weights that did best on validation are left in ``flow``, in evaluation mode.

    A loss that is not finite returns to the last good state and halves the rate. With ``checkpoint``, a run killed at
    any moment goes on by ``resume=True`` and, with a budget in steps or epochs and the same number of threads on the
    CPU, ends in the same weights bit for bit.

    Args:
        flow: what to fit; data-dependent parts that were not yet initialised are, from the training rows.
        x: data, (rows, *event_shape): a tensor or array, converted to the flow's dtype. NaN is a missing entry where
            the model learns from such rows, as `MixedTypeModel` does. Or a function that gives the rows of pass
            0, 1, ..., as many each time, for data that does not fit into memory; ``validation`` must then be data.
        context: (rows, *context_shape), for a conditional flow; NaN as of x.
        weights: how much each row counts, (rows,), not negative.
        validation: part of the rows held out at random, or ``(x, context, weights)`` or less of
            it, such as ``(x,)``; None for no validation.
        steps: budget in optimiser steps.
        epochs: budget in passes over the training rows.
        seconds: budget in seconds. Of several budgets the first one used up ends the run; with none, 100 epochs but
            between 1,000 and 10,000 steps.
        batch_size: rows per step; by default about a twentieth of the rows, from 64 to 1024.
        lr: the highest learning rate.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        patience: looks at validation without a new best before the run stops early; None to never stop early. A look
            comes once an epoch, but not before 25 and at latest after 2,000 steps.
        ema: decay of the averaged weights that are validated and kept; None to use the last ones.
        seed: of the split, the order of the rows and dropout. Torch's global seed is left as it was.
        generator: draws the seed instead.
        checkpoint: file for the state of the run, written atomically every ``checkpoint_seconds`` and at the end.
        checkpoint_seconds: time between two checkpoints.
        resume: go on from the checkpoint if it exists.
        memory: what the chains of the flow keep for gradients, ``"plain"``, ``"checkpoint"`` or ``"invert"``, as in
            `bijections.Chain`: for deep flows and large batches. None leaves them as they are.
        compile: train by native kernels and with the loss and its gradients compiled (`torch.compile`; on a GPU as CUDA
            graphs). Worth it for long runs: compiling takes half a minute or more, less when torch's cache knows the
            flow. Without a C++ compiler a `RuntimeWarning` says so, and training is as it would be without. Not while
            ``memory`` recomputes. The result differs by rounding.
        precision: ``"bf16"`` lets the networks of the flow multiply in bfloat16 during the fit, for GPUs and CPUs that
            are fast at it; weights, splines, log-determinants and the optimiser keep their dtype. None: all in full.
        progress: show a progress bar on standard error.
        callback: called with every new `Record`.

    Returns:
        The history: records of training and validation log-likelihood in nats.

    Raises:
        TrainingError: the data cannot be learnt from, the checkpoint does not fit, or the loss stays non-finite.

    >>> import torch, pushforward as pf
    >>> x = 3 + 2 * torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    >>> flow = pf.flows.maf(1, depth=1)
    >>> history = pf.fit(flow, x, steps=100, progress=False)
    >>> round(history.best_validation)  # the entropy of N(3, 2²) is 2.11 nats
    -2
    """
    one_of("fit", "memory", memory, (None, *MEMORY))
    one_of("fit", "precision", precision, (None, *MATMUL_DTYPES))
    memory = memory or current_execution().memory
    kept = {memory} if memory else {part.memory for part in flow.modules() if isinstance(part, Chain)}
    if compile and (recomputing := kept - {"plain"}):
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
    if generator is not None:
        seed = int(torch.randint(2**62, (), generator=generator))
    passes = x if callable(x) and not isinstance(x, Tensor) else None
    if passes is not None and isinstance(validation, int | float):
        raise TrainingError("fit: with a function of passes, validation must be data, (x,), or None.")
    rows = _rows(flow, x if passes is None else passes(0), context, weights, "x")
    train, held_out = _split(flow, rows, validation, seed)
    if passes is not None:
        if context is not None or weights is not None:
            raise TrainingError("fit: a function of passes gives x alone. Leave context and weights out.")
        train = Passes(train.x, load=lambda number: _rows(flow, passes(number), None, None, "x"))
    flow.initialize(train.x, train.context)
    plan = _plan(
        train, fingerprint(rows.x, rows.context, rows.weights), steps, epochs, seconds, batch_size, lr, weight_decay,
        clip, patience if held_out is not None else None, ema, seed, compile, precision,
    )  # fmt: skip
    if checkpoint is not None:
        check_writable(checkpoint)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trainer = Trainer(flow, train, held_out, plan)
        if resume and checkpoint is not None and Path(checkpoint).exists():
            trainer.restore(checkpoint)
        with (
            Progress(progress) as bar,
            execution(kernels=compile or None, matmul_dtype=precision, memory=memory),
        ):
            return trainer.run(bar, callback, checkpoint, checkpoint_seconds)


def _rows(flow: Distribution, x: Any, context: Any, weights: Any, name: str) -> Rows:
    check_context("fit", context, flow.context_shape)
    device = next((t.device for t in [*flow.parameters(), *flow.buffers()]), None)
    x = _tensor(name, x).to(device=device, dtype=flow.dtype)
    if x.shape[1:] != flow.event_shape or x.ndim != 1 + len(flow.event_shape):
        expected = ", ".join(["rows", *map(str, flow.event_shape)])
        raise TrainingError(f"fit: {name} must have shape ({expected}); got {tuple(x.shape)}.")
    if len(x) < 2:
        raise TrainingError(f"fit: {len(x)} row(s) cannot be learnt from; at least two are needed.")
    _refuse_non_finite(name, _of_what_is_there(flow, x))
    if context is not None:
        context = _tensor("context", context).to(device=device, dtype=flow.context_dtype)
        if context.shape != (len(x), *(flow.context_shape or ())):
            expected = ", ".join(map(str, [len(x), *(flow.context_shape or ())]))
            raise TrainingError(f"fit: context must have shape ({expected}); got {tuple(context.shape)}.")
        _refuse_non_finite(
            "context", torch.where(context.isnan(), 0.0, context) if flow.learns_from_missing else context
        )
    if weights is not None:
        weights = _tensor("weights", weights).to(device=device, dtype=torch.float64)
        if (
            weights.shape != (len(x),)
            or not bool(weights.isfinite().all() & (weights >= 0).all())
            or weights.sum() <= 0
        ):
            raise TrainingError(f"fit: weights must be {len(x)} numbers that are not negative and not all zero.")
        weights = (weights / weights.mean()).to(torch.float32 if flow.dtype is None else flow.dtype)
    return Rows(x, context, weights)


def _tensor(name: str, values: Any) -> Tensor:
    """Numbers as a tensor: tensors, arrays, lists and data frames of numbers."""
    if isinstance(values, Tensor):
        return values
    try:
        return torch.as_tensor(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        kind = type(values).__name__
        raise TrainingError(f"fit: {name} must be a table of numbers; this {kind} holds something else.") from None


def _of_what_is_there(flow: Distribution, x: Tensor) -> Tensor:
    return torch.where(x.isnan(), 0.0, x) if flow.learns_from_missing else x


def _refuse_non_finite(name: str, x: Tensor) -> None:
    bad = (~x.flatten(1).isfinite()).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise TrainingError(
            f"fit: {name} has a value that is not finite: row {row}, column {column} is "
            f"{x.flatten(1)[row, column].item()}. Leave out or fill in such rows first."
        )


def _split(
    flow: Distribution, rows: Rows, validation: float | Sequence[Any] | None, seed: int
) -> tuple[Rows, Rows | None]:
    if validation is None or validation == 0:
        return rows, None
    if isinstance(validation, int | float):
        if not 0 < validation < 1:
            raise TrainingError(f"fit: validation must be a part between 0 and 1, or data; got {validation}.")
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed % 2**63)).to(rows.x.device)
        held = min(len(rows) - 1, max(1, round(validation * len(rows))))
        return rows.take(order[held:]), rows.take(order[:held])
    given = list(validation) if isinstance(validation, list | tuple) else [validation]
    if len(given) > 3:
        raise TrainingError("fit: validation must be a part between 0 and 1, or (x, context, weights), or less of it.")
    x, context, weights = [*given, None, None][:3]
    return rows, _rows(flow, x, context, weights, "validation x")


def _plan(
    train: Rows, data: str, steps: int | None, epochs: float | None, seconds: float | None, batch_size: int | None,
    lr: float, weight_decay: float, clip: float, patience: int | None, ema: float | None, seed: int, compile: bool,
    precision: str | None,
) -> Plan:  # fmt: skip
    for name, value in {
        "steps": steps,
        "epochs": epochs,
        "seconds": seconds,
        "batch_size": batch_size,
        "lr": lr,
    }.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise TrainingError(f"fit: {name} must be positive; got {value}.")
    if ema is not None and not 0 <= ema < 1:
        raise TrainingError(f"fit: ema must lie in [0, 1), or be None; got {ema}.")
    if batch_size is None:
        batch_size = min(1024, max(64, 2 ** round(math.log2(max(1, len(train) / 20)))))
    batch_size = min(batch_size, len(train))
    per_epoch = max(1, len(train) // batch_size)
    if epochs is not None:
        by_epochs = max(1, round(epochs * per_epoch))
        steps = by_epochs if steps is None else min(steps, by_epochs)
    if steps is None and seconds is None:
        steps = min(10_000, max(1_000, 100 * per_epoch))
    every = min(2_000, max(25, per_epoch))
    return Plan(
        batch_size, lr, weight_decay, clip, steps, seconds, every, patience, ema, seed, data, compile or None, precision
    )
