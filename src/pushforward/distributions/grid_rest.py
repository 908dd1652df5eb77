"""The last rows of cells of a grid of whole numbers, given the first."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.checks import check_dtype
from pushforward.core.distribution import Distribution
from pushforward.core.screening import screen
from pushforward.core.shapes import unsqueeze_to

__all__ = ["GridRest"]


class GridRest(Distribution):
    """The last rows of cells of a `DiscreteGrid`, given the first: what `DiscreteGrid.given` returns."""

    observed: Tensor
    reparametrized = False

    def __init__(self, grid: Any, observed: Tensor) -> None:
        super().__init__()
        channels, first, *others = grid.event_shape
        axis = -1 - len(others)
        ends = (channels, *others) if isinstance(observed, Tensor) and observed.ndim >= len(grid.event_shape) else ()
        if (
            not ends
            or (observed.shape[axis - 1], *observed.shape[axis:][1:]) != ends
            or not 0 < observed.shape[axis] < first
        ):
            got = tuple(observed.shape) if isinstance(observed, Tensor) else type(observed).__name__
            raise ValueError(
                f"DiscreteGrid: observed must be the first k of the {first} rows of cells, "
                f"{('*batch', channels, 'k', *others)} with 1 ≤ k < {first}; got {got}."
            )
        check_dtype("DiscreteGrid", "observed", observed, grid.dtype)
        rows = observed.shape[axis]
        self.event_shape, self.support = (channels, first - rows, *others), grid.support
        self.batch_shape, self.context_shape = tuple(observed.shape[: axis - 1]), grid.context_shape
        self.grid, self.axis, self.start = grid, axis, rows * math.prod(others)
        self.register_buffer("observed", observed)

    @property
    def sample_kind(self) -> Kind:
        return "sequential"

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.grid._log_prob_after(self._whole(x), context, self.start)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        whole = self._whole(self.observed.new_zeros(*batch, *self.event_shape))
        numbers = self.grid._to_features(whole)[: self.start * self.event_shape[0]]
        drawn = self.grid._drawn_after(numbers, batch, context, generator)
        return drawn.narrow(self.axis, self.observed.shape[self.axis], self.event_shape[1])

    def _fixed_rows(self) -> tuple[Tensor, Tensor]:
        ok, nan = screen(self.observed, len(self.event_shape))
        return ok & self.support.contains(self.observed).flatten(ok.ndim).all(-1), nan

    def _whole(self, x: Tensor) -> Tensor:
        """Events with the observed rows before x; rows that are not usable are replaced by zeros."""
        ok, _ = self._fixed_rows()
        observed = torch.where(unsqueeze_to(ok, self.observed.ndim), self.observed, 0.0)
        batch = x.shape[: x.ndim - len(self.event_shape)]
        return torch.cat([observed.expand(*batch, *observed.shape[self.axis - 1 :]), x], dim=self.axis)
