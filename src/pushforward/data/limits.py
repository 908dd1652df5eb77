"""Where the values of a column end, and how many decimals they have: what draws of a model must keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.distributions import (
    ColumnType,
    Continuous,
    HeavyTailed,
    Inflated,
    Integer,
    Positive,
    Repeated,
    ZeroInflated,
)

__all__ = ["decimals_of", "has_decimals", "limits_of", "with_limits"]

Floats = NDArray[np.float64]

NATURAL_HIGHS = (1.0, 24.0, 100.0)
"""Upper ends of shares, hours and percentages, where no value is negative."""
FEWEST = 20
"""Values from which on limits are looked for."""
CLOSE, TOUCHES, FEW, FEW_TOUCHES = 0.05, 5, 200, 3
"""A natural limit is touched by so many values within this part of the range, or of few values by fewer."""
PILED, NEXT = 10.0, 2
"""A repeated extreme is a limit where so many values would lie beyond it if counts went on to fall as they do from the
mean of the next two values to the extreme, or stayed as they are."""
MANY, AS_DENSE = 1_000, 0.6
"""Of many values the extreme ones show a limit if they lie nearly as densely as those next to them."""
BEYOND = (5.0, 12.0)
"""Such a limit is so many mean gaps beyond the last value: beyond the true end with a probability of exp(-5)."""
MOST_DECIMALS, DIGITS, SINGLE_DIGITS = 10, 15, 6
"""Decimals that are looked for, and digits of the largest number, in double and in single precision."""


def limits_of(values: Floats) -> tuple[float | None, float | None]:
    """The smallest and the largest value that a column of numbers can take, each None where the values do not show it.

    A limit is an extreme value that comes so often that some would lie beyond it if any could; or natural and touched
    (zero where nothing is negative; one, 24 or 100); or an end up to which many values lie densely.

    Args:
        values: (rows,), none missing.
    """
    if len(values) < FEWEST or values.min() == values.max():
        return None, None
    low, high = float(values.min()), float(values.max())
    lower, upper = _piled(-values), _piled(values)
    if lower is None:
        lower = 0.0 if low >= 0 and _touch(values, 0.0) else _edge(-values)
    if upper is None:
        natural = (end for end in NATURAL_HIGHS if low >= 0 and high <= end and _touch(values, end))
        upper = next(natural, None) or _edge(values)
    return None if lower is None else 0.0 - lower, upper


def _touch(values: Floats, limit: float) -> bool:
    """Whether values reach a limit that none exceeds."""
    close = np.abs(values - limit) <= CLOSE * (values.max() - values.min())
    return bool(close.sum() >= (TOUCHES if len(values) >= FEW else FEW_TOUCHES))


def _piled(values: Floats) -> float | None:
    """The largest value, if larger ones would have been seen."""
    distinct, counts = np.unique(values, return_counts=True)
    ratio = counts[-1] / counts[-1 - NEXT : -1].mean()
    return float(distinct[-1]) if counts[-1] * min(1.0, ratio) >= PILED else None


def _edge(values: Floats) -> float | None:
    """Where values that lie densely end above."""
    if len(values) < MANY or len(np.unique(values)) < len(values) / 2:
        return None
    k = int(math.sqrt(len(values)))
    top = np.sort(values)[[-1, -1 - k, -1 - 5 * k]]
    if not 4 * (top[0] - top[1]) * AS_DENSE <= top[1] - top[2]:
        return None
    gap = (top[0] - top[1]) / k
    return _roundest(top[0] + BEYOND[0] * gap, top[0] + BEYOND[1] * gap)


def _roundest(low: float, high: float) -> float:
    """The number between two with the fewest digits."""
    step = 10.0 ** math.ceil(math.log10(high - low))
    while math.ceil(low / step) * step > high:
        step /= 10
    decimals = max(0, -round(math.log10(step)))
    return float(round(math.ceil(low / step) * step, decimals))


def with_limits(column_type: ColumnType, values: Floats) -> tuple[ColumnType, str]:
    """A type with the limits of a column's values (rows,), none missing, and what they are in words; the same type and
    no words where there is nothing to add."""
    low, high = limits_of(values)
    limited = _limited(column_type, low, high)
    if limited is column_type:
        return column_type, ""
    ends = limited.domain.ends
    texts = [f"{end:g}" for end in ends if math.isfinite(end) and abs(end) < 2**53]
    if len(texts) == 2:
        return limited, f"from {texts[0]} to {texts[1]}"
    return limited, f"at least {texts[0]}" if math.isfinite(ends[0]) and abs(ends[0]) < 2**53 else f"at most {texts[0]}"


def _limited(column_type: ColumnType, low: float | None, high: float | None) -> ColumnType:
    config = dict(column_type.config)
    named: dict[str, Any] = {}
    if isinstance(column_type, Inflated | Repeated):
        inner = _limited(column_type.inner, low, high)
        if inner is column_type.inner:
            return column_type
        return (
            ZeroInflated(inner) if isinstance(column_type, ZeroInflated) else type(column_type)(inner, config["values"])
        )
    if isinstance(column_type, Integer):
        least = column_type.low if low is None else max(column_type.low, math.ceil(low))
        most = column_type.high if high is None else min(column_type.high, math.floor(high))
        if (least, most) == (column_type.low, column_type.high) or not least < most:
            return column_type
        if low is not None or "low" in config:
            named["low"] = least
        if high is not None:
            named["high"] = most
        if column_type.skewed:
            named["skewed"] = True
        return Integer(**named)
    if isinstance(column_type, Continuous | HeavyTailed):
        named = {"low": low, "high": high}
    elif isinstance(column_type, Positive):
        named = {"high": high if high is None or high > column_type.low else None}
    named = {name: end for name, end in named.items() if end is not None}
    return type(column_type)(**named) if named else column_type


def decimals_of(values: Floats, stored: str) -> int | None:
    """How many decimals the numbers of a column have; None where they are not rounded.

    Args:
        values: (rows,), none missing.
        stored: the data type in the table: numbers in single precision are compared as such.
    """
    if not len(values):
        return None
    largest = float(np.abs(values).max())
    digits = SINGLE_DIGITS if _is_single(stored) else DIGITS
    for decimals in range(MOST_DECIMALS + 1):
        if largest * 10.0**decimals >= 10.0**digits:
            return None
        if has_decimals(values, decimals, stored).all():
            return decimals
    return None


def has_decimals(values: Floats, decimals: int, stored: str) -> NDArray[np.bool_]:
    """Which values (rows,) have no more decimals, stored as the data type in the table has it."""
    rounded = np.round(values, decimals)
    if _is_single(stored):
        return np.asarray(rounded.astype(np.float32) == values.astype(np.float32))
    return np.asarray(np.abs(rounded - values) <= 4 * np.finfo(np.float64).eps * np.abs(values))


def _is_single(stored: str) -> bool:
    """Whether numbers are stored in single precision; pyarrow calls that "float"."""
    return "float32" in stored.lower() or stored == "float"
