"""Which columns of a table a model is of, and which it is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.data.formats import TableError
from pushforward.data.schema import Field, Schema
from pushforward.train.batches import Batch

__all__ = ["ColumnLayout", "TableRows", "to_numpy"]


@dataclass(frozen=True)
class TableRows(Batch):
    """Rows of a table as numbers, NaN where an entry is missing: the columns of a model and those of its context."""

    x: Tensor


@dataclass(frozen=True)
class ColumnLayout:
    """The columns of a table in two parts.

    Attributes:
        schema: of the table.
        modelled: indices of the columns that a model is of.
        context: indices of those that it is conditioned on.
    """

    schema: Schema
    modelled: list[int]
    context: list[int]

    @classmethod
    def of(cls, schema: Schema, context: Sequence[str]) -> ColumnLayout:
        """The layout with these names of columns to condition on.

        Raises:
            TableError: there is no such column, or no other one.
        """
        places = [schema.place(name) for name in context]
        modelled = [j for j in range(len(schema.fields)) if j not in places]
        if not modelled:
            raise TableError("the table: no column is left to model. Condition on fewer columns.")
        return cls(schema, modelled, places)

    @property
    def fields(self) -> tuple[list[Field], list[Field]]:
        """The columns of the model, and of its context."""
        fields = self.schema.fields
        return [fields[j] for j in self.modelled], [fields[j] for j in self.context]

    @property
    def schemas(self) -> tuple[Schema, Schema]:
        """The schema of the columns of the model, and of its context."""
        names, context = self.schema.names, [self.schema.names[j] for j in self.context]
        return self.schema.without(context), self.schema.without([name for name in names if name not in context])

    def place(self, column: Any) -> int:
        """The number of a column in the model.

        Raises:
            TableError: there is no such column, or it is conditioned on.
        """
        j = self.schema.place(column)
        if j not in self.modelled:
            raise TableError(f"column {column!r} is conditioned on. Ask for one of the others.")
        return self.modelled.index(j)

    def batch(self, x: Tensor | NDArray[np.float64], weights: Tensor | None = None) -> TableRows:
        """Rows of the table (rows, columns) as rows of the model and of its context."""
        x = torch.as_tensor(x)
        return TableRows(x[:, self.modelled], x[:, self.context] if self.context else None, weights)

    def filled(self, x: Tensor, context: Tensor | None, table: Any) -> Any:
        """A table whose missing entries come from rows of the model and of its context."""
        whole = np.empty((len(x), len(self.schema.fields)))
        whole[:, self.modelled] = to_numpy(x)
        if context is not None:
            whole[:, self.context] = to_numpy(context)
        return self.schema.filled(whole, table)


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    """A tensor as a float64 array."""
    array: NDArray[np.float64] = values.detach().cpu().to(torch.float64).numpy()
    return array
