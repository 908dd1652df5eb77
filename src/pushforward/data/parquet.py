"""Parquet tables larger than memory: random rows, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pushforward.data.formats import ParquetSource, TableError
from pushforward.data.reader import open_source, positions
from pushforward.data.storage import Storage, is_remote

__all__ = ["ParquetRows", "of_length"]

HELD = 10
"""Every tenth row of a row group is held out for validation."""
PIECE = 65_536
"""Rows that are read at a time in a pass over the file."""


class ParquetRows:
    """The rows of a Parquet file, or of all Parquet files of a folder, a pattern or an address, read in part.

    Args:
        path: a file, a folder of files with one schema, a pattern such as ``"data/2024-*.parquet"``, or an address as
            ``"s3://bucket/*.parquet"``, for which the package of fsspec must be installed.
        columns: the columns to read; all by default.
        skip_bad: read every row group once, and leave out the files and groups that cannot be read; ``left_out`` says
            which and why.

    Raises:
        TableError: a file or column does not exist, or a file is not Parquet, or is damaged.
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str] | None = None, *, skip_bad: bool = False
    ) -> None:
        self.path, self.left_out = os.fspath(path), {}
        self.groups: list[tuple[str, int, int]] = []  # file, index of the row group, number of rows
        self.names: list[str] = []  # of the columns that are read
        first = ""
        for file in _files(self.path):
            try:
                names, sizes = _described(file)
            except TableError as error:
                if not skip_bad:
                    raise
                self.left_out[file] = str(error)
                continue
            if self.names and names != self.names:
                raise TableError(
                    f"{file}: the columns differ from those of {first}. Keep files with other columns in other folders."
                )
            self.names, first = names, first or file
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
        self._last: tuple[int, Any] | None = None

    def window(self, start: int, rows: int, seed: int) -> Any:
        """Some rows of an endless sequence, in which each epoch has every row once that is not held out: row groups in
        an order that the seed and the epoch decide, rows in that of their group.

        Args:
            start: number of the first row, from 0.
            rows: how many.
            seed: of the orders.
        """
        sizes = np.array([size - size // HELD for *_, size in self.groups])
        total, parts = int(sizes.sum()), []
        while rows:
            epoch, offset = divmod(start, total)
            order = np.random.default_rng([seed, epoch]).permutation(len(sizes))
            ends = sizes[order].cumsum()
            place = int(np.searchsorted(ends, offset, side="right"))
            g = int(order[place])
            count = min(rows, int(ends[place]) - offset)
            parts.append(self._learned(g).slice(offset - int(ends[place] - sizes[g]), count))
            start, rows = start + count, rows - count
        return pa.concat_tables(parts, promote_options="permissive").select(self.names)

    def _learned(self, g: int) -> Any:
        """The rows of a row group that are not held out; the last one stays in memory."""
        if self._last is None or self._last[0] != g:
            table = self._read(self.groups[g])
            self._last = g, table.filter(pa.array(np.arange(table.num_rows) % HELD != HELD - 1))
        return self._last[1]

    def _read(self, group: tuple[str, int, int]) -> Any:
        """The columns of a row group.

        Raises:
            TableError: it is damaged.
        """
        file, k, _ = group
        try:
            with _opened(file) as opened:
                return opened.read_row_group(k, columns=self.names, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise TableError(
                f"{file}: row group {k + 1} cannot be read ({_reason(error)}). Write the file again, or leave such "
                "parts out with --skip-bad."
            ) from None

    def _is_readable(self, group: tuple[str, int, int]) -> bool:
        try:
            self._read(group)
        except TableError as error:
            self.left_out[f"{group[0]}, row group {group[1] + 1}"] = str(error)
            return False
        return True

    def draw(self, rows: int, seed: int, *, held: bool) -> Any:
        """At most ``rows`` random rows in random order, from as few random row groups as hold them.

        Args:
            rows: number of rows.
            seed: of the random numbers.
            held: whether to draw from the held-out rows or from the others.
        """
        random = np.random.default_rng(seed)
        parts, count = [], 0
        for g in random.permutation(len(self.groups)):
            size = self.groups[g][2]
            if not size:
                continue
            index = np.arange(size) % HELD == HELD - 1
            chosen = np.flatnonzero(index if held else ~index)
            parts.append(self._read(self.groups[g]).take(chosen))
            count += len(chosen)
            if count >= rows:
                break
        whole = pa.concat_tables(parts, promote_options="permissive").select(self.names)
        return whole.take(random.permutation(count)[:rows])

    def labels(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        """The distinct values of some columns, from a pass over the file."""
        distinct: dict[str, set[Any]] = {name: set() for name in columns}
        kept: dict[str, list[int]] = {}
        for file, k, _ in self.groups:
            kept.setdefault(file, []).append(k)
        for file, groups in kept.items() if columns else ():
            with _opened(file) as opened:
                for batch in opened.iter_batches(PIECE, row_groups=groups, columns=list(columns), use_threads=False):
                    for name in columns:
                        distinct[name] |= set(pc.unique(batch.column(name)).to_pylist())
        return {name: sorted(values - {None}, key=str) for name, values in distinct.items()}


def _files(path: str) -> list[str]:
    """The files that a path, a pattern or an address names, in order.

    Raises:
        TableError: there are none.
    """
    if is_remote(path) or (any(sign in path for sign in "*?") and not os.path.exists(path)):
        try:
            files = Storage(path).matching()
        except (ValueError, OSError) as error:
            raise TableError(str(error)) from None
        if not files:
            raise TableError(f"{path}: there is no such file. Check the pattern.")
        return files if is_remote(path) else [file.removeprefix("file://") for file in files]
    if not os.path.isdir(path):
        return [path]
    files = [str(file) for file in sorted(Path(path).rglob("*.parquet"))]
    if not files:
        raise TableError(f"{path}: the folder holds no .parquet file.")
    return files


def _described(file: str) -> tuple[list[str], list[int]]:
    """Names of the columns of a file, and the rows of its row groups.

    Raises:
        TableError: it is no Parquet file, or a damaged one.
    """
    if not is_remote(file) and not isinstance(open_source(file), ParquetSource):
        raise TableError(f"{file}: only Parquet files are read in part. Convert the file to Parquet.")
    try:
        with _opened(file) as opened:
            metadata = opened.metadata
            return list(opened.schema_arrow.names), [
                metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)
            ]
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{file}: cannot be read as Parquet ({_reason(error)}). Write it again.") from None


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
