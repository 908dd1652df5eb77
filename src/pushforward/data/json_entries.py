"""Values of a table as JSON."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np

__all__ = ["entry_json"]


def entry_json(entry: Any) -> Any:
    """A value of a table as JSON."""
    if isinstance(entry, np.generic):
        entry = entry.item()
    if isinstance(entry, float):
        return entry if math.isfinite(entry) else None
    if entry is None or isinstance(entry, str | bool | int):
        return entry
    return entry.isoformat() if isinstance(entry, dt.date | dt.datetime) else str(entry)
