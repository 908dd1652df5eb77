"""Columns of a model as a page shows them: kinds, values in JSON, and the ranges of their sliders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data.fields import DAY, Field
from pushforward.data.json_entries import entry_json
from pushforward.lab.arguments import LabError, is_number, shown

__all__ = ["describe_column", "given_values", "kind_of", "seconds_per_unit"]

EDGE = 0.005
"""Share of the draws beyond each end of a slider."""


def kind_of(field: Field) -> str:
    """``"category"``, ``"boolean"``, ``"time"``, ``"integer"`` or ``"number"``."""
    if field.labels is not None:
        return "category"
    if field.form == "bool":
        return "boolean"
    if field.form in ("time", "day"):
        return "time"
    return "integer" if field.decimals == 0 or not field.column_type.is_density else "number"


def seconds_per_unit(field: Field) -> float:
    """A page counts time in seconds; columns of days count in days."""
    return DAY if field.form == "day" else 1.0


def describe_column(field: Field, draws: NDArray[np.float64]) -> dict[str, Any]:
    """Name, kind, and the values of a category or the range of a slider, from draws of the model (rows,)."""
    kind = kind_of(field)
    described: dict[str, Any] = {"name": field.name, "kind": kind}
    if kind == "category":
        return described | {"values": [entry_json(label) for label in field.labels or ()]}
    if kind == "boolean":
        return described | {"values": [False, True]}
    usable = draws[np.isfinite(draws)]
    low, high = np.quantile(usable, [EDGE, 1 - EDGE]).tolist() if len(usable) else (-3.0, 3.0)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    if kind == "integer":
        low, high = math.floor(low), math.ceil(high)
    unit = seconds_per_unit(field) if kind == "time" else 1.0
    described |= {"low": low * unit, "high": high * unit}
    return described if field.decimals is None else described | {"decimals": field.decimals}


def given_values(fields: Sequence[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values from a page as those of the table, by column.

    Raises:
        LabError: there is no such column, or the value is not of its kind.
    """
    by_name = {field.name: field for field in fields}
    converted = {}
    for name, value in values.items():
        if name not in by_name:
            raise LabError(f"There is no column {shown(name)} in this model.")
        converted[name] = _entry(by_name[name], value)
    return converted


def _entry(field: Field, value: Any) -> Any:
    kind = kind_of(field)
    if kind == "category":
        for label in field.labels or ():
            if entry_json(label) == value and isinstance(value, bool) == isinstance(label, bool):
                return label
        raise LabError(f"Column {field.name!r} has no category {shown(value)}.")
    if kind == "boolean":
        if not isinstance(value, bool):
            raise LabError(f"Column {field.name!r} takes true or false; got {shown(value)}.")
        return value
    if not is_number(value):
        raise LabError(f"Column {field.name!r} takes a number; got {shown(value)}.")
    is_whole = kind == "integer" or (field.form == "time" and not field.column_type.is_density)
    number = round(value) if is_whole else value / seconds_per_unit(field)
    try:
        return field.entry(float(number)) if kind == "time" else number
    except (OverflowError, ValueError):
        raise LabError(f"Column {field.name!r}: {value:g} is no time of this calendar.") from None
