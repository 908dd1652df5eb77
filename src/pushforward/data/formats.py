"""The file formats of a table, by suffix, and the readers of the two formats that declare column types.

A source yields Arrow columns as they are stored. `columns` converts them to numbers, so that CSV, Parquet and Feather
share all rules and messages.
"""

from __future__ import annotations

import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "BLOCK",
    "FeatherSource",
    "ParquetSource",
    "Source",
    "TableError",
    "clipped",
    "drop_call",
    "format_of",
    "looks_like",
]

_FORMATS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".csv.zst": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".tsv.zst": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
}

BLOCK = 1 << 18  # bytes that are parsed together: small, since Arrow reads several blocks ahead
_BATCH = 8192  # rows decoded together, for the same reason

_SIGNATURES = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "a Feather file",
    b"FEA1": "a Feather file of the outdated version 1",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"PK\x03\x04": "a zip file or an Excel workbook",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class TableError(ValueError):
    """A table that cannot be read or written; the message names the file, the problem and a remedy."""


_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def format_of(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """The format of a suffix (csv, tsv, parquet or feather), and how the file is compressed as a whole.

    Raises:
        TableError: there is no format of this suffix.

    >>> format_of("table.CSV.gz")
    ('csv', 'gzip')
    """
    name = Path(path).name.lower()
    for suffix in sorted(_FORMATS, key=len, reverse=True):
        if name.endswith(suffix):
            return _FORMATS[suffix], _COMPRESSIONS.get(Path(suffix).suffix)
    suffixes = ", ".join(_FORMATS)
    raise TableError(f"{os.fspath(path)}: the name of a table must end in one of {suffixes}. Rename or convert it.")


class Source(ABC):
    """A readable file with named columns.

    ``types[i]`` is the Arrow type that the file declares for column i; None in text files.
    """

    kind: str
    names: tuple[str, ...]
    types: tuple[Any, ...]
    note: str = ""
    """What was detected about the file that is not usual for its suffix, in words."""

    def __init__(self, path: str) -> None:
        self.path = path

    def row(self, index: int) -> str:
        """The name of a row in messages, by its index from 0."""
        return f"row {index + 1}"

    @abstractmethod
    def batches(self, columns: Sequence[int], rows: int) -> Iterator[list[Any]]:
        """The chosen columns, as lists of Arrow arrays of equal length, in the order of the rows.

        An array has about ``rows`` rows at most, as far as the format allows.
        """

    def _refuse_unless(self, fits: bool, head: bytes) -> None:
        """Raise a `TableError` unless the first bytes of the file fit its suffix."""
        if not fits:
            raise TableError(
                f"{self.path}: not a {self.kind} file, in spite of its suffix; it appears to be "
                f"{looks_like(head)}. Correct the suffix, or convert the file."
            )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn the errors of Arrow and of the system into a `TableError`."""
        try:
            yield
        except (pa.ArrowException, OSError, EOFError, UnicodeError, zlib.error) as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise TableError(
                f"{self.path}: cannot be read as {self.kind}; it may be damaged or incomplete "
                f"({first_line[:200]}). Write it again."
            ) from None


class ParquetSource(Source):
    """Parquet, through a small buffer: memory for one batch, whatever the size of a row group."""

    kind = "Parquet"

    def __init__(self, path: str, head: bytes) -> None:
        super().__init__(path)
        self._refuse_unless(head.startswith(b"PAR1"), head)
        with self._readable(), self._file() as file:
            schema = file.schema_arrow
        self.names, self.types = tuple(schema.names), tuple(schema.types)

    def _file(self) -> Any:
        return pq.ParquetFile(self.path, buffer_size=BLOCK, pre_buffer=False)

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[list[Any]]:
        names = [self.names[column] for column in columns]
        with self._readable(), self._file() as file:
            for batch in file.iter_batches(batch_size=min(rows, _BATCH), columns=names, use_threads=False):
                # Asking for "a" also returns "a.b", which Parquet cannot distinguish from a field b inside a.
                yield [batch.column(batch.schema.get_field_index(name)) for name in names]


class FeatherSource(Source):
    """Feather, which is the file format of Arrow, and Arrow's stream format under the same suffix."""

    kind = "Feather"

    def __init__(self, path: str, head: bytes) -> None:
        super().__init__(path)
        self._is_file = head.startswith(b"ARROW1")
        stream = head.startswith(b"\xff\xff\xff\xff")
        self._refuse_unless(self._is_file or stream, head)
        with self._readable(), pa.OSFile(path, "rb") as memory:
            schema = self._reader(memory).schema
        self.names, self.types = tuple(schema.names), tuple(schema.types)

    def _reader(self, memory: Any, columns: Sequence[int] | None = None) -> Any:
        options = pa.ipc.IpcReadOptions(included_fields=None if columns is None else sorted(columns), use_threads=False)
        return (pa.ipc.open_file if self._is_file else pa.ipc.open_stream)(memory, options=options)

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[list[Any]]:
        order = sorted(columns)
        with self._readable(), pa.OSFile(self.path, "rb") as memory:
            reader = self._reader(memory, columns)
            stored = map(reader.get_batch, range(reader.num_record_batches)) if self._is_file else reader
            for batch in stored:
                for start in range(0, batch.num_rows, rows):
                    piece = batch.slice(start, rows)
                    yield [piece.column(order.index(column)) for column in columns]


def looks_like(head: bytes) -> str:
    """The type of a file, judged by its first bytes."""
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "binary data" if b"\0" in head else "text"


def clipped(value: object, width: int = 40) -> str:
    """The repr of a value, cut to ``width`` characters."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 4]}...{text[-1]}"


def drop_call(names: Sequence[str]) -> str:
    """How a data frame loses these columns; the command line shows its option instead."""
    return f"drop(columns={json.dumps(list(names), ensure_ascii=False)})"
