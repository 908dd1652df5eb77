"""The file formats of a table: which one a name asks for, and the two formats that declare their types.

A source yields Arrow columns as they are stored. What they mean as numbers is decided in ``columns``, so that
CSV, Parquet and Feather share every rule and every sentence.
"""

from __future__ import annotations

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
    "format_of",
    "looks_like",
]

_FORMATS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
}

BLOCK = 1 << 18  # bytes of a file that are looked at together: small, since Arrow reads several ahead
_BATCH = 8192  # rows decoded together, for the same reason

_SIGNATURES = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "a Feather file",
    b"FEA1": "a Feather file of the outdated version 1",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file or an Excel workbook",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class TableError(ValueError):
    """A table that cannot be read or written as asked; the message is one sentence and a remedy."""


def format_of(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """The format that the suffix asks for (csv, tsv, parquet or feather) and whether it is gzipped.

    >>> format_of("table.CSV.gz")
    ('csv', True)
    """
    name = Path(path).name.lower()
    for suffix in sorted(_FORMATS, key=len, reverse=True):
        if name.endswith(suffix):
            return _FORMATS[suffix], suffix.endswith(".gz")
    known = ", ".join(_FORMATS)
    raise TableError(f"{os.fspath(path)}: a table's name ends in one of {known}. Rename or convert it.")


class Source(ABC):
    """A readable file with named columns.

    ``types[i]`` is the Arrow type that the file declares for column i, None where it declares none (text
    files).
    """

    kind: str
    names: tuple[str, ...]
    types: tuple[Any, ...]

    def __init__(self, path: str) -> None:
        self.path = path

    def row(self, index: int) -> str:
        """How a message names the row with this index (the first one is 0)."""
        return f"row {index + 1}"

    @abstractmethod
    def batches(self, columns: Sequence[int], rows: int) -> Iterator[list[Any]]:
        """The chosen columns as lists of equally long Arrow arrays, in the file's order.

        One list holds a bounded number of rows, about ``rows`` at most where the format can be asked for that.
        """

    def _refuse_unless(self, fits: bool, head: bytes) -> None:
        """Go on only if the first bytes of the file fit its suffix."""
        if not fits:
            raise TableError(
                f"{self.path}: not a {self.kind} file, although its name says so; it looks like "
                f"{looks_like(head)}. Give it the suffix of what it is, or convert it."
            )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn whatever Arrow and the system raise while reading into one sentence."""
        try:
            yield
        except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise TableError(
                f"{self.path}: cannot be read as {self.kind}; it may be damaged or cut short "
                f"({first_line[:200]}). Write it anew."
            ) from None


class ParquetSource(Source):
    """Parquet, through a small buffer: a row group of any size costs one batch of memory."""

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
                # Asking for "a" also brings "a.b" along, which Parquet cannot tell from a field b inside a.
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
    """What a file is, going by its first bytes."""
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "binary data" if b"\0" in head else "text"


def clipped(value: object, width: int = 40) -> str:
    """The value as it would be typed, cut to ``width`` characters."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 4]}...{text[-1]}"
