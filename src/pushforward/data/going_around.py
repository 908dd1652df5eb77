"""Columns that look as if their values went around a circle, though they are not declared so: hours and angles."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pushforward.data.fields import Field
from pushforward.data.inference import DECLARED

__all__ = ["circle_sentence"]

Floats = NDArray[np.float64]

BINS, FEWEST = 36, 8
"""Parts of a circle, and rows in the first and in the last of them from which on their densities are compared."""
HIGH, SIMILAR = 0.5, 1.5
"""Smallest density at both ends relative to the mean one, and largest ratio of the two."""
SPAN = 0.9
"""Part of a circle over which values of a column must reach whose name alone speaks for it."""
DISTINCT = 100
"""Different values of a column of numbers, below which only its name speaks for a circle."""


class _Circle(NamedTuple):
    """What goes around: from ``low``, in which words, how it is declared, and the names of such columns."""

    low: float
    period: float
    sentence: str
    declared: str
    name: re.Pattern[str]


_ANGLE = re.compile(r"(?<!tri)(?<!rect)(?<!quadr)(?<!t)angle|direction|bearing|azimuth")
_HOUR = re.compile(r"hour(?!ly)(?!s?_?(worked|per|paid))|time_?of_?day")
_WEEKDAY = re.compile(r"week_?day|day_?of_?(the_?)?week")
CIRCLES = [
    _Circle(0.0, 24.0, "hours of a day", "circular:24", _HOUR),
    _Circle(0.0, 7.0, "days of a week", "circular:7", _WEEKDAY),
    _Circle(0.0, 360.0, "angles in degrees", "circular:360", _ANGLE),
    _Circle(-180.0, 360.0, "angles in degrees", "circular:360:-180", _ANGLE),
    _Circle(0.0, 2 * math.pi, "angles in radians", f"circular:{2 * math.pi}", _ANGLE),
    _Circle(-math.pi, 2 * math.pi, "angles in radians", f"circular:{2 * math.pi}:{-math.pi}", _ANGLE),
]


def circle_sentence(field: Field, present: Floats) -> str | None:
    """What is said about a column of numbers that looks circular by its name and range, or by its range and similar
    densities at both ends of it; None of others, and where the user has declared the type."""
    numbers = field.labels is None and field.form == "number" and field.column_type.circle is None
    if not numbers or field.why == DECLARED or len(present) < FEWEST:
        return None
    distinct = np.unique(present)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", field.name).lower().replace(" ", "_")
    for circle in CIRCLES:
        high = circle.low + circle.period
        if not (circle.low <= distinct[0] and distinct[-1] <= high):
            continue
        if (circle.name.search(name) and _spans(distinct, circle)) or _meets(present, distinct, circle):
            return f"looks like {circle.sentence}; consider {circle.declared}, where the end meets the beginning."
    return None


def _spans(distinct: Floats, circle: _Circle) -> bool:
    """Whether values reach over nearly the whole circle; days of a week, from 0 to 6 or from 1 to 7, over each."""
    reach = 0.85 if circle.period == 7 else SPAN
    return bool(distinct[-1] - distinct[0] >= reach * circle.period) and len(distinct) >= min(7, circle.period)


def _meets(present: Floats, distinct: Floats, circle: _Circle) -> bool:
    """Whether numbers lie as densely at one end of the circle as at the other, and densely at both."""
    whole = bool((distinct == distinct.round()).all())
    if len(distinct) < DISTINCT or (whole and circle.period < DISTINCT):
        return False
    width = circle.period / BINS
    first = int((present < circle.low + width).sum())
    last = int((present >= circle.low + circle.period - width).sum())
    least, most = min(first, last), max(first, last)
    if least < max(FEWEST, HIGH * len(present) / BINS):
        return False
    return most <= SIMILAR * least or most - least <= 2 * math.sqrt(most + least)
