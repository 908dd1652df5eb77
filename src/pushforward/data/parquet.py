"""Parquet tables larger than memory: random rows, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pushforward.data.formats import ParquetSource, TableError
from pushforward.data.reader import open_source, positions
from pushforward.data.storage import Storage, is_remote, is_several
from pushforward.data.survey import Survey, survey_of

__all__ = ["ParquetRows", "of_length"]

HOLDOUT_STRIDE = 10
"""Every tenth row of a row group is held out for validation."""
PIECE = 65_536
"""Rows that are read at a time in a pass over all files."""


class ParquetRows:
    """The rows of a Parquet file, or of all Parquet files of a folder, a pattern or an address, read in part.

    Args:
        path: a file, a folder of files with one schema, a pattern such as ``"data/2024-*.parquet"``, or an address as
            ``"s3://bucket/*.parquet"``, for which the package of fsspec must be installed.
        columns: the columns to read; all by default.
        skip_bad: read every row group once, and leave out the files and groups that cannot be read; ``left_out`` says
            which and why, ``rows_left_out`` how many rows of readable files.

    Raises:
        TableError: a file or column does not exist, or a file is not Parquet, or is damaged.
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str] | None = None, *, skip_bad: bool = False
    ) -> None:
        self.path, self.left_out, self.rows_left_out = os.fspath(path), {}, 0
        self.groups: list[tuple[str, int, int]] = []  # file, index of the row group, number of rows
        self.names: list[str] = []  # of the columns that are read
        self._starts: dict[str, list[int]] = {}  # numbers of the first rows of the groups of a file
        self._schema, first = pa.schema([]), ""
        for file in _files(self.path):
            try:
                schema, sizes = _described(file)
            except TableError as error:
                if not skip_bad:
                    raise
                self.left_out[file] = str(error)
                continue
            names = list(schema.names)
            if self.names and sorted(names) != sorted(self.names):
                raise TableError(
                    f"{file}: the columns differ from those of {first}. Keep files with other columns in other folders."
                )
            self.names, first = self.names or names, first or file
            self._schema = _unified(self._schema, schema, file, first)
            self._starts[file] = [0, *np.cumsum(sizes).tolist()]
            self.groups += [(file, k, size) for k, size in enumerate(sizes)]
        self.columns = self.names
        wanted = self.names if columns is None else list(columns)
        if wanted:
            positions(self.path, tuple(self.names), wanted)  # raises if one is missing
        self.names = wanted
        if skip_bad:
            self.groups = [group for group in self.groups if self._is_readable(group)]
        self.rows = sum(rows for *_, rows in self.groups)
        if not self.rows:
            raise TableError(f"{self.path}: the table has no rows.")
        self._cursor: _Cursor | None = None
        self._survey: tuple[tuple[int, int, int], Survey] | None = None

    def window(self, start: int, rows: int, seed: int) -> Any:
        """Some rows of an endless sequence, in which each epoch has every row once that is not held out: row groups in
        an order that the seed and the epoch decide, rows in that of their group.

        Args:
            start: number of the first row, from 0.
            rows: how many.
            seed: of the orders.
        """
        sizes = np.array([size - size // HOLDOUT_STRIDE for *_, size in self.groups])
        total, parts = int(sizes.sum()), []
        while rows:
            epoch, offset = divmod(start, total)
            order = np.random.default_rng([seed, epoch]).permutation(len(sizes))
            ends = sizes[order].cumsum()
            place = int(np.searchsorted(ends, offset, side="right"))
            g = int(order[place])
            count = min(rows, int(ends[place]) - offset)
            parts += self._learned(epoch, g, offset - int(ends[place] - sizes[g]), count)
            start, rows = start + count, rows - count
        return pa.concat_tables(parts)

    def _learned(self, epoch: int, g: int, start: int, count: int) -> list[Any]:
        """Some of the rows of a row group that are not held out. Whoever asks for the next ones finds the file as it
        was left, so that the rows of large groups are not all in memory."""
        if self._cursor is None or self._cursor.key != (epoch, g, start):
            learned = (table.filter(pa.array(~held)) for _, _, held, table in self._pieces([self.groups[g]]))
            self._cursor = _Cursor(learned)
            self._cursor.take(start)
        parts = self._cursor.take(count)
        self._cursor.key = epoch, g, start + count
        return parts

    def _as_all(self, table: Any) -> Any:
        """A table of one file with the types of all files."""
        table = table.select(self.names)
        return table.cast(pa.schema([self._schema.field(name) for name in self.names]))

    @contextmanager
    def _reading(self, group: tuple[str, int, int]) -> Iterator[Any]:
        """The open file of a row group; what goes wrong names both."""
        file, k, _ = group
        try:
            with _opened(file) as opened:
                yield opened
        except (pa.ArrowException, OSError) as error:
            raise TableError(
                f"{file}: row group {k + 1} cannot be read ({_reason(error)}). Write the file again, or leave such "
                "parts out with --skip-bad."
            ) from None

    def _is_readable(self, group: tuple[str, int, int]) -> bool:
        try:
            for _ in self._pieces([group]):
                pass
        except TableError as error:
            self.rows_left_out += group[2]
            self.left_out[f"{group[0]}, row group {group[1] + 1}"] = str(error)
            return False
        return True

    def survey(self, rows: int, held: int, seed: int) -> Survey:
        """What one pass over all rows finds; the last one is kept.

        Args:
            rows: how many random rows to draw from those that are not held out, at most.
            held: how many from the others.
            seed: of the random numbers.
        """
        if self._survey is None or self._survey[0] != (rows, held, seed) or not self._has(self._survey[1]):
            available = self.learned, self.rows - self.learned
            survey = survey_of(self._pieces(self.groups), available, (rows, held), seed)
            self._survey = (rows, held, seed), survey
        return self._survey[1].select(self.names)

    def tables(self) -> Iterator[Any]:
        """All rows in the order of the files, some at a time, as Arrow tables."""
        for *_, table in self._pieces(self.groups):
            yield table

    @property
    def learned(self) -> int:
        """How many rows are not held out."""
        return self.rows - sum(size // HOLDOUT_STRIDE for *_, size in self.groups)

    def _has(self, survey: Survey) -> bool:
        return set(self.names) <= set(survey.random.column_names)

    def _pieces(self, groups: Sequence[tuple[str, int, int]]) -> Iterator[tuple[str, int, NDArray[np.bool_], Any]]:
        """The rows of some groups, a few at a time: their file, the number of the first in it, which are held out, and
        the table."""
        for group in groups:
            file, k, _ = group
            place = 0
            with self._reading(group) as opened:
                for batch in opened.iter_batches(PIECE, row_groups=[k], columns=self.names, use_threads=False):
                    table = self._as_all(pa.Table.from_batches([batch]))
                    yield file, self._starts[file][k] + place, _is_held(place, len(batch)), table
                    place += len(batch)


class _Cursor:
    """A place among tables that come one after the other.

    Args:
        tables: the rows.

    Attributes:
        key: what stands at this place.
    """

    def __init__(self, tables: Iterator[Any]) -> None:
        self._tables, self._rest = tables, None
        self.key: tuple[int, int, int] | None = None

    def take(self, count: int) -> list[Any]:
        """The next rows, as tables."""
        parts: list[Any] = []
        while count:
            table: Any = next(self._tables, None) if self._rest is None else self._rest
            if table is None:
                raise TableError("the table: a file has fewer rows than before. Leave files alone while they are read.")
            parts.append(table.slice(0, count))
            self._rest = table.slice(count) if table.num_rows > count else None
            count -= parts[-1].num_rows
        return parts


def _is_held(start: int, count: int) -> NDArray[np.bool_]:
    """Which rows of a row group are held out, from one on."""
    return np.asarray(np.arange(start, start + count) % HOLDOUT_STRIDE == HOLDOUT_STRIDE - 1)


def _files(path: str) -> list[str]:
    """The files that a path, a pattern or an address names, in order.

    Raises:
        TableError: there are none.
    """
    if not is_several(path):
        return [path]
    try:
        files = Storage(path).matching()
    except (ValueError, OSError) as error:
        raise TableError(str(error)) from None
    if not files and os.path.isdir(path):
        raise TableError(f"{path}: the folder holds no .parquet file.")
    if not files:
        raise TableError(f"{path}: there is no such file. Check the pattern.")
    return files if is_remote(path) else [file.removeprefix("file://") for file in files]


def _unified(schema: Any, other: Any, file: str, first: str) -> Any:
    """The types that hold the columns of all files.

    Raises:
        TableError: the types of a column do not go together, such as text and numbers.
    """
    plain = pa.schema([pa.field(field.name, field.type) for field in other])
    try:
        return pa.unify_schemas([schema, plain], promote_options="permissive")
    except pa.ArrowException:
        odd = next(field for field in plain if not _can_unify(field, schema.field(field.name)))
        raise TableError(
            f"{file}: column {odd.name!r} holds {odd.type}, and {schema.field(odd.name).type} in {first}. Write one of "
            "them with the type of the other."
        ) from None


def _can_unify(field: Any, other: Any) -> bool:
    try:
        pa.unify_schemas([pa.schema([field]), pa.schema([other])], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _described(file: str) -> tuple[Any, list[int]]:
    """The Arrow schema of a file, and the rows of its row groups.

    Raises:
        TableError: it is no Parquet file, or a damaged one.
    """
    if not is_remote(file) and not isinstance(open_source(file), ParquetSource):
        raise TableError(f"{file}: only Parquet files are read in part. Convert the file to Parquet.")
    try:
        with _opened(file) as opened:
            metadata, schema = opened.metadata, opened.schema_arrow
            sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{file}: cannot be read as Parquet ({_reason(error)}). Write it again.") from None
    positions(file, tuple(schema.names), schema.names)  # raises if two have one name
    return schema, sizes


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    """A Parquet file, of this machine or not."""
    if not is_remote(file):
        with pq.ParquetFile(file) as opened:
            yield opened
        return
    with Storage(file).reading() as stream:
        yield pq.ParquetFile(stream)


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]


def of_length(values: NDArray[np.float64], rows: int, seed: int) -> NDArray[np.float64]:
    """The first ``rows`` rows; if there are fewer, all of them and random repetitions."""
    extra = np.random.default_rng(seed).integers(0, len(values), max(0, rows - len(values)))
    return np.concatenate([values[:rows], values[extra]])
