"""What each column of a table is: inferred by rules that are printed, or declared, and turned into numbers and back."""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.core.config import build
from pushforward.data.columns import EXACT
from pushforward.data.formats import TableError
from pushforward.data.frame import Raw, backend_of, build_frame, raw_columns
from pushforward.distributions import (
    Boolean,
    Categorical,
    ColumnType,
    Constant,
    Continuous,
    HeavyTailed,
    Inflated,
    Integer,
    Ordinal,
    Positive,
    ZeroInflated,
)

__all__ = ["Field", "Schema"]

FEW = 12  # different numbers at least, beside those that come often
OFTEN, OFTEN_ROWS = 0.01, 20  # part of the rows and rows from where on a number may have a probability of its own
MOST_COMMON = 32
SKEWED, HEAVY = 1.5, 8.0
DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class Field:
    """One column.

    Attributes:
        name: of the column.
        kind: what it can hold, as a model computes with it.
        why: the rule that said so, in words.
        stored: the type that it had in the table.
        form: ``"number"``, ``"bool"``, ``"time"``, ``"day"`` or ``"label"``: how numbers become values again.
        labels: what the codes 0, 1, ... of a kind with categories stand for.
    """

    name: str
    kind: ColumnType
    why: str
    stored: str
    form: str = "number"
    labels: tuple[Any, ...] | None = None

    def encode(self, raw: Raw) -> NDArray[np.float64]:
        """The column as numbers, NaN where it is missing; a category that is not known counts as the one after the
        last, which has no probability."""
        if self.labels is None:
            if raw.values is None:
                texts = [(i, label) for i, label in enumerate(raw.labels or ()) if label is not None]
                if not texts:
                    return np.full(len(raw), np.nan)
                raise TableError(
                    f"the table: column {self.name!r} holds text in row {texts[0][0] + 1}, {texts[0][1]!r}, where "
                    "there were numbers when fitting. Correct it."
                )
            return raw.values / DAY if self.form == "day" else raw.values
        codes = {label: float(k) for k, label in enumerate(self.labels)}
        items = _labels_of(raw)
        unknown = Counter(v for v in items if v is not None and v not in codes)
        if unknown:
            shown = ", ".join(repr(v) for v, _ in unknown.most_common(3)) + (", ..." if len(unknown) > 3 else "")
            warnings.warn(
                f"column {self.name!r} holds {_counted(len(unknown), 'category', 'categories')} not seen when fitting "
                f"({shown}): {_counted(unknown.total(), 'row has', 'rows have')} probability zero.",
                UserWarning,
                stacklevel=5,
            )
        last = float(len(self.labels))
        return np.array([math.nan if v is None else codes.get(v, last) for v in items], dtype=np.float64)

    def decode(self, values: NDArray[np.float64]) -> Any:
        """Values as the table had them, None or NaN where they are missing."""
        missing = np.isnan(values)
        if self.labels is not None:
            items = [None if gone else self.labels[int(v)] for v, gone in zip(values, missing, strict=True)]
            numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in self.labels)
            return (
                np.array([math.nan if v is None else v for v in items]) if numbers and self.form != "label" else items
            )
        if self.form == "bool":
            return [None if gone else bool(v) for v, gone in zip(values, missing, strict=True)]
        if self.form in ("time", "day"):
            unit = DAY if self.form == "day" else 1.0
            epoch = dt.datetime(1970, 1, 1)
            times = [
                None if gone else epoch + dt.timedelta(seconds=v * unit)
                for v, gone in zip(values, missing, strict=True)
            ]
            return [t.date() if t is not None and self.form == "day" else t for t in times]
        if "int" in self.stored.lower() and not missing.any() and (values == values.round()).all():
            return values.astype(np.int64)
        return values

    def entry(self, number: float) -> Any:
        """One value as the table had it, from the number that stands for it; None where it is missing or unknown."""
        nothing = math.isnan(number) or (self.labels is not None and number >= len(self.labels))
        decoded = None if nothing else self.decode(np.array([number], dtype=np.float64))[0]
        return decoded.item() if isinstance(decoded, np.generic) else decoded

    def value(self, given: Any) -> float:
        """One value of the column as the number that stands for it."""
        raw = raw_columns(np.array([[given]], dtype=object), [self.name])[0]
        if self.labels is not None and (label := _labels_of(raw)[0]) is not None and label not in self.labels:
            shown = ", ".join(map(repr, self.labels[:8])) + (", ..." if len(self.labels) > 8 else "")
            raise TableError(f"column {self.name!r}: there is no category {given!r}. Known are {shown}.")
        number = float(self.encode(raw)[0])
        if math.isnan(number):
            raise TableError(f"column {self.name!r}: a known value must not be missing. Leave the column out.")
        if not bool(self.kind.holds(torch.tensor([[number]], dtype=torch.float64))):
            low, high = self.kind.domain.ends
            raise TableError(
                f"column {self.name!r}: {given!r} is no value of it. It is {_shown(self.kind)}, from {low:g} to "
                f"{high:g}."
            )
        return number


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _labels_of(raw: Raw) -> list[Any]:
    if raw.labels is not None:
        return raw.labels
    numbers = raw.values if raw.values is not None else np.array([])
    whole = [None if math.isnan(v) else int(v) if v == round(v) else v for v in numbers.tolist()]
    return [None if v is None else bool(v) for v in whole] if raw.kind == "bool" else whole


