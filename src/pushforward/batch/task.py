"""One shard: read, answered and written, by whichever process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pushforward.batch.answers import BatchModel, answered_in_parts
from pushforward.batch.plan import Shard
from pushforward.data.storage import Storage

__all__ = ["ShardResult", "do_shard"]

BLOCK = 8192
"""Rows that are read and answered at a time. Memory does not grow with the shard, and the same rows are always answered
together, so that answers are equal bit for bit."""


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard."""

    shard: Shard
    rows: int = 0
    """Rows that were answered."""
    bad: int = 0
    """Rows that could not be, and stand in quarantine."""
    seconds: float = 0.0
    error: str = ""
    """Why nothing was written; empty if all went well."""
    was_there: bool = False
    """Whether an earlier run had done it."""


def do_shard(
    model: BatchModel,
    question: str,
    shard: Shard,
    *,
    options: Mapping[str, Any] | None = None,
    keep: Sequence[str] = (),
    skip_bad: bool = False,
) -> ShardResult:
    """Answer a shard and write the result, unless it is there already. Errors about the data are returned, not raised:
    they would be no different the second time."""
    began = time.monotonic()
    if (rows := _rows_there(shard)) is not None:
        return ShardResult(shard, rows, shard.rows - rows, was_there=True)
    try:
        if question == "sample":
            rows, bad = _sample(model, shard, options or {}), 0
        else:
            rows, bad = _answer(model, question, shard, keep, skip_bad)
    except Exception as error:  # whatever it is, the other shards are answered
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if not isinstance(error, ValueError | OSError):
            reason = f"{reason} ({type(error).__name__})"
        return ShardResult(shard, error=f"{shard.source or shard.out}: {reason}", seconds=time.monotonic() - began)
    return ShardResult(shard, rows, bad, time.monotonic() - began)


def _rows_there(shard: Shard) -> int | None:
    """Rows of the result if it is there and whole."""
    rows = _rows_in(shard.out)
    if rows is None or rows == shard.rows:
        return rows
    refused = _rows_in(shard.quarantine) if shard.quarantine else None
    return rows if rows + (refused or 0) == shard.rows else None


def _rows_in(address: str) -> int | None:
    """Rows of a Parquet file; None if it is not there or not whole."""
    storage = Storage(address)
    if not storage.exists():
        return None
    try:
        with storage.reading() as file:
            return int(pq.ParquetFile(file).metadata.num_rows)
    except (pa.ArrowException, OSError):
        return None


class _Rows:
    """Tables one after the other in a Parquet file, with the schema of the first one."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.writer: Any = None

    def write(self, table: Any) -> None:
        self.writer = self.writer or pq.ParquetWriter(self.file, table.schema)
        self.writer.write_table(table.cast(self.writer.schema))

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:  # before the file is closed, whatever happened
            self.writer.close()


def _sample(model: BatchModel, shard: Shard, options: Mapping[str, Any]) -> int:
    random = np.random.default_rng([options["seed"], *shard.groups])
    with Storage(shard.out).writing() as out, _Rows(out) as written:
        for start in range(0, shard.rows, BLOCK):
            count = min(BLOCK, shard.rows - start)
            written.write(model.sample_batch(count, random, options["given"], keep_rules=options["keep_rules"]))
    return shard.rows


def _answer(model: BatchModel, question: str, shard: Shard, keep: Sequence[str], skip_bad: bool) -> tuple[int, int]:
    bad: list[Any] = []
    rows = first = 0
    wanted = [*model.columns, *(name for name in keep if name not in model.columns)]

    def answer(table: Any) -> Any:
        return model.answer(question, table, keep)

    with Storage(shard.source).reading() as source, Storage(shard.out).writing() as out, _Rows(out) as written:
        file = pq.ParquetFile(source, pre_buffer=False)
        if absent := next((name for name in wanted if name not in file.schema_arrow.names), None):
            raise ValueError(f"there is no column {absent!r}.")
        for batch in file.iter_batches(BLOCK, row_groups=list(shard.groups), columns=wanted, use_threads=False):
            block = pa.Table.from_batches([batch])
            try:
                answers, refused = answered_in_parts(answer, block, len(bad)) if skip_bad else ([answer(block)], [])
            except ValueError as error:
                raise ValueError(f"rows {first + 1:,} to {first + block.num_rows:,} of the shard: {error}") from None
            for table in answers:
                written.write(table)
                rows += table.num_rows
            bad += refused
            first += block.num_rows
        if written.writer is None:  # no row could be answered, or there is none
            schema = file.schema_arrow
            if question == "score":
                schema = pa.schema([*(schema.field(name) for name in keep), pa.field("log_density", pa.float64())])
            else:
                schema = pa.schema([schema.field(name) for name in wanted])
            written.write(schema.empty_table())
        if bad:
            with Storage(shard.quarantine).writing() as quarantine:
                pq.write_table(pa.concat_tables(bad, promote_options="permissive"), quarantine)
    return rows, len(bad)
