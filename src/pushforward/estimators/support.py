"""Rows that the column types of a model cannot hold: before they spoil a training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.data.fields import Field, show_type
from pushforward.data.findings import identifiers
from pushforward.data.formats import TableError, drop_call
from pushforward.data.inference import DECLARED
from pushforward.data.schema import Schema
from pushforward.estimators.layout import TableRows

__all__ = ["refuse_outside", "rows_inside", "warn_identifiers"]


def refuse_outside(fields: Sequence[Field], x: Tensor) -> None:
    """Refuse rows x (rows, columns) that the column types of an earlier fit cannot hold.

    Raises:
        TableError: naming the column, the value and its row.
    """
    for field, column in zip(fields, x.numpy().T, strict=True):
        outside = ~field.holds(column)
        if outside.any():
            raise TableError(
                f"the table: column {field.name!r} holds {field.entry(column[outside][0])!r} in row "
                f"{int(outside.argmax()) + 1}, outside {show_type(field.column_type)} of the first fit. Fit anew with "
                "all rows, or declare another type."
            )


def warn_identifiers(schema: Schema, x: NDArray[np.float64]) -> None:
    """Warn of columns of x (rows, columns) whose values name rows, unless their type is declared."""
    declared = {field.name for field in schema.fields if field.why == DECLARED}
    for name in identifiers(schema.fields, x):
        if name not in declared:
            how = "" if schema.backend == "numpy" else f" ({drop_call([name])})"
            warnings.warn(
                f"column {name!r} differs in every row, as identifiers do, and says nothing about other rows. Leave it "
                f"out{how}, or declare its type, such as types={{{name!r}: 'categorical'}}, to keep it.",
                UserWarning,
                stacklevel=5,
            )


def rows_inside(rows: TableRows, fields: Sequence[Field]) -> TableRows:
    """The validation rows that the column types can hold; a warning tells of others, whose likelihood is zero."""
    inside = np.all([field.holds(column) for field, column in zip(fields, rows.x.numpy().T, strict=True)], axis=0)
    if inside.all() or not inside.any():
        return rows
    warnings.warn(
        f"{int((~inside).sum()):,} validation rows hold values that the training rows do not allow; they are left out.",
        UserWarning,
        stacklevel=3,
    )
    return rows.take(torch.from_numpy(inside).nonzero()[:, 0])
