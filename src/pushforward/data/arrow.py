"""Tables of mixed columns in files: read as Arrow tables, whole or in pieces, and written piece by piece."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pushforward.data.formats import TableError
from pushforward.data.table import open_source
from pushforward.data.text import MISSING_WORDS
from pushforward.data.writing import TableWriter

__all__ = ["ArrowWriter", "read_arrow", "stream_arrow"]


def read_arrow(path: str | os.PathLike[str]) -> Any:
    """A table whole, with numbers, truth values and texts as they are; what is missing is null.

    Raises:
        TableError: the file is no table, has no rows, or two of its columns have one name.
    """
    source = open_source(path)
    if repeated := [name for name, times in Counter(source.names).items() if times > 1]:
        raise TableError(f"{source.path}: several columns are named {repeated[0]!r}. Rename all but one.")
    batches = list(source.batches(range(len(source.names)), 65536))
    if not sum(len(batch[0]) for batch in batches):
        raise TableError(f"{source.path}: the table has a header but no rows. Add rows below it.")
    columns = [pa.chunked_array([batch[i] for batch in batches]) for i in range(len(source.names))]
    return pa.table({
        name: _typed(column) if stored is None else _plain(column)
        for name, stored, column in zip(source.names, source.types, columns, strict=True)
    })  # fmt: skip


def stream_arrow(path: str | os.PathLike[str], columns: Sequence[str], rows: int = 8192) -> Iterator[Any]:
    """Some columns of a table in pieces, in memory that does not grow with its length. A text file's column that is a
    number in one piece and text in another comes as such.

    Raises:
        TableError: the file is no table, or lacks a column.
    """
    source = open_source(path)
    if absent := [name for name in columns if name not in source.names]:
        raise TableError(
            f"{source.path}: there is no column {absent[0]!r}. The columns are "
            f"{', '.join(map(repr, source.names[:10]))}."
        )
    places = [source.names.index(name) for name in columns]
    for batch in source.batches(places, rows):
        yield pa.table({
            name: _typed(piece) if source.types[i] is None else _plain(piece)
            for name, i, piece in zip(columns, places, batch, strict=True)
        })  # fmt: skip


def _plain(column: Any) -> Any:
    """A column without dictionaries and nested numbers."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column.cast(pa.float64(), safe=False) if pa.types.is_decimal(column.type) else column


def _typed(column: Any) -> Any:
    """Text as whole numbers, numbers or truth values where all of it is that."""
    try:
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowInvalid:
        raise TableError("a column of the table is not UTF-8 text. Save the file as UTF-8.") from None
    missing = pc.is_in(text, value_set=pa.array(sorted(MISSING_WORDS)))
    text = pc.if_else(missing, pa.scalar(None, pa.string()), text)
    for target in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return text.cast(target)
        except pa.ArrowInvalid:
            continue
    return text


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
