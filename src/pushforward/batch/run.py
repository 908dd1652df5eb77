"""A plan carried out: by this process, by several, by Ray or by Spark."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pushforward.batch.answers import BatchModel
from pushforward.batch.plan import Shard, ShardPlan
from pushforward.batch.task import ShardResult, do_shard
from pushforward.core.checks import at_least, one_of

__all__ = ["ENGINES", "ShardReport", "run_shards"]

ENGINES = ("local", "ray", "spark")
Work = Callable[[Shard], ShardResult]


@dataclass
class ShardReport:
    """What became of a job."""

    shards: int = 0
    rows: int = 0
    """Rows that are answered."""
    bad: int = 0
    """Rows in quarantine."""
    there_before: int = 0
    """Shards that an earlier run had done."""
    errors: list[str] = field(default_factory=list)
    """Of shards that could not be answered."""

    def add(self, result: ShardResult) -> None:
        """Count a shard."""
        self.shards += 1
        self.rows, self.bad = self.rows + result.rows, self.bad + result.bad
        self.there_before += result.was_there
        if result.error:
            self.errors.append(result.error)


def run_shards(
    plan: ShardPlan,
    model: BatchModel,
    *,
    engine: str = "local",
    workers: int | None = None,
    keep: Sequence[str] = (),
    skip_bad: bool = False,
    progress: Callable[[ShardResult, int, int], None] = lambda result, done, count: None,
) -> ShardReport:
    """Do all shards of a plan that are not done yet. Doing it again, after a kill or with other workers, does the rest.

    Args:
        plan: what to do.
        model: that answers.
        engine: ``"local"``, ``"ray"`` (extra ``ray``; the cluster that ``ray.init`` finds) or ``"spark"`` (an active
            session).
        workers: processes of this machine, of the engine ``"local"``, 1 by default; most tasks at a time of Ray, by
            default as many as there are cores.
        keep: names of columns that are copied beside the answers.
        skip_bad: put rows that cannot be answered into quarantine, with the reasons, instead of giving up their shard.
        progress: called after each shard with its result, how many are done, and how many there are.

    Raises:
        ImportError: the engine is not installed.
        ValueError: there is no such engine, or there are no workers.
    """
    one_of("run_shards", "engine", engine, ENGINES)
    if workers is not None:
        at_least("run_shards", "workers", workers, 1)
    if engine == "ray":
        from pushforward.batch.ray_engine import on_ray as on_engine
    elif engine == "spark":
        from pushforward.batch.spark_engine import on_spark as on_engine
    else:
        on_engine = on_this_machine
    report = ShardReport()
    work = partial(do_shard, model, plan.question, options=plan.options, keep=tuple(keep), skip_bad=skip_bad)
    results: Iterator[ShardResult] = on_engine(work, plan.shards, workers)
    for result in results:
        report.add(result)
        progress(result, report.shards, len(plan.shards))
    return report


def on_this_machine(work: Any, shards: Sequence[Shard], workers: int | None) -> Iterator[ShardResult]:
    """The results in the order in which they are there, from processes of this machine, or from this one alone."""
    if workers in (None, 1) or len(shards) < 2:
        yield from map(work, shards)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads of torch in the middle of something
    others = set(multiprocessing.active_children())
    count = min(workers or 1, len(shards))
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(work,))
    try:
        for done in as_completed([pool.submit(_do, shard) for shard in shards]):
            yield done.result()
    except BaseException as error:  # Ctrl-C and SIGTERM as well: nobody waits for shards that are under way
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise ValueError(
                "A worker was killed, perhaps for want of memory. Start again with fewer --workers: shards that are "
                "done are not done twice."
            ) from None
        raise
    pool.shutdown()


_work: list[Any] = []
"""What a worker does with its shards: it comes to each process once, with the model."""


def _begin(work: Any) -> None:
    _follow_parent()
    _work[:] = [work]


def _do(shard: Shard) -> ShardResult:
    result: ShardResult = _work[0](shard)
    return result


def _follow_parent() -> None:
    """In a worker: Ctrl-C is for the process that hands out the shards, which ends this one; if that is gone, this one
    goes as well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
