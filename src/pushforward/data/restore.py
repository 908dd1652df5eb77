"""Decoded columns with the data types, categories, time zones, names and row labels of the table they stand for."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

import narwhals as nw

from pushforward.data.fields import Field
from pushforward.data.frame import build_frame
from pushforward.distributions import Ordinal

__all__ = ["restored_frame"]

_UNIT, _ZONE = re.compile(r"time_unit='(\w+)'"), re.compile(r"time_zone='([^']+)'")
_WHOLE = re.compile(r"u?int\d+", re.IGNORECASE)


def restored_frame(fields: Sequence[Field], columns: Sequence[Any], backend: str, like: Any = None) -> Any:
    """A table of a library from decoded columns.

    Args:
        fields: of the columns.
        columns: their values, as `Field.decode` gives them.
        backend: ``"pandas"``, ``"polars"``, ``"pyarrow"`` or ``"numpy"``.
        like: a table with the same rows, whose row labels are kept where the library has any.
    """
    frame = build_frame(dict(zip((field.name for field in fields), columns, strict=True)), backend)
    if backend == "numpy":
        return frame
    if backend != "pandas":
        table = nw.from_native(frame, eager_only=True)
        return table.with_columns(*(_cast(table[field.name], field) for field in fields)).to_native()
    frame = frame.assign(**{field.name: _as_pandas(frame[field.name], field) for field in fields})
    frame.columns = [field.name if field.label is None else field.label for field in fields]
    if like is not None and hasattr(like, "index") and len(like) == len(frame):
        frame.index = like.index
    return frame


def _as_pandas(series: Any, field: Field) -> Any:
    """A series with the stored type; as it is where the type cannot hold its values."""
    pd: Any = importlib.import_module("pandas")  # which made the table, and has no types to check
    stored = field.stored
    if stored.startswith("datetime64"):
        times = pd.to_datetime(series)
        zone = re.search(r", (.+)\]$", stored)
        times = times.dt.tz_localize("UTC").dt.tz_convert(zone.group(1)) if zone else times
        return times.astype(stored)
    if stored.startswith("timedelta64"):
        return pd.to_timedelta(series, unit="s").astype(stored)
    if stored == "category":
        return series.astype(pd.CategoricalDtype(field.labels, ordered=isinstance(field.column_type, Ordinal)))
    if _WHOLE.fullmatch(stored) and not ((series.dropna() % 1) == 0).all():
        return series
    try:
        return series.astype(stored) if stored != "object" else series
    except (TypeError, ValueError):  # a gap in a type without gaps, or a number that does not fit
        return series


def _cast(series: Any, field: Field) -> Any:
    """A narwhals series with the stored type; as it is where that is unknown or cannot hold its values."""
    kind = field.stored.partition("(")[0]
    try:
        if kind == "Datetime":
            unit, zone = _UNIT.search(field.stored), _ZONE.search(field.stored)
            stored: Any = unit.group(1) if unit else "us"
            times = series.cast(nw.Datetime(stored))
            return times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone.group(1)) if zone else times
        if kind == "Duration":
            return series.cast(nw.Float64)
        if kind in ("Categorical", "Date"):
            return series.cast(getattr(nw, kind))
        if kind == "Enum":
            return series.cast(nw.Enum([str(label) for label in field.labels or ()]))
        if kind == "Float32" or (_WHOLE.fullmatch(kind) and series.dtype.is_integer()):
            return series.cast(getattr(nw, kind))
    except (ValueError, TypeError, NotImplementedError, nw.exceptions.NarwhalsError):
        return series
    return series
