"""Dates that are stored as text: ISO and European or American order, decided over the whole column."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pushforward.data.quantities import ODD_WORDS

__all__ = ["DateFormat", "date_format_of"]

_DATE = re.compile(r"^(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2}))?)?$")
EPOCH = dt.datetime(1970, 1, 1)


@dataclass(frozen=True)
class DateFormat:
    """How a column writes its dates: a format of ``strftime``."""

    format: str

    def read(self, text: str) -> float | None:
        """Seconds since 1970 of a date in this format; None if it is none."""
        try:
            return (dt.datetime.strptime(text.strip().replace("T", " "), self.format) - EPOCH).total_seconds()
        except ValueError:
            return None

    def write(self, number: float) -> str:
        """Seconds since 1970 in this format."""
        return (EPOCH + dt.timedelta(seconds=round(number))).strftime(self.format)


def date_format_of(texts: Sequence[str]) -> DateFormat | None:
    """The format in which all of these texts are dates, None if there is none.

    Where every day could be a month, points mean that the day stands first and strokes that the month does.
    """
    words = [text.strip() for text in texts if text.strip().lower() not in ODD_WORDS]
    matches = [_DATE.match(word) for word in words]
    if not words or not all(matches):
        return None
    parts = [match.groups() for match in matches if match is not None]
    separators = {part[1] for part in parts}
    if len(separators) > 1:
        return None
    separator = separators.pop()
    first, last = (max(len(part[k]) for part in parts) for k in (0, 3))
    if first == 4:
        order = "%Y{0}%m{0}%d"
    else:
        year = "%Y" if last == 4 else "%y"
        day_first = any(int(part[0]) > 12 for part in parts)
        month_first = any(int(part[2]) > 12 for part in parts)
        if day_first and month_first:
            return None
        order = (
            f"%m{{0}}%d{{0}}{year}" if month_first or (separator == "/" and not day_first) else f"%d{{0}}%m{{0}}{year}"
        )
    hours = {part[4] is not None for part in parts}
    if len(hours) > 1:
        return None
    clock = "" if not hours.pop() else " %H:%M:%S" if parts[0][6] is not None else " %H:%M"
    result = DateFormat(order.format(separator) + clock)
    return result if all(result.read(word) is not None for word in words) else None
