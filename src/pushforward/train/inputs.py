"""What users pass to `fit`, as checked tensors on the model's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.core.checks import check_context, for_single_numbers
from pushforward.core.distribution import Distribution
from pushforward.train.batches import Batch
from pushforward.train.history import TrainingError

__all__ = ["split", "to_batch"]


def to_batch(flow: Distribution, x: Any, context: Any = None, weights: Any = None, name: str = "x") -> Batch:
    """Rows in the dtypes of the model. Without x only the context is checked.

    Raises:
        TrainingError: shapes do not fit, values are not finite numbers, or rows lie outside of the support.
    """
    check_context("fit", context, flow.context_shape)
    device = next((t.device for t in [*flow.parameters(), *flow.buffers()]), None)
    rows = None
    if x is not None:
        x = _tensor(name, x).to(device=device, dtype=flow.dtype)
        if x.shape[1:] != flow.event_shape or x.ndim != 1 + len(flow.event_shape):
            expected = ", ".join(["rows", *map(str, flow.event_shape)])
            remedy = for_single_numbers(name.split()[-1], x, flow.event_shape)
            raise TrainingError(f"fit: {name} must have shape ({expected}); got {tuple(x.shape)}.{remedy}")
        rows = len(x)
        _check_finite(flow, name, x)
        _check_support(flow, name, x)
    if context is not None:
        context = _tensor("context", context).to(device=device, dtype=flow.context_dtype)
        rows = len(context) if rows is None and context.ndim else rows
        if context.shape != (rows, *(flow.context_shape or ())):
            expected = ", ".join(map(str, [rows, *(flow.context_shape or ())]))
            raise TrainingError(f"fit: context must have shape ({expected}); got {tuple(context.shape)}.")
        _check_finite(flow, "context", context)
    if rows is not None and rows < 2:
        raise TrainingError(f"fit: {rows} row(s) cannot be learnt from; at least two are needed.")
    if weights is not None:
        weights = _tensor("weights", weights).to(device=device, dtype=torch.float64)
        positive = bool(weights.isfinite().all() & (weights >= 0).all()) and weights.sum() > 0
        if weights.shape != (rows,) or not positive:
            raise TrainingError(f"fit: weights must be {rows} numbers that are not negative and not all zero.")
        weights = (weights / weights.mean()).to(torch.float32 if flow.dtype is None else flow.dtype)
    return Batch(x, context, weights)


def split(
    flow: Distribution, rows: Batch, validation: float | Sequence[Any] | None, seed: int
) -> tuple[Batch, Batch | None]:
    """The training and the validation rows."""
    if validation is None or validation == 0:
        return rows, None
    if isinstance(validation, int | float):
        if not 0 < validation < 1:
            raise TrainingError(f"fit: validation must be a part between 0 and 1, or data; got {validation}.")
        device = next(t.device for t in (rows.x, rows.context) if t is not None)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed % 2**63)).to(device)
        count = min(len(rows) - 1, max(1, round(validation * len(rows))))
        return rows.take(order[count:]), rows.take(order[:count])
    parts = list(validation) if isinstance(validation, list | tuple) else [validation]
    if not 1 <= len(parts) <= 3:
        raise TrainingError("fit: validation must be a part between 0 and 1, or (x, context, weights), or less of it.")
    x, context, weights = [*parts, None, None][:3]
    return rows, to_batch(flow, x, context, weights, "validation x")


def _tensor(name: str, values: Any) -> Tensor:
    """Numbers as a tensor: tensors, arrays, lists and data frames of numbers."""
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values, dtype=np.float64)
        return torch.as_tensor(array if array.flags.writeable else array.copy())  # torch warns of read-only arrays
    except (TypeError, ValueError):
        kind = type(values).__name__
        raise TrainingError(f"fit: {name} must be a table of numbers; this {kind} holds something else.") from None


def _check_finite(flow: Distribution, name: str, rows: Tensor) -> None:
    """Refuse what is not finite; NaN stands for a missing entry where the model learns from such rows."""
    ok = rows.isfinite() | rows.isnan() if flow.learns_from_missing else rows.isfinite()
    bad = (~ok.flatten(1)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise TrainingError(
            f"fit: {name} has a value that is not finite: row {row}, column {column} is "
            f"{rows.flatten(1)[row, column].item()}. Leave out or fill in such rows first."
        )


def _check_support(flow: Distribution, name: str, rows: Tensor) -> None:
    """Refuse rows that have no density whatever is learned; models that learn from missing values screen their own."""
    if flow.learns_from_missing or not len(rows):
        return
    inside = flow.support.contains(rows).reshape(len(rows), -1).all(dim=1)
    if not bool(inside.all()):
        row = int((~inside).nonzero()[0])
        count = int((~inside).sum())
        more = f" ({count} of {len(rows)} rows do)" if count > 1 else ""
        raise TrainingError(
            f"fit: {name} leaves the support of {type(flow).__name__}, where its density is zero, in row {row}{more}: "
            f"{flow.support.why_outside(rows[row])}"
        )
