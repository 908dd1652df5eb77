"""A table of numbers: read whole or as a stream, from CSV, TSV, Parquet or Feather.

Every value is a finite float64. Other values are refused with a message that names the file, the column, the first
such row and a remedy, since a density learned from silently altered data would be wrong.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pushforward.data.columns import BadValue, ColumnConverter, drop_option, table_error
from pushforward.data.formats import FeatherSource, ParquetSource, Source, TableError, format_of
from pushforward.data.text import TextSource

__all__ = ["Table", "check_not_constant", "column_names", "open_source", "read_table", "stream_table"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of numbers.

    Attributes:
        names: one name per column.
        values: the numbers, (rows, columns).
        types: the Arrow type name of each column in its file (``int64``, ``double``, ``bool``, ...; for text files the
            type that holds all values). ``double`` for a table that does not come from a file.
        source: the file, None for a table that does not come from a file.

    Raises:
        ValueError: ``values`` has not one column per name, or ``types`` not one type.

    >>> table = Table(("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> len(table), table.select(["b"]).values.ravel().tolist()
    (2, [2.0, 4.0])
    """

    names: tuple[str, ...]
    values: NDArray[Any]
    types: tuple[str, ...] = ()
    source: Path | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(
                f"Table: values must have shape (rows, {len(self.names)}), one column per name; "
                f"got {self.values.shape}."
            )
        if not self.types:
            object.__setattr__(self, "types", ("double",) * len(self.names))
        if len(self.types) != len(self.names):
            raise ValueError(f"Table: types must name {len(self.names)} columns; got {len(self.types)}.")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def integers(self) -> tuple[str, ...]:
        """Names of the columns that were stored as integers or booleans."""
        whole = ("int", "uint", "bool")
        return tuple(name for name, kind in zip(self.names, self.types, strict=True) if kind.startswith(whole))

    def select(self, names: Sequence[str]) -> Table:
        """The table with these columns, in this order."""
        index = positions(str(self.source or "the table"), self.names, names)
        types = tuple(self.types[i] for i in index)
        return Table(tuple(self.names[i] for i in index), self.values[:, index], types, self.source)


def open_source(path: PathLike) -> Source:
    """The reader for the suffix of a table.

    Raises:
        TableError: there is no such file, it is empty, or its first bytes do not match its suffix.
    """
    shown = os.fspath(path)
    if os.path.isdir(shown):
        raise TableError(f"{shown}: that is a folder, not a table. Name a file.")
    if not os.path.exists(shown):
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
    return TextSource(shown, head, delimiter="\t" if kind == "tsv" else ",", compression=compression)


def column_names(path: PathLike) -> tuple[str, ...]:
    """The column names of a table, in the order of the file. Reads the header only."""
    return open_source(path).names


def read_table(path: PathLike, columns: Sequence[str] | None = None, *, dtype: DTypeLike = np.float64) -> Table:
    """Read a whole table. Needs memory for its values and one batch more.

    Args:
        path: ``.csv`` or ``.tsv`` (each also ``.gz``), ``.parquet``, ``.pq``, ``.feather`` or ``.arrow``.
        columns: the columns to read and their order; None reads all.
        dtype: of the values.

    Raises:
        TableError: the file cannot be read, lacks a column, or holds a value that is not a finite number.
    """
    parts, converters = _open(path, columns, rows=65536)
    pieces = deque(part.astype(dtype, copy=False) for part in parts)
    values = np.empty((sum(map(len, pieces)), len(converters)), dtype)
    start = 0
    while pieces:  # each piece is freed once it is copied
        piece = pieces.popleft()
        values[start : start + len(piece)] = piece
        start += len(piece)
    names, types = tuple(column.name for column in converters), tuple(column.type for column in converters)
    return Table(names, values, types, Path(path))


def stream_table(
    path: PathLike, columns: Sequence[str] | None = None, *, rows: int = 65536
) -> Iterator[NDArray[np.float64]]:
    """Read a table in pieces, in constant memory.

    The file, its header and the column names are checked at the call, values as they are read: an error may be raised
    after some pieces. Every piece but the last has ``rows`` rows, in every format.

    Args:
        path: as in :func:`read_table`.
        columns: as in :func:`read_table`.
        rows: the number of rows of a piece.

    Yields:
        float64 arrays of shape ``(at most rows, columns)``.

    Raises:
        ValueError: ``rows`` is below one.
        TableError: the file cannot be read, or a column holds what is no number.
    """
    if rows < 1:
        raise ValueError(f"stream_table: rows must be at least 1; got {rows}.")
    return _regroup(_open(path, columns, rows)[0], rows)


def check_not_constant(table: Table) -> None:
    """Refuse a table without a density: fewer than two rows, or a constant column.

    Raises:
        TableError: naming the constant columns.
    """
    where = f"{table.source}: " if table.source else ""
    if len(table) < 2:
        count = "1 row" if len(table) == 1 else "no rows"
        raise TableError(f"{where}the table has {count}. A density needs at least 2 rows, and usually hundreds.")
    constant = np.flatnonzero((table.values == table.values[:1]).all(axis=0)).tolist()
    if not constant:
        return
    names = [table.names[i] for i in constant]
    shown = [f"{table.names[i]!r} is constant (always {float(table.values[0, i])!r})" for i in constant[:5]]
    more = f" and {len(names) - 5} more are" if len(names) > 5 else ""
    it, its = ("it", "its density is") if len(names) == 1 else ("them", "their density is")
    raise TableError(f"{where}column {', '.join(shown)}{more}: {its} infinite. Drop {it} ({drop_option(names)}).")


def _open(
    path: PathLike, columns: Sequence[str] | None, rows: int
) -> tuple[Iterator[NDArray[np.float64]], list[ColumnConverter]]:
    """The batches of a file as numbers, and the converters, which hold the column types after the last batch."""
    source = open_source(path)
    index = positions(source.path, source.names, source.names if columns is None else columns)
    converters = [ColumnConverter(source.names[i], source.types[i]) for i in index]
    return _convert(source, index, converters, rows), converters


def _convert(
    source: Source, index: list[int], columns: list[ColumnConverter], rows: int
) -> Iterator[NDArray[np.float64]]:
    seen = 0
    for batch in source.batches(index, rows):
        seen += len(batch[0])
        values = np.empty((len(batch[0]), len(columns)))
        problems = []
        for i, (column, piece) in enumerate(zip(columns, batch, strict=True)):
            try:
                values[:, i] = column.convert(piece)
            except BadValue as problem:
                problems.append(problem)
        if problems:
            raise table_error(source, problems)
        yield values
    if not seen:
        raise TableError(f"{source.path}: the table has a header but no rows. Add rows below it.")


def _regroup(parts: Iterator[NDArray[np.float64]], rows: int) -> Iterator[NDArray[np.float64]]:
    """The rows of all parts, in pieces of ``rows``."""
    held: list[NDArray[np.float64]] = []
    count = 0
    for part in parts:
        while count + len(part) >= rows:
            yield np.concatenate([*held, part[: rows - count]])
            part, held, count = part[rows - count :], [], 0
        if len(part):
            held.append(part)
            count += len(part)
    if held:
        yield np.concatenate(held)


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
        close = {match for name in absent for match in difflib.get_close_matches(name, names, n=2)}
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
