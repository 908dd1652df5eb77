"""The arguments of a call from a browser, checked for type and range before anything uses them."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "Arguments", "LabError"]

LARGEST = 1e12
"""Largest coordinate of a point: far beyond it differences of neighbouring float64 numbers would show."""
_REQUIRED: Any = object()


class LabError(ValueError):
    """A call that cannot be answered; the message is one sentence for the user, without a stack trace."""


class Arguments:
    """The ``with`` of one call.

    Args:
        call: its name, for messages.
        values: what came as ``with``; None for nothing.
        names: those that the call knows.

    Raises:
        LabError: ``values`` is no object, or holds a name that the call does not know; and every method raises it where
            its argument is missing, of another type or out of range.
    """

    def __init__(self, call: str, values: Any, names: Sequence[str]) -> None:
        self.call, self.values = call, {} if values is None else values
        if not isinstance(self.values, dict):
            raise LabError(f'{call}: "with" must be an object; got {shown(values)}.')
        for name in self.values:
            if name not in names:
                listed = ", ".join(names) or "none"
                raise LabError(f"{call}: there is no argument {shown(name)}; the arguments are: {listed}.")

    def has(self, name: str) -> bool:
        """Whether an argument is there and not null."""
        return self.values.get(name) is not None

    def text(self, name: str, *, longest: int = 255) -> str:
        """A text that is not empty."""
        value = self._value(name)
        if not isinstance(value, str) or not value or len(value) > longest:
            raise self._wrong(name, f"a text of 1 to {longest} characters", value)
        return value

    def choice(self, name: str, options: Sequence[str], default: Any = _REQUIRED) -> str:
        """One of some names."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in options:
            raise self._wrong(name, f"one of {', '.join(options)}", value)
        return value

    def whole(self, name: str, low: int, high: int, default: Any = _REQUIRED) -> int:
        """A whole number from low to high."""
        value = self._value(name, default)
        if isinstance(value, float) and value.is_integer():  # browsers know one type of number
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, f"a whole number from {low} to {high}", value)
        return value

    def number(self, name: str, low: float, high: float, default: Any = _REQUIRED) -> float:
        """A number from low to high."""
        value = self._value(name, default)
        if not is_number(value) or not low <= value <= high:
            raise self._wrong(name, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def flag(self, name: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def pair(self, name: str) -> tuple[float, float]:
        """Two numbers."""
        value = self._value(name)
        if not isinstance(value, list) or len(value) != 2 or not all(map(is_coordinate, value)):
            raise self._wrong(name, f"a list of two numbers of at most {LARGEST:g}", value)
        return float(value[0]), float(value[1])

    def points(self, name: str, fewest: int, most: int) -> NDArray[np.float64]:
        """Points in the plane, (rows, 2)."""
        value = self._value(name)
        if not isinstance(value, list) or not fewest <= len(value) <= most:
            size = f"; got {len(value)}" if isinstance(value, list) else f"; got {shown(value)}"
            raise LabError(f"{self.call}: {name} must be a list of {fewest} to {most:,} points{size}.")
        for row, point in enumerate(value):
            if not isinstance(point, list) or len(point) != 2 or not all(map(is_coordinate, point)):
                raise LabError(
                    f"{self.call}: point {row + 1} must be a list of two numbers of at most {LARGEST:g}; "
                    f"got {shown(point)}."
                )
        return np.array(value, dtype=np.float64)

    def content(self, name: str, most: int) -> bytes:
        """Bytes written as base64, of which there are at most ``most``."""
        value = self._value(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text in base64", value)
        if len(value) > most * 4 // 3 + 4:
            raise LabError(f"{self.call}: the file is larger than {most // 2**20} MB. Take a part of it.")
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise LabError(f"{self.call}: {name} is no valid base64.") from None

    def mapping(self, name: str, most: int = 1_000) -> dict[str, Any]:
        """Values by name: texts, booleans and finite numbers; by default none."""
        value = self._value(name, {})
        if not isinstance(value, dict) or len(value) > most:
            raise self._wrong(name, "an object of values by column", value)
        for key, entry in value.items():
            fine = isinstance(entry, bool) or is_coordinate(entry) or (isinstance(entry, str) and len(entry) <= 1_000)
            if not fine:
                raise LabError(
                    f"{self.call}: the value of column {shown(key)} must be a text, a number or true or false; "
                    f"got {shown(entry)}."
                )
        return value

    def _value(self, name: str, default: Any = _REQUIRED) -> Any:
        value = self.values.get(name)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise LabError(f"{self.call}: the argument {name} is missing.")
        return default

    def _wrong(self, name: str, what: str, value: Any) -> LabError:
        return LabError(f"{self.call}: {name} must be {what}; got {shown(value)}.")


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number; whole numbers of JSON may be larger than any float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1e300 and math.isfinite(value)


def is_coordinate(value: Any) -> bool:
    """Whether a value of JSON is a number that may be a coordinate."""
    return is_number(value) and abs(value) <= LARGEST


def shown(value: Any) -> str:
    """A value of JSON in few characters."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > 10**15:
        return "an enormous number"  # of a whole one Python refuses to write more than some thousand digits
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
