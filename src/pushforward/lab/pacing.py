"""When a training tells how it goes: often enough to look alive, and never at the expense of its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Pace"]

INTERVAL = 1 / 33
"""Seconds between two events, on average and at least."""
SHARE = 0.12
"""Largest part of the time of training that events take: what users wait for is the training."""
MEMORY = 0.8
"""How much a mean over steps or events remembers of what was before."""


class Pace:
    """Measures steps and events, and says when the next event is due.

    Args:
        rate: largest number of bytes of events a second.
        clock: seconds, of any origin.
    """

    def __init__(self, rate: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._next = -1e9  # when the next event is due
        self._cost = 0.0  # seconds that an event keeps the thread busy
        self._step = 0.0  # seconds of a step
        self.spent = 0.0
        """Seconds that events took so far."""

    def is_due(self) -> bool:
        """Whether an event may be sent now: 33 a second, and fewer where they are expensive."""
        return self._clock() >= self._next

    def count_event(self, seconds: float, busy: float, size: int = 0) -> None:
        """An event of so many bytes was sent, which took so long; its thread was busy for ``busy`` seconds. Where the
        machine has other things to do, waiting for it says nothing about the cost of events."""
        self.spent += seconds
        self._cost = busy if not self._cost else MEMORY * self._cost + (1 - MEMORY) * busy
        now, interval = self._clock(), max(INTERVAL, self._cost * (1 / SHARE - 1), size / self._rate)
        # One that came late, because a step took long, does not put off those after it.
        self._next = min(max(self._next + interval, now + interval / 4), now + interval)

    def count_step(self, seconds: float) -> None:
        """A step of training took so long."""
        self._step = seconds if not self._step else MEMORY * self._step + (1 - MEMORY) * seconds

    @property
    def steps_per_second(self) -> float:
        """As the last steps went, without pauses."""
        return 1 / self._step if self._step else 0.0
