"""Tables larger than memory: the rows of a Parquet file as the training rows of one epoch after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.core.domain import Product
from pushforward.core.entries import holds_each
from pushforward.data.formats import TableError
from pushforward.data.parquet import ParquetRows, of_length
from pushforward.data.schema import Schema

__all__ = ["HELD", "PASS", "file_passes", "file_schema"]

PASS, HELD = 2**18, 20_000
"""Rows of a file in memory at once, and largest number of its validation rows."""


def file_schema(source: ParquetRows, types: Any, seed: int) -> tuple[Schema, Any]:
    """The schema of a file and the rows that it was inferred from; categories come from all rows."""
    first = source.draw(PASS, seed, held=False)
    schema = Schema.infer(first, types)
    return schema.with_labels(source.labels(schema.texts)), first


def file_passes(
    source: ParquetRows, schema: Schema, rows: int, seed: int
) -> tuple[Callable[[int], NDArray[np.float64]], NDArray[np.float64]]:
    """A function for the training rows as numbers, ``rows`` at a time, and the validation rows.

    One pass goes on where the last one ended: all rows that are not held out are seen once before one is seen again. A
    pass is a function of its number and the seed alone, so that a run which was killed goes on with the same rows.
    """
    support = Product(tuple(field.column_type.domain for field in schema.fields))

    def numbers(table: Any) -> NDArray[np.float64]:
        """The rows in the support of the columns, whose types were inferred from other rows."""
        x = schema.encode(table)
        inside = (holds_each(support, torch.as_tensor(x)).numpy() | np.isnan(x)).all(axis=1)
        if not inside.any():
            raise TableError(f"{source.path}: too few rows to hold some out. Read the table and fit it whole.")
        return x[inside]

    def passes(number: int) -> NDArray[np.float64]:
        return of_length(numbers(source.window(number * rows, rows, seed)), rows, seed + number)

    return passes, numbers(source.draw(HELD, seed, held=True))
