"""Writing a table in blocks of rows: constant memory, exact numbers, and no incomplete files."""

from __future__ import annotations

import csv
import io
import os
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pushforward.core.files import atomic_path
from pushforward.data.formats import TableError, format_of

__all__ = ["STANDARD_OUTPUT", "TableWriter"]

STANDARD_OUTPUT = "-"
"""The name of a table that is written to standard output, as CSV."""
GROUP = 65_536
"""Rows that are collected before they are written, as suits Parquet and Feather."""


class TableWriter:
    """Writes Arrow tables of one schema, one after the other, to one file. The file appears when the ``with`` block
    ends, and not at all if it fails. Reading it gives the same float64 numbers.

    Args:
        path: the file; its suffix chooses the format, as in `reader.read_arrow`. ``"-"`` for CSV on standard output.
        schema: the Arrow schema of the tables.

    Raises:
        TableError: unknown suffix, no column or repeated names.
        OSError: the file cannot be written (on entering the block).

    >>> from tempfile import TemporaryDirectory
    >>> from pathlib import Path
    >>> rows = pa.table({"x": [0.1, None], "n": [1, 2]})
    >>> with TemporaryDirectory() as folder:
    ...     with TableWriter(Path(folder, "x.csv"), rows.schema) as table:
    ...         table.write(rows)
    ...     Path(folder, "x.csv").read_text()
    'x,n\\n0.1,1\\n,2\\n'
    """

    def __init__(self, path: str | os.PathLike[str], schema: Any) -> None:
        self.path, self.schema, self.rows = os.fspath(path), schema, 0
        self._format, self._compression = ("csv", None) if self.path == STANDARD_OUTPUT else format_of(path)
        if not schema.names or len(set(schema.names)) < len(schema.names):
            raise TableError(f"{self.path}: a table needs at least one column, and no name twice; got {schema.names}.")
        self._held: list[Any] = []
        self._stack = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self.path == STANDARD_OUTPUT:
                self._writer = self._open_csv(stack, pa.PythonFile(sys.stdout.buffer, "w"))
            else:
                self._writer = self._open(stack, str(stack.enter_context(atomic_path(self.path))))
            self._stack = stack.pop_all()  # closed in __exit__, unless opening fails
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._flush()
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)
        self._writer = None

    def write(self, table: Any) -> None:
        """Append the rows of an Arrow table, whose columns are cast to the types of the schema."""
        if self._writer is None:
            raise ValueError("TableWriter: the file is not open. Call write inside the with block.")
        self.rows += table.num_rows
        self._held.append(table.select(self.schema.names).cast(self.schema))
        if sum(piece.num_rows for piece in self._held) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held:
            self._writer.write_table(pa.concat_tables(held), GROUP)

    def _open(self, stack: ExitStack, temporary: str) -> Any:
        if self._format == "parquet":
            return stack.enter_context(pq.ParquetWriter(temporary, self.schema, compression="zstd"))
        sink = stack.enter_context(pa.OSFile(temporary, "wb"))
        if self._format == "feather":
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            return stack.enter_context(pa.ipc.new_file(sink, self.schema, options=options))
        if self._compression:
            sink = stack.enter_context(pa.CompressedOutputStream(sink, self._compression))
        return self._open_csv(stack, sink)

    def _open_csv(self, stack: ExitStack, sink: Any) -> Any:
        delimiter = "\t" if self._format == "tsv" else ","
        header = io.StringIO()  # not by Arrow, which puts every name in quotes
        csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(self.schema.names)
        sink.write(header.getvalue().encode())
        options = pacsv.WriteOptions(include_header=False, delimiter=delimiter)
        return stack.enter_context(pacsv.CSVWriter(sink, self.schema, write_options=options))
