"""Parquet tables that are read in part, because they are large or in several files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushforward.data import TableFile, column_names, format_of, read_arrow
from pushforward.data.parquet import ParquetRows
from pushforward.data.reader import open_source
from pushforward.data.storage import is_several
from pushforward.data.survey import Survey
from pushforward.estimators.files import MOST_VALIDATION_ROWS, PASS
from pushforward.estimators.parameters import seed_of

__all__ = ["large_file", "names_of", "note_of", "read_or_survey"]

IN_MEMORY = 2**21
"""Rows up to which a Parquet file is read whole."""


def large_file(table: str | TableFile, columns: Sequence[str], *, skip_bad: bool = False) -> ParquetRows | None:
    """Parquet files that are read in part: one of many rows, or of which some cannot be read,
    or several; None for a table that is read whole."""
    source = ParquetRows(str(table), columns, skip_bad=skip_bad) if format_of(str(table))[0] == "parquet" else None
    in_part = source is not None and (is_several(str(table)) or source.rows > IN_MEMORY or source.left_out)
    return source if in_part else None


def names_of(table: str | TableFile, *, skip_bad: bool = False) -> tuple[str, ...]:
    """The column names of a table, in one file or several."""
    if is_several(str(table)):
        return tuple(ParquetRows(str(table), [], skip_bad=skip_bad).columns)
    return column_names(table)


def note_of(table: str | TableFile) -> str | None:
    """What there is to say about how a table is read."""
    return None if is_several(str(table)) else open_source(table).note


def read_or_survey(
    table: str | TableFile, columns: Sequence[str], source: ParquetRows | None, seed: int = 0
) -> tuple[Any, Survey | None]:
    """The rows that show the types of some columns, as an Arrow table: all, or of a large file those of a survey."""
    if source is None:
        return read_arrow(table, columns), None
    survey = source.survey(PASS, MOST_VALIDATION_ROWS, seed_of(seed)).select(columns)
    return survey.shown, survey
