"""Which model a table gets where the user asks for none: decided from its schema, before anything is learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pushforward.data.inference import DECLARED
from pushforward.data.schema import Field
from pushforward.distributions import Boolean, Continuous, Inflated, Integer, Repeated

__all__ = ["FEW", "GAPS", "choose_model", "not_for_a_flow"]

FEW = 100
"""Different whole numbers up to which a column holds codes or counts, not measurements."""
FEW_REAL, ENOUGH = 5, 500
"""Real columns, or half as many as there are others, or else rows, from which on a flow models them given others."""
ROWS_PER_COLUMN, ROWS_GIVEN_OTHERS = 8, 17
"""Rows for each real column from which on a flow learns more of them than it mistakes for it; the latter where more
than a quarter of the columns are others, for it has to learn what those do as well."""
MANY_OTHERS, MANY_ROWS = 8, 1_000
"""Other columns, if they are more than the real ones, and rows from which on a mixed-type model learns all of them."""
MANY, INDEPENDENT = 10, 0.05
"""So many real columns, of which others explain less than this share, are noise to a flow. These and the numbers above
were chosen on the tables of `benchmarks/choice.py`, some of them cut to few rows."""
FAR = 1_000
"""Interquartile ranges from the median to a value that draws all of the others into a point for a flow."""
DATES, GAPS, CONSTANT = "holds dates or times", "has missing values", "is constant"


def choose_model(fields: Sequence[Field], x: NDArray[np.float64], context: Sequence[Field] = ()) -> tuple[str, str]:
    """``"mixed"`` or ``"nsf"``, and why, as the beginning of a sentence.

    Columns that hold text, codes, counts, gaps or one number alone are modelled by a mixed-type model in any case; the
    question is whether it models the others as well, or a flow given those. Where rows hold text, dates or gaps, parts
    of rows are asked for, which only the mixed-type model answers.

    Args:
        fields: the columns of the table, those that are modelled first.
        x: its rows as numbers (rows, columns), NaN where an entry is missing.
        context: the last of the columns, which are conditioned on.
    """
    facts = [not_for_a_flow(field, column) for field, column in zip(fields, x.T, strict=True)]
    others = [(field, fact) for field, fact in zip(fields, facts, strict=True) if fact is not None]
    asked = [(field, fact) for field, fact in others if field.labels is not None or fact in (DATES, GAPS)]
    modelled = len(fields) - len(context)
    real = [j for j, fact in enumerate(facts[:modelled]) if fact is None]
    varying = any(fact != CONSTANT for _, fact in others)
    if asked or not real or (varying and len(real) < min(FEW_REAL, len(others) / 2) and len(x) < ENOUGH):
        field, fact = (asked or others)[0]
        return "mixed", f"Column {field.name!r} {fact}"
    if len(others) >= max(MANY_OTHERS, len(real)) and len(x) >= MANY_ROWS:
        return "mixed", f"{len(others)} columns hold codes or counts, more than the {len(real)} of real numbers"
    if len(x) < len(real) * (ROWS_GIVEN_OTHERS if 3 * len(others) > len(real) else ROWS_PER_COLUMN):
        return "mixed", f"{len(x)} rows are few for a flow of {len(real)} columns"
    for j in real:
        if (value := farthest(x[:, j])) is not None:
            return "mixed", f"Column {fields[j].name!r} holds values far from the rest, such as {value:g}"
    if len(real) >= MANY and explained(x[:, real]) < INDEPENDENT:
        return "mixed", "Columns hardly depend on each other"
    if not others:
        return "nsf", "All columns are real numbers without gaps"
    field, fact = others[0]
    why = f"{len(real)} of {modelled} columns are real numbers, for a flow given the others"
    return "nsf", f"{why}: {field.name!r} {fact}"


def farthest(column: NDArray[np.float64]) -> float | None:
    """The value of a column (rows,) farthest from the median, if it is out of all proportion; None otherwise."""
    low, median, high = np.quantile(column, [0.25, 0.5, 0.75])
    distance = np.abs(column - median)
    return float(column[distance.argmax()]) if distance.max() > FAR * (high - low) > 0 else None


def explained(x: NDArray[np.float64]) -> float:
    """The mean over columns of the variance, or that of the square, which the others and their squares explain."""
    z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    z = z[:: 1 + len(z) // 10_000].clip(-5, 5)
    shares = []
    for j in range(z.shape[1]):
        rest = np.delete(z, j, axis=1)
        inputs = np.column_stack([np.ones(len(z)), rest, rest**2])
        targets = np.column_stack([z[:, j], z[:, j] ** 2])
        left = targets - inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
        spare = max(1, len(z) - inputs.shape[1])
        unexplained = (left**2).sum(axis=0) / spare / np.maximum(targets.var(axis=0, ddof=1), 1e-12)
        shares.append(1 - unexplained.min())
    return float(np.mean(shares))


def not_for_a_flow(field: Field, column: NDArray[np.float64]) -> str | None:
    """Why a column (rows,) is not for a flow, as the end of a sentence; None if it is."""
    if field.why == DECLARED and field.column_type.config != Continuous().config:
        return "has a declared type"
    if field.labels is not None:
        return "holds text" if field.form == "label" else "holds categories"
    if field.form in ("time", "day"):
        return DATES
    if field.notation is not None:
        return "holds numbers stored as text"
    if np.isnan(column).any():
        return GAPS
    if len(column) and (column == column[0]).all():
        return CONSTANT
    few = len(np.unique(column)) <= FEW
    if isinstance(field.column_type, Inflated) and not few:
        often = field.column_type.values.tolist()
        return f"takes single values often, such as {often[-1]:g}"
    if field.form == "bool" or isinstance(field.column_type, Inflated | Repeated) or (
        isinstance(field.column_type, Boolean | Integer) and few
    ):  # fmt: skip
        return f"holds {len(np.unique(column))} different numbers"
    return None
