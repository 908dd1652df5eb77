"""Which entries of an event a coupling keeps and which it moves: by halves, along an axis, or by a mask."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pushforward.core.constants import HasConstants
from pushforward.core.shapes import event_axis

__all__ = ["Mask", "Split", "split_of"]

Mask = str | Sequence[Any]
"""``"checkerboard"``, or a nested list of booleans that broadcasts to the event: true where an entry is kept."""


class Split(HasConstants, ABC):
    """A partition of the entries of an event, in row-major order, into kept and moved ones.

    Args:
        keeps: whether each entry is kept.
    """

    def __init__(self, keeps: list[bool]) -> None:
        super().__init__()
        self.keeps, self.kept, self.moved = keeps, sum(keeps), len(keeps) - sum(keeps)

    @abstractmethod
    def parts(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """(entries, ...) as kept (kept, ...) and moved (moved, ...) ones."""

    @abstractmethod
    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """The inverse of `parts`."""


class HalfSplit(Split):
    """The first entries kept and the last ones moved, or the other way round if ``swap``: slices, no copies."""

    def __init__(self, kept: int, moved: int, *, swap: bool) -> None:
        keeps = [True] * kept + [False] * moved
        super().__init__(keeps[::-1] if swap else keeps)
        self.swap = swap

    def parts(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        if self.swap:
            return columns[self.moved :], columns[: self.moved]
        return columns[: self.kept], columns[self.kept :]

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.swap else [kept, moved])


class MaskSplit(Split):
    """Any entries kept, the others moved."""

    kept_index: Tensor
    moved_index: Tensor
    order: Tensor

    def __init__(self, keeps: list[bool]) -> None:
        super().__init__(keeps)
        order = sorted(range(len(keeps)), key=lambda j: not keeps[j])  # kept entries first
        back = sorted(range(len(keeps)), key=order.__getitem__)
        self.add_constant("kept_index", order[: self.kept], torch.int64)
        self.add_constant("moved_index", order[self.kept :], torch.int64)
        self.add_constant("order", back, torch.int64)

    def parts(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        return columns.index_select(0, self.kept_index), columns.index_select(0, self.moved_index)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([kept, moved]).index_select(0, self.order)


def split_of(owner: str, shape: tuple[int, ...], mask: Mask | None, axis: int | None, *, swap: bool) -> Split:
    """The split that the arguments of a coupling describe.

    Args:
        owner: the class in whose name arguments are refused.
        shape: the event shape.
        mask: the kept entries, or None.
        axis: the axis that is cut in two halves, or None; the first one where neither is given.
        swap: exchange kept and moved entries (of halves: keep the last ⌊size / 2⌋ instead of the first).
    """
    if mask is not None and axis is not None:
        raise ValueError(f"{owner}: split by mask or along axis, not both; got mask={mask!r} and axis={axis!r}.")
    if mask is not None:
        keeps = _mask_entries(owner, shape, mask)
        return MaskSplit([not keep for keep in keeps] if swap else keeps)
    along = event_axis(owner, 0 if axis is None else axis, shape) + len(shape)
    size = shape[along]
    if size < 2:
        raise ValueError(
            f"{owner}: axis {along} of events of shape {shape} has one entry and cannot be cut in two. Choose another "
            "axis, or mask='checkerboard'."
        )
    inner = math.prod(shape[along + 1 :])
    kept = size // 2
    if along == 0:
        return HalfSplit(kept * inner, (size - kept) * inner, swap=swap)
    first = size - kept if swap else kept
    return MaskSplit([(index[along] < first) != swap for index in _indices(shape)])


def _mask_entries(owner: str, shape: tuple[int, ...], mask: Mask) -> list[bool]:
    """Whether each entry is kept, in row-major order."""
    if isinstance(mask, str):
        if mask != "checkerboard":
            raise ValueError(f"{owner}: mask must be 'checkerboard' or a nested list of booleans; got {mask!r}.")
        # All channels of a cell go together; of a vector every other feature is kept.
        entries = [sum(index[1:] or index) % 2 == 0 for index in _indices(shape)]
    else:
        try:
            entries = torch.tensor(mask, device="cpu").to(torch.bool).broadcast_to(shape).flatten().tolist()
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"{owner}: mask must be a nested list of booleans that broadcasts to events of shape {shape}; got "
                f"{mask!r}."
            ) from None
    if all(entries) or not any(entries):
        raise ValueError(f"{owner}: mask must keep some entries of an event and move the others; got {mask!r}.")
    return entries


def _indices(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The index of every entry, in row-major order."""
    return product(*map(range, shape))
