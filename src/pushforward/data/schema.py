"""The schema of a table: the type of each column, inferred by printed rules or declared, and the table as numbers."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.core.config import build
from pushforward.data.dates import DateFormat
from pushforward.data.fields import Field, show_type
from pushforward.data.formats import TableError
from pushforward.data.frame import backend_of, raw_columns
from pushforward.data.inference import declared_field, inferred_field
from pushforward.data.orders import TypeSpec, declared_order
from pushforward.data.quantities import Quantity
from pushforward.data.restore import restored_frame
from pushforward.data.rules import Rule, has_order, rules_of
from pushforward.distributions import Categorical, Ordinal

__all__ = ["Field", "Schema"]


@dataclass(frozen=True, eq=False)
class Schema:
    """The columns of a table, in order, and the library of the table.

    Attributes:
        fields: the columns.
        backend: ``"pandas"``, ``"polars"``, ``"pyarrow"`` or ``"numpy"``: what `decode` returns.
        rules: orders between columns that hold in every row.
    """

    fields: tuple[Field, ...]
    backend: str = "numpy"
    rules: tuple[Rule, ...] = ()

    @classmethod
    def infer(
        cls,
        table: Any,
        types: Mapping[str, TypeSpec] | None = None,
        names: list[str] | None = None,
        *,
        draws: bool = True,
        ordered: Collection[tuple[str, str]] | None = None,
    ) -> Schema:
        """The column types of a table, by the rules that `describe` prints.

        Args:
            table: a data frame of pandas, polars or pyarrow, or an array (rows, columns).
            types: column types by column name, which override the rules: objects such as ``Circular(24)``, names
                such as ``"categorical"``, names with numbers such as ``"circular:24"`` and ``"bounded:0:1"``, or all
                values of a column from the lowest to the highest, as a list or as ``"ordinal:small<medium<large"``. An
                ordered column of the table has its order already.
            names: of the columns of an array; ``x0``, ``x1``, ... by default.
            draws: whether draws of a model are to look like the table, so that limits which the values of a column
                show become part of its type, and numbers that repeat have probabilities. Without, a type holds any
                number of the kind, as new rows may bring it.
            ordered: pairs of columns of which the first is never larger than the second, where there are further rows.

        Raises:
            TableError: a column has no scalar values, is empty, or holds values that its declared type excludes.
        """
        raws = raw_columns(table, names)
        types = dict(types or {})
        columns = [raw.name for raw in raws]
        if unknown := [name for name in types if name not in columns]:
            raise TableError(
                f"types: there is no column {unknown[0]!r}. The columns are {', '.join(map(repr, columns[:10]))}."
            )
        if raws and not len(raws[0]):
            raise TableError("the table: there are no rows. Give at least two, and usually hundreds.")
        fields = [
            declared_field(raw, types[raw.name]) if raw.name in types else inferred_field(raw, draws=draws)
            for raw in raws
        ]
        columns_in_order = [
            f.encode(raw) if draws and has_order(f) else None for f, raw in zip(fields, raws, strict=True)
        ]
        return cls(tuple(fields), backend_of(table), rules_of(fields, columns_in_order, ordered))

    def with_labels(self, labels: Mapping[str, Sequence[Any]]) -> Schema:
        """A schema with further categories of some columns, for tables of which only a part was seen."""

        def wider(field: Field) -> Field:
            first = field.labels or ()
            every = tuple(sorted({*first, *labels[field.name]}, key=lambda v: (str(type(v)), v)))
            if isinstance(field.column_type, Ordinal) and set(every) == set(first):
                return field  # in its own order
            if isinstance(field.column_type, Ordinal) and list(first) != [v for v in every if v in first]:
                declared_order(field.name, first, every)  # refuses the values that it lacks
            of_levels = Ordinal if isinstance(field.column_type, Ordinal) else Categorical
            return replace(field, labels=every, column_type=of_levels(len(every)))

        return replace(self, fields=tuple(wider(f) if f.name in labels else f for f in self.fields))

    def without(self, names: Collection[str]) -> Schema:
        """The schema without some columns."""
        fields = tuple(field for field in self.fields if field.name not in names)
        rules = tuple(rule for rule in self.rules if rule.low not in names and rule.high not in names)
        return Schema(fields, self.backend, rules)

    @property
    def texts(self) -> list[str]:
        """Names of the columns whose values are text."""
        return [f.name for f in self.fields if f.form == "label" and f.labels is not None]

    @property
    def names(self) -> list[str]:
        """The column names."""
        return [field.name for field in self.fields]

    def place(self, name: Any) -> int:
        """The index of a column, by its name or by what stands for it in the table, such as a number."""
        labels = [field.label for field in self.fields]
        if not isinstance(name, str) and name in labels:
            return labels.index(name)
        if name not in self.names:
            shown = ", ".join(map(repr, self.names[:10])) + (", ..." if self.names[10:] else "")
            raise TableError(f"there is no column {name!r}. The columns are {shown}.")
        return self.names.index(name)

    def encode(self, table: Any, *, features: Collection[str] = ()) -> NDArray[np.float64]:
        """The table as numbers, (rows, columns), NaN where an entry is missing, and in ``features``, which are only
        conditioned on, where a category is unknown."""
        columns = zip(self.fields, raw_columns(table, self.names), strict=True)
        return np.stack([field.encode(raw, feature=field.name in features) for field, raw in columns], axis=1)

    def decode(
        self,
        values: NDArray[np.float64],
        columns: Sequence[int] | None = None,
        *,
        like: Any = None,
        exact: Collection[int] = (),
    ) -> Any:
        """A table of the original library, data types and decimals, from numbers (rows, columns).

        Args:
            values: encoded values, one column for each field, or for each of ``columns``.
            columns: indices of the fields to decode; all by default.
            like: a table with the same rows, whose row labels are kept where the library has any.
            exact: indices of the fields whose values are not rounded.
        """
        chosen = list(range(len(self.fields)) if columns is None else columns)
        fields = [self.fields[j] for j in chosen]
        parts = [
            field.decode(values[:, k] if j in exact else field.rounded(values[:, k]))
            for k, (j, field) in enumerate(zip(chosen, fields, strict=True))
        ]
        return restored_frame(fields, parts, self.backend, like)

    def filled(self, values: NDArray[np.float64], table: Any) -> Any:
        """A table with its missing entries from encoded rows (rows, columns); the others are untouched."""
        parts = []
        for j, (field, raw) in enumerate(zip(self.fields, raw_columns(table, self.names), strict=True)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of unknown categories was warned before
                observed = ~np.isnan(field.encode(raw))
            parts.append(field.untouched(field.decode(field.rounded(values[:, j])), raw, observed))
        return restored_frame(self.fields, parts, self.backend, table)

    def rounded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encoded rows (rows, columns) with the decimals of the columns, as `decode` writes them."""
        return np.stack([field.rounded(values[:, j]) for j, field in enumerate(self.fields)], axis=1)

    def describe(self) -> str:
        """One line per column: its name, its type and the rule that chose it; of ordered categories the order."""
        types = [show_type(field.column_type) for field in self.fields]
        name_width, type_width = max(map(len, self.names)), max(map(len, types))
        return "\n".join(
            f"{field.name:{name_width}}  {shown:{type_width}}  {field.reason}"
            for field, shown in zip(self.fields, types, strict=True)
        )

    def to_config(self) -> dict[str, Any]:
        """As JSON. Column types are stored as "kind", the name of the file format."""
        fields = []
        for field in self.fields:
            entry = {**vars(field), "labels": None if field.labels is None else list(field.labels)}
            column_type, notation = entry.pop("column_type"), entry.pop("notation")
            if notation is not None:
                entry["notation"] = vars(notation)
            fields.append({"name": entry.pop("name"), "kind": column_type.config, **entry})
        return {"backend": self.backend, "fields": fields, "rules": [list(rule) for rule in self.rules]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schema:
        """The inverse of `to_config`."""
        fields = []
        for stored in config["fields"]:
            entry = {**stored, "labels": stored["labels"] and tuple(stored["labels"])}
            if (notation := entry.get("notation")) is not None:
                entry["notation"] = (DateFormat if "format" in notation else Quantity)(**notation)
            fields.append(Field(column_type=build(entry.pop("kind")), **entry))
        return cls(tuple(fields), config["backend"], tuple(Rule(*rule) for rule in config.get("rules", ())))
