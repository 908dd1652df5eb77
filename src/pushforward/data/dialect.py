"""How a text file writes its table: encoding, separator of columns and decimal sign, detected from its first part."""

from __future__ import annotations

import codecs
import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DECIMAL_COMMA", "Dialect", "TableFile", "detect"]

SEPARATORS = (",", ";", "\t", "|")
LINES = 200
"""Lines that decide."""
DECIMAL_COMMA = r"^[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?$"
"""A number with a decimal comma, and perhaps points between thousands."""
_COMMA, _POINT = re.compile(DECIMAL_COMMA), re.compile(r"^[+-]?\d*\.\d+([eE][+-]?\d+)?$")
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}(\.\d{3})+$")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}


@dataclass(frozen=True)
class TableFile:
    """The path of a text file with a table, and how it is written where that is not to be detected.

    Attributes:
        path: of the file.
        separator: between columns, one character.
        decimal: sign between whole part and fraction of a number, ``"."`` or ``","``.
        encoding: as Python calls it.
        missing: further words that stand for a missing value.
        header: whether the first line holds the names of the columns; else they are x0, x1, ... .
    """

    path: str | os.PathLike[str]
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()
    header: bool = True

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return os.fspath(self.path)


@dataclass(frozen=True)
class Dialect:
    """How a text file writes a table.

    Attributes:
        separator: between columns.
        decimal: ``"."`` or ``","``.
        encoding: as Python calls it.
        pointed: numbers of the columns that write decimal points although others write commas.
    """

    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8-sig"
    pointed: frozenset[int] = frozenset()

    def describe(self, usual: str) -> str:
        """In words, what is unlike a file in UTF-8 with the ``usual`` separator and decimal points; maybe empty."""
        parts = (
            []
            if self.separator == usual
            else [f"columns separated by {_NAMES.get(self.separator, repr(self.separator))}"]
        )
        parts += ["decimal commas"] if self.decimal == "," else []
        parts += [] if self.encoding == "utf-8-sig" else [f"text encoded in {self.encoding}"]
        return ", ".join(parts)


def detect(head: bytes, file: TableFile, usual: str, *, whole: bool) -> Dialect:
    """The dialect of a file: what ``file`` says, and the rest by its first bytes.

    Args:
        head: the first part of the file, decompressed.
        file: the file.
        usual: the separator that files of this suffix have, which is taken where nothing speaks for another one.
        whole: whether there is no more of the file.
    """
    encoding = file.encoding or _encoding(head, whole)
    lines = head.decode(encoding, errors="replace").splitlines()
    every = [line for line in (lines if whole else lines[:-1] or lines) if line.strip()]
    lines = every[:LINES]
    separator = file.separator
    if separator is None:
        # Without a header, decimal commas of every line look like separators: the most columns decide.
        separator = max(
            SEPARATORS,
            key=lambda s: (
                _agreement(lines, s),
                0 if file.header else lines[0].count(s) if lines else 0,
                s == usual,
                -SEPARATORS.index(s),
            ),
        )
        separator = separator if _agreement(lines, separator) > 0 else usual
    decimal = file.decimal or _decimal(_rows(lines, separator)[file.header :], separator)
    pointed = _pointed(_rows(every, separator)[file.header :]) if decimal == "," else frozenset()
    return Dialect(separator, decimal, encoding, pointed)


def _encoding(head: bytes, whole: bool) -> str:
    """UTF-16 with its mark, UTF-8 if it is, else the code page of Windows, which has every byte of Latin-1's text."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=whole)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=separator) if row]
    except csv.Error:
        return []


def _agreement(lines: Sequence[str], separator: str) -> float:
    """The share of the lines that have as many columns as the header, which has several; 0 if it has one."""
    rows = _rows(lines, separator)
    if not rows or len(rows[0]) < 2:
        return 0.0
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows)


def _decimal(rows: Sequence[Sequence[str]], separator: str) -> str:
    """A decimal comma, if there are such numbers and none with a point alone before their fraction."""
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(_COMMA.match(cell) is not None for cell in cells)
    points = sum(_POINT.match(cell) is not None and _THOUSANDS.match(cell) is None for cell in cells)
    if separator == ",":  # such numbers are in quotes, where thousands have commas as well
        return "."
    return "," if commas > points else "."


def _pointed(rows: Sequence[Sequence[str]]) -> frozenset[int]:
    """Columns with numbers such as 6.37, in which the point cannot stand between thousands, and no decimal comma."""
    points: set[int] = set()
    commas: set[int] = set()
    for row in rows:
        for j, cell in enumerate(cell.strip() for cell in row):
            if "," in cell and _COMMA.match(cell):
                commas.add(j)
            elif "." in cell and _POINT.match(cell) and not _THOUSANDS.match(cell):
                points.add(j)
    return frozenset(points - commas)
