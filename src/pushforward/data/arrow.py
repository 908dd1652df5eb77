"""Files as Arrow tables with numbers, text and missing values: read whole or in pieces, written in pieces."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pushforward.data.columns import LEADING_ZEROS
from pushforward.data.formats import TableError
from pushforward.data.table import open_source, positions
from pushforward.data.text import MISSING_WORDS
from pushforward.data.writing import TableWriter

__all__ = ["ArrowWriter", "read_arrow", "stream_arrow"]


def read_arrow(path: str | os.PathLike[str]) -> Any:
    """A whole table, with numbers, booleans and text as they are stored; missing values are null.

    Raises:
        TableError: the file cannot be read, has no rows, or has two columns of one name.
    """
    source = open_source(path)
    batches = list(source.batches(positions(source.path, source.names, source.names), 65536))
    if not sum(len(batch[0]) for batch in batches):
        raise TableError(f"{source.path}: the table has a header but no rows. Add rows below it.")
    columns = [pa.chunked_array([batch[i] for batch in batches]) for i in range(len(source.names))]
    return pa.table({
        name: _typed(column) if stored is None else _plain(column)
        for name, stored, column in zip(source.names, source.types, columns, strict=True)
    })  # fmt: skip


def stream_arrow(
    path: str | os.PathLike[str], columns: Sequence[str], rows: int = 8192, *, texts: Collection[str] = ()
) -> Iterator[Any]:
    """Some columns of a table in pieces, in constant memory.

    Args:
        path: the file.
        columns: the names of the columns, in the order of the result.
        rows: largest number of rows of a piece.
        texts: the columns that are text even if all values of a piece are numbers: "7" may be followed by "7a".

    Raises:
        TableError: the file cannot be read, or lacks a column.
    """
    source = open_source(path)
    places = positions(source.path, source.names, columns)
    for batch in source.batches(places, rows):
        yield pa.table({
            name: _typed(piece, text=name in texts) if source.types[i] is None else _plain(piece)
            for name, i, piece in zip(columns, places, batch, strict=True)
        })  # fmt: skip


def _plain(column: Any) -> Any:
    """A column with dictionaries decoded and decimals as float64."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column.cast(pa.float64(), safe=False) if pa.types.is_decimal(column.type) else column


def _typed(column: Any, *, text: bool = False) -> Any:
    """A column of a text file as integers, numbers or booleans if all its values are, else as text."""
    try:
        words = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowInvalid:
        raise TableError("a column of the table is not UTF-8 text. Save the file as UTF-8.") from None
    missing = pc.is_in(words, value_set=pa.array(sorted(MISSING_WORDS)))
    words = pc.if_else(missing, pa.scalar(None, pa.string()), words)
    text = text or pc.any(pc.match_substring_regex(words, LEADING_ZEROS)).as_py()
    for target in () if text else (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return words.cast(target)
        except pa.ArrowInvalid:
            continue
    return words


class ArrowWriter(TableWriter):
    """Writes Arrow tables of one schema, as `TableWriter` does arrays.

    Args:
        path: the file; its suffix chooses the format.
        schema: the Arrow schema of the tables.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Any) -> None:
        super().__init__(path, schema.names)
        self._schema = schema

    def write_table(self, table: Any) -> None:
        """Append rows."""
        self.rows += table.num_rows
        self._writer.write_table(table.select(list(self.names)).cast(self._schema))
