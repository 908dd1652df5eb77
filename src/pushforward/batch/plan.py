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

    The name of a result holds that of its source, its row groups, and a hash of the model and the question: doing a
    shard twice writes the same file, and one that is there already belongs to this very job.
    """

    shards: tuple[Shard, ...]
    question: str
    options: Mapping[str, Any]
    key: str
    """Hash of the model and the question."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Files that cannot be read, and why."""

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
        files = Storage(source).matching()
        if not files:
            raise ValueError(f"{source}: there is no such file. Name Parquet files, a folder of them, or a pattern.")
        shards: list[Shard] = []
        damaged: dict[str, str] = {}
        names = _short_names(files)
        for file in files:
            try:
                with Storage(file).reading() as opened:
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
                name = f"{names[file]}{part}.{key}.parquet"
                rows = sum(sizes[k] for k in groups)
                shards.append(Shard(file, tuple(groups), rows, _joined(out, name), _joined(out, f"quarantine/{name}")))
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
        shard_rows: int = SHARD_ROWS,
    ) -> ShardPlan:
        """The plan for so many rows of the model, which depend on the seed alone.

        Args:
            rows: how many.
            out: folder for them.
            model: content of the model file.
            seed: of the samples.
            conditions: values of columns, which stand beside the others.
            shard_rows: rows of a shard.
        """
        options = {"seed": seed, "given": dict(conditions or {})}
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
    rows = most
    for k, size in enumerate(sizes):
        if rows + size > most and (rows or not chunks):
            chunks.append([])
            rows = 0
        chunks[-1].append(k)
        rows += size
    return chunks


def _short_names(files: Sequence[str]) -> dict[str, str]:
    """Names without suffix; where two files of several folders have one name, their folders are part of it."""
    stems = {file: PurePosixPath(file).stem for file in files}
    if len(set(stems.values())) == len(files):
        return stems
    common = len(PurePosixPath(files[0]).parts)
    for file in files:
        parts = PurePosixPath(file).parts[:-1]
        first = PurePosixPath(files[0]).parts[:-1]
        same = next(
            (k for k, (a, b) in enumerate(zip(parts, first, strict=False)) if a != b), min(len(parts), len(first))
        )
        common = min(common, same)
    return {file: "-".join((*PurePosixPath(file).parts[common:-1], stems[file])) for file in files}


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"
