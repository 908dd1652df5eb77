"""What one pass finds about a column, and about pairs of columns."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["MOST_CATEGORIES", "ColumnSurvey", "OrderSurvey"]

MOST_CATEGORIES = 100_000
"""Different texts of a column beyond which they are not collected."""
WORDS = 8
"""Texts that are no plain numbers whose rows are kept."""
MOST_COLUMNS = 60
"""Numbers and dates up to which pairs of them are compared."""
MICROSECONDS_OF_DAY = 86_400_000_000
PLAIN = re.compile(r"[+-]?(?!0\d)(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class ColumnSurvey:
    """Rows that show what a column can hold, its texts, and how many it lacks.

    Attributes:
        rows: one row each with the smallest and the largest value, without a value, and with one that is not whole, or
            not midnight; of texts those with numbers at the ends and not whole, and some with words. Each is a file,
            the number of the row in it, and a table of one row.
        categories: its different texts; None for too many.
        missing: rows without a value.
    """

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, int, Any]] = {}
        self.categories: set[Any] | None = set()
        self.missing = 0
        self._values: dict[str, Any] = {}

    def take(self, file: str, first: int, table: Any, name: str) -> None:
        """Look at some rows of a file, from number ``first`` on."""
        column = _plain(table.column(name))
        missing = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        self.missing += pc.sum(missing).as_py() or 0
        if self.missing and "missing" not in self.rows:
            self.rows["missing"] = _row(file, first, table, pc.index(missing, True).as_py())
        of_kind = self._of_texts if pa.types.is_string(column.type) else self._of_numbers
        for label, place in of_kind(column):
            self.rows[label] = _row(file, first, table, place)

    def numbers_rows(self, rows: int) -> bool:
        """Whether whole numbers span just as many values as there are rows, of which so many are there."""
        low, high = (self._values.get(label) for label in ("min", "max"))
        if "fraction" in self.rows or not isinstance(low, pa.Scalar) or _order(low.type) != "number" or high is None:
            return False
        return float(high.as_py()) - float(low.as_py()) == rows - self.missing - 1

    def _of_texts(self, column: Any) -> Iterator[tuple[str, int]]:
        """What texts show that was not yet seen, and the index of its row."""
        texts = set(pc.unique(column).to_pylist()) - {None}
        texts -= self.categories or set()
        if self.categories is not None:
            self.categories |= texts
        if self.categories is not None and len(self.categories) > MOST_CATEGORIES:
            self.categories = None
        numbers = {text: float(text) for text in sorted(texts) if PLAIN.fullmatch(text)}
        words = sorted(texts - numbers.keys())
        for text in words[: max(0, WORDS - sum(label.startswith("word") for label in self.rows))]:
            yield f"word {text}", pc.index(column, text).as_py()
        fraction = [text for text, number in numbers.items() if math.isfinite(number) and number != round(number)]
        if fraction and "fraction" not in self.rows:
            yield "fraction", pc.index(column, fraction[0]).as_py()
        for label, sign in (("min", -1.0), ("max", 1.0)):
            best = max(numbers, key=lambda text: sign * numbers[text], default=None)
            if best is not None and not self._values.get(label, float("-inf")) >= sign * numbers[best]:
                self._values[label] = sign * numbers[best]
                yield label, pc.index(column, best).as_py()

    def _of_numbers(self, column: Any) -> Iterator[tuple[str, int]]:
        """What numbers, dates and truth values show that was not yet seen, and the index of its row."""
        kind = column.type
        if pa.types.is_nested(kind) or pa.types.is_null(kind) or pa.types.is_binary(kind):
            return
        if "fraction" not in self.rows and (fraction := _fraction(column)) is not None:
            place = pc.index(fraction, True).as_py()
            if place >= 0:
                yield "fraction", place
        both = pc.min_max(column)
        for label, better in (("min", pc.less), ("max", pc.greater)):
            value, before = both[label], self._values.get(label)
            is_number = value.is_valid and value.as_py() == value.as_py()
            if is_number and (before is None or better(value, before).as_py()):
                self._values[label] = value
                yield label, pc.index(column, value).as_py()


class OrderSurvey:
    """Pairs of columns of which the first was never larger than the second.

    Args:
        schema: the Arrow schema of the columns.
    """

    def __init__(self, schema: Any) -> None:
        names = [field.name for field in schema if _order(field.type)]
        kinds = {field.name: _order(field.type) for field in schema}
        several = names if len(names) <= MOST_COLUMNS else []
        self.pairs = {(a, b) for a in several for b in several if a != b and kinds[a] == kinds[b]}

    def take(self, table: Any) -> None:
        """Look at some rows."""
        columns = {name: _comparable(table.column(name)) for name in {name for pair in self.pairs for name in pair}}
        for low, high in sorted(self.pairs):
            if pc.any(pc.greater(columns[low], columns[high])).as_py():
                self.pairs.remove((low, high))


def _row(file: str, first: int, table: Any, place: int) -> tuple[str, int, Any]:
    return file, first + place, table.take([place])


def _plain(column: Any) -> Any:
    """A column as texts without spaces around them, of which an empty one counts as missing, or as numbers that Arrow
    can compare."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
        return pc.if_else(pc.equal(texts, ""), None, texts)
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    return column.cast(pa.float32()) if pa.types.is_float16(kind) else column


def _fraction(column: Any) -> Any:
    """Which numbers are not whole, and which times are not midnight; None for columns that have no such values."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        microseconds = pc.cast(column, pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
        days = pc.multiply(pc.divide(microseconds, MICROSECONDS_OF_DAY), MICROSECONDS_OF_DAY)
        return pc.not_equal(microseconds, days)
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    if not pa.types.is_floating(column.type):
        return None
    return pc.and_(pc.is_finite(column), pc.not_equal(column, pc.floor(column)))


def _order(kind: Any) -> str:
    """What columns must share to be compared; empty for those that are not."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    return "number" if is_number else ""


def _comparable(column: Any) -> Any:
    if _order(column.type) == "number":
        return column.cast(pa.float64(), safe=False)
    if pa.types.is_timestamp(column.type):
        return pc.cast(column, pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    return column.cast(pa.timestamp("us")).cast(pa.int64())
