"""How large a table is when it is unpacked, measured before it is read as a whole: 20 MB can hold many gigabytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pushforward.data import TableError
from pushforward.data.formats import BLOCK, format_of
from pushforward.data.reader import BATCH, open_source

__all__ = ["MOST_ROWS", "MOST_UNPACKED", "refuse_large"]

MOST_ROWS = 2_000_000
MOST_UNPACKED = 500 * 2**20
"""Bytes."""


def refuse_large(path: Path) -> None:
    """Refuse a table that is too large to be read, in memory for a part of it.

    Raises:
        TableError: it has too many rows or bytes, or cannot be read.
    """
    kind, compression = format_of(path)
    source = open_source(path) if compression is None else None  # of packed text even the header can be endless
    size = 0
    try:
        if compression is not None:
            with pa.input_stream(str(path), compression=compression) as stream:
                while data := stream.read(BLOCK):
                    size = _add(path, size, len(data))
        elif kind == "parquet":
            metadata = pq.read_metadata(path)
            _count(path, metadata.num_rows)
            for k in range(metadata.num_row_groups):
                size = _add(path, size, metadata.row_group(k).total_byte_size)
        elif kind == "feather":
            for part in _sizes_of_batches(path):
                size = _add(path, size, part)
    except (pa.ArrowException, OSError, EOFError, struct.error, IndexError):
        pass  # it is damaged: the reader, which meets the same, has sentences for that
    source = open_source(path) if source is None else source
    rows = size = 0
    for batch in source.batches(range(len(source.names)), BATCH):
        rows = _count(path, rows + len(batch[0]))
        size = _add(path, size, sum(_size_of(part) for part in batch))


def _count(path: Path, rows: int) -> int:
    if rows > MOST_ROWS:
        raise TableError(f"{path}: the table has more than {MOST_ROWS:,} rows. Take a part of them.")
    return rows


def _add(path: Path, size: int, more: int) -> int:
    if size + more > MOST_UNPACKED:
        raise TableError(f"{path}: unpacked, the table is larger than {MOST_UNPACKED // 2**20} MB. Take a part of it.")
    return size + more


def _size_of(part: Any) -> int:
    """Bytes of a column; categories, of which each piece may have all, count once in the file already."""
    return int(part.indices.nbytes if pa.types.is_dictionary(part.type) else part.nbytes)


def _sizes_of_batches(path: Path) -> Iterator[int]:
    """Bytes of each record batch of a Feather file when it is unpacked, from the lengths in front of its buffers."""
    with pa.OSFile(str(path), "rb") as file:
        if file.read(6) == b"ARROW1":
            file.seek(8)  # what follows is a stream, and a footer that repeats where its batches are
        else:
            file.seek(0)
        for message in pa.ipc.MessageReader.open_stream(file):
            if message.type in ("record batch", "dictionary"):
                yield _unpacked(message.metadata.to_pybytes(), message.body, message.type == "dictionary")


def _unpacked(metadata: bytes, body: Any, is_dictionary: bool) -> int:
    """Bytes of a message, whose metadata is a table of FlatBuffers as in Message.fbs of Arrow."""
    batch = _child(metadata, struct.unpack_from("<I", metadata, 0)[0], 2)
    if is_dictionary:
        batch = _child(metadata, batch, 1)
    if not _field(metadata, batch, 3):  # nothing is compressed
        return int(body.size)
    buffers = _child(metadata, batch, 2)
    total = 0
    for k in range(struct.unpack_from("<I", metadata, buffers)[0]):
        offset, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * k)
        if length:
            unpacked = struct.unpack_from("<q", body, offset)[0]
            total += length if unpacked < 0 else unpacked  # -1: this buffer is not compressed
    return total


def _field(metadata: bytes, table: int, number: int) -> int:
    """Where a field of a table is; 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _child(metadata: bytes, table: int, number: int) -> int:
    """Where the table or vector is to which a field leads."""
    place = _field(metadata, table, number)
    if not place:
        raise IndexError(number)
    return place + int(struct.unpack_from("<I", metadata, place)[0])
