"""Argument validation and its error messages.

Inputs are checked once, at the boundary, and only for static facts (shapes, dtypes, presence), so a compiled graph
carries no checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

__all__ = [
    "NotInvertibleError",
    "at_least",
    "below_one",
    "broadcast",
    "check_precision",
    "common_batch",
    "finite_numbers",
    "for_single_numbers",
    "not_negative",
    "one_of",
    "positive",
]


class NotInvertibleError(ValueError):
    """Raised where a map has no inverse, or none that can be computed; the message names the way out."""


def at_least(owner: str, name: str, got: object, low: int, remedy: str = "") -> None:
    """Refuse what is no whole number, or one below ``low``; those of NumPy count."""
    if isinstance(got, bool) or not isinstance(got, Integral) or got < low:
        raise ValueError(f"{owner}: {name} must be a whole number of at least {low}; got {got!r}.{_after(remedy)}")


def positive(owner: str, name: str, got: object, remedy: str = "") -> None:
    """Refuse what is no positive, finite number; those of NumPy count."""
    if isinstance(got, bool) or not (isinstance(got, Real) and 0 < float(got) < math.inf):
        raise ValueError(f"{owner}: {name} must be a positive number; got {got!r}.{_after(remedy)}")


def not_negative(owner: str, name: str, got: object, remedy: str = "") -> None:
    """Refuse what is no finite number of at least zero; those of NumPy count."""
    if isinstance(got, bool) or not (isinstance(got, Real) and 0 <= float(got) < math.inf):
        raise ValueError(f"{owner}: {name} must be a number of at least 0; got {got!r}.{_after(remedy)}")


def below_one(owner: str, name: str, got: float, what_one_is: str) -> None:
    """Refuse a number that is not between zero and one, such as a least slope where the mean slope is one."""
    positive(owner, name, got)
    if got >= 1:
        raise ValueError(f"{owner}: {name} must be below 1, {what_one_is}; got {got!r}.")


def finite_numbers(owner: str, name: str, got: Sequence[float]) -> list[float]:
    """The numbers as floats, one per feature; refuse an empty list and numbers that are not finite."""
    values = [float(value) for value in got]
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{owner}: {name} must list one finite number per feature; got {values}.")
    return values


def one_of(owner: str, name: str, got: object, allowed: tuple[object, ...]) -> None:
    """Refuse a value that is not among ``allowed``."""
    if got not in allowed:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(map(repr, allowed))}; got {got!r}.")


def _after(remedy: str) -> str:
    return f" {remedy}" if remedy else ""


def for_single_numbers(name: str, x: Tensor, event_shape: tuple[int, ...]) -> str:
    """What to do where numbers were passed for events of one feature, as a further sentence; empty elsewhere."""
    return f" For single numbers pass {name}[..., None]." if event_shape == (1,) and x.ndim < 2 else ""


def _event_batch(owner: str, name: str, x: Tensor, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(x, Tensor):
        raise ValueError(f"{owner}: {name} must be a torch.Tensor; got {type(x).__name__}. Use torch.as_tensor.")
    split = x.ndim - len(event_shape)
    if split < 0 or tuple(x.shape[split:]) != event_shape:
        expected = ", ".join(["*batch", *map(str, event_shape)])
        remedy = for_single_numbers(name, x, event_shape)
        raise ValueError(f"{owner}: {name} must have shape ({expected}); got {tuple(x.shape)}.{remedy}")
    return tuple(x.shape[:split])


def check_precision(owner: str, *dtypes: torch.dtype | None) -> None:
    """Refuse floating dtypes of less than 32 bits for points and weights."""
    for dtype in dtypes:
        if dtype is not None and dtype.is_floating_point and dtype.itemsize < 4:
            raise ValueError(
                f"{owner}: densities in {dtype} would be right to three digits at best. Keep points and model in "
                'float32, with .float(); fit(..., precision="bf16") multiplies in bfloat16 where that does no harm.'
            )


def check_dtype(owner: str, name: str, x: Tensor, dtype: torch.dtype | None) -> None:
    """Refuse ``x`` whose dtype is not that of the weights (None: the owner has no weights and takes any)."""
    check_precision(owner, x.dtype, dtype)
    if dtype is not None and x.dtype != dtype:
        remedy = f"Convert it: {name}.to({dtype})."
        if x.is_floating_point():
            remedy = f"Convert one of them: {name}.to({dtype}) or model.to({x.dtype})."
        raise ValueError(f"{owner}: {name} is {x.dtype} but the weights are {dtype}. {remedy}")
    if not x.is_floating_point():
        raise ValueError(f"{owner}: {name} must be a floating-point tensor; got {x.dtype}. Use {name}.float().")


def check_context(owner: str, context: Tensor | None, context_shape: tuple[int, ...] | None) -> None:
    """Refuse a context that is missing or unexpected."""
    if context is None and context_shape is not None:
        raise ValueError(f"{owner}: built with context of shape {context_shape}; got none. Pass context=.")
    if context is not None and context_shape is None:
        raise ValueError(f"{owner}: built without context; got one. Leave it out, or build with context=.")


def common_batch(
    owner: str, name: str, batch: tuple[int, ...], other: str, other_batch: tuple[int, ...]
) -> tuple[int, ...]:
    """The batch shape that two batch shapes broadcast to."""
    try:
        return tuple(torch.broadcast_shapes(batch, other_batch))
    except RuntimeError:
        raise ValueError(
            f"{owner}: the batch shapes of {name} {batch} and {other} {other_batch} do not broadcast."
        ) from None


def broadcast(
    owner: str,
    name: str,
    x: Tensor,
    event_shape: tuple[int, ...],
    context: Tensor | None,
    context_shape: tuple[int, ...] | None,
    dtype: torch.dtype | None,
    context_dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor | None]:
    """Check ``x`` and ``context`` in the owner's name and expand both to their common batch shape."""
    batch = _event_batch(owner, name, x, event_shape)
    check_dtype(owner, name, x, dtype)
    check_context(owner, context, context_shape)
    if context is None or context_shape is None:
        return x, None
    context_batch = _event_batch(owner, "context", context, context_shape)
    check_dtype(owner, "context", context, context_dtype)
    if batch == context_batch:
        return x, context
    common = common_batch(owner, name, batch, "context", context_batch)
    return x.expand(*common, *event_shape), context.expand(*common, *context_shape)
