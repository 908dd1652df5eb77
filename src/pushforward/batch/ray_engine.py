"""Shards by Ray Data: tasks that can be done again, so that a node that dies loses and doubles nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pushforward.batch.plan import Shard
from pushforward.batch.task import ShardResult
from pushforward.core.extras import need_packages

__all__ = ["on_ray"]

RESULTS = ("rows", "bad", "seconds", "error", "was_there")


def on_ray(work: Any, shards: Sequence[Shard], workers: int | None) -> Iterator[ShardResult]:
    """The results of all shards, from the cluster that ``ray.init`` finds or starts.

    Raises:
        ImportError: Ray is not installed.
    """
    need_packages("--engine ray", "ray", "ray")
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    shared = ray.put(work)  # the model, once for each node

    listed = list(shards)

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        result = ray.get(shared)(listed[row["item"]])
        return {"number": row["item"], **{name: getattr(result, name) for name in RESULTS}}

    numbers = ray.data.from_items(list(range(len(shards))), override_num_blocks=max(1, len(shards)))
    # One CPU each. Ray Data starts a task whose node is gone again elsewhere, as often as need be.
    results = numbers.map(answer, num_cpus=1, concurrency=workers)
    for row in results.iter_rows():
        yield ShardResult(listed[int(row["number"])], **{name: row[name] for name in RESULTS})
