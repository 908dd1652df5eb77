"""Columns of a table, gathered into groups of equal type that are computed together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from pushforward.core.constants import HasConstants
from pushforward.core.torch_internals import buffers_of
from pushforward.distributions.columns.column_type import WAVES, ColumnType, waves

__all__ = ["ColumnGroups"]


class ColumnGroups(HasConstants):
    """Columns by type: those of equal type are one group, with one module for all of them.

    Args:
        columns: the type of each column.

    Shape:
        Tables are (columns, n): a row of the tensor is a column of the table.
    """

    def __init__(self, columns: Sequence[ColumnType]) -> None:
        super().__init__()
        positions: dict[str, list[int]] = {}
        for j, column in enumerate(columns):
            positions.setdefault(json.dumps(column.config, sort_keys=True), []).append(j)
        self.positions = list(positions.values())
        """The columns of each group, in increasing order."""
        self.types = nn.ModuleList(columns[group[0]].repeated(len(group)) for group in self.positions)
        self.place = {j: (k, i) for k, group in enumerate(self.positions) for i, j in enumerate(group)}
        """Group of each column, and its number there."""
        self.domains = tuple(column.domain for column in columns)
        self.add_constant("like", 0.0)
        zero = torch.zeros((), dtype=torch.float64, device="cpu")
        self.add_constant("anchors", [float(domain.anchor(zero)) for domain in self.domains], torch.float64)
        for k, group in enumerate(self.positions):
            self.add_constant(f"group_{k}", group, torch.int64)
        self._arrange_inputs()

    like: Tensor
    anchors: Tensor
    """A fixed inner point of each column's domain, (columns,)."""
    shown: Tensor
    """The columns that show single values, or might."""
    shown_values: Tensor
    """Padded with a number that no column has, (columns shown, values)."""
    first_flags: Tensor
    waved_rows: Tensor
    """Which of the columns shown have `waves`."""
    input_order: Tensor

    def _arrange_inputs(self) -> None:
        """Where columns that show single values have them, and the places of all inputs after their flags, `waves` and
        the rest."""
        self.shows = [column_type.shown_values is not None for column_type, _ in self]
        """Of which groups inputs are flags and `waves` alone."""
        shown: list[tuple[int, list[float]]] = []  # columns and their values
        rows: list[int] = []
        waved, others = [], []
        for column_type, group in self:
            values = column_type.shown_values
            if values is None:
                others += [j for j in group for _ in range(column_type.num_inputs)]
                continue
            if column_type.num_inputs > len(values):
                rows += range(len(shown), len(shown) + len(group))
                waved += group
            shown += [(j, values) for j in group]
        flags = [j for j, values in shown for _ in values]
        owners = flags + [j for j in waved for _ in range(WAVES)] + others
        most = 1 + max((len(values) for _, values in shown), default=0)
        padded = [[*values, *[torch.finfo(torch.float64).max] * (most - len(values))] for _, values in shown]
        self.num_flags = len(flags)
        self.add_constant("shown", [j for j, _ in shown], torch.int64)
        self.add_constant("shown_values", padded, torch.float64)
        first = accumulate((len(values) for _, values in shown), initial=0)
        self.add_constant("first_flags", [[start] for start, _ in zip(first, shown, strict=False)], torch.int64)
        self.add_constant("waved_rows", rows, torch.int64)
        self.add_constant("input_order", sorted(range(len(owners)), key=owners.__getitem__), torch.int64)

    def __iter__(self) -> Iterator[tuple[ColumnType, list[int]]]:
        """Type and columns of each group."""
        return iter(zip(cast("list[ColumnType]", list(self.types)), self.positions, strict=True))

    def parts(self, x: Tensor) -> Iterator[tuple[ColumnType, Tensor]]:
        """Type and values of each group, from the table x."""
        for k, (column_type, group) in enumerate(self):
            adjacent = group[-1] - group[0] == len(group) - 1
            yield column_type, x[group[0] : group[-1] + 1] if adjacent else x.index_select(0, self._group(k))

    def _group(self, k: int) -> Tensor:
        index = buffers_of(self)[f"group_{k}"]
        return cast(Tensor, index)

    def __len__(self) -> int:
        """The number of columns."""
        return len(self.domains)

    def column_type(self, j: int) -> ColumnType:
        """The type of column j, with the statistics measured of it."""
        k, i = self.place[j]
        return cast(ColumnType, self.types[k]).column(i)

    def encode(self, x: Tensor) -> Tensor:
        """Inputs of a network (inputs, n), column by column of the table x."""
        waved, others = [], []
        for shows, (column_type, values) in zip(self.shows, self.parts(x), strict=True):
            if not shows:
                others.append(column_type.encode(values).flatten(0, 1))
            elif (position := column_type.position(values)) is not None:
                waved.append(position)
        parts = others
        if any(self.shows):
            flags, shown = self._flags(x)
            parts = [flags, *others]
        if waved:
            u = waves(torch.cat(waved)) * ~shown.index_select(0, self.waved_rows)[:, None]
            parts.insert(1, u.flatten(0, 1))
        return torch.cat(parts).index_select(0, self.input_order)

    def _flags(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A flag for each of the values that columns show, (values, n), and which of these columns have one of theirs,
        (columns, n)."""
        x = x.index_select(0, self.shown)
        k = torch.searchsorted(self.shown_values, x).clamp(max=self.shown_values.shape[1] - 1)
        hit = self.shown_values.gather(1, k) == x
        flags = x.new_zeros(self.num_flags + 1, x.shape[1], dtype=self.like.dtype)
        return flags.scatter(0, torch.where(hit, self.first_flags + k, self.num_flags), 1.0)[:-1], hit

    def standardized(self, x: Tensor) -> list[Tensor]:
        """The points of the real line (n,) that the columns of the table x stand for; of those that are on it alone."""
        parts: dict[int, Tensor] = {}
        for (column_type, values), group in zip(self.parts(x), self.positions, strict=True):
            if column_type.is_real:
                parts.update(zip(group, column_type.standardized(values).unbind(), strict=True))
        return [parts[j] for j in sorted(parts)]

    def numbers(self, x: Tensor) -> dict[int, Tensor]:
        """`ColumnType.number` (n,) of the columns of the table x that have it."""
        parts: dict[int, Tensor] = {}
        for (column_type, values), group in zip(self.parts(x), self.positions, strict=True):
            if (points := column_type.number(values)) is not None:
                parts.update(zip(group, points.unbind(), strict=True))
        return parts

    @property
    def smoothed(self) -> bool:
        """Whether `add_noise` adds any."""
        return any(column_type.smoothing for column_type, _ in self)

    def add_noise(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Add to the table x, in place, the noise of columns that are smoothed."""
        for column_type, group in self:
            if column_type.smoothing:
                x[group] = column_type.add_noise(x[group], generator)

    def initialize(self, x: Tensor, *, fits_shape: bool = True) -> list[Tensor]:
        """Measure the columns of the table x, NaN where an entry is missing; the first parameters of each group,
        (num_params, columns of the group). See `ColumnType.initialize`."""
        observed = ~x.isnan()
        return [t.initialize(x[group], observed[group], fits_shape=fits_shape) for t, group in self]
