"""Tables larger than memory: the rows of a Parquet file as the training rows of one epoch after the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.core.domain import Product
from pushforward.core.entries import holds_each
from pushforward.data.fields import show_type
from pushforward.data.formats import TableError
from pushforward.data.parquet import ParquetRows, of_length
from pushforward.data.schema import Schema
from pushforward.data.survey import Survey

__all__ = ["MOST_VALIDATION_ROWS", "PASS", "file_passes", "file_schema", "with_categories"]

PASS, MOST_VALIDATION_ROWS = 2**18, 20_000
"""Rows of a file in memory at once, and largest number of its validation rows."""


def file_schema(survey: Survey, types: Any) -> Schema:
    """The schema of a table of which a survey is known, unless ``types`` is one."""
    return types if isinstance(types, Schema) else with_categories(survey.schema(types), survey)


def with_categories(schema: Schema, survey: Survey) -> Schema:
    """A schema with the categories of all rows."""
    return schema.with_labels(survey.categories_of(schema.texts))


def file_passes(
    source: ParquetRows, survey: Survey, schema: Schema, rows: int, seed: int
) -> tuple[Callable[[int], NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
    """A function for the training rows as numbers, ``rows`` at a time; random ones of them; and the validation rows.

    One pass goes on where the last one ended: all rows that are not held out are seen once before one is seen again. A
    pass is a function of its number and the seed alone, so that a run which was killed goes on with the same rows.
    """
    told: set[int] = set()
    support = Product(tuple(field.column_type.domain for field in schema.fields))

    def numbers(table: Any) -> NDArray[np.float64]:
        """The rows in the support of the columns."""
        x = schema.encode(table)
        inside = holds_each(support, torch.as_tensor(x)).numpy() | np.isnan(x)
        if not (usable := inside.all(axis=1)).any():
            raise TableError(f"{source.path}: too few rows to hold some out. Read the table and fit it whole.")
        for j in {*np.flatnonzero(~inside.all(axis=0)).tolist()} - told:
            told.add(j)
            field = schema.fields[j]
            warnings.warn(
                f"{source.path}: rows where column {field.name!r} is not {show_type(field.column_type)} are left out, "
                f"such as one with {x[~inside[:, j], j][0]:g}. Declare a type that holds them.",
                stacklevel=2,
            )
        return x[usable]

    def passes(number: int) -> NDArray[np.float64]:
        return of_length(numbers(source.window(number * rows, rows, seed)), rows, seed + number)

    return passes, numbers(survey.random), numbers(survey.held)
