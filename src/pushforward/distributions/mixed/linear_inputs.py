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
"""With more inputs the linear part is left out, for it costs a Cholesky factor for each row; and a column of numbers
that repeats more values than these has rounded ones, not codes."""


class LinearInputs(HasConstants):
    """The points of the real line that columns stand for, and what these leave out: a one or a zero for each category
    but the last and for each of a few values that a column of numbers repeats, and the numbers that have a probability
    of their own. Columns with the fewest values come first; what does not fit into ``MOST_INPUTS`` is left out.

    Args:
        context: the type of each column that is conditioned on.
        columns: the type of each column that is modelled; they follow those of the context in a table.
        sees: ``"reals"``, with ``"categories"``, or ``"all"``.

    Attributes:
        owners: the column of the table of each input.
        targets: the input of each modelled column that is on the real line, by its number among those modelled.
    """

    flag_columns: Tensor
    flag_values: Tensor

    def __init__(self, context: Sequence[ColumnType], columns: Sequence[ColumnType], sees: str) -> None:
        super().__init__()
        types, first = [*context, *columns], len(context)
        real = [place for place, column in enumerate(types) if column.is_real]
        self.targets = {place - first: i for i, place in enumerate(real) if place >= first}
        empty = torch.zeros(1, 0, dtype=torch.float64, device="cpu")
        numbers = [place for place, column in enumerate(types) if sees == "all" and column.number(empty) is not None]
        self.numbers = numbers[: max(0, MOST_INPUTS - len(real))]
        flags: list[tuple[int, float]] = []
        for place in sorted(range(len(types)), key=lambda place: len(types[place].shown_values or [])):
            values, numeric = types[place].shown_values or [], types[place].is_real
            values = values if numeric else values[:-1]
            few = not numeric or len(values) <= MOST_VALUES
            if sees != "reals" and few and len(real) + len(self.numbers) + len(flags) + len(values) <= MOST_INPUTS:
                flags += [(place, value) for value in values]
        self.owners = [*real, *self.numbers, *(place for place, _ in flags)]
        self.add_constant("flag_columns", [place for place, _ in flags], torch.int64)
        self.add_constant("flag_values", [value for _, value in flags], torch.float64)

    def __len__(self) -> int:
        return len(self.owners)

    def of(self, table: Tensor, context: ColumnGroups, columns: ColumnGroups) -> Tensor:
        """The inputs (inputs, n) of a table (context and columns, n)."""
        first = len(context)
        points = [*context.standardized(table[:first]), *columns.standardized(table[first:])]
        if self.numbers:
            numbers = context.numbers(table[:first]) | {
                first + j: point for j, point in columns.numbers(table[first:]).items()
            }
            points += [numbers[place] for place in self.numbers]
        if len(points) == len(self):
            return torch.stack(points)
        flags = (table.index_select(0, self.flag_columns) == self.flag_values[:, None]).to(table.dtype)
        return torch.cat([torch.stack(points), flags]) if points else flags
