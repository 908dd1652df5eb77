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
SHARE, ENOUGH = 0.4, 400
"""Share of real columns, or number of rows, from which on a flow models them given the others: of ten tables it gave
held-out rows of seven 0.2 to 7 nats more, of airfoil 0.01 less, and 0.1 and 0.9 less of the two below both,
`benchmarks/choice.py`."""
DATES, GAPS = "holds dates or times", "has missing values"


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
    if not others:
        return "nsf", "All columns are real numbers without gaps"
    asked = [(field, fact) for field, fact in others if field.labels is not None or fact in (DATES, GAPS)]
    modelled = facts[: len(fields) - len(context)]
    real = modelled.count(None)
    field, fact = (asked or others)[0]
    if asked or not real or (real < SHARE * len(modelled) and len(x) < ENOUGH):
        return "mixed", f"Column {field.name!r} {fact}"
    why = f"{real} of {len(modelled)} columns are real numbers, for a flow given the others"
    return "nsf", f"{why}: {field.name!r} {fact}"


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
        return "is constant"
    few = len(np.unique(column)) <= FEW
    if isinstance(field.column_type, Inflated) and not few:
        often = field.column_type.values.tolist()
        return f"takes single values often, such as {often[-1]:g}"
    if field.form == "bool" or isinstance(field.column_type, Inflated | Repeated) or (
        isinstance(field.column_type, Boolean | Integer) and few
    ):  # fmt: skip
        return f"holds {len(np.unique(column))} different numbers"
    return None
