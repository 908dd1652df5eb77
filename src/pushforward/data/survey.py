"""What one pass over Parquet rows finds: random rows, rows that show what the columns can hold, and categories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pushforward.data.column_survey import MOST_CATEGORIES, ColumnSurvey, OrderSurvey
from pushforward.data.formats import TableError, clipped, drop_call
from pushforward.data.orders import TypeSpec
from pushforward.data.schema import Schema

__all__ = ["Survey", "survey_of"]

PARTS = 512
"""Tables of drawn rows that are joined from time to time, since each takes some kB."""
Piece = tuple[str, int, NDArray[np.bool_], Any]
"""A file, the number of a row of it, and from that row on: which rows are held out, and the rows as an Arrow table."""


@dataclass(frozen=True)
class Survey:
    """A summary of a table that need not be in memory.

    Attributes:
        random: rows to learn from, each as likely as any other, in random order.
        held: held-out rows, in the same way.
        ends: further rows that show what a column can hold, such as those with its smallest and its largest value; see
            `ColumnSurvey`. A type that fits the random rows and these fits all.
        categories: the different texts of each column of text; None for too many.
        missing: in how many rows each column has no value.
        rows: how many there are.
        places: file and number of each row of ``random``, then of ``ends``.
        ordered: pairs of columns of which the first is never larger than the second.
        row_numbers: columns of whole numbers that span as many values as there are rows.
    """

    random: Any
    held: Any
    ends: Any
    categories: dict[str, set[Any] | None]
    missing: dict[str, int]
    rows: int
    places: tuple[tuple[str, int], ...]
    ordered: frozenset[tuple[str, str]]
    row_numbers: tuple[str, ...]

    @property
    def shown(self) -> Any:
        """The rows that show the type of each column."""
        return pa.concat_tables([self.random, self.ends], promote_options="permissive")

    def select(self, names: Sequence[str]) -> Survey:
        """The same of some columns."""
        return replace(self, **{name: getattr(self, name).select(list(names)) for name in ("random", "held", "ends")})

    def schema(self, types: Mapping[str, TypeSpec] | None = None) -> Schema:
        """The types of the columns, by the rules of `Schema.infer`, with those categories that `shown` has.

        Raises:
            TableError: as there.
        """
        with self._named_rows():
            return Schema.infer(self.shown, types, ordered=self.ordered)

    @contextmanager
    def _named_rows(self) -> Iterator[None]:
        """Errors about a row of `shown` say which row of which file it is."""
        try:
            yield
        except TableError as error:
            match = re.search(r"\bin row (\d+)\b", str(error))
            if match is None or int(match[1]) > len(self.places):
                raise
            file, row = self.places[int(match[1]) - 1]
            raise TableError(str(error).replace(match[0], f"in row {row + 1} of {file}", 1)) from None

    def categories_of(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        """The categories of some columns, sorted.

        Raises:
            TableError: a column has too many.
        """
        labels = {}
        for name in columns:
            values = self.categories.get(name, set())
            if values is None:
                raise TableError(
                    f"column {clipped(name)} holds more than {MOST_CATEGORIES:,} different texts, which are too many "
                    f"categories to learn. Leave it out ({drop_call([name])})."
                )
            labels[name] = sorted(values, key=str)
        return labels


def survey_of(pieces: Iterable[Piece], available: tuple[int, int], wanted: tuple[int, int], seed: int) -> Survey:
    """What one pass over the rows of a table finds, in constant memory.

    Args:
        pieces: the rows.
        available: how many there are to learn from, and how many are held out.
        wanted: how many of each to draw, at most.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    draws = [_Draw(*pair, random) for pair in zip(available, wanted, strict=True)]
    columns: dict[str, ColumnSurvey] = {}
    orders: OrderSurvey | None = None
    for file, first, held, table in pieces:
        for draw, chosen in zip(draws, (~held, held), strict=True):
            draw.take(file, first, np.flatnonzero(chosen), table)
        for name in table.column_names:
            columns.setdefault(name, ColumnSurvey()).take(file, first, table, name)
        orders = orders or OrderSurvey(table.schema)
        orders.take(table)
    (learned, places), (held_out, _) = (draw.shuffled(random) for draw in draws)
    drawn = set(places)
    rows = {row[:2]: row[2] for column in columns.values() for row in column.rows.values() if row[:2] not in drawn}
    return Survey(
        learned,
        held_out,
        pa.concat_tables([*rows.values(), learned.slice(0, 0)], promote_options="permissive"),
        {name: column.categories for name, column in columns.items()},
        {name: column.missing for name, column in columns.items()},
        sum(available),
        (*places, *rows),
        frozenset() if orders is None else frozenset(orders.pairs),
        tuple(name for name, column in columns.items() if column.numbers_rows(sum(available))),
    )


class _Draw:
    """Random rows of so many, which come in pieces."""

    def __init__(self, available: int, wanted: int, random: np.random.Generator) -> None:
        self._chosen = np.sort(random.choice(available, min(wanted, available), replace=False, shuffle=False))
        self._seen, self._parts, self._places = 0, list[Any](), list[tuple[str, int]]()

    def take(self, file: str, first: int, rows: NDArray[np.intp], table: Any) -> None:
        """Take those of some rows of a piece that were chosen."""
        low, high = np.searchsorted(self._chosen, [self._seen, self._seen + len(rows)])
        taken = rows[self._chosen[low:high] - self._seen]
        self._seen += len(rows)
        if len(taken) or not self._parts:  # the first piece has the columns, if not a row
            self._parts.append(table.take(taken))
            self._places += [(file, first + int(row)) for row in taken]
        if len(self._parts) > PARTS:
            self._parts = [self._joined()]

    def shuffled(self, random: np.random.Generator) -> tuple[Any, list[tuple[str, int]]]:
        order = random.permutation(len(self._places))
        return self._joined().take(order), [self._places[k] for k in order]

    def _joined(self) -> Any:
        return pa.concat_tables(self._parts, promote_options="permissive").combine_chunks()
