"""Conversion of a stored column to float64, piece by piece, and the error messages where that is impossible.

The first piece does not decide the type: the text of every piece is parsed as integers, else as numbers, else as
true/false, and the type of the column is that of all pieces together.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pushforward.data.formats import Source, TableError, clipped
from pushforward.data.text import MISSING_WORDS

__all__ = ["EXACT", "LEADING_ZEROS", "BadValue", "ColumnConverter", "NotNumbersError", "table_error"]

EXACT = 2**53  # every integer up to here is a float64
LEADING_ZEROS = r"^\s*0\d+\s*$"
"""Identifiers such as postal codes: as numbers they would lose digits."""

_DATE = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b|\d{1,2}:\d{2}(:\d{2})?$")

# kind of problem -> (fact, remedy besides dropping the column)
_MESSAGES = {
    "text": ("holds text", "Correct the value"),
    "decimal": ("holds numbers with a decimal comma", "Write them with a point"),
    "category": ("holds categories", "Turn them into numbers"),
    "code": ("holds codes with leading zeros", "Leave the zeros out, if these are numbers"),
    "date": ("holds dates or times", "Turn them into numbers (hours since a fixed day, say)"),
    "mixed": ("mixes true/false with numbers", "Write 0 and 1"),
    "large": ("holds integers beyond 2**53, which float64 cannot represent", "Subtract an offset"),
    "infinite": ("holds an infinite value", "Correct the value or leave out its row"),
    "nested": ("holds values that are not numbers", "Store them in several columns of numbers"),
}


MIXED = ("text", "category", "code", "date", "missing")
"""Problems that a mixed-type model does not have."""


class NotNumbersError(TableError):
    """A table that is not all numbers, but that a mixed-type model can learn.

    Attributes:
        fact: what the first such column holds, such as ``"Column 'plan' holds text"``.
    """

    def __init__(self, message: str, fact: str) -> None:
        super().__init__(message)
        self.fact = fact


class BadValue(Exception):  # noqa: N818 - internal; becomes a TableError
    """The first value of a column that cannot be used: the kind of problem, the row index and the value."""

    def __init__(self, kind: str, column: str, index: int, value: object = None) -> None:
        super().__init__(kind, column, index, value)
        self.kind, self.column, self.index, self.value = kind, column, index, value


class ColumnConverter:
    """Converts the pieces of one column to float64, in order.

    ``type`` is the Arrow type name of the column: the one that the file declares, or for text files the type that
    holds all values so far (``int64``, ``double`` or ``bool``).
    """

    def __init__(self, name: str, stored: Any) -> None:
        self.name = name
        self._stored = stored
        self._text_kind = ""
        self._rows = 0

    @property
    def type(self) -> str:
        return self._text_kind if self._stored is None else str(self._stored)

    def convert(self, piece: Any) -> NDArray[np.float64]:
        """The piece as float64; raises :class:`BadValue` at the first value that is not a finite number."""
        values = self._from_text(piece) if self._stored is None else self._from_typed(piece)
        finite = np.isfinite(values)
        if not finite.all():
            index = int(np.argmin(finite))
            self._refuse("missing" if np.isnan(values[index]) else "infinite", index, float(values[index]))
        self._rows += len(values)
        return values

    def _refuse(self, kind: str, index: int, value: object) -> NoReturn:
        raise BadValue(kind, self.name, self._rows + index, value)

    def _from_typed(self, piece: Any) -> NDArray[np.float64]:
        """A piece of a column with a declared type; missing values become NaN."""
        t, types = self._stored, pa.types
        if piece.null_count == len(piece):
            return np.full(len(piece), np.nan)
        if not (types.is_integer(t) or types.is_boolean(t) or types.is_floating(t) or types.is_decimal(t)):
            self._refuse(_kind_of_type(t), *_first_present(piece))
        numbers = piece
        if types.is_boolean(t):
            numbers = piece.cast(pa.uint8())
        elif types.is_decimal(t):
            numbers = piece.cast(pa.float64(), safe=False)
        # With missing values, Arrow converts integers to floats here.
        values = np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
        if types.is_integer(t) or (types.is_decimal(t) and t.scale <= 0):
            for index in np.flatnonzero(np.abs(values) >= EXACT).tolist():
                if abs(int(piece[index].as_py())) > EXACT:
                    self._refuse("large", index, int(piece[index].as_py()))
        return values

    def _from_text(self, piece: Any) -> NDArray[np.float64]:
        """A piece of a column of a text file; missing values become NaN."""
        if piece.null_count == len(piece):
            return np.full(len(piece), np.nan)
        whole = self._text_kind in ("", "int64")
        kind, values = _parse(piece, whole)
        if values is None:
            kind, values = _parse(pc.ascii_trim_whitespace(piece), whole)
        if values is None:
            kind, values = "double", self._parse_slowly(piece)
        if self._text_kind and (kind == "bool") != (self._text_kind == "bool"):
            self._refuse("mixed", *_first_present(piece))
        for index in np.flatnonzero(np.abs(values) >= EXACT).tolist():
            text = _text(piece[index])
            if re.fullmatch(r"[+-]?\d+", text) and (len(text) > 40 or abs(int(text)) > EXACT):
                self._refuse("large", index, text)
        self._text_kind = kind if self._text_kind in ("", kind) else "double"
        return values

    def _parse_slowly(self, piece: Any) -> NDArray[np.float64]:
        """Parse value by value, to find the first bad value or to accept what Arrow does not (blanks as missing)."""
        values = np.full(len(piece), np.nan)
        for index, raw in enumerate(piece.cast(pa.binary()).to_pylist()):
            text = _decoded(raw)
            if text in MISSING_WORDS:
                continue
            if re.match(LEADING_ZEROS, text):
                self._refuse("code", index, text)
            try:
                values[index] = float(text if "_" not in text else "not a number")
            except ValueError:
                kind = "date" if _DATE.match(text) else "text"
                if text.lower() in ("true", "false") and np.isfinite(values[:index]).any():
                    kind = "mixed"
                self._refuse("decimal" if re.fullmatch(r"[+-]?\d*,\d+", text) else kind, index, text)
        return values


def _parse(piece: Any, whole: bool) -> tuple[str, NDArray[np.float64] | None]:
    """Parse all values of a piece of text at once, with Arrow: the type and the numbers, or None."""
    if pc.any(pc.match_substring_regex(piece, LEADING_ZEROS)).as_py():
        return "", None
    for kind, target in (("int64", pa.int64()), ("double", pa.float64())):
        try:
            if kind == "int64":  # a failing cast is slow on many values: try a few first
                if not whole or pc.any(pc.match_substring(piece, "x")).as_py():
                    continue  # Arrow would parse 0x1F as 31
                piece.slice(0, 16).cast(target)
            numbers = piece.cast(target)
        except pa.ArrowInvalid:
            continue
        return kind, np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    lower = pc.ascii_lower(piece)
    truth = pc.equal(lower, "true")
    if pc.all(pc.or_(truth, pc.equal(lower, "false"))).as_py():
        numbers = truth.cast(pa.uint8())
        return "bool", np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    return "", None


def _kind_of_type(t: Any) -> str:
    """The kind of problem with a declared type that is not a number."""
    types = pa.types
    if types.is_dictionary(t):
        return "category"
    if types.is_temporal(t):
        return "date"
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    return "text" if any(is_text(t) for is_text in texts) else "nested"


def _first_present(piece: Any) -> tuple[int, object]:
    """Index and value of the first value that is not missing (of the first one if all are)."""
    index = max(pc.is_valid(piece).index(True).as_py(), 0)
    item = piece[index]
    if pa.types.is_string(piece.type):
        return index, _text(item)
    try:
        return index, item.cast(pa.string()).as_py()  # formatted by Arrow: as_py needs pandas for nanoseconds
    except pa.ArrowException:
        return index, str(item)


def _text(item: Any) -> str:
    """A value of a text file in any encoding, without surrounding blanks."""
    return _decoded(item.cast(pa.binary()).as_py())


def _decoded(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", errors="replace").strip()


def table_error(source: Source, problems: Sequence[BadValue]) -> TableError:
    """The error about the first of the problems, with the other columns that have the same one."""
    first = problems[0]
    names = [problem.column for problem in problems if problem.kind == first.kind]
    also = f" The same is true of {_listed(names[1:])}." if len(names) > 1 else ""
    where = source.row(first.index)
    if first.kind == "missing":
        missing, rows = _count_missing(source, first.column)
        if missing >= rows:
            fact, remedy = f"is empty, all {rows} values are missing", ""
        else:
            plural = "value" if missing == 1 else "values"
            fact, remedy = f"has {missing} missing {plural} in {rows} rows", "Fill in or leave out such rows"
        example = f"first at {where}."
    else:
        fact, remedy = _MESSAGES[first.kind]
        example = f"first at {where}, {clipped(first.value)}."
    drop = f"rop the column{'s' if len(names) > 1 else ''} ({drop_option(names)})."
    remedy = f"{remedy}, or d{drop}" if remedy else f"D{drop}"
    message = f"{source.path}: column {first.column!r} {fact}: {example}{also} {remedy}"
    return NotNumbersError(message, f"Column {first.column!r} {fact}") if first.kind in MIXED else TableError(message)


def drop_option(names: Sequence[str]) -> str:
    """The command-line option that leaves these columns out."""
    return f"--drop {shlex.quote(','.join(names))}"


def _listed(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names[:8]] + ([f"{len(names) - 8} more"] if len(names) > 8 else [])
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _count_missing(source: Source, name: str) -> tuple[int, int]:
    """Numbers of missing values and of rows of a column, from a second pass over the file for the message."""
    missing = rows = 0
    for (piece,) in source.batches([source.names.index(name)], rows=65536):
        rows += len(piece)
        if pa.types.is_string(piece.type):
            words = pc.is_in(pc.ascii_trim_whitespace(piece), value_set=pa.array(sorted(MISSING_WORDS)))
            missing += piece.null_count + (pc.sum(words).as_py() or 0)
        else:
            missing += pc.sum(pc.is_null(piece, nan_is_null=True)).as_py() or 0
    return missing, rows
