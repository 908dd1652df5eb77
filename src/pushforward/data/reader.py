"""One way to read a table: CSV, TSV, Parquet or Feather as Arrow tables, whole or in pieces.

Text files declare no types: a column is integers, numbers or booleans if all its values are, else text. What numbers,
dates and units a column of text stands for is decided by `schema`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pushforward.data.dialect import TableFile
from pushforward.data.formats import FeatherSource, ParquetSource, Source, TableError, format_of
from pushforward.data.frame import raw_columns
from pushforward.data.storage import is_several
from pushforward.data.text import MISSING_WORDS, TextSource

__all__ = [
    "column_names",
    "named_table",
    "open_source",
    "positions",
    "read_arrow",
    "read_numbers",
    "stream_arrow",
]

PathLike = str | os.PathLike[str]
BATCH = 65_536
"""Rows read at a time."""
TEXT_ONLY = r"^0\d+$|[xX]"
"""What Arrow would read as a number and is none: codes with leading zeros, such as postal codes, and 0x1F."""


def open_source(path: PathLike) -> Source:
    """The reader for the suffix of a table; a `TableFile` says how its text is written.

    Raises:
        TableError: there is no such file, it is empty, or its first bytes do not match its suffix.
    """
    shown = os.fspath(path)
    if os.path.isdir(shown):
        raise TableError(f"{shown}: that is a folder, not a table. Name a file.")
    if not os.path.exists(shown):
        if is_several(shown):
            raise TableError(
                f"{shown}: that names several files, which fit, schema, score, impute, evaluate and report read, as "
                "Parquet. Name one file."
            )
        raise TableError(f"{shown}: there is no such file. Check the path.")
    kind, compression = format_of(shown)
    if not os.path.isfile(shown):
        raise TableError(f"{shown}: that is a device or a pipe. Save the table to a file first.")
    try:
        with open(shown, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise TableError(f"{shown}: cannot be opened ({error.strerror}). Check its permissions.") from None
    if not head:
        raise TableError(f"{shown}: the file is empty (0 bytes). A table needs a header and rows.")
    if kind == "parquet":
        return ParquetSource(shown, head)
    if kind == "feather":
        return FeatherSource(shown, head)
    options = path if isinstance(path, TableFile) else TableFile(shown)
    return TextSource(options, head, delimiter="\t" if kind == "tsv" else ",", compression=compression)


def column_names(path: PathLike) -> tuple[str, ...]:
    """The column names of a table, in the order of the file. Reads the header only."""
    return open_source(path).names


def read_arrow(path: PathLike, columns: Sequence[str] | None = None) -> Any:
    """A whole table, with numbers, booleans and text as they are stored; missing values are null.

    Args:
        path: ``.csv`` or ``.tsv`` (each also ``.gz`` and ``.zst``), ``.parquet``, ``.pq``, ``.feather`` or ``.arrow``.
        columns: the columns to read and their order; all by default.

    Raises:
        TableError: the file cannot be read, has no rows, lacks a column or has two of one name.
    """
    source = open_source(path)
    places = positions(source.path, source.names, source.names if columns is None else columns)
    batches = list(source.batches(places, BATCH))
    if not sum(len(batch[0]) for batch in batches):
        raise TableError(f"{source.path}: the table has a header but no rows. Add rows below it.")
    parts = [pa.chunked_array([batch[k] for batch in batches]) for k in range(len(places))]
    del batches
    with named_table(source.path):
        return pa.table({source.names[i]: _typed(part, source.types[i]) for i, part in zip(places, parts, strict=True)})


def stream_arrow(
    path: PathLike, columns: Sequence[str], rows: int = 8192, *, texts: Collection[str] = ()
) -> Iterator[Any]:
    """Some columns of a table in pieces, in constant memory.

    Args:
        path: as in `read_arrow`.
        columns: the names of the columns, in the order of the result.
        rows: number of rows of each piece but the last.
        texts: the columns that are text even if all values of a piece are numbers: "7" may be followed by "7a".

    Raises:
        TableError: the file cannot be read, has no rows, or lacks a column.
    """
    source = open_source(path)
    places = positions(source.path, source.names, columns)
    types = [source.types[i] for i in places]

    def typed(piece: Any) -> Any:
        with named_table(source.path):
            return pa.table({
                name: _typed(part, stored, text=name in texts)
                for name, stored, part in zip(columns, types, piece.columns, strict=True)
            })  # fmt: skip

    held, seen = [], 0
    for batch in source.batches(places, rows):
        held.append(pa.table(dict(zip(columns, batch, strict=True))))
        seen += len(batch[0])
        while sum(piece.num_rows for piece in held) >= rows:
            whole = pa.concat_tables(held)
            yield typed(whole.slice(0, rows))
            held = [whole.slice(rows)]
    if any(piece.num_rows for piece in held):
        yield typed(pa.concat_tables(held))
    if not seen:
        raise TableError(f"{source.path}: the table has a header but no rows. Add rows below it.")


def read_numbers(path: PathLike, columns: Sequence[str] | None = None) -> NDArray[np.float64]:
    """A table of numbers as an array, (rows, columns).

    Raises:
        TableError: as in `read_arrow`, or a column holds text or has missing values.
    """
    raws = raw_columns(read_arrow(path, columns))
    for raw in raws:
        if raw.values is None or np.isnan(raw.values).any():
            fact = "holds text" if raw.values is None else "has missing values"
            raise TableError(f"{os.fspath(path)}: column {raw.name!r} {fact}. Leave it out.")
    return np.stack([raw.values for raw in raws if raw.values is not None], axis=1)


@contextmanager
def named_table(table: PathLike, first_row: int = 0) -> Iterator[None]:
    """Name the file, and count rows from its first one, in errors about a data frame within the block.

    Raises:
        TableError: that of the block, in these words.
    """
    try:
        yield
    except TableError as error:
        message = str(error).replace("the table:", f"{os.fspath(table)}:", 1)
        if first_row:
            message = re.sub(r"\brow (\d+)\b", lambda row: f"row {int(row[1]) + first_row}", message)
        raise type(error)(message) from None


def positions(where: str, names: tuple[str, ...], wanted: Sequence[str]) -> list[int]:
    """Indices of the wanted columns.

    Raises:
        TableError: a column is missing, repeated or has no name.
    """
    if isinstance(wanted, str):
        raise TableError(f"{where}: columns must be a list of names; got the text {wanted!r}. Write [{wanted!r}].")
    if not wanted:
        raise TableError(f"{where}: no columns are left. Name at least one.")
    place = {name: i for i, name in reversed(list(enumerate(names)))}
    absent = [name for name in wanted if name not in place]
    if absent:
        close = {
            match
            for name in absent
            for match in difflib.get_close_matches(name, [n for n in names if n not in wanted], n=2)
        }
        likely = " or ".join(repr(name) for name in names if name in close)
        guess = f" Did you mean {likely}?" if close else ""
        shown = ", ".join(map(repr, names[:10])) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
        column = f"column {', '.join(map(repr, absent[:10]))}" + (
            f" and {len(absent) - 10} more" if absent[10:] else ""
        )
        raise TableError(f"{where}: there is no {column}.{guess} The columns are {shown}.")
    times_here, times_wanted = Counter(names), Counter(wanted)
    for name in wanted:
        if name == "":
            raise TableError(
                f"{where}: column {place[name] + 1} has no name (a saved row index, perhaps). "
                "Name it in the header or remove it."
            )
        if times_here[name] > 1:
            raise TableError(f"{where}: {times_here[name]} columns are named {name!r}. Rename all but one.")
        if times_wanted[name] > 1:
            raise TableError(f"{where}: column {name!r} is asked for more than once. Name it once.")
    return [place[name] for name in wanted]


def _typed(column: Any, stored: Any, *, text: bool = False) -> Any:
    """A column with dictionaries decoded, but for ordered ones, and decimals as float64; one of a text file (without a
    stored type) as integers, numbers or booleans if all its values are."""
    if stored is not None:
        if pa.types.is_dictionary(column.type) and not column.type.ordered:
            return column.cast(column.type.value_type)
        return column.cast(pa.float64(), safe=False) if pa.types.is_decimal(column.type) else column
    try:
        words = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowInvalid:
        raise TableError("the table: a column is not UTF-8 text. Save the file as UTF-8.") from None
    missing = pc.is_in(words, value_set=pa.array(sorted(MISSING_WORDS)))
    words = pc.if_else(missing, pa.scalar(None, pa.string()), words)
    text = text or pc.any(pc.match_substring_regex(words, TEXT_ONLY)).as_py()
    for target in () if text else (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return words.cast(target)
        except pa.ArrowInvalid:
            continue
    return words
