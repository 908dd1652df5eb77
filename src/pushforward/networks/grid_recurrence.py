"""Recurrent units of a grid, which carry what was seen to the cells after it, however far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.constants import HasConstants
from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.networks.linear_recurrence import linear_recurrence

__all__ = ["CarriedStates", "GridRecurrence", "directions_of"]

GOLDEN = (5**0.5 - 1) / 2
FIRST_LOGITS = 0.0, 3.0
"""Of the parts of a state that are kept from cell to cell, which are from 0.5 to 0.95 at first."""


class GridStep(NamedTuple):
    """A step from a cell to another, as cells in raster order and as columns."""

    cells: int
    columns: int


BESIDE = GridStep(1, 1)


class CarriedStates:
    """The states of a `GridRecurrence` at the cells so far. Where gradients are recorded, nothing is overwritten.

    Args:
        recurrence: whose states these are.
        like: gives dtype and device, and says whether gradients are recorded.
        cells: number of all cells.
        n: number of points.
    """

    __slots__ = ("before", "in_place", "states")

    def __init__(self, recurrence: GridRecurrence, like: Tensor, cells: int, n: int) -> None:
        self.before = max(step.cells for step in recurrence.directions)  # what lies before the first cell: zeros
        self.in_place = runs_eagerly_without_grad(like)
        self.states = like.new_zeros(recurrence.recurrent, self.before + cells * self.in_place, n)

    def behind(self, units: slice, start: int, back: int) -> Tensor:
        """The states of some units at the ``back`` cells before the cell ``start``."""
        return self.states[units, self.before + start - back : self.before + start]

    def place(self, start: int, states: Tensor) -> None:
        """Put the states of the cells from ``start`` on in place of any that were there."""
        start += self.before
        if self.in_place:
            self.states[:, start : start + states.shape[1]] = states
        else:
            self.states = torch.cat([self.states[:, :start], states], dim=1)


class GridRecurrence(HasConstants):
    r"""A residual block whose units carry a state from cell to cell of a grid, to the right and down.

    .. math:: s_j = a_j \odot s_{j - \Delta} + (1 - a_j) \odot \tanh u_j, \qquad
        h_j \leftarrow h_j + W_o \bigl(s_j \odot \operatorname{silu}(g_j)\bigr), \qquad
        (\operatorname{logit} a_j, u_j, g_j) = W_i \operatorname{silu}(h_j) + b + V c

    A quarter of the units carries to the next cell of the row (Δ = 1), the others to the cell below, to the left of it
    and to the right of it (Δ = width, width - 1, width + 1); in a grid of one row, all carry to the next cell. Outside
    of the grid the state is zero. The recurrence is linear in the state, so that a state is an average of what cells
    before had to say, with weights that the cells between choose; all products of matrices are of many cells at once.

    Where cells are ``flat``, the states of the cells before go on unchanged (a = 1 inside of the grid).

    With several values in a cell, hidden units belong to values (``owners``), and so do recurrent units: each
    sees the hidden units of its own and of earlier values.

    Args:
        units: of the hidden layer that it reads and writes.
        recurrent: number of recurrent units, which carry states.
        context: number of context features.
        height: of the grid.
        width: of the grid.
        owners: the value to which each hidden unit belongs, (units,), in order.

    References:
        | Pixel Recurrent Neural Networks (van den Oord et al., 2016), arXiv:1601.06759, whose rows and diagonals carry
          states through networks that are not linear
        | Quasi-Recurrent Neural Networks (Bradbury et al., 2017), arXiv:1611.01576
        | Griffin: Mixing Gated Linear Recurrences with Local Attention (De et al., 2024), arXiv:2402.19427
    """

    inside: Tensor
    in_mask: Tensor
    out_mask: Tensor

    def __init__(
        self, units: int, recurrent: int, context: int, height: int, width: int, owners: Sequence[int]
    ) -> None:
        super().__init__()
        self.recurrent, self.width = recurrent, width
        self.directions = directions_of(height, width)
        ends = [recurrent * k // len(self.directions) for k in range(len(self.directions) + 1)]
        self.shares = [slice(*pair) for pair in pairwise(ends)]
        sizes = [share.stop - share.start for share in self.shares]
        values = owners[-1] + 1
        self.masked = values > 1
        if self.masked:  # each direction has units of every value
            of_unit = [k * values // size for size in sizes for k in range(size)]
            self.add_constant("in_mask", [[int(j <= k) for j in owners] for k in of_unit] * 3)
            self.add_constant("out_mask", [[int(j <= k) for j in of_unit] for k in owners])
        columns = [[column - step.columns for column in range(width)] * height for step in self.directions]
        self.add_constant("inside", [[int(0 <= c < width) for c in row] for row in columns])  # (directions, cells)
        self.in_weight = nn.Parameter(torch.randn(3 * recurrent, units) * units**-0.5)
        # Spread evenly whatever the size, and over the units of every value.
        paces = [k * GOLDEN % 1 for size in sizes for k in range(size)]
        bias = FIRST_LOGITS[0] + (FIRST_LOGITS[1] - FIRST_LOGITS[0]) * torch.tensor(paces)
        self.in_bias = nn.Parameter(torch.cat([bias, torch.zeros(2 * recurrent)]))
        self.out_weight = nn.Parameter(torch.randn(units, recurrent) * recurrent**-0.5)
        self.of_context = nn.Parameter(torch.randn(3 * recurrent, context) * 0.1) if context else None

    def forward(
        self,
        h: Tensor,
        context: Tensor | None = None,
        start: int = 0,
        states: CarriedStates | None = None,
        flat: Tensor | None = None,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """h (units, cells, n) beside what the recurrent units have to say.

        Args:
            h: the hidden layer at neighbouring cells.
            context: (context, n).
            start: number of the first of the cells.
            states: those of the cells before, to which those of these are added; None if these are all cells.
            flat: which cells pass states on unchanged, (cells, n).
            chosen: numbers of columns of (cells, n), among them all that are not flat: h (units, 1, chosen) and context
                (context, chosen) then are those of these columns alone.
        """
        weight = self.in_weight * self.in_mask if self.masked else self.in_weight
        inputs = torch.addmm(self.in_bias[:, None], weight, F.silu(h).flatten(1)).to(h.dtype)
        inputs = inputs.unflatten(1, h.shape[1:])
        if context is not None and self.of_context is not None:
            inputs = inputs + (self.of_context @ context).to(h.dtype)[:, None]
        logits, candidates, gates = inputs.chunk(3)
        kept = torch.sigmoid(logits)
        new = (1 - kept) * torch.tanh(candidates)
        if flat is not None:
            here = flat if chosen is None else flat.flatten()[chosen][None]
            kept, new = kept.masked_fill(here, 1.0), new.masked_fill(here, 0.0)
        if chosen is None or flat is None:
            carried = self._carried(kept, new, start, states)
        else:
            everywhere = (kept.new_full((self.recurrent, flat.numel()), float(is_kept)) for is_kept in (True, False))
            kept, new = (
                of_all.index_copy(1, chosen, of_chosen[:, 0]).view(self.recurrent, *flat.shape)
                for of_all, of_chosen in zip(everywhere, (kept, new), strict=True)
            )
            carried = self._carried(kept, new, 0, None).flatten(1).index_select(1, chosen)[:, None]
        weight = self.out_weight * self.out_mask if self.masked else self.out_weight
        return h + (weight @ (carried * F.silu(gates)).flatten(1)).view_as(h)

    def _carried(self, kept: Tensor, new: Tensor, start: int, states: CarriedStates | None) -> Tensor:
        """The states (recurrent, cells, n) from the parts that are kept of those before, and what is added."""
        parts = []
        for step, units, inside in zip(self.directions, self.shares, self.inside, strict=True):
            of_kept = kept[units] * inside[start : start + kept.shape[1], None]
            if states is not None:
                behind = states.behind(units, start, step.cells)
                parts.append(_along(of_kept, new[units], step.cells, behind))
            elif step == BESIDE:  # all rows at once
                rows = kept.shape[1] // self.width
                by_column = (t.unflatten(1, (rows, -1)).movedim(2, 1).flatten(1, 2) for t in (of_kept, new[units]))
                along = _along(next(by_column), next(by_column), rows)
                parts.append(along.unflatten(1, (-1, rows)).movedim(2, 1).flatten(1, 2))
            else:
                parts.append(_along(of_kept, new[units], step.cells))
        carried = torch.cat(parts)
        if states is not None:
            states.place(start, carried)
        return carried


def _along(kept: Tensor, new: Tensor, lag: int, behind: Tensor | None = None) -> Tensor:
    """The recurrence s_j = kept_j s_{j - lag} + new_j over the second axis, from the states behind, or zeros."""
    cells = new.shape[1]
    if behind is not None:
        first = slice(min(lag, cells))
        follow = torch.addcmul(new[:, first], kept[:, first], behind[:, first])
        new = torch.cat([follow, new[:, lag:]], dim=1) if lag < cells else follow
    return new if lag >= cells else linear_recurrence(kept, new, lag)


def directions_of(height: int, width: int) -> list[GridStep]:
    """To the next cell of the row, below, below to the left and below to the right, as far as there are such."""
    below = GridStep(width, 0)
    if height == 1 or width == 1:
        return [BESIDE if height == 1 else below]
    return [BESIDE, below, GridStep(width - 1, -1), GridStep(width + 1, 1)]
