"""Values as JSON, in which NaN and infinite numbers are null."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["finite", "read_message", "write_message"]


def finite(value: Any) -> Any:
    """A value for JSON: numbers that are NaN or infinite become None, tuples lists, and keys texts."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return str(value)


def write_message(message: dict[str, Any]) -> str:
    """A message as text, in which NaN and infinite numbers are null.

    >>> write_message({"loss": float("nan")})
    '{"loss":null}'
    """
    try:
        return json.dumps(message, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):
        return json.dumps(finite(message), allow_nan=False, separators=(",", ":"))


def read_message(text: str | bytes) -> Any:
    """The value of a text in JSON.

    Raises:
        ValueError: it is none, or a level deeper than any message.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("The message has too many levels.") from None
