"""Parquet tables larger than memory: random rows of them, in memory that does not grow with their length."""

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
from pushforward.data.table import open_source, positions

__all__ = ["ParquetRows", "of_length"]

HELD = 10
"""Every tenth row of a group is held out."""
PIECE = 65_536


class ParquetRows:
    """The rows of a Parquet file, or of all those in a folder, of which some are read at a time.

    Args:
        path: a file, or a folder of files with one schema.
        columns: those that are read; all by default.

    Raises:
        TableError: there is no such file or column, or it is not Parquet.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> None:
        self.path = os.fspath(path)
        files = sorted(Path(self.path).rglob("*.parquet")) if os.path.isdir(self.path) else [Path(self.path)]
        if not files:
            raise TableError(f"{self.path}: the folder holds no .parquet file.")
        self.groups: list[tuple[str, int, int]] = []  # file, number of the row group, rows
        self.names: list[str] = []
        for file in files:
            source = open_source(file)
            if not isinstance(source, ParquetSource):
                raise TableError(f"{file}: only Parquet is read piece by piece. Convert it, or read it whole.")
            if self.names and list(source.names) != self.names:
                raise TableError(f"{file}: its columns are not those of {files[0]}. Keep tables of one kind together.")
            self.names = list(source.names)
            metadata = pq.ParquetFile(file).metadata
            self.groups += [(str(file), k, metadata.row_group(k).num_rows) for k in range(metadata.num_row_groups)]
        wanted = self.names if columns is None else list(columns)
        positions(self.path, tuple(self.names), wanted)  # refuses those that are not there
        self.names = wanted
        self.rows = sum(rows for *_, rows in self.groups)
        if not self.rows:
            raise TableError(f"{self.path}: the table has no rows.")

    def draw(self, rows: int, seed: int, *, held: bool) -> Any:
        """At most so many rows in random order, from as many random row groups as it takes: of those held out, which
        are every tenth one, or of the others."""
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
        """All different values of some columns, which takes a pass over them."""
        found: dict[str, set[Any]] = {name: set() for name in columns}
        for file in dict.fromkeys(file for file, *_ in self.groups):
            for batch in pq.ParquetFile(file).iter_batches(PIECE, columns=list(columns), use_threads=False):
                for name in columns:
                    found[name] |= set(pc.unique(batch.column(name)).to_pylist())
        return {name: sorted(values - {None}, key=str) for name, values in found.items()}


def of_length(values: NDArray[np.float64], rows: int, seed: int) -> NDArray[np.float64]:
    """The rows, as many as asked for: some of them twice where there are fewer."""
    extra = np.random.default_rng(seed).integers(0, len(values), max(0, rows - len(values)))
    return np.concatenate([values[:rows], values[extra]])
