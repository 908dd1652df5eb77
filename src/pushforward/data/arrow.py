"""Tables of mixed columns in files: read as Arrow tables, whole or in pieces, and written piece by piece."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pushforward.data.formats import TableError
from pushforward.data.table import open_source, positions
from pushforward.data.text import MISSING_WORDS
from pushforward.data.writing import TableWriter

__all__ = ["ArrowWriter", "read_arrow", "stream_arrow"]


def read_arrow(path: str | os.PathLike[str]) -> Any:
    """A table whole, with numbers, truth values and texts as they are; what is missing is null.

    Raises:
        TableError: the file is no table, has no rows, or two of its columns have one name.
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
    """Some columns of a table in pieces, in memory that does not grow with its length.

    Args:
        path: the file.
        columns: which ones, in this order.
        rows: of a piece, at most.
        texts: those that are text whatever a piece of them looks like: "7" may stand beside "7a" further on.

    Raises:
        TableError: the file is no table, or lacks a column.
    """
    source = open_source(path)
    places = positions(source.path, source.names, columns)
    for batch in source.batches(places, rows):
        yield pa.table({
            name: _typed(piece, text=name in texts) if source.types[i] is None else _plain(piece)
            for name, i, piece in zip(columns, places, batch, strict=True)
        })  # fmt: skip


def _plain(column: Any) -> Any:
    """A column without dictionaries and nested numbers."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column.cast(pa.float64(), safe=False) if pa.types.is_decimal(column.type) else column


def _typed(column: Any, *, text: bool = False) -> Any:
    """What a text file holds as whole numbers, numbers or truth values where all of it is that."""
    try:
        words = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowInvalid:
        raise TableError("a column of the table is not UTF-8 text. Save the file as UTF-8.") from None
    missing = pc.is_in(words, value_set=pa.array(sorted(MISSING_WORDS)))
    words = pc.if_else(missing, pa.scalar(None, pa.string()), words)
    for target in () if text else (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return words.cast(target)
        except pa.ArrowInvalid:
            continue
    return words


class ArrowWriter(TableWriter):
    """A file that grows by Arrow tables of one schema, and appears, complete, when the block ends.

    Args:
        path: its suffix chooses the format, as in reading.
        schema: of the tables.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Any) -> None:
        super().__init__(path, schema.names)
        self._schema = schema

    def write_table(self, table: Any) -> None:
        """Append rows."""
        self.rows += table.num_rows
        self._writer.write_table(table.select(list(self.names)).cast(self._schema))
