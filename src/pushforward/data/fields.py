"""One column of a table: its type, and how its values become numbers and numbers become values again."""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.dates import DateFormat
from pushforward.data.formats import TableError
from pushforward.data.frame import Raw, raw_columns
from pushforward.data.orders import shown_order
from pushforward.data.quantities import ODD_WORDS, Quantity
from pushforward.distributions import ColumnType, Ordinal

__all__ = ["DAY", "EPOCH", "Field", "Notation", "labels_of", "on_circle", "show_type"]

EPOCH = dt.datetime(1970, 1, 1)
DAY = 86_400.0
"""Seconds."""

Notation = Quantity | DateFormat


@dataclass(frozen=True, eq=False)
class Field:
    """One column of a table.

    Attributes:
        name: the column name.
        column_type: the type that a model uses.
        why: the rule that chose the type, in words.
        stored: the data type in the table.
        form: ``"number"``, ``"bool"``, ``"time"``, ``"day"`` or ``"label"``: how `decode` turns numbers into values.
        labels: the categories that the codes 0, 1, ... stand for; None for types without categories.
        label: the name in the table where that is not text, such as a number.
        notation: how numbers or dates that are stored as text are written.
        decimals: how many decimals the numbers have; None where they are not rounded, or no numbers.
    """

    name: str
    column_type: ColumnType
    why: str
    stored: str
    form: str = "number"
    labels: tuple[Any, ...] | None = None
    label: Any = None
    notation: Notation | None = None
    decimals: int | None = None

    @property
    def reason(self) -> str:
        """The rule that chose the type and, of ordered categories, their order."""
        if not isinstance(self.column_type, Ordinal) or self.labels is None or self.form in ("time", "day"):
            return self.why
        return f"{self.why}; {shown_order(self.labels)}"

    def encode(self, raw: Raw, *, feature: bool = False) -> NDArray[np.float64]:
        """The column as numbers, (rows,), NaN where it is missing. A category not seen when fitting gets the code after
        the last one, which has probability zero; in a ``feature``, that is only conditioned on, it counts as missing.
        The upper end of a circle becomes its lower end, which is the same point: hour 24 is hour 0.

        Raises:
            TableError: the column holds text but was fitted as numbers.
        """
        if self.labels is None:
            values = self._read(raw) if raw.values is None else raw.values
            return on_circle(self.column_type, values / DAY if self.form == "day" else values)
        codes = {label: float(k) for k, label in enumerate(self.labels)}
        # Codes may be numbers in one table and, beside a single word, text in another one.
        items = labels_of(raw)
        if strange := {v for v in items if v is not None and v not in codes}:
            spelled = {str(label): float(k) for k, label in enumerate(self.labels)}
            codes |= {v: spelled[str(v)] for v in strange if str(v) in spelled}
        unknown = Counter(v for v in items if v is not None and v not in codes)
        if unknown:
            shown = ", ".join(repr(v) for v, _ in unknown.most_common(3)) + (", ..." if len(unknown) > 3 else "")
            warnings.warn(
                f"column {self.name!r} holds {_counted(len(unknown), 'category', 'categories')} not seen when fitting "
                f"({shown}): {_consequence(unknown.total(), feature=feature)}",
                UserWarning,
                stacklevel=5,
            )
        last = math.nan if feature else float(len(self.labels))
        return np.array([math.nan if v is None else codes.get(v, last) for v in items], dtype=np.float64)

    def _read(self, raw: Raw) -> NDArray[np.float64]:
        """The numbers that a column of text holds."""
        notation = self.notation or Quantity()
        items = [None if text is None or str(text).lower() in ODD_WORDS else str(text) for text in raw.labels or ()]
        numbers = [None if text is None else notation.read(text) for text in items]
        for i, (text, number) in enumerate(zip(items, numbers, strict=True)):
            if text is not None and number is None:
                raise TableError(
                    f"the table: column {self.name!r} holds text in row {i + 1}, {text!r}, but held "
                    f"{'dates' if self.form in ('time', 'day') else 'numbers'} when fitting. Correct the value."
                )
        return np.array([math.nan if number is None else number for number in numbers], dtype=np.float64)

    def warn_outside(self, values: NDArray[np.float64], *, feature: bool = False) -> None:
        """Warn of numbers that the type of the column cannot hold, which have probability zero, and in a ``feature``
        become missing in place."""
        outside = ~self.holds(values)
        if outside.any():
            count = int(outside.sum())
            warnings.warn(
                f"column {self.name!r} holds {values[outside][0]:g} in row {int(outside.argmax()) + 1}, which "
                f"{show_type(self.column_type)} cannot hold: {_consequence(count, feature=feature)}",
                UserWarning,
                stacklevel=5,
            )
            if feature:
                values[outside] = math.nan

    def rounded_outwards(
        self, low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ends of intervals (rows,) with the decimals of the column, the lower ones rounded down and the upper ones up;
        as they are where that would leave its domain."""
        if self.decimals is None:
            return low, high

        def moved(ends: NDArray[np.float64], step: float) -> NDArray[np.float64]:
            nearest = np.round(ends, self.decimals or 0)
            short = (nearest - ends) * np.sign(step) < 0
            rounded = np.where(short, np.round(nearest + step, self.decimals or 0), nearest) + 0.0  # no -0
            return np.where(self.holds(rounded), rounded, ends)

        step = 10.0**-self.decimals
        return moved(low, -step), moved(high, step)

    def rounded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (rows,) with the decimals of the column; where that would leave its domain, with the next such number
        inside. On a circle the upper end is the lower one: 23.96 hours are 0.0 with one decimal."""
        if self.decimals is None:
            return values
        rounded = on_circle(self.column_type, np.round(values, self.decimals) + 0.0)  # no -0
        inside = self.holds(rounded)
        for step in (10.0**-self.decimals, -(10.0**-self.decimals)) if not inside.all() else ():
            moved = np.round(rounded + step, self.decimals) + 0.0
            rounded = np.where(~inside & self.holds(moved), moved, rounded)
        return rounded

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values (rows,) the type of the column can hold, or are missing."""
        inside: NDArray[np.bool_] = self.column_type.holds(torch.as_tensor(values)[None])[0].numpy()
        return inside | np.isnan(values)

    def between(self, low: NDArray[np.float64], x: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which encoded values lie in intervals, ends included; on a circle in arcs, which pass the cut where ``high``
        is smaller than ``low``. False where x is missing."""
        above, below = low <= x, x <= high
        return np.where((high < low) & (self.column_type.circle is not None), above | below, above & below)

    def decode(self, values: NDArray[np.float64]) -> Any:
        """Values in the units and data type of the table, None or NaN where they are missing."""
        missing = np.isnan(values)
        if self.notation is not None:
            unit = DAY if self.form == "day" else 1.0
            return [None if gone else self.notation.write(v * unit) for v, gone in zip(values, missing, strict=True)]
        if self.labels is not None:
            last = len(self.labels)
            items = [
                None if gone or v >= last else self.labels[int(v)] for v, gone in zip(values, missing, strict=True)
            ]
            if self.form in ("time", "day"):
                return [None if v is None else EPOCH + dt.timedelta(seconds=float(v)) for v in items]
            numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in self.labels)
            return (
                np.array([math.nan if v is None else v for v in items]) if numbers and self.form != "label" else items
            )
        if self.form == "bool":
            return [None if gone else bool(v) for v, gone in zip(values, missing, strict=True)]
        if self.form in ("time", "day"):
            unit = DAY if self.form == "day" else 1.0
            times = [
                None if gone else EPOCH + dt.timedelta(seconds=v * unit)
                for v, gone in zip(values, missing, strict=True)
            ]
            return [t.date() if t is not None and self.form == "day" else t for t in times]
        if "int" in self.stored.lower() and not missing.any() and (values == values.round()).all():
            return values.astype(np.int64)
        return values

    def untouched(self, decoded: Any, raw: Raw, observed: NDArray[np.bool_]) -> Any:
        """Decoded values (rows,), with those of a table itself where they are observed: no decimal is rounded and no
        spelling changed."""
        if raw.labels is not None:
            return [item if there else v for item, v, there in zip(raw.labels, decoded, observed, strict=True)]
        if isinstance(decoded, np.ndarray) and raw.values is not None:
            return np.where(observed, raw.values, decoded)
        if self.labels is not None:
            return [item if there else v for item, v, there in zip(labels_of(raw), decoded, observed, strict=True)]
        return decoded

    def entry(self, number: float) -> Any:
        """One decoded value; None for NaN and for an unknown category."""
        nothing = math.isnan(number) or (self.labels is not None and number >= len(self.labels))
        decoded = None if nothing else self.decode(np.array([number], dtype=np.float64))[0]
        return decoded.item() if isinstance(decoded, np.generic) else decoded

    def value(self, entry: Any) -> float:
        """One encoded value: the inverse of `entry`.

        Raises:
            TableError: the value is missing, not one of the categories, or outside the domain of the column.
        """
        raw = raw_columns(np.array([[entry]], dtype=object), [self.name])[0]
        if self.labels is not None and (label := labels_of(raw)[0]) is not None and label not in self.labels:
            shown = ", ".join(map(repr, self.labels[:8])) + (", ..." if len(self.labels) > 8 else "")
            raise TableError(f"column {self.name!r}: there is no category {entry!r}. The categories are {shown}.")
        number = float(self.encode(raw)[0])
        if math.isnan(number):
            raise TableError(f"column {self.name!r}: an observed value must not be missing. Leave the column out.")
        if not bool(self.column_type.holds(torch.tensor([[number]], dtype=torch.float64))):
            low, high = self.column_type.domain.ends
            raise TableError(
                f"column {self.name!r}: {entry!r} is outside {show_type(self.column_type)}, which takes values "
                f"from {low:g} to {high:g}."
            )
        return number


