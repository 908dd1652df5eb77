"""Batches of rows, in an order that the seed, the epoch and the row counter decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Self

import torch
from torch import Tensor

from pushforward.train.history import TrainingError

__all__ = ["Batch", "Batches"]

# An odd constant near 2³² divided by the golden ratio: neighbouring epochs and seeds get unrelated generators.
EPOCH_STRIDE = 0x9E3779B9


@dataclass(frozen=True)
class Batch:
    """Rows as tensors: of one step, of the validation set, or of a whole table."""

    x: Tensor | None
    """(rows, *event_shape); None for losses that learn without data."""
    context: Tensor | None = None
    """(rows, *context_shape)"""
    weights: Tensor | None = None
    """(rows,)"""
    size: int = 0
    """How many points to draw, where there is neither x nor context."""

    def __len__(self) -> int:
        rows = self.context if self.x is None else self.x
        return self.size if rows is None else len(rows)

    @property
    def draws(self) -> bool:
        """Whether the loss draws all there is: no rows stand behind this batch."""
        return self.x is None and self.context is None

    def take(self, index: Tensor) -> Self:
        """Some of the rows, in the order of ``index``."""
        return self._of_each(lambda tensor: tensor.index_select(0, index))

    def joined(self, other: Self) -> Self:
        """These rows, then the others. Where only one of the two has weights, rows of the other weigh one."""
        parts = [(self.x, other.x), (self.context, other.context), (self._all_weights(other), other._all_weights(self))]
        x, context, weights = (None if a is None or b is None else torch.cat([a, b]) for a, b in parts)
        return replace(self, x=x, context=context, weights=weights)

    def _all_weights(self, other: Batch) -> Tensor | None:
        """The weights, ones if only the other rows have some."""
        if self.weights is not None or other.weights is None:
            return self.weights
        return other.weights.new_ones(len(self))

    def pieces(self, size: int) -> Iterator[Self]:
        """All rows in their order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            if self.draws:
                yield replace(self, size=min(size, len(self) - start))
            else:
                yield self._of_each(itemgetter(slice(start, start + size)))

    def part(self, which: slice) -> Self:
        """Neighbouring rows."""
        start, stop, _ = which.indices(len(self))
        if self.draws:
            return replace(self, size=stop - start)
        return self if stop - start == len(self) else self._of_each(itemgetter(slice(start, stop)))

    @property
    def mass(self) -> float:
        """What the rows weigh together: their number where none has a weight."""
        return float(len(self)) if self.weights is None else float(self.weights.sum())

    def to(self, device: torch.device | str | None) -> Self:
        """The rows on a device."""
        return self._of_each(lambda tensor: tensor.to(device))

    def _of_each(self, pick: Callable[[Tensor], Tensor]) -> Self:
        x, context, weights = (None if t is None else pick(t) for t in (self.x, self.context, self.weights))
        return replace(self, x=x, context=context, weights=weights)


class Batches:
    """The batches of a run, one after the other.

    Each epoch visits the rows in a permutation that (seed, epoch) decides, so the position in the data is three
    numbers: the seed, ``epoch`` and ``row``, the rows of this epoch already used. Rows that do not fill the last batch
    of an epoch are left out of it, other rows in each epoch.

    Args:
        data: the training rows; those of epoch 0 where ``load`` gives the others.
        size: rows of a batch, at most those of the data.
        seed: of the permutations.
        load: gives the rows of epoch 0, 1, ..., for data that does not fit into memory.
    """

    def __init__(self, data: Batch, size: int, seed: int, load: Callable[[int], Batch] | None = None) -> None:
        self.data, self.size, self.seed, self.load = data, size, seed, load
        self.epoch = self.row = 0
        self._loaded = 0
        self._order_of, self._order = -1, torch.empty(0)

    def next(self) -> Batch:
        """The batch at this position, which moves on."""
        if self.data.draws:
            self.row += self.size
            return Batch(None, size=self.size)
        if self.row + self.size > len(self.data):
            self.epoch, self.row = self.epoch + 1, 0
        if self._order_of != self.epoch:
            self._start_epoch()
        batch = self.data.take(self._order[self.row : self.row + self.size])
        self.row += self.size
        return batch

    def _start_epoch(self) -> None:
        if self.load is not None and self._loaded != self.epoch:
            rows, expected = self.load(self.epoch), len(self.data)
            if len(rows) != expected:
                raise TrainingError(
                    f"fit: pass {self.epoch} has {len(rows)} rows; the first one had {expected}. Return as many rows "
                    "in every pass."
                )
            self.data, self._loaded = rows, self.epoch
        generator = torch.Generator().manual_seed((self.seed + EPOCH_STRIDE * (self.epoch + 1)) % 2**63)
        device = next(t.device for t in (self.data.x, self.data.context) if t is not None)
        self._order = torch.randperm(len(self.data), generator=generator).to(device)
        self._order_of = self.epoch
