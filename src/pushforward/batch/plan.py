"""What there is to do: a list of shards with the names of their results, the same whoever makes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pushforward.data.storage import Storage

__all__ = ["QUESTIONS", "Shard", "ShardPlan"]

SHARD_ROWS = 1_000_000
"""Rows of row groups that make one shard; a file of fewer rows is one shard."""
MOST_LETTERS = 100
"""Of the name of a file in that of its results."""
QUESTIONS = ("score", "impute", "sample")


@dataclass(frozen=True)
class Shard:
    """Some row groups of a Parquet file, and where the answers to them go."""

    source: str
    """Address of the file; empty for samples, which come from nowhere."""
    groups: tuple[int, ...]
    """Numbers of its row groups; of samples the number of the shard."""
    rows: int
    out: str
    """Address of the result."""
    quarantine: str
    """Address for rows that cannot be answered, with the reasons."""


@dataclass(frozen=True)
class ShardPlan:
    """All shards of a job.

    The name of a result holds that of its source, a hash of its address and of when it was changed, its row groups, and
    a hash of the model and the question: doing a shard twice writes the same file, and one that is there already
    belongs to this very job.
    """

    shards: tuple[Shard, ...]
    question: str
    options: Mapping[str, Any]
    key: str
    """Hash of the model and the question."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Files that cannot be read, and why."""

    def others(self, out: str) -> int:
        """How many files of results in a folder are not of this job: of another model or question, or of files that
        have changed since."""
        folder, mine = Storage(out), {shard.out.rpartition("/")[2] for shard in self.shards}
        there = folder.matching() if folder.exists() else []
        return sum(file.rpartition("/")[2] not in mine for file in there if "/_quarantine/" not in file)

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @classmethod
    def make(
        cls,
        source: str,
        out: str,
        model: bytes,
        *,
        question: str = "score",
        options: Mapping[str, Any] | None = None,
        skip_bad: bool = False,
        shard_rows: int = SHARD_ROWS,
    ) -> ShardPlan:
        """The plan for all Parquet files of an address.

        Args:
            source: a file, a folder, or a pattern such as ``"s3://bucket/year=2024/*.parquet"``.
            out: folder for the results.
            model: content of the model file.
            question: ``"score"`` or ``"impute"``.
            options: of the question.
            skip_bad: list files that cannot be read instead of refusing them.
            shard_rows: see `SHARD_ROWS`.

        Raises:
            ValueError: there are no such files, or one cannot be read.
        """
        options = dict(options or {})
        key = _key(model, question, options)
        results = _joined(Storage(out).address, "")
        files = [file for file in Storage(source).matching() if not file.startswith(results)]
        if not files:
            raise ValueError(f"{source}: there is no such file. Name Parquet files, a folder of them, or a pattern.")
        shards: list[Shard] = []
        damaged: dict[str, str] = {}
        for file in files:
            storage = Storage(file)
            try:
                name = f"{PurePosixPath(file).stem[:MOST_LETTERS]}.{storage.stamp()}"
                with storage.reading() as opened:
                    metadata = pq.ParquetFile(opened).metadata
                    sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
            except (pa.ArrowException, OSError, ValueError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                if not skip_bad:
                    raise ValueError(
                        f"{file}: cannot be read as Parquet ({reason}). Mend it, or leave it out with --skip-bad."
                    ) from None
                damaged[file] = reason
                continue
            for groups in _chunks(sizes, shard_rows):
                part = "" if len(groups) == len(sizes) else f".groups-{groups[0]}-{groups[-1]}"
                result = f"{name}{part}.{key}.parquet"
                rows, aside = sum(sizes[k] for k in groups), _joined(out, f"_quarantine/{result}")
                shards.append(Shard(file, tuple(groups), rows, _joined(out, result), aside))
        return cls(tuple(shards), question, options, key, damaged)

    @classmethod
    def of_samples(
        cls,
        rows: int,
        out: str,
        model: bytes,
        *,
        seed: int = 0,
        conditions: Mapping[str, Any] | None = None,
        keep_rules: bool = False,
        shard_rows: int = SHARD_ROWS,
    ) -> ShardPlan:
        """The plan for so many rows of the model, which depend on the seed alone.

        Args:
            rows: how many.
            out: folder for them.
            model: content of the model file.
            seed: of the samples.
            conditions: values of columns, which stand beside the others.
            keep_rules: whether rows keep the rules of the table.
            shard_rows: rows of a shard.
        """
        options = {"seed": seed, "given": dict(conditions or {}), "keep_rules": keep_rules}
        key = _key(model, "sample", [options, shard_rows])
        shards = []
        for k, start in enumerate(range(0, rows, shard_rows)):
            name = f"samples-{k:06d}.{key}.parquet"
            shards.append(Shard("", (k,), min(shard_rows, rows - start), _joined(out, name), ""))
        return cls(tuple(shards), "sample", options, key)


def _key(model: bytes, question: str, options: Any) -> str:
    asked = json.dumps([question, options], sort_keys=True, default=list).encode()
    return hashlib.sha256(hashlib.sha256(model).digest() + asked).hexdigest()[:12]


def _chunks(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Neighbouring row groups of about so many rows together."""
    chunks: list[list[int]] = []
    rows = 0
    for k, size in enumerate(sizes):
        if not chunks or (rows and rows + size > most):
            chunks.append([])
            rows = 0
        chunks[-1].append(k)
        rows += size
    return chunks


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"
