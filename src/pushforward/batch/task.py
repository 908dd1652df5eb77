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
    except (ValueError, pa.ArrowException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return ShardResult(shard, error=f"{shard.source or shard.out}: {reason}", seconds=time.monotonic() - began)
    return ShardResult(shard, rows, bad, time.monotonic() - began)


def _rows_there(shard: Shard) -> int | None:
    """Rows of the result if it is there and whole."""
    storage = Storage(shard.out)
    if not storage.exists():
        return None
    try:
        with storage.reading() as file:
            return int(pq.ParquetFile(file).metadata.num_rows)
    except (pa.ArrowException, OSError):
        return None


def _sample(model: BatchModel, shard: Shard, options: Mapping[str, Any]) -> int:
    with Storage(shard.out).writing() as out:
        writer = None
        for block, start in enumerate(range(0, shard.rows, BLOCK)):
            seed = np.random.SeedSequence([options["seed"], *shard.groups, block]).generate_state(1)[0]
            rows = model.sample_batch(min(BLOCK, shard.rows - start), int(seed), options["given"])
            writer = writer or pq.ParquetWriter(out, rows.schema)
            writer.write_table(rows.cast(writer.schema))
        if writer is not None:
            writer.close()
    return shard.rows


def _answer(model: BatchModel, question: str, shard: Shard, keep: Sequence[str], skip_bad: bool) -> tuple[int, int]:
    bad: list[Any] = []
    rows = first = 0
    wanted = [*model.columns, *(name for name in keep if name not in model.columns)]

    def answer(table: Any) -> Any:
        return model.answer(question, table, keep)

    with Storage(shard.source).reading() as source, Storage(shard.out).writing() as out:
        file = pq.ParquetFile(source, pre_buffer=False)
        if absent := next((name for name in wanted if name not in file.schema_arrow.names), None):
            raise ValueError(f"there is no column {absent!r}.")
        writer = None
        for batch in file.iter_batches(BLOCK, row_groups=list(shard.groups), columns=wanted, use_threads=False):
            block = pa.Table.from_batches([batch])
            try:
                answers, refused = answered_in_parts(answer, block) if skip_bad else ([answer(block)], [])
            except ValueError as error:
                raise ValueError(f"rows {first + 1:,} to {first + block.num_rows:,} of the shard: {error}") from None
            for table in answers:
                writer = writer or pq.ParquetWriter(out, table.schema)
                writer.write_table(table.cast(writer.schema))
                rows += table.num_rows
            bad += refused
            first += block.num_rows
        if writer is None:  # no row could be answered
            empty = pa.table({"log_density": pa.array([], pa.float64())})
            writer = pq.ParquetWriter(out, empty.schema)
        writer.close()
        if bad:
            with Storage(shard.quarantine).writing() as quarantine:
                pq.write_table(pa.concat_tables(bad, promote_options="permissive"), quarantine)
    return rows, sum(table.num_rows for table in bad)
