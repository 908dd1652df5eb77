"""What the linear part of a mixed-type model sees of a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.core.constants import HasConstants
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.mixed.groups import ColumnGroups

__all__ = ["MOST_INPUTS", "LinearInputs"]

MOST_INPUTS, MOST_VALUES = 64, 8
"""With more inputs the linear part is left out, for it costs a Cholesky factor for each row; and so many values of one
column count as categories: more are mostly rounded numbers."""


class LinearInputs(HasConstants):
    """The points of the real line that columns stand for and, if it is to see categories, a one or a zero for each
    value of a column that holds few, or repeats few, but the last of a column that holds no others. Columns with the
    fewest values come first; what does not fit into ``MOST_INPUTS`` is left out.

    Args:
        context: the type of each column that is conditioned on.
        columns: the type of each column that is modelled; they follow those of the context in a table.
        categories: whether categories are seen.

    Attributes:
        owners: the column of the table of each input.
        targets: the input of each modelled column that is on the real line, by its number among those modelled.
    """

    flag_columns: Tensor
    flag_values: Tensor

    def __init__(self, context: Sequence[ColumnType], columns: Sequence[ColumnType], *, categories: bool) -> None:
        super().__init__()
        types, first = [*context, *columns], len(context)
        real = [place for place, column in enumerate(types) if column.is_real]
        self.targets = {place - first: i for i, place in enumerate(real) if place >= first}
        flags: list[tuple[int, float]] = []
        for place in sorted(range(len(types)), key=lambda place: len(types[place].shown_values or [])):
            values = types[place].shown_values or []
            values = values if types[place].is_real else values[:-1]
            if categories and len(values) <= MOST_VALUES and len(real) + len(flags) + len(values) <= MOST_INPUTS:
                flags += [(place, value) for value in values]
        self.owners = [*real, *(place for place, _ in flags)]
        self.add_constant("flag_columns", [place for place, _ in flags], torch.int64)
        self.add_constant("flag_values", [value for _, value in flags], torch.float64)

    def __len__(self) -> int:
        return len(self.owners)

    def of(self, table: Tensor, context: ColumnGroups, columns: ColumnGroups) -> Tensor:
        """The inputs (inputs, n) of a table (context and columns, n)."""
        split = len(context)
        points = [*context.standardized(table[:split]), *columns.standardized(table[split:])]
        if len(points) == len(self):
            return torch.stack(points)
        flags = (table.index_select(0, self.flag_columns) == self.flag_values[:, None]).to(table.dtype)
        return torch.cat([torch.stack(points), flags]) if points else flags
