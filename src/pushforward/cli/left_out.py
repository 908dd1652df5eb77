"""Columns of a table from which nothing can be learned, and that commands leave out: empty ones, and names of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pushforward.cli.common import say
from pushforward.data import Schema
from pushforward.data.findings import empty_columns, identifiers
from pushforward.data.inference import DECLARED

__all__ = ["without_empty", "without_identifiers"]


def without_empty(rows: Any, table: Any, wanted: Sequence[str]) -> Any:
    """An Arrow table without the columns that hold no value, which are told; those in ``wanted`` stay, and are refused
    later."""
    gone = [name for name in empty_columns(rows) if name not in wanted]
    if len(gone) == rows.num_columns:
        return rows
    for name in gone:
        say(f"Column {name!r} is empty in {table}, and is left out.")
    return rows.drop_columns(gone)


def without_identifiers(
    schema: Schema,
    x: np.ndarray,
    wanted: Sequence[str],
    remedy: str,
    silent: Sequence[str] = (),
    *,
    row_numbers: Sequence[str] = (),
) -> Schema:
    """The schema without the columns that name rows, which are told, but not of those in ``silent``; not without those
    declared or in ``wanted``. Where x is a part of the rows, ``row_numbers`` are columns that count all of them if they
    differ in each row of x."""
    wanted = [*wanted, *(f.name for f in schema.fields if f.why == DECLARED)]
    counting = [name for name in row_numbers if len(np.unique(x[:, schema.names.index(name)])) == len(x)]
    unused = [name for name in dict.fromkeys([*identifiers(schema.fields, x), *counting]) if name not in wanted]
    if len(unused) == len(schema.names):
        return schema
    for name in (name for name in unused if name not in silent):
        say(f"Column {name!r} differs in every row, as identifiers do, and is left out; {remedy.format(name)}.")
    return schema.without(unused)
