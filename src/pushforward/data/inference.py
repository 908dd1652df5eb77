"""The rules by which the type of a column follows from its values, and the checks of a declared type."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.dates import DateFormat, date_format_of
from pushforward.data.fields import DAY, EPOCH, Field, Notation, labels_of, on_circle, show_type
from pushforward.data.formats import TableError, drop_call
from pushforward.data.frame import EXACT, Raw
from pushforward.data.limits import decimals_of, with_limits
from pushforward.data.orders import ORDINAL, TypeSpec, declared_order, warn_alphabetical
from pushforward.data.quantities import quantity_of
from pushforward.data.type_names import parametric_type
from pushforward.distributions import (
    Boolean,
    Categorical,
    Circular,
    ColumnType,
    Constant,
    Continuous,
    HeavyTailed,
    Inflated,
    Integer,
    Ordinal,
    Positive,
    Repeated,
    ZeroInflated,
)

__all__ = ["DECLARED", "declared_field", "inferred_field"]

DECLARED = "declared"
"""The reason for the type of a column that the user has declared."""
Floats = NDArray[np.float64]
Typed = tuple[ColumnType, str]  # a column type, and the rule that led to it

MIN_DISTINCT = 12
"""Distinct values that must remain beside the frequent ones for these to get a probability of their own."""
FREQUENT, FREQUENT_ROWS = 0.01, 20
"""Fraction of the rows, and number of rows, from which on a single number may have a probability of its own."""
MAX_FREQUENT = 32
CODES, REPEATS = 100, 4
"""Distinct numbers up to which, and rows for each of them from which on, every repeated number has a probability."""
WHOLE_CODES, WHOLE_REPEATS = 32, 20
"""The same for whole numbers, between which a smooth distribution needs no more rows."""
MOST_REPEATED, REPEATED, ON_GRID = 512, 0.7, 0.95
"""Distinct numbers up to which numbers that repeat may have probabilities that are learned together, and the share of
the rows that they must have, the most frequent ones aside: of whole numbers, and of others."""
SKEWED = 1.5
"""Skewness from which on a column of positive numbers is modelled on a log scale."""
HEAVY = 8.0
"""Interquartile ranges, times the root of the log of the number of rows, from which on tails are heavy."""


def declared_field(raw: Raw, column_type: TypeSpec) -> Field:
    """The field of a column with a declared type: an object, a name, whose details follow from the values, a name with
    numbers such as ``"circular:24"``, or the order of its values.

    Raises:
        TableError: there is no such type, or a value is outside its domain.
    """
    if isinstance(column_type, list | tuple) or (
        isinstance(column_type, str) and column_type.lower().startswith(ORDINAL)
    ):
        present = dict.fromkeys(v for v in labels_of(raw) if v is not None)
        order = declared_order(raw.name, column_type, present)
        return _levels(replace(raw, order=tuple(order)), DECLARED, ordered=True)
    if isinstance(column_type, str):
        column_type = parametric_type(raw.name, column_type) or column_type
    if isinstance(column_type, str):
        named = {"real": "continuous", "bool": "boolean"}.get(column_type.lower(), column_type.lower())
        if named in ("categorical", "ordinal"):
            return _levels(raw, DECLARED, ordered=named == "ordinal")
        simple: dict[str, Any] = {
            cls.__name__.lower(): cls for cls in (Continuous, Positive, HeavyTailed, Integer, Boolean)
        }
        if named not in simple:
            options = ", ".join([*simple, "categorical", "ordinal"])
            raise TableError(
                f"types: {column_type!r} is not a column type. Choose {options}, or a type with numbers, such as "
                "circular:24."
            )
        column_type = simple[named]()
    if not isinstance(column_type, ColumnType):
        raise TableError(
            f"types: column {raw.name!r} needs a column type, such as Continuous(); got {type(column_type).__name__}."
        )
    if isinstance(column_type, Categorical) and not isinstance(column_type, Boolean):
        field = _levels(raw, DECLARED, ordered=isinstance(column_type, Ordinal))
        if column_type.levels < len(field.labels or ()):
            raise TableError(
                f"types: column {raw.name!r} holds {len(field.labels or ())} categories, but {column_type.levels} are "
                "declared. Declare at least as many."
            )
        return field
    notation = None
    if raw.labels is not None and (notation := notation_of_text(raw)) is not None:
        blank = Field(raw.name, column_type, DECLARED, raw.stored, notation=notation)
        raw = replace(
            raw, kind="time" if isinstance(notation, DateFormat) else "number", labels=None, values=blank.encode(raw)
        )
    if raw.labels is not None:
        raise TableError(
            f"types: column {raw.name!r} holds text, so it cannot be {type(column_type).__name__}. Try 'categorical'."
        )
    values = np.asarray(raw.values)
    if isinstance(column_type, Circular):
        column_type = _circle_of(column_type, values)
    values = on_circle(column_type, values)
    wrong = ~np.isnan(values) & ~column_type.holds(torch.as_tensor(values)[None])[0].numpy()
    if wrong.any():
        first = int(np.argmax(wrong))
        low, high = column_type.domain.ends
        raise TableError(
            f"types: column {raw.name!r} holds {values[first]:g} in row {first + 1}, outside "
            f"{show_type(column_type)}, which takes values from {low:g} to {high:g}. Correct the value, or declare "
            "another type."
        )
    form = {"time": "time", "bool": "bool"}.get(raw.kind, "number")
    decimals = decimals_of(values[~np.isnan(values)], raw.stored) if form == "number" else None
    return Field(
        raw.name, column_type, DECLARED, raw.stored, form, label=raw.label, notation=notation, decimals=decimals
    )


def _circle_of(circle: Circular, values: Floats) -> ColumnType:
    """A circle whose cut is where people who write such values have it, if the declared one does not hold them: at 0,
    half a period before it, or at 1 for whole numbers up to the period, such as months; with a probability for each of
    a few whole numbers. Values may hold both ends, such as 0 and 24, or -180 and 180, which are one point."""
    present = values[~np.isnan(values)]
    if not len(present):
        return circle
    low, high, period = present.min(), present.max(), circle.period
    starts = [start for start in (circle.low, 0.0, -period / 2) if start <= low and high <= start + period]
    if not starts:
        return circle  # refused, naming the value
    start, whole = starts[0], bool((present == present.round()).all())
    if whole and high == start + period and low > start:
        start += 1
    if start != circle.low:
        circle = Circular(period, low=start, bins=circle.univariate.bins)
    distinct = np.unique(on_circle(circle, present))
    if (distinct == distinct.round()).all() and len(distinct) <= WHOLE_CODES:
        return Inflated(circle, distinct.tolist())
    return circle


def _levels(raw: Raw, why: str, *, ordered: bool) -> Field:
    counts = Counter(v for v in labels_of(raw) if v is not None)
    if not counts:
        raise _empty(raw)
    labels = list(raw.order) if raw.order else sorted(counts, key=lambda v: (str(type(v)), v))
    if ordered and raw.order is None:
        warn_alphabetical(raw.name, labels)
    column_type = (Ordinal if ordered else Categorical)(len(labels))
    form = "label" if raw.labels is not None else raw.kind
    return Field(raw.name, column_type, why, raw.stored, form, tuple(labels), raw.label)


def _empty(raw: Raw) -> TableError:
    return TableError(
        f"the table: column {raw.name!r} is empty, all {len(raw)} values are missing. Leave it out "
        f"({drop_call([raw.name])})."
    )


def inferred_field(raw: Raw, *, draws: bool = True) -> Field:
    """The field of a column whose type follows from its values.

    Args:
        raw: the column.
        draws: whether draws are to look like the values: with their limits, and with repeated values.

    Raises:
        TableError: all values are missing.
    """
    if raw.labels is not None and (noted := _of_text(raw, draws=draws)) is not None:
        return noted
    if raw.labels is not None:
        field = _levels(raw, "", ordered=raw.order is not None)
        why = "categories in an order" if raw.order else f"text, {len(field.labels or ())} different values"
        return replace(field, why=why)
    values = np.asarray(raw.values)[~np.isnan(np.asarray(raw.values))]
    if not len(values):
        raise _empty(raw)
    form = "bool" if raw.kind == "bool" else "time" if raw.kind == "time" else "number"
    if form == "time" and (values % DAY == 0).all():
        values, form = values / DAY, "day"
    column_type, why = _of_numbers(values, form, draws=draws)
    if form in ("time", "day"):
        unit = DAY if form == "day" else 1.0
        first, last = (EPOCH + dt.timedelta(seconds=float(end) * unit) for end in (values.min(), values.max()))
        why = f"{'dates' if form == 'day' else 'times'} from {first:%Y-%m-%d} to {last:%Y-%m-%d}, as {why}"
    if form != "number":
        return Field(raw.name, column_type, why, raw.stored, form, label=raw.label)
    limits = ""
    if draws:
        column_type, limits = with_limits(column_type, values)
    why += f"; {limits}" if limits else ""
    return Field(
        raw.name, column_type, why, raw.stored, form, label=raw.label, decimals=decimals_of(values, raw.stored)
    )


def _of_text(raw: Raw, *, draws: bool) -> Field | None:
    """The field of a column of text that holds numbers or dates; None if it holds something else.

    Raises:
        TableError: nearly all of its values are numbers, and some are not.
    """
    if raw.order is not None or (notation := notation_of_text(raw)) is None:
        return None
    blank = Field(raw.name, Continuous(), "", raw.stored, label=raw.label, notation=notation)
    numbers = blank.encode(raw)
    gone = np.isnan(numbers) & np.array([text is not None for text in raw.labels or ()])
    kind = "time" if isinstance(notation, DateFormat) else "number"
    field = inferred_field(Raw(raw.name, kind, raw.stored, numbers), draws=draws)
    example = next(text for text, number in zip(raw.labels or (), numbers, strict=True) if not math.isnan(number))
    why = f"stored as text such as {example!r}"
    if gone.any():
        words = sorted({text for text, odd in zip(raw.labels or (), gone, strict=True) if odd})
        why += f"; missing where it is {', '.join(map(repr, words[:3]))} ({int(gone.sum())} rows)"
    return replace(field, why=f"{field.why}; {why}", label=raw.label, notation=notation)


def notation_of_text(raw: Raw) -> Notation | None:
    """How a column of text writes numbers or dates; None if it holds something else."""
    texts = [text for text in raw.labels or () if text is not None]
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    if (dates := date_format_of(texts)) is not None:
        return dates
    if (quantity := quantity_of(texts)) is None:
        return None
    if quantity[1]:
        row = (raw.labels or []).index(quantity[1][0]) + 1
        raise TableError(
            f"the table: column {raw.name!r} holds numbers, but {quantity[1][0]!r} in row {row}. Correct the value, "
            "leave it empty, or declare the type 'categorical'."
        )
    return quantity[0]


def _of_numbers(values: Floats, form: str, *, draws: bool) -> Typed:
    """The type of a column of numbers, and the rule in words."""
    distinct = np.unique(values)
    if form == "bool":
        return Boolean(), "true or false"
    if len(distinct) == 1:
        return Constant(float(distinct[0])), "one value in all rows"
    if (distinct == distinct.round()).all() and np.abs(distinct).max() < EXACT:
        return _of_integers(values, distinct, draws=draws)
    return _with_frequent(values, distinct, _of_real, draws=draws)


def _with_frequent(
    values: Floats, distinct: Floats, type_of_others: Callable[[Floats], Typed], *, draws: bool
) -> Typed:
    """A probability for each value more frequent than its neighbours, and a type for the other values. Where few values
    repeat, each that was seen twice has a probability."""
    counts = np.unique(values, return_counts=True)[1]
    whole = bool((distinct == distinct.round()).all())
    most, rows_each = (WHOLE_CODES, WHOLE_REPEATS) if whole else (CODES, REPEATS)
    if len(distinct) <= most and len(values) >= rows_each * len(distinct):
        column_type, _ = type_of_others(values)
        return Inflated(column_type, distinct[counts > 1].tolist()), f"numbers, {len(distinct)} different values"
    neighbours = np.convolve(np.pad(counts, 2), [1, 1, 0, 1, 1], "valid")  # the two distinct values on each side
    often = (counts >= FREQUENT * len(values)) & (counts >= FREQUENT_ROWS) & (counts > neighbours)
    # Whole numbers with peaks, such as hours of work; or real ones of a grid.
    repeats, least = counts > 1, REPEATED if whole else ON_GRID
    enough = counts[repeats & ~often].sum() >= least * counts[~often].sum() > 0
    if draws and enough and len(distinct) <= MOST_REPEATED and (often.sum() > 1 or not whole):
        single = values[np.isin(values, distinct[~repeats])]
        column_type, _ = type_of_others(single if len(single) >= MIN_DISTINCT else values)
        return Repeated(column_type, distinct[repeats].tolist()), f"numbers, {int(repeats.sum())} of which repeat"
    frequent = distinct[often][:MAX_FREQUENT]
    others = values[~np.isin(values, frequent)]
    if not len(frequent) or len(np.unique(others)) < MIN_DISTINCT:
        return type_of_others(values)
    column_type, why = type_of_others(others)
    if list(frequent) == [0.0]:
        return ZeroInflated(column_type), f"{1 - len(others) / len(values):.0%} zeros; others: {why}"
    shown = ", ".join(f"{v:g}" for v in frequent[:3]) + (", ..." if len(frequent) > 3 else "")
    return Inflated(column_type, frequent.tolist()), f"frequent: {shown}; others: {why}"


def _of_integers(values: Floats, distinct: Floats, *, draws: bool) -> Typed:
    low, high = int(distinct[0]), int(distinct[-1])
    if (low, high) == (0, 1):
        return Boolean(), "0 or 1"
    return _with_frequent(values, distinct, lambda others: _of_counts(others, low), draws=draws)


def _of_counts(values: Floats, low: int) -> Typed:
    skewness = _skewness(values)
    if low >= 0 and skewness > SKEWED and abs(_skewness(np.log1p(values))) < skewness:
        return Integer(0, skewed=True), "integers over many orders of magnitude, none negative"
    return (Integer(0), "integers, none negative") if low in (0, 1) else (Integer(), "integers")


def _of_real(values: Floats) -> Typed:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    if values.min() > 0 and _skewness(values) > SKEWED and abs(_skewness(np.log(values))) < _skewness(values):
        return Positive(), "positive numbers, skewed"
    reach = np.abs(values - median).max() if len(values) else 0.0
    if high > low and reach > HEAVY * (high - low) * math.sqrt(math.log(len(values) + 1)):
        return HeavyTailed(), "numbers with extreme outliers"
    return Continuous(), "numbers"


def _skewness(values: Floats) -> float:
    spread = values.std()
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
