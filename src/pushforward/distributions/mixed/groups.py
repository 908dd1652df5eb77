"""Columns of a table, gathered into groups of equal type that are computed together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
    flag_columns: Tensor
    flag_values: Tensor
    input_order: Tensor

    def _arrange_inputs(self) -> None:
        """Which inputs are flags of single values, and the places of all inputs after flags, `waves` and the rest."""
        flags: list[tuple[int, float]] = []  # column and value
        waved, others = [], []
        for column_type, group in self:
            values = column_type.shown_values
            flags += [(j, value) for j in group for value in values or []]
            waved += [j for j in group if values is not None and column_type.num_inputs > len(values)]
            others += [j for j in group for _ in range(0 if values is not None else column_type.num_inputs)]
        owners = [j for j, _ in flags] + [j for j in waved for _ in range(WAVES)] + others
        self.add_constant("flag_columns", [j for j, _ in flags], torch.int64)
        self.add_constant("flag_values", [value for _, value in flags], torch.float64)
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
        for column_type, values in self.parts(x):
            if column_type.shown_values is None:
                others.append(column_type.encode(values).flatten(0, 1))
            elif (position := column_type.position(values)) is not None:
                waved.append(position)
        flags = (x.index_select(0, self.flag_columns) == self.flag_values[:, None]).to(self.like.dtype)
        parts = [flags, *others]
        if waved:
            u = torch.cat(waved)
            shown = waves(u.nan_to_num()) * (u == u)[:, None]
            parts.insert(1, shown.flatten(0, 1))
        return torch.cat(parts).index_select(0, self.input_order)

    def standardized(self, x: Tensor) -> list[Tensor]:
        """The points of the real line (n,) that the columns of the table x stand for; of those that are on it alone."""
        parts: dict[int, Tensor] = {}
        for (column_type, values), group in zip(self.parts(x), self.positions, strict=True):
            if column_type.is_real:
                parts.update(zip(group, column_type.standardized(values).unbind(), strict=True))
        return [parts[j] for j in sorted(parts)]

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
