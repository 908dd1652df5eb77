"""Column types with numbers, as they are written in a text: ``"circular:24"``."""

from __future__ import annotations

from collections.abc import Callable

from pushforward.data.formats import TableError
from pushforward.distributions import Bounded, Circular, ColumnType, Positive

__all__ = ["parametric_type"]


def _circular(period: float, low: float | None = None) -> ColumnType:
    return Circular(period) if low is None else Circular(period, low=low)


PARAMETRIC: dict[str, Callable[..., ColumnType]] = {"bounded": Bounded, "circular": _circular, "positive": Positive}
"""Column types that take numbers."""


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def parametric_type(column: str, text: str) -> ColumnType | None:
    """The type of a column that a text such as ``"circular:24"`` or ``"circular:360:-180"`` stands for; None for a text
    without numbers.

    Args:
        column: its name, for messages.
        text: a name and numbers between colons.

    Raises:
        TableError: no such type takes numbers, or it does not take these.

    >>> parametric_type("hour", "circular:24").period
    24.0
    """
    kind, *numbers = text.split(":")
    if not numbers:
        return None
    if kind.lower() not in PARAMETRIC:
        names = ", ".join(map(repr, sorted(PARAMETRIC)))
        raise TableError(
            f"types: column {column!r}: {kind!r} takes no numbers, only {names} do. Declare {kind!r} alone."
        )
    try:
        return PARAMETRIC[kind.lower()](*map(_number, numbers))
    except (TypeError, ValueError) as error:
        raise TableError(f"types: column {column!r}: {text!r} is not a column type ({error}).") from None
