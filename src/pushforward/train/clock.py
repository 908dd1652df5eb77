"""The time that a run has taken, and what its processes agree on between two steps."""

from __future__ import annotations

import time
from collections.abc import Callable

from pushforward.core.processes import Processes

__all__ = ["Clock"]


class Clock:
    """Seconds of training so far, those before a checkpoint included. All processes of a run read the clock of the
    first one, as it was when they last agreed, so that they take the same decisions.

    Args:
        processes: of the run.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.before = 0.0  # seconds of training up to the checkpoint
        self._agreed = 0.0
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._started = time.monotonic()

    def __call__(self) -> float:
        return self.before + (self._own() if self.processes.count == 1 else self._agreed)

    def _own(self) -> float:
        return time.monotonic() - self._started

    def agree(self, interrupt: Callable[[], None], stops: bool) -> bool:
        """Between two steps: set the clocks, and stop where one process has a reason.

        Args:
            interrupt: raises `KeyboardInterrupt` if this process was interrupted.
            stops: whether this process is to stop.

        Returns:
            whether any process is to stop.

        Raises:
            KeyboardInterrupt: any process was interrupted.
        """
        if self.processes.count == 1:
            interrupt()
            return stops
        pressed = False
        try:
            interrupt()
        except KeyboardInterrupt:
            pressed = True
        seconds = self._own() if self.processes.is_first else 0.0
        interrupted, self._agreed, stop = self.processes.sum([pressed, seconds, stops])
        if interrupted:
            raise KeyboardInterrupt
        return stop > 0
