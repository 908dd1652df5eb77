"""Requests that wait for the model, first come, first served; neighbours that can be are answered together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from pushforward.serve.limits import ServerLimits

__all__ = ["BUSY", "BusyError", "WorkQueue"]

BUSY = "Too many requests are waiting already. Try again later."
"""What a request is told that cannot wait as well."""

Merged = Callable[[Sequence[Any]], Sequence[Any]]
"""From the tables of several requests to their answers, each a result or an exception."""


class BusyError(RuntimeError):
    """The model cannot take a request on now; trying again later may help."""


class Job:
    """A request: a function to call, or a table that a merged answer is about."""

    def __init__(self, function: Callable[[], Any] | None, table: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.function, self.table, self.loop = function, table, loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.is_dropped = False  # nobody waits for the answer any more

    @property
    def rows(self) -> int:
        return 0 if self.table is None else int(self.table.num_rows)

    def answer(self, result: Any) -> None:
        """Give a result, or an exception, to whoever waits."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._answer, result)

    def _answer(self, result: Any) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class WorkQueue:
    """One thread that asks the model, and the requests that wait for it.

    Args:
        merged: answers several tables at once.
        limits: of how many may wait, for how long, and of how many rows are answered together.
        scope: around all work of the thread.
    """

    def __init__(self, merged: Merged, limits: ServerLimits, scope: AbstractContextManager[Any] | None = None) -> None:
        self._merged, self._limits, self._scope = merged, limits, scope or nullcontext()
        self._jobs: deque[Job] = deque()
        self._change, self._ends, self._running = threading.Condition(), False, 0
        self._thread = threading.Thread(target=self._work, name="pushforward-serve", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Requests that wait or are being answered. One that nobody waits for any more counts until its turn."""
        return len(self._jobs) + self._running

    def refuse_if_full(self) -> None:
        """Take no further request where too many wait.

        Raises:
            BusyError: too many wait.
        """
        if self._ends or len(self) >= self._limits.waiting:
            raise BusyError(BUSY)

    async def ask(self, function: Callable[[], Any] | None = None, *, table: Any = None) -> Any:
        """The result of a function, or of the merged answer for a table, computed in the thread.

        Raises:
            BusyError: too many wait already, or it took too long.
        """
        job = Job(function, table, asyncio.get_running_loop())
        with self._change:
            self.refuse_if_full()
            self._jobs.append(job)
            self._change.notify()
        try:
            return await asyncio.wait_for(job.future, self._limits.seconds)
        except TimeoutError:
            raise BusyError(f"The answer took longer than {self._limits.seconds:g} seconds. Try again later.") from None
        finally:
            job.is_dropped = True

    def close(self) -> None:
        """Answer all that wait, then end the thread."""
        with self._change:
            self._ends = True
            self._change.notify()
        self._thread.join()

    def _work(self) -> None:
        with self._scope:
            while jobs := self._next():
                self._answer([job for job in jobs if not job.is_dropped])

    def _next(self) -> list[Job]:
        """The first job, and those behind it that can be answered with it; none at the end."""
        with self._change:
            self._change.wait_for(lambda: self._jobs or self._ends)
            if not self._jobs:
                return []
            jobs = [self._jobs.popleft()]
            rows = jobs[0].rows
            while (
                jobs[0].table is not None
                and self._jobs
                and self._jobs[0].table is not None
                and rows + self._jobs[0].rows <= self._limits.batch_rows
            ):
                jobs.append(self._jobs.popleft())
                rows += jobs[-1].rows
            self._running = len(jobs)
            return jobs

    def _answer(self, jobs: list[Job]) -> None:
        if not jobs:
            self._running = 0
            return
        function = jobs[0].function
        try:
            results = [function()] if function is not None else self._merged([job.table for job in jobs])
        except Exception as error:
            results = [error] * len(jobs)
        self._running = 0  # before anybody hears of it
        for job, result in zip(jobs, results, strict=True):
            job.answer(result)
