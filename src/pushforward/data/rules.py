"""Orders between columns that hold in every row, such as a first date and a last one, and draws that keep them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pushforward.data.fields import DAY, Field
from pushforward.data.quantities import Quantity
from pushforward.distributions import Boolean, Constant

__all__ = ["Rule", "broken", "draw_keeping", "draw_within", "has_order", "rules_of"]

Floats = NDArray[np.float64]

MOST_COLUMNS, FIRST_ROWS = 60, 2_000
"""Columns up to which pairs of them are compared, and rows that decide which pairs are compared in all rows."""
BY_CHANCE, OFTEN = 10.0, 0.01
"""Rows, and share of the rows, that would break a rule if one of its columns were shuffled, from which on it tells
something."""
ROUNDS = 20
"""How often rows that break a rule are drawn anew."""


class Rule(NamedTuple):
    """In every row the value in one column is at most that in another one."""

    low: str
    high: str

    def __str__(self) -> str:
        return f"{self.low} <= {self.high}"


def rules_of(
    fields: Sequence[Field], columns: Sequence[Floats | None], ordered: Collection[tuple[str, str]] | None = None
) -> tuple[Rule, ...]:
    """The rules that hold in all rows in which both values are there, and that would not if the columns had nothing to
    do with each other. What follows from two rules is left out, and so are equal columns.

    Args:
        fields: of the columns.
        columns: their values as numbers (rows,), NaN where they are missing; None for columns without an order.
        ordered: pairs of names that may be rules, where there are further rows; all by default.
    """
    places = [j for j, column in enumerate(columns) if column is not None and has_order(fields[j])]
    if len(places) > MOST_COLUMNS:
        return ()
    pairs = {
        (a, b)
        for a in places
        for b in places
        if a != b
        and (ordered is None or (fields[a].name, fields[b].name) in ordered)
        and _unit(fields[a]) == _unit(fields[b])
        and _holds(_scaled(fields[a], columns[a]), _scaled(fields[b], columns[b]))
    }
    direct = [(a, b) for a, b in sorted(pairs) if not any((a, c) in pairs and (c, b) in pairs for c in places)]
    return tuple(Rule(fields[a].name, fields[b].name) for a, b in direct)


def has_order(field: Field) -> bool:
    """Whether the values of a column can be compared with those of others: numbers and dates."""
    is_ordered = field.column_type.circle is None and not isinstance(field.column_type, Boolean | Constant)
    return is_ordered and field.labels is None and field.form != "bool"


def _unit(field: Field) -> tuple[str, str]:
    """What columns must share to be compared."""
    if field.form in ("time", "day"):
        return "time", ""
    return (field.notation.before, field.notation.after) if isinstance(field.notation, Quantity) else ("", "")


def _scaled(field: Field, values: Floats | None) -> Floats:
    """Values in a unit that columns of dates and of times share."""
    numbers = np.asarray(values)
    return numbers * DAY if field.form == "day" else numbers


def _holds(low: Floats, high: Floats) -> bool:
    for rows in (FIRST_ROWS, len(low)):
        if (low[:rows] > high[:rows]).any():  # never where one is NaN
            return False
    both = ~(np.isnan(low) | np.isnan(high))
    a, b = low[both], np.sort(high[both])
    if not len(a) or not (low[both] < high[both]).any():
        return False
    share = np.searchsorted(b, a, side="left").mean() / len(b)  # of all pairs that break the rule
    return bool(share >= OFTEN and share * len(a) >= BY_CHANCE)


def broken(fields: Sequence[Field], rules: Sequence[Rule], x: Floats) -> NDArray[np.bool_]:
    """Where rows x (rows, columns) break rules, (rows, rules)."""
    names = [field.name for field in fields]
    result = np.zeros((len(x), len(rules)), dtype=np.bool_)
    for k, (a, b) in enumerate((names.index(rule.low), names.index(rule.high)) for rule in rules):
        result[:, k] = _scaled(fields[a], x[:, a]) > _scaled(fields[b], x[:, b])
    return result


def draw_keeping(
    draw: Callable[[int], Floats], fields: Sequence[Field], rules: Sequence[Rule], count: int, free: Sequence[int]
) -> Floats:
    """Rows (count, columns) that keep rules.

    Rows that break one are drawn anew, which gives the distribution of the rows given that they keep the rules. What
    still breaks one after twenty rounds, where the model hardly knows of the rule, is moved to the next value that
    keeps it.

    Args:
        draw: rows of the model, (count, columns).
        fields: of the columns.
        rules: between them.
        count: the number of rows.
        free: the columns that are drawn; the others have values that stay.
    """
    rows = draw(count)
    for _ in range(ROUNDS):
        wrong = broken(fields, rules, rows).any(axis=1)
        if not wrong.any():
            return rows
        rows[wrong] = draw(int(wrong.sum()))
    names = [field.name for field in fields]
    for _ in range(len(rules) + 1):
        for rule in rules:
            a, b = names.index(rule.low), names.index(rule.high)
            if b in free:
                _move(fields, rows, rule, b, a, np.ceil)
            if a in free:
                _move(fields, rows, rule, a, b, np.floor)
    return rows


def draw_within(draw: Callable[[int], Floats], ends: Floats, count: int) -> Floats:
    """Rows (count, columns) whose entries lie between the ends (2, columns) of their columns, or are missing.

    Rows that leave them, as those of a flow may, are drawn anew, which gives the distribution of the rows given that
    they lie inside. What is still outside after twenty rounds is moved to the end.
    """
    rows = draw(count)
    for _ in range(ROUNDS):
        outside = ((rows < ends[0]) | (rows > ends[1])).any(axis=1)
        if not outside.any():
            return rows
        rows[outside] = draw(int(outside.sum()))
    clipped: Floats = rows.clip(*ends)
    return clipped


def _move(
    fields: Sequence[Field],
    rows: Floats,
    rule: Rule,
    j: int,
    other: int,
    towards: Callable[[Floats], Floats],
) -> None:
    """Put the values of column j that break a rule to that of the other column, where column j can hold it."""
    wrong = broken(fields, [rule], rows)[:, 0]
    unit = DAY if fields[j].form == "day" else 1.0
    values = _scaled(fields[other], rows[:, other]) / unit
    decimals = 0 if fields[j].form == "day" else fields[j].decimals
    if decimals is not None:
        rounded = np.round(values, decimals)
        nearest = np.abs(rounded - values) <= 1e-9 * np.abs(values)
        values = np.where(nearest, rounded, np.round(towards(values * 10.0**decimals) / 10.0**decimals, decimals))
    holds = fields[j].holds(values)
    rows[:, j] = np.where(wrong & holds, values, rows[:, j])
