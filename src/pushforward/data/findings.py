"""What a newcomer to a table would want to be told about its columns before anything is learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pushforward.data.fields import Field
from pushforward.data.formats import drop_call
from pushforward.data.going_around import circle_sentence
from pushforward.data.rules import has_order, rules_of

__all__ = ["Finding", "empty_columns", "findings", "identifiers"]

Floats = NDArray[np.float64]

IDENTIFIER_ROWS = 20
"""Rows from which on it means something that all of their values differ."""
MANY, ROWS_EACH = 50, 10
"""Categories up to which nothing is said, and rows for each beyond."""
EMPTY = 0.9
SENTINELS = frozenset(s * v for s in (1.0, -1.0) for v in (1, 9, 99, 999, 9999, 99999, 999999))
FAR = 3.0
"""Distance of a sentinel from the other values, in ranges of their middle half, from which on it is named."""
DUPLICATES = 0.05
PAIRED, FIRST_ROWS = 60, 2_000
"""Columns up to which pairs of them are compared, and rows that decide which pairs are compared in all rows."""
MOST_ROWS = 200_000
"""Rows that are searched for copies."""


class Finding(NamedTuple):
    """A sentence about columns of a table, with what can be done."""

    columns: tuple[str, ...]
    sentence: str


def findings(fields: Sequence[Field], x: Floats) -> list[Finding]:
    """What stands out in a table.

    Args:
        fields: its columns.
        x: its rows as numbers (rows, columns), NaN where an entry is missing.
    """
    seen: list[Finding] = []
    for field, column in zip(fields, x.T, strict=True):
        present = column[~np.isnan(column)]
        sentence = _of_column(field, present, len(column))
        if sentence is not None:
            seen.append(Finding((field.name,), f"column {field.name!r} {sentence}"))
    if len(fields) <= PAIRED:
        seen += _dependent(fields, x)
    for low, high in rules_of(fields, [c if has_order(f) else None for f, c in zip(fields, x.T, strict=True)]):
        seen.append(Finding((low, high), f"column {low!r} is at most {high!r} in every row. Draws can keep this rule."))
    rows = len(first := x[:MOST_ROWS])
    if rows and (repeated := rows - len(np.unique(first, axis=0))) > DUPLICATES * rows:
        of = f"{repeated:,} of {'the first ' if rows < len(x) else ''}{rows:,} rows"
        seen.append(Finding((), f"{of} repeat an earlier one. Remove them if they are copies."))
    return seen


def empty_columns(table: Any) -> list[str]:
    """Names of the columns of an Arrow table that hold no value."""
    missing = (pc.is_null(column, nan_is_null=True) for column in table.columns)
    return [name for name, gone in zip(table.column_names, missing, strict=True) if pc.all(gone).as_py()]


def identifiers(fields: Sequence[Field], x: Floats) -> list[str]:
    """Names of the columns whose values name rows, which nothing can be learned from; x is as in `findings`."""
    return [field.name for field, column in zip(fields, x.T, strict=True) if _identifies(field, column)]


def _identifies(field: Field, column: Floats) -> bool:
    present = column[~np.isnan(column)]
    distinct = np.unique(present)
    return len(present) >= IDENTIFIER_ROWS and len(distinct) == len(present) and _counts_rows(field, distinct)


def _of_column(field: Field, present: Floats, rows: int) -> str | None:
    distinct, counts = np.unique(present, return_counts=True)
    remedy = f"Leave it out ({drop_call([field.name])})"
    if rows - len(present) > EMPTY * rows:
        return f"is nearly empty: {len(present):,} values in {rows:,} rows. {remedy}."
    if len(distinct) == 1:
        return f"holds the same value in all rows. {remedy}; there is nothing to learn."
    if _identifies(field, present):
        return f"looks like an identifier: all {len(present):,} values differ. {remedy}."
    if field.labels is not None and len(distinct) > max(MANY, len(present) / ROWS_EACH):
        return (
            f"has {len(distinct):,} categories in {rows:,} rows, more than they can teach. Group rare ones, or drop it."
        )
    if field.labels is None and (value := _sentinel(distinct, counts)) is not None:
        times = int(counts[distinct == value][0])
        return f"holds {value:g} in {times:,} rows, far from all other values. If it means missing, leave it empty."
    return circle_sentence(field, present)


def _counts_rows(field: Field, distinct: Floats) -> bool:
    """Whether different values are names of rows: text, or whole numbers without gaps."""
    if field.labels is not None:
        return True
    whole = bool((distinct == distinct.round()).all())
    return field.form == "number" and whole and distinct[-1] - distinct[0] == len(distinct) - 1


def _sentinel(distinct: Floats, counts: NDArray[np.int64]) -> float | None:
    """A value such as -1 or 999 at an end of a column, repeated and far from all others."""
    for end, next_to in ((0, 1), (-1, -2)) if len(distinct) > 4 else ():
        value = float(distinct[end])
        low, high = np.quantile(np.delete(distinct, end), [0.25, 0.75])
        if value in SENTINELS and counts[end] > 1 and abs(value - distinct[next_to]) > FAR * (high - low):
            return value
    return None


def _dependent(fields: Sequence[Field], x: Floats) -> list[Finding]:
    """Columns that follow from one other column: copies, linear functions, and names of codes."""
    seen: list[Finding] = []
    codes = [np.unique(column, return_inverse=True)[1] for column in x.T]
    sizes = [int(code.max()) + 1 if len(code) else 0 for code in codes]
    taken: set[int] = set()
    for j in range(len(fields)):
        for k in range(len(fields)):
            few = 1 < sizes[k] <= sizes[j] < len(x) / 2
            if j == k or k in taken or (sizes[k] == sizes[j] and k < j):
                continue
            if few and _follows(codes[j], codes[k], sizes[k]):
                why = "has one value for each value of"
            elif sizes[j] == sizes[k] > len(x) / 2 and _linear(x[:, j], x[:, k]):
                why = "is a linear function of"
            else:
                continue
            taken.add(k)
            names = (fields[k].name, fields[j].name)
            remedy = f"It follows from it, and can be left out ({drop_call([names[0]])})"
            seen.append(Finding(names, f"column {names[0]!r} {why} {names[1]!r}. {remedy}."))
    return seen


def _follows(codes: NDArray[np.int64], others: NDArray[np.int64], size: int) -> bool:
    """Whether equal codes always stand beside equal ones of another column, of which there are ``size``."""
    pairs = codes * size + others
    return all(len(np.unique(pairs[:rows])) == len(np.unique(codes[:rows])) for rows in (FIRST_ROWS, len(codes)))


def _linear(a: Floats, b: Floats) -> bool:
    """Whether one column is a line of the other, to rounding."""
    both = ~(np.isnan(a) | np.isnan(b))
    if both.sum() < 3 or a[both].std() == 0 or b[both].std() == 0:
        return False
    return bool(abs(np.corrcoef(a[both], b[both])[0, 1]) > 1 - 1e-12)
