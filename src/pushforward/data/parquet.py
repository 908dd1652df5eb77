"""Parquet tables larger than memory: random rows, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pushforward.data.formats import ParquetSource, TableError
from pushforward.data.reader import open_source, positions

__all__ = ["ParquetRows", "of_length"]

HELD = 10
"""Every tenth row of a row group is held out for validation."""
PIECE = 65_536
"""Rows that are read at a time in a pass over the file."""


class ParquetRows:
    """The rows of a Parquet file, or of all Parquet files in a folder, read in part.

    Args:
        path: a file, or a folder of files with one schema.
        columns: the columns to read; all by default.

    Raises:
        TableError: a file or column does not exist, or a file is not Parquet.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> None:
        self.path = os.fspath(path)
        files = sorted(Path(self.path).rglob("*.parquet")) if os.path.isdir(self.path) else [Path(self.path)]
        if not files:
            raise TableError(f"{self.path}: the folder holds no .parquet file.")
        self.groups: list[tuple[str, int, int]] = []  # file, index of the row group, number of rows
        self.names: list[str] = []
        for file in files:
            source = open_source(file)
            if not isinstance(source, ParquetSource):
                raise TableError(f"{file}: only Parquet files are read in part. Convert the file to Parquet.")
            if self.names and list(source.names) != self.names:
                raise TableError(
                    f"{file}: the columns differ from those of {files[0]}. Keep files with "
                    "other columns in other folders."
                )
            self.names = list(source.names)
            metadata = pq.ParquetFile(file).metadata
            self.groups += [(str(file), k, metadata.row_group(k).num_rows) for k in range(metadata.num_row_groups)]
        wanted = self.names if columns is None else list(columns)
        positions(self.path, tuple(self.names), wanted)  # raises if one is missing
        self.names = wanted
        self.rows = sum(rows for *_, rows in self.groups)
        if not self.rows:
            raise TableError(f"{self.path}: the table has no rows.")

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
            file, k, size = self.groups[g]
            if not size:
                continue
            index = np.arange(size) % HELD == HELD - 1
            chosen = np.flatnonzero(index if held else ~index)
            part = pq.ParquetFile(file).read_row_group(k, columns=self.names, use_threads=False)
            parts.append(part.take(chosen))
            count += len(chosen)
            if count >= rows:
                break
        whole = pa.concat_tables(parts, promote_options="permissive").select(self.names)
        return whole.take(random.permutation(count)[:rows])

    def labels(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        """The distinct values of some columns, from a pass over the file."""
        distinct: dict[str, set[Any]] = {name: set() for name in columns}
        for file in dict.fromkeys(file for file, *_ in self.groups):
            for batch in pq.ParquetFile(file).iter_batches(PIECE, columns=list(columns), use_threads=False):
                for name in columns:
                    distinct[name] |= set(pc.unique(batch.column(name)).to_pylist())
        return {name: sorted(values - {None}, key=str) for name, values in distinct.items()}


def of_length(values: NDArray[np.float64], rows: int, seed: int) -> NDArray[np.float64]:
    """The first ``rows`` rows; if there are fewer, all of them and random repetitions."""
    extra = np.random.default_rng(seed).integers(0, len(values), max(0, rows - len(values)))
    return np.concatenate([values[:rows], values[extra]])