def _consequence(rows: int, *, feature: bool) -> str:
    """What follows for rows with a value that a column cannot hold."""
    if feature:
        return f"the value counts as missing in {_counted(rows, 'row', 'rows')}."
    return f"{_counted(rows, 'row has', 'rows have')} probability zero."


def _counted(number: int, one: str, many: str) -> str:
    """A number with its noun in the singular or plural."""
    return f"{number:,} {one if number == 1 else many}"


def on_circle(column_type: ColumnType, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (rows,), of a type on a circle where the circle has them: its upper end is the lower one, and what people
    write for the same point, from 0 to the period or on either side of 0, is moved by a period."""
    if (circle := column_type.circle) is None:
        return values
    low, period = circle.low, circle.high - circle.low
    usual = (values >= 0) & (values <= period)
    if low < 0:
        usual |= np.abs(values) <= period / 2
    moved = np.where(values < low, values + period, np.where(values >= circle.high, values - period, values))
    inside = (moved >= low) & (moved < circle.high)
    return np.where((usual | (values == circle.high)) & inside, moved, values)


def labels_of(raw: Raw) -> list[Any]:
    """The values of a column as categories, None where they are missing; integers and booleans as such."""
    if raw.labels is not None:
        return raw.labels
    numbers = raw.values if raw.values is not None else np.array([])
    whole = [None if math.isnan(v) else int(v) if v == round(v) else v for v in numbers.tolist()]
    return [None if v is None else bool(v) for v in whole] if raw.kind == "bool" else whole


def _shown(value: Any) -> str:
    """A parameter in few words."""
    if isinstance(value, dict):
        return str(value["type"])
    if isinstance(value, list) and len(value) > 4:
        return f"[{', '.join(f'{v:g}' for v in value[:3])}, ... {len(value)} in all]"
    return str(value)


def show_type(column_type: ColumnType) -> str:
    """A column type with its parameters, such as ``Circular(period=24)``."""
    parameters = ", ".join(f"{k}={_shown(v)}" for k, v in column_type.config.items() if k not in ("type", "columns"))
    parameters = parameters.replace("inner=", "")
    return f"{type(column_type).__name__}({parameters})" if parameters else type(column_type).__name__
