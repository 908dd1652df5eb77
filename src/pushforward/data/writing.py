"""Writing a table in blocks of rows: constant memory, exact numbers, and no incomplete files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from pushforward.core.files import atomic_path
from pushforward.data.formats import TableError, format_of

__all__ = ["TableWriter"]

_GROUP = 65536  # rows that are collected before they are written, as suits Parquet and Feather


class TableWriter:
    """Writes a table block by block. The file appears when the ``with`` block ends, and not at all if it fails.

    Reading the file gives the same float64 numbers, NaN and infinities included.

    Args:
        path: the file; its suffix chooses the format, as in `read_table`.
        names: the column names.
        integers: the columns that are written as integers.

    Raises:
        TableError: unknown suffix or repeated names (when constructed), or values of a wrong shape or not integer.
        OSError: the file cannot be written (on entering the block).

    >>> from tempfile import TemporaryDirectory
    >>> from pathlib import Path
    >>> with TemporaryDirectory() as folder:
    ...     with TableWriter(Path(folder, "x.csv"), ["x", "n"], integers=["n"]) as table:
    ...         table.write([[0.1, 1.0], [0.2, 2.0]])
    ...     Path(folder, "x.csv").read_text()
    'x,n\\n0.1,1\\n0.2,2\\n'
    """

    def __init__(self, path: str | os.PathLike[str], names: Sequence[str], *, integers: Sequence[str] = ()) -> None:
        self.path = os.fspath(path)
        self.names = tuple(names)
        self.rows = 0
        self._format, self._compression = format_of(path)
        if not self.names or len(set(self.names)) < len(self.names):
            raise TableError(f"{self.path}: a table needs at least one column, and no name twice; got {self.names}.")
        if unknown := [name for name in integers if name not in self.names]:
            raise TableError(f"{self.path}: integers names {unknown[0]!r}, which is not among the columns.")
        self._integers = frozenset(integers)
        fields = [(name, pa.int64() if name in self._integers else pa.float64()) for name in self.names]
        self._schema = pa.schema(fields)
        self._held: list[NDArray[np.float64]] = []
        self._held_rows = 0
        self._stack = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._writer = self._open(stack, str(temporary))
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

    def write(self, values: ArrayLike) -> None:
        """Append rows: an array of shape ``(rows, columns)``."""
        if self._writer is None:
            raise ValueError("TableWriter: the file is not open. Call write inside the with block.")
        # A copy, because rows are buffered and the caller may reuse the array.
        array = np.array(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.names):
            raise TableError(f"{self.path}: rows must have shape (rows, {len(self.names)}); got {array.shape}.")
        for i, name in enumerate(self.names):
            if name in self._integers and not _whole(array[:, i]).all():
                row = int(np.argmin(_whole(array[:, i])))
                raise TableError(
                    f"{self.path}: column {name!r} is to be written as integers, but row {self.rows + row + 1} "
                    f"is {array[row, i]!r}. Round it, or leave the column out of integers."
                )
        self.rows += len(array)
        self._held.append(array)
        self._held_rows += len(array)
        if self._held_rows >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._held_rows = self._held, [], 0
        if not held:
            return
        values = np.concatenate(held)
        for start in range(0, len(values), _GROUP):
            part = values[start : start + _GROUP]
            arrays = [pa.array(np.ascontiguousarray(part[:, i])) for i in range(len(self.names))]
            typed = [a.cast(field.type) for a, field in zip(arrays, self._schema, strict=True)]
            self._writer.write_batch(pa.record_batch(typed, schema=self._schema))

    def _open(self, stack: ExitStack, temporary: str) -> Any:
        if self._format == "parquet":
            return stack.enter_context(pq.ParquetWriter(temporary, self._schema, compression="zstd"))
        sink = stack.enter_context(pa.OSFile(temporary, "wb"))
        if self._format == "feather":
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            return stack.enter_context(pa.ipc.new_file(sink, self._schema, options=options))
        if self._compression:
            sink = stack.enter_context(pa.CompressedOutputStream(sink, self._compression))
        delimiter = "\t" if self._format == "tsv" else ","
        header = io.StringIO()  # not by Arrow, which puts every name in quotes
        csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(self.names)
        sink.write(header.getvalue().encode())
        options = pacsv.WriteOptions(include_header=False, delimiter=delimiter)
        return stack.enter_context(pacsv.CSVWriter(sink, self._schema, write_options=options))


def _whole(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each value is an integer within int64."""
    with np.errstate(invalid="ignore"):
        whole: NDArray[np.bool_] = (values == np.floor(values)) & (np.abs(values) < 2.0**63)
    return whole
