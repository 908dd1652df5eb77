"""Event shapes: how constructors take them, sums over an event, and masks over a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.core.checks import at_least

__all__ = ["EventSize", "event_axis", "event_numbers", "event_shape", "sum_event", "unsqueeze_to"]

EventSize = int | Sequence[int]
"""The argument ``features``: a number of features, or the sizes of an event of several axes such as (3, 32, 32)."""


def event_shape(owner: str, features: EventSize, *, name: str = "features") -> tuple[int, ...]:
    """The event shape that ``features`` stands for; refuse what is no positive whole number or list of them."""
    if isinstance(features, list | tuple) and features:
        for size in features:
            at_least(owner, name, size, 1)
        return tuple(features)
    at_least(owner, name, features, 1, "An event of several axes is given by its sizes, such as (3, 32, 32).")
    return (int(features),)  # type: ignore[arg-type]  # `at_least` has refused all but whole numbers


def event_axis(owner: str, axis: int, shape: tuple[int, ...]) -> int:
    """An axis of the event, counted from the end so that batch axes do not matter."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        raise ValueError(f"{owner}: axis must be one of the axes of events of shape {shape}; got {axis!r}.")
    return axis if axis < 0 else axis - len(shape)


def event_numbers(owner: str, name: str, values: Sequence[object]) -> Tensor:
    """A list of finite numbers, nested for events of several axes, as a float64 tensor of the shape of the event."""
    try:
        numbers = torch.as_tensor(values, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)
    if isinstance(values, int | float):
        raise ValueError(
            f"{owner}: {name} must list one finite number per feature; got {values!r}. Write [{values!r}] for one "
            "feature."
        )
    if not numbers.ndim or not numbers.numel() or not bool(numbers.isfinite().all()):
        raise ValueError(
            f"{owner}: {name} must list one finite number per feature; got {values!r}. For events of several axes "
            "nest lists of equal lengths."
        )
    return numbers


def sum_event(x: Tensor, event_ndim: int) -> Tensor:
    """The sum over the last ``event_ndim`` axes."""
    if event_ndim == 1:
        return x.sum(dim=-1)
    return x.flatten(-event_ndim).sum(dim=-1) if event_ndim else x


def unsqueeze_to(mask: Tensor, ndim: int) -> Tensor:
    """A mask over the batch, with axes of size one appended up to ``ndim`` axes: it broadcasts against events."""
    return mask.reshape((*mask.shape, *(1,) * (ndim - mask.ndim)))
