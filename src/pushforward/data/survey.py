"""What one pass over Parquet rows finds: random rows, the rows at the ends of each column, and its categories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pushforward.data.formats import TableError, clipped, drop_call
from pushforward.data.orders import TypeSpec
from pushforward.data.schema import Schema

__all__ = ["Survey", "survey_of"]

MOST_CATEGORIES = 100_000
"""Different texts of a column beyond which they are not collected."""
Piece = tuple[str, int, NDArray[np.bool_], Any]
"""A file, the number of a row of it, and from that row on: which rows are held out, and the rows as an Arrow table."""


@dataclass(frozen=True)
class Survey:
    """What is known of a table without holding it in memory.

    Attributes:
        random: rows to learn from, each as likely as any other, in random order.
        held: held-out rows, in the same way.
        ends: for each column a row with its smallest value, one with its largest, one without a value, and one with a
            value that is not whole, so that a type which fits the random rows and these fits all.
        categories: the different texts of each column of text; None for too many.
        missing: in how many rows each column has no value.
        places: file and number of each row of ``random``, then of ``ends``.
    """

    random: Any
    held: Any
    ends: Any
    categories: dict[str, set[Any] | None]
    missing: dict[str, int]
    places: tuple[tuple[str, int], ...]

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
            return Schema.infer(self.shown, types)

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
        found = {}
        for name in columns:
            values = self.categories.get(name, set())
            if values is None:
                raise TableError(
                    f"column {clipped(name)} holds more than {MOST_CATEGORIES:,} different texts, which are too many "
                    f"categories to learn. Leave it out ({drop_call([name])})."
                )
            found[name] = sorted(values - {None}, key=str)
        return found


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
    ends: dict[str, _Ends] = {}
    for file, first, held, table in pieces:
        for draw, chosen in zip(draws, (~held, held), strict=True):
            draw.take(file, first, np.flatnonzero(chosen), table)
        for name in table.column_names:
            ends.setdefault(name, _Ends()).take(file, first, table, name)
    (learned, places), (held_out, _) = (draw.shuffled(random) for draw in draws)
    rows = [row for end in ends.values() for row in end.rows.values()]
    return Survey(
        learned,
        held_out,
        pa.concat_tables([table for *_, table in rows] or [learned.slice(0, 0)], promote_options="permissive"),
        {name: end.categories for name, end in ends.items()},
        {name: end.missing for name, end in ends.items()},
        (*places, *((file, number) for file, number, _ in rows)),
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

    def shuffled(self, random: np.random.Generator) -> tuple[Any, list[tuple[str, int]]]:
        order = random.permutation(len(self._places))
        whole = pa.concat_tables(self._parts, promote_options="permissive")
        return whole.take(order), [self._places[k] for k in order]


class _Ends:
    """The rows at the ends of a column, as files, numbers and tables of one row, its texts, and how many it lacks."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, int, Any]] = {}
        self.categories: set[Any] | None = set()
        self.missing = 0
        self._values: dict[str, Any] = {}

    def take(self, file: str, first: int, table: Any, name: str) -> None:
        column = table.column(name)
        kind = column.type
        lacks = pc.is_null(column, nan_is_null=pa.types.is_floating(kind))
        self.missing += pc.sum(lacks).as_py() or 0
        if self.missing and "missing" not in self.rows:
            place = pc.index(lacks, True).as_py()
            self.rows["missing"] = file, first + place, table.take([place])
        if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
            if self.categories is not None:
                self.categories |= set(pc.unique(column).to_pylist())
            if self.categories is not None and len(self.categories) > MOST_CATEGORIES:
                self.categories = None
        elif not pa.types.is_nested(kind) and not pa.types.is_null(kind):
            for label, place in self._news(column, kind):
                self.rows[label] = (file, first + place, table.take([place]))

    def _news(self, column: Any, kind: Any) -> Iterator[tuple[str, int]]:
        """What is at an end in a piece and was not yet seen, and the index of its row."""
        numbers = column.cast(pa.int64()) if pa.types.is_duration(kind) else column
        if pa.types.is_float16(kind):
            numbers = column.cast(pa.float32())
        if pa.types.is_floating(numbers.type) and "fraction" not in self.rows:
            fraction = pc.and_(pc.is_finite(numbers), pc.not_equal(numbers, pc.floor(numbers)))
            if (place := pc.index(fraction, True).as_py()) >= 0:
                yield "fraction", place
        both = pc.min_max(numbers)
        for label, better in (("min", pc.less), ("max", pc.greater)):
            value, old = both[label], self._values.get(label)
            if value.is_valid and value.as_py() == value.as_py() and (old is None or better(value, old).as_py()):
                self._values[label] = value
                yield label, pc.index(numbers, value).as_py()