@dataclass(frozen=True, eq=False)
class Schema:
    """The columns of a table, in order, and the library that the table was made with."""

    fields: tuple[Field, ...]
    backend: str = "numpy"

    @classmethod
    def infer(
        cls, table: Any, types: Mapping[str, ColumnType | str] | None = None, names: list[str] | None = None
    ) -> Schema:
        """What the columns are, by the rules that `describe` prints.

        Args:
            table: a data frame of pandas, polars or pyarrow, or an array (rows, columns).
            types: kinds of columns by name, instead of the rules: parts such as ``Circular(24)``, or names of kinds,
                such as ``"categorical"``.
            names: of the columns of an array; ``x0``, ``x1``, ... by default.

        Raises:
            TableError: a column is no column of a table, is empty, or cannot be what it is declared to be.
        """
        raws = raw_columns(table, names)
        types = dict(types or {})
        known = [raw.name for raw in raws]
        if strange := [name for name in types if name not in known]:
            raise TableError(
                f"types: there is no column {strange[0]!r}. The columns are {', '.join(map(repr, known[:10]))}."
            )
        fields = [_declared(raw, types[raw.name]) if raw.name in types else _inferred(raw) for raw in raws]
        return cls(tuple(fields), backend_of(table))

    def with_labels(self, labels: Mapping[str, Sequence[Any]]) -> Schema:
        """The same with these categories of some columns, of which those seen so far may be a part."""

        def wider(field: Field) -> Field:
            every = tuple(sorted({*(field.labels or ()), *labels[field.name]}, key=lambda v: (str(type(v)), v)))
            kind = Ordinal if isinstance(field.kind, Ordinal) else Categorical
            return replace(field, labels=every, kind=kind(len(every)))

        return Schema(tuple(wider(f) if f.name in labels else f for f in self.fields), self.backend)

    @property
    def texts(self) -> list[str]:
        """Names of the columns whose values are text."""
        return [f.name for f in self.fields if f.form == "label" and f.labels is not None]

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [field.name for field in self.fields]

    def place(self, name: str) -> int:
        """The number of a column."""
        if name not in self.names:
            shown = ", ".join(map(repr, self.names[:10])) + (", ..." if self.names[10:] else "")
            raise TableError(f"there is no column {name!r}. The columns are {shown}.")
        return self.names.index(name)

    def encode(self, table: Any) -> NDArray[np.float64]:
        """The table as numbers, (rows, columns), NaN where an entry is missing."""
        raws = raw_columns(table, self.names)
        return np.stack([field.encode(raw) for field, raw in zip(self.fields, raws, strict=True)], axis=1)

    def decode(self, values: NDArray[np.float64], columns: Sequence[int] | None = None) -> Any:
        """A table like the one that was inferred from, from numbers (rows, columns); of some columns where asked."""
        chosen = range(len(self.fields)) if columns is None else columns
        parts = {self.fields[j].name: self.fields[j].decode(values[:, k]) for k, j in enumerate(chosen)}
        return build_frame(parts, self.backend)

    def describe(self) -> str:
        """One line a column: its name, its kind and the rule that said so."""
        kinds = [_shown(field.kind) for field in self.fields]
        wide, wider = max(map(len, self.names)), max(map(len, kinds))
        return "\n".join(
            f"{field.name:{wide}}  {kind:{wider}}  {field.why}" for field, kind in zip(self.fields, kinds, strict=True)
        )

    def to_config(self) -> dict[str, Any]:
        """As JSON."""
        own = [
            {**vars(f), "kind": f.kind.config, "labels": None if f.labels is None else list(f.labels)}
            for f in self.fields
        ]
        return {"backend": self.backend, "fields": own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schema:
        """The inverse of `to_config`."""
        fields = [
            Field(
                **{**own, "kind": build(own["kind"]), "labels": None if own["labels"] is None else tuple(own["labels"])}
            )
            for own in config["fields"]
        ]
        return cls(tuple(fields), config["backend"])


def _shown(kind: ColumnType) -> str:
    own = ", ".join(
        f"{k}={v}" if not isinstance(v, dict) else v["type"]
        for k, v in kind.config.items()
        if k not in ("type", "columns")
    )
    return f"{type(kind).__name__}({own})" if own else type(kind).__name__


def _declared(raw: Raw, kind: ColumnType | str) -> Field:
    """A column whose kind is given: a part, or the name of a kind, whose details follow from the values."""
    if isinstance(kind, str):
        named = {"real": "continuous", "bool": "boolean"}.get(kind.lower(), kind.lower())
        if named in ("categorical", "ordinal"):
            return _levels(raw, "declared", ordered=named == "ordinal")
        simple: dict[str, Any] = {
            cls.__name__.lower(): cls for cls in (Continuous, Positive, HeavyTailed, Integer, Boolean)
        }
        if named not in simple:
            options = ", ".join([*simple, "categorical", "ordinal"])
            raise TableError(
                f"types: {kind!r} is no kind of column. Known are {options}, or parts such as Circular(24)."
            )
        kind = simple[named]()
    if not isinstance(kind, ColumnType):
        raise TableError(f"types: column {raw.name!r} needs a kind, such as Continuous(); got {type(kind).__name__}.")
    if isinstance(kind, Categorical) and not isinstance(kind, Boolean):
        field = _levels(raw, "declared", ordered=isinstance(kind, Ordinal))
        if kind.levels < len(field.labels or ()):
            raise TableError(
                f"types: column {raw.name!r} holds {len(field.labels or ())} categories, not {kind.levels}. "
                "Declare as many."
            )
        return field
    if raw.labels is not None:
        raise TableError(
            f"types: column {raw.name!r} holds text, so it cannot be {type(kind).__name__}. Try 'categorical'."
        )
    values = np.asarray(raw.values)
    wrong = ~np.isnan(values) & ~kind.holds(torch.as_tensor(values)[None])[0].numpy()
    if wrong.any():
        first = int(np.argmax(wrong))
        low, high = kind.domain.ends
        raise TableError(
            f"types: column {raw.name!r} holds {values[first]:g} in row {first + 1}, which {_shown(kind)}, from "
            f"{low:g} to {high:g}, cannot. Correct it, or declare another kind."
        )
    form = {"time": "time", "bool": "bool"}.get(raw.kind, "number")
    return Field(raw.name, kind, "declared", raw.stored, form)


def _levels(raw: Raw, why: str, *, ordered: bool) -> Field:
    counts = Counter(v for v in _labels_of(raw) if v is not None)
    if not counts:
        raise _empty(raw)
    labels = sorted(counts, key=lambda v: (str(type(v)), v))
    kind = (Ordinal if ordered else Categorical)(len(labels))
    form = "label" if raw.labels is not None else raw.kind
    return Field(raw.name, kind, why, raw.stored, form, tuple(labels))


def _empty(raw: Raw) -> TableError:
    return TableError(f"the table: column {raw.name!r} is empty, all {len(raw)} values are missing. Drop it.")


def _inferred(raw: Raw) -> Field:
    if raw.labels is not None:
        field = _levels(raw, "", ordered=False)
        return replace(field, why=f"text, {len(field.labels or ())} different values")
    values = np.asarray(raw.values)[~np.isnan(np.asarray(raw.values))]
    if not len(values):
        raise _empty(raw)
    form = "bool" if raw.kind == "bool" else "time" if raw.kind == "time" else "number"
    if form == "time" and (values % DAY == 0).all():
        values, form = values / DAY, "day"
    kind, why = _of_numbers(values, form)
    return Field(raw.name, kind, why, raw.stored, form)


def _of_numbers(values: NDArray[np.float64], form: str) -> tuple[ColumnType, str]:
    """The kind of a column of numbers, and why."""
    different = np.unique(values)
    if form == "bool":
        return Boolean(), "true or false"
    if len(different) == 1:
        return Constant(float(different[0])), "always the same value"
    if (different == different.round()).all() and np.abs(different).max() < EXACT:
        return _of_whole(values, different)
    return _of_common(values, different, _of_real)


def _of_common(values: NDArray[np.float64], different: NDArray[np.float64], of_others: Any) -> tuple[ColumnType, str]:
    """Values that stand out by how often they come have a probability of their own; the rule for the others follows."""
    counts = np.unique(values, return_counts=True)[1]
    beside = np.convolve(np.pad(counts, 2), [1, 1, 0, 1, 1], "valid")  # of the two numbers on each side
    common = different[(counts >= OFTEN * len(values)) & (counts >= OFTEN_ROWS) & (counts > beside)][:MOST_COMMON]
    others = values[~np.isin(values, common)]
    if not len(common) or len(np.unique(others)) < FEW:
        return of_others(values)
    kind, why = of_others(others)
    if list(common) == [0.0]:
        return ZeroInflated(kind), f"{1 - len(others) / len(values):.0%} zeros; others {why}"
    shown = ", ".join(f"{v:g}" for v in common[:3]) + (", ..." if len(common) > 3 else "")
    return Inflated(kind, common.tolist()), f"{shown} come often; others {why}"


def _of_whole(values: NDArray[np.float64], different: NDArray[np.float64]) -> tuple[ColumnType, str]:
    low, high = int(different[0]), int(different[-1])
    if (low, high) == (0, 1):
        return Boolean(), "0 or 1"
    return _of_common(values, different, lambda own: _of_counts(own, low))


def _of_counts(values: NDArray[np.float64], low: int) -> tuple[ColumnType, str]:
    skewness = _skewness(values)
    if low >= 0 and skewness > SKEWED and abs(_skewness(np.log1p(values))) < skewness:
        return Integer(0, skewed=True), "whole numbers of many magnitudes, none below zero"
    return (Integer(0), "whole numbers, none below zero") if low in (0, 1) else (Integer(), "whole numbers")


def _of_real(values: NDArray[np.float64]) -> tuple[ColumnType, str]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    if values.min() > 0 and _skewness(values) > SKEWED and abs(_skewness(np.log(values))) < _skewness(values):
        return Positive(), "positive numbers, skewed"
    reach = np.abs(values - middle).max() if len(values) else 0.0
    if high > low and reach > HEAVY * (high - low) * math.sqrt(math.log(len(values) + 1)):
        return HeavyTailed(), "numbers, some very far out"
    return Continuous(), "numbers"


def _skewness(values: NDArray[np.float64]) -> float:
    spread = values.std()
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
