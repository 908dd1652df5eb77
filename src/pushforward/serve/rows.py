"""Rows of a request as Arrow tables, and tables as the body of an answer."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from pushforward.core.json_values import finite
from pushforward.data import Schema, TableError
from pushforward.data.json_entries import entry_json

__all__ = [
    "ARROW", "TooManyRowsError", "arrow_of_table", "check_conditions", "json_of_table", "quoted", "table_of_arrow",
    "table_of_rows",
]  # fmt: skip

ARROW = "application/vnd.apache.arrow.stream"
"""The media type of a stream of Arrow."""
SCALARS = (str, int, float, bool, type(None))
LARGEST = 2**63
SHOWN_LETTERS = 100
"""Of a name that a client has made up."""


class TooManyRowsError(TableError):
    """A request has more rows than one may have."""


def table_of_rows(schema: Schema, rows: Sequence[Any]) -> pa.Table:
    """Rows as JSON has them, {column: value}, with null or nothing where an entry is missing.

    The first fault ends it: a request may have a million of them.

    Args:
        schema: of the model.
        rows: of the request.

    Raises:
        TableError: a row is no object, there is no such column, or values are not of one type.
    """
    names = set(schema.names)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise TableError(f"rows.{number - 1}: Input should be a valid dictionary.")
        if not row.keys() <= names:
            raise TableError(f"row {number}: {_unknown(schema, row)}")
    columns, texts = {}, set(schema.texts)
    for name in schema.names:
        columns[name] = _column(name, [row.get(name) for row in rows], name in texts)
    return pa.table(columns)


def check_conditions(schema: Schema, conditions: Mapping[str, Any]) -> None:
    """Refuse values of columns as JSON has them, by column, of which none may be missing. The first fault ends it.

    Raises:
        TableError: there is no such column, or a value is no scalar.
    """
    if not conditions.keys() <= set(schema.names):
        raise TableError(_unknown(schema, conditions))
    for name, value in conditions.items():
        if value is None or not isinstance(value, SCALARS):
            raise TableError(f"given: column {name!r} takes a text, a number, true or false.")
        if isinstance(value, str) and not _is_unicode(value):
            raise TableError(f"given: column {name!r}: the text is no valid Unicode.")


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone half of a pair of surrogates, which JSON can write."""
    try:
        text.encode()
    except UnicodeError:
        return False
    return True


def _unknown(schema: Schema, values: Mapping[str, Any]) -> str:
    """What is said about the first name that is none of a column."""
    name = next(name for name in values if name not in schema.names)
    return f"there is no column {quoted(name)}. The columns are {_listed(schema.names)}."


def quoted(name: str) -> str:
    """A name that a client has made up, cut where it is long."""
    return repr(name if len(name) <= SHOWN_LETTERS else f"{name[:SHOWN_LETTERS]}...")


def _column(name: str, values: list[Any], is_text: bool) -> pa.Array:
    for number, value in enumerate(values, 1):
        if not isinstance(value, SCALARS) or (isinstance(value, int) and abs(value) >= LARGEST):
            raise TableError(f"row {number}: column {name!r} takes a text, a number, true, false or null.")
    if is_text:
        values = [str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in values]
    elif any(isinstance(value, float) for value in values):
        values = [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]
    types = sorted({type(value).__name__ for value in values if value is not None})
    if len(types) > 1:
        raise TableError(f"column {name!r} holds values of several types ({', '.join(types)}). Give one type.")
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeError) as error:
        raise TableError(f"column {name!r}: {str(error).splitlines()[0]}.") from None


def table_of_arrow(schema: Schema, body: bytes, most_rows: int) -> pa.Table:
    """The columns of the model in a stream of Arrow; other columns of it are ignored.

    Nothing is taken that could be larger than its bytes: compressed buffers, nested or run-length types.

    Raises:
        TableError: it is no such stream, has too many rows, or lacks a column.
    """
    try:
        _refuse_compressed(body)
        with pa.ipc.open_stream(pa.BufferReader(body)) as reader:
            for field in reader.schema:
                if field.name in schema.names and not _is_flat(field.type):
                    raise TableError(f"column {field.name!r} is of type {field.type}. Give numbers, texts or dates.")
            batches, rows = [], 0
            for batch in reader:
                rows += batch.num_rows
                if rows > most_rows:
                    raise TooManyRowsError(f"The request has more than {most_rows:,} rows. Send fewer at once.")
                batches.append(batch)
            names = reader.schema.names
            if double := next((name for name in schema.names if names.count(name) > 1), None):
                raise TableError(f"there are two columns {double!r}.")
            table = pa.Table.from_batches(batches, reader.schema)
            if absent := next((name for name in schema.names if name not in names), None):
                raise TableError(f"there is no column {absent!r}, which the model has.")
            table = table.select(schema.names)
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError, struct.error, IndexError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError("The body is no stream of Arrow, or a damaged one.") from None
    return table


def _is_flat(kind: pa.DataType) -> bool:
    if kinds.is_dictionary(kind):
        return _is_flat(kind.value_type) and not kinds.is_null(kind.value_type)
    return any(
        is_kind(kind)
        for is_kind in (
            kinds.is_boolean, kinds.is_integer, kinds.is_floating, kinds.is_decimal, kinds.is_string,
            kinds.is_large_string, kinds.is_date, kinds.is_timestamp, kinds.is_null,
        )
    )  # fmt: skip


def _refuse_compressed(body: bytes) -> None:
    """Refuse compressed buffers: a few bytes may become gigabytes when they are read."""
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(body)):
        if message.type in ("record batch", "dictionary") and _has_compression(message.metadata.to_pybytes()):
            raise TableError("The stream of Arrow is compressed. Write it without compression.")


def _has_compression(metadata: bytes) -> bool:
    """Whether the header of a message names a compression: it is a table of FlatBuffers, as Arrow's Message.fbs says,
    whose third field is a RecordBatch, or a DictionaryBatch around one, and the fourth field of that the
    compression."""
    message = struct.unpack_from("<I", metadata, 0)[0]
    header = _field(metadata, message, 2)
    kind = _field(metadata, message, 1)
    if header is None or kind is None:
        return False
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    if metadata[kind] == 2:  # a DictionaryBatch: its second field is the batch
        inner = _field(metadata, batch, 1)
        if inner is None:
            return False
        batch = inner + struct.unpack_from("<I", metadata, inner)[0]
    return _field(metadata, batch, 3) is not None


def _field(metadata: bytes, table: int, number: int) -> int | None:
    """Where a field of a table of FlatBuffers is; None if it is not there."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, fields)[0]
    if 4 + 2 * number >= size:
        return None
    offset = struct.unpack_from("<H", metadata, fields + 4 + 2 * number)[0]
    return table + offset if offset else None


def json_of_table(table: pa.Table) -> list[dict[str, Any]]:
    """Rows {column: value}; NaN and infinite numbers are null, times texts as in ISO 8601."""
    return [{name: finite(entry_json(value)) for name, value in row.items()} for row in table.to_pylist()]


def arrow_of_table(table: pa.Table) -> bytes:
    """A stream of Arrow."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
