"""The buttons of a training: run, pause, one step, stop, as its thread sees them between two steps."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pushforward.lab.arguments import LabError

__all__ = ["Controls"]


class Controls:
    """Shared between the thread of a training, which waits here between two steps, and others, which ask.

    Args:
        paused: whether the training waits before its first step.
    """

    def __init__(self, *, paused: bool = False) -> None:
        self._changed = threading.Condition()
        self._paused, self._steps, self._stopped, self._ended = paused, 0, False, False
        self._state = 0
        self._questions: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    @property
    def paused(self) -> bool:
        """Whether the training waits, but for single steps."""
        return self._paused

    @property
    def stopped(self) -> bool:
        """Whether the training is to end."""
        return self._stopped

    @property
    def status(self) -> tuple[int, bool]:
        """The number of changes so far (by `pause`, `resume`, `step` and the end), and whether the training runs; both
        of the same moment."""
        with self._changed:
            return self._state, not self._paused and not self._ended

    def pause(self) -> int:
        """Wait after the present step. Returns the number of this change; after the end there is nothing to change."""
        with self._changed:
            if self._ended:
                return self._state
            self._paused, self._steps = True, 0
            return self._change()

    def resume(self) -> int:
        """Go on. Returns the number of this change.

        Raises:
            LabError: the training has ended.
        """
        with self._changed:
            self._refuse_after_end()
            self._paused = False
            return self._change()

    def step(self) -> int:
        """Take one more step, and wait. Returns the number of this change.

        Raises:
            LabError: the training has ended.
        """
        with self._changed:
            self._refuse_after_end()
            self._paused, self._steps = True, min(self._steps + 1, 100)
            return self._change()

    def stop(self) -> None:
        """End."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def ask(self, question: Callable[[], Any], seconds: float = 20.0) -> Any:
        """The answer to a question about the flow, found between two steps, when its weights do not change.

        Raises:
            TimeoutError: no step ended in this time.
        """
        future: Future[Any] = Future()
        with self._changed:
            if not self._ended:
                self._questions.append((question, future))
                self._changed.notify_all()
        if self._ended and not future.done():
            self.answer()
            return question()
        return future.result(seconds)

    def answer(self) -> None:
        """Answer what was asked; called by the thread of the training."""
        while self._questions:
            try:
                question, future = self._questions.popleft()
            except IndexError:
                return
            try:
                future.set_result(question())
            except Exception as error:
                future.set_exception(error)

    def end(self) -> None:
        """The training is over; its thread answers what was still asked. A second call changes nothing more."""
        with self._changed:
            if not self._ended:
                self._ended = True
                self._change()
        self.answer()

    def wait(self, until: float, waiting: Callable[[], None]) -> bool:
        """Wait while the training is paused, and until a time of `time.monotonic`; answer questions meanwhile.

        Args:
            until: before which the next step does not begin.
            waiting: called once if the training is paused.

        Returns:
            Whether to go on; False to end.
        """
        told = False
        while True:
            self.answer()
            with self._changed:
                if self._stopped:
                    return False
                left = until - time.monotonic()
                ready = not self._paused or self._steps > 0
                if ready and left <= 0:
                    self._steps -= self._steps > 0
                    return True
                if (told or not self._paused) and not self._questions:
                    self._changed.wait(left if ready else None)
                    continue
                tell, told = self._paused and not told, told or self._paused
            if tell:
                waiting()

    def _change(self) -> int:
        self._state += 1
        self._changed.notify_all()
        return self._state

    def _refuse_after_end(self) -> None:
        if self._ended:
            raise LabError("The training has ended. Reset it, or start another one.")
