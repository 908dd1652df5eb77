"""What drawn rows get wrong about single columns and rules: values out of range, decimals, and orders of columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pushforward.data.fields import show_type
from pushforward.data.limits import has_decimals
from pushforward.data.rules import broken
from pushforward.data.schema import Schema
from pushforward.evaluate.arrays import Floats

__all__ = ["Violation", "violations"]


@dataclass(frozen=True)
class Violation:
    """What some rows of a table break.

    Attributes:
        columns: their names, one, or two for a rule.
        what: ``"limits"``: values that the type of a column cannot hold; ``"decimals"``: more than the column has;
            ``"rule"``: a column that is greater than another one it never exceeded.
        rows: how many rows break it.
        sentence: the same in words.
    """

    columns: tuple[str, ...]
    what: str
    rows: int
    sentence: str


def violations(schema: Schema, x: Floats) -> list[Violation]:
    """Count the rows that break the limits, decimals and rules of a schema; an empty list where none does.

    Args:
        schema: of the columns.
        x: rows as numbers (rows, columns), NaN where an entry is missing: ``schema.encode`` of a drawn table.
    """
    seen: list[Violation] = []

    def add(columns: tuple[str, ...], what: str, rows: int, words: str) -> None:
        if rows:
            has = "row has" if rows == 1 else "rows have"
            seen.append(Violation(columns, what, rows, f"{rows:,} {has} {words}"))

    for field, column in zip(schema.fields, x.T, strict=True):
        values = column[~np.isnan(column)]
        outside = int((~field.holds(values)).sum())
        add((field.name,), "limits", outside, f"values of {field.name!r} outside {show_type(field.column_type)}")
        if field.decimals is not None:
            more = int((~has_decimals(values, field.decimals, field.stored)).sum())
            add((field.name,), "decimals", more, f"values of {field.name!r} with more than {field.decimals} decimals")
    for rule, wrong in zip(schema.rules, broken(schema.fields, schema.rules, x).T, strict=True):
        add((rule.low, rule.high), "rule", int(wrong.sum()), f"{rule.low!r} greater than {rule.high!r}")
    return seen
