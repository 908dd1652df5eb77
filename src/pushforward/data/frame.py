"""Tables in memory, of pandas, polars, pyarrow or numpy: named columns in, named columns out.

A column is read as float64 with NaN for missing values, or as a list of labels with None for them. `schema` decides
its type.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pushforward.data.formats import TableError, clipped

__all__ = ["EXACT", "Raw", "backend_of", "build_frame", "column_names", "raw_columns"]

EXACT = 2**53
"""Every whole number up to here is a float64."""


@dataclass(frozen=True)
class Raw:
    """One column: ``"number"``, ``"bool"`` or ``"time"`` (seconds since 1970) with values, ``"label"`` with labels.

    ``order`` are all categories in the order that the table declares; ``label`` is the name in the table, where that is
    not text.
    """

    name: str
    kind: str
    stored: str
    values: NDArray[np.float64] | None = None
    labels: list[Any] | None = None
    order: tuple[Any, ...] | None = None
    label: Any = None

    def __len__(self) -> int:
        return len(self.values if self.values is not None else self.labels or [])


def backend_of(table: Any) -> str:
    """The library of a table: "pandas", "polars", "pyarrow", or "numpy" for a table without column names."""
    frame = _frame(table)
    return "numpy" if frame is None else str(frame.implementation.name).lower()


def column_names(table: Any) -> list[str]:
    """The names of the columns of a data frame."""
    return [str(name) for name in _frame(table).columns]


def _frame(table: Any) -> Any:
    """The table as a narwhals data frame; None if it is not a data frame."""
    try:
        frame = nw.from_native(table, eager_only=True, pass_through=True)
    except nw.exceptions.DuplicateError:
        names = [str(name) for name in getattr(table, "column_names", table.columns)]
        name, times = Counter(names).most_common(1)[0]
        raise TableError(f"the table: {times} columns are named {name!r}. Rename all but one.") from None
    return frame if isinstance(frame, nw.DataFrame) else None


def raw_columns(table: Any, names: list[str] | None = None) -> list[Raw]:
    """The columns of a data frame, an array or nested lists.

    Args:
        table: a data frame of pandas, polars or pyarrow, or an array (rows, columns).
        names: the columns and their order; all by default. An array has no names and must have as many columns.

    Raises:
        TableError: a name is repeated or missing, or a column has values that are neither numbers, text nor dates.
    """
    if (plain := _of_plain_arrow(table, names)) is not None:
        return plain
    frame = _frame(table)
    if frame is None:
        return _of_array(table, names)
    available = column_names(table)
    wanted = available if names is None else names
    if absent := [name for name in wanted if name not in available]:
        shown = ", ".join(map(repr, available[:10])) + (", ..." if available[10:] else "")
        raise TableError(f"the table: there is no column {absent[0]!r}. The columns are {shown}.")
    columns = zip(available, frame.columns, frame.iter_columns(), strict=True)
    by_name = {name: (label, series) for name, label, series in columns}
    return [_of_column(name, *by_name[name]) for name in wanted]


def _of_plain_arrow(table: Any, names: list[str] | None) -> list[Raw] | None:
    """The columns of an Arrow table of real numbers, whole numbers without gaps and texts: the same as by way of
    narwhals, which takes longer than a model takes for a few rows. None for any other table."""
    if not isinstance(table, pa.Table):
        return None
    there, wanted = table.column_names, table.column_names if names is None else names
    if len(set(there)) < len(there) or not set(wanted) <= set(there):
        return None
    raws = []
    for name in wanted:
        column = table.column(name)
        kind = column.type
        if pa.types.is_float64(kind) or pa.types.is_float32(kind):
            stored = "Float64" if pa.types.is_float64(kind) else "Float32"
            raws.append(_numbers(name, "number", stored, column.to_numpy()))
        elif pa.types.is_int64(kind) and not column.null_count:
            raws.append(_numbers(name, "number", "Int64", column.to_numpy()))
        elif pa.types.is_string(kind):
            try:
                raws.append(_of_objects(name, "String", column.to_pylist()))
            except UnicodeDecodeError:
                raise _not_utf8(name) from None
        else:
            return None
    return raws


def _of_array(table: Any, names: list[str] | None) -> list[Raw]:
    array = np.asarray(table)
    if array.ndim != 2:
        hint = " Reshape your data with .reshape(-1, 1) if it is one column." if array.ndim == 1 else ""
        raise TableError(f"the table: an array (rows, columns) is needed; got shape {array.shape}.{hint}")
    if np.iscomplexobj(array):
        raise TableError("the table: Complex data not supported. Split it into real and imaginary columns.")
    names = [f"x{j}" for j in range(array.shape[1])] if names is None else names
    if len(names) != array.shape[1]:
        raise TableError(
            f"the table: {len(names)} columns are needed ({', '.join(names[:5])}, ...); got {array.shape[1]}."
        )
    if array.dtype.kind in "biuf":
        kind, stored = "bool" if array.dtype.kind == "b" else "number", str(array.dtype)
        return [_numbers(name, kind, stored, column) for name, column in zip(names, array.T, strict=True)]
    return [_of_objects(name, "object", list(column)) for name, column in zip(names, array.T, strict=True)]


def _of_column(name: str, label: Any, series: Any) -> Raw:
    try:
        raw = _of_series(name, series)
    except OverflowError:
        raise TableError(
            f"the table: column {name!r} holds a time outside of the years 1 to 9999. Correct it."
        ) from None
    except UnicodeDecodeError:
        raise _not_utf8(name) from None
    return raw if isinstance(label, str) else replace(raw, label=label)


def _of_series(name: str, series: Any) -> Raw:
    dtype = series.dtype
    stored = str(series.to_native().dtype) if series.implementation.is_pandas() else str(dtype)
    if stored.startswith("datetime64"):  # with a zone narwhals calls it unknown
        dtype = nw.Datetime()
    if dtype == nw.Boolean:
        values = [math.nan if _missing(v) else float(v) for v in series.to_list()]
        return Raw(name, "bool", stored, np.array(values, dtype=np.float64))
    if dtype.is_numeric():
        if dtype.is_integer() and not series.is_null().any():
            return _numbers(name, "number", stored, series.to_numpy())
        if dtype.is_integer():
            present = series.drop_nulls()
            _numbers(name, "number", stored, present.to_numpy())  # refuses what float64 cannot represent
        values = series.cast(nw.Float64).to_numpy()
        return _numbers(name, "number", stored, np.where(series.is_null().to_numpy(), np.nan, values))
    if dtype == nw.Datetime or dtype == nw.Date:
        return Raw(name, "time", stored, np.array([_seconds(v) for v in series.to_list()], dtype=np.float64))
    if dtype == nw.Duration:
        seconds = [math.nan if _missing(v) else v.total_seconds() for v in series.to_list()]
        return Raw(name, "number", stored, np.array(seconds, dtype=np.float64))
    if (order := _declared_order(series)) is not None:
        return replace(_of_objects(name, stored, series.to_list()), order=order)
    if isinstance(dtype, nw.Enum):
        return replace(_of_objects(name, stored, series.to_list()), order=tuple(dtype.categories))
    if dtype in (nw.String, nw.Categorical, nw.Enum, nw.Object, nw.Unknown):
        return _of_objects(name, stored, series.to_list())
    raise TableError(f"the table: column {name!r} holds {stored}, not single values. Store it in several columns.")


def _declared_order(series: Any) -> tuple[Any, ...] | None:
    """The categories of an ordered column of pyarrow in their order; None for other columns."""
    stored = getattr(series.to_native(), "type", None) if series.implementation.is_pyarrow() else None
    if stored is None or not getattr(stored, "ordered", False):
        return None
    return tuple(series.to_native().unify_dictionaries().chunk(0).dictionary.to_pylist())


def _of_objects(name: str, stored: str, items: list[Any]) -> Raw:
    """A column of Python objects: text, numbers, booleans or dates."""
    items = [None if _missing(v) else v for v in items]
    present = [(i, v) for i, v in enumerate(items) if v is not None]
    sorts = {_sort(v) for _, v in present}
    if len(sorts) > 1:
        (i, a), (j, b) = present[0], next((i, v) for i, v in present if _sort(v) != _sort(present[0][1]))
        raise TableError(
            f"the table: column {name!r} mixes {_sort(a)} and {_sort(b)}: row {i + 1} holds {clipped(a)}, row {j + 1} "
            f"{clipped(b)}. Convert them all to text, or all to numbers."
        )
    sort = sorts.pop() if sorts else "text"
    if sort in ("numbers", "true/false"):
        array = np.array([math.nan if v is None else float(v) for v in items], dtype=np.float64)
        big = next((v for _, v in present if isinstance(v, int) and abs(v) > EXACT), None)
        if big is not None:
            raise _too_large(name, big)
        return _numbers(name, "number" if sort == "numbers" else "bool", stored, array)
    if sort == "dates":
        return Raw(name, "time", stored, np.array([_seconds(v) for v in items], dtype=np.float64))
    if sort == "objects":
        i, v = present[0]
        raise TypeError(
            f"the table: column {name!r} holds a {type(v).__name__} in row {i + 1}; an argument must be a string or a "
            "number. Store it in several columns."
        )
    texts = [None if v is None else str(v).strip() or None for v in items]
    if seconds := _dates(texts):
        return Raw(name, "time", stored, np.array(seconds, dtype=np.float64))
    return Raw(name, "label", stored, labels=texts)


def _numbers(name: str, kind: str, stored: str, array: Any) -> Raw:
    if array.dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        if max(-low, high) > EXACT:
            raise _too_large(name, high if high > EXACT else low)
    values = array.astype(np.float64)
    if infinite := np.flatnonzero(np.isinf(values)).tolist():
        raise TableError(
            f"the table: column {name!r} holds an infinite value (inf) in row {infinite[0] + 1}. Correct it, or make "
            "it missing."
        )
    return Raw(name, kind, stored, values)


def _not_utf8(name: str) -> TableError:
    return TableError(f"the table: column {name!r} holds text that is not UTF-8. Write it again.")


def _too_large(name: str, value: int) -> TableError:
    return TableError(
        f"the table: column {name!r} holds integers beyond 2**53, such as {value}, which float64 cannot represent. "
        "Subtract an offset, or store them as text if they are identifiers."
    )


def _missing(v: Any) -> bool:
    return v is None or (isinstance(v, float) and math.isnan(v)) or type(v).__name__ in ("NAType", "NaTType")


def _sort(v: Any) -> str:
    if isinstance(v, bool | np.bool_):
        return "true/false"
    if isinstance(v, int | float | np.number):
        return "numbers"
    if isinstance(v, str | bytes):
        return "text"
    return "dates" if isinstance(v, dt.date) else "objects"


def _seconds(v: Any) -> float:
    """Seconds since 1970; a time without a time zone is taken as UTC."""
    if _missing(v):
        return math.nan
    if not isinstance(v, dt.datetime):
        v = dt.datetime(v.year, v.month, v.day)
    return (v if v.tzinfo else v.replace(tzinfo=dt.UTC)).timestamp()


def _dates(texts: list[str | None]) -> list[float] | None:
    """Seconds since 1970 if all texts are ISO 8601 dates, else None."""
    if not any(texts) or not all(v is None or (len(v) >= 10 and v[4:5] == "-" == v[7:8]) for v in texts):
        return None
    try:
        return [math.nan if v is None else _seconds(dt.datetime.fromisoformat(v)) for v in texts]
    except ValueError:
        return None


def build_frame(columns: dict[str, Any], backend: str) -> Any:
    """A table of a library from columns of values or labels; an array (rows, columns) for "numpy"."""
    if backend != "numpy":
        library: Any = backend
        return nw.from_dict(columns, backend=library).to_native()
    arrays = [np.asarray(column) for column in columns.values()]
    if all(array.dtype.kind in "biuf" for array in arrays):
        return np.stack([array.astype(np.float64) for array in arrays], axis=1)
    out = np.empty((len(arrays[0]), len(arrays)), dtype=object)
    for j, column in enumerate(columns.values()):
        out[:, j] = column
    return out
