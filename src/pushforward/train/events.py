"""What a run tells its callbacks, and how they stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pushforward.train.history import History, Record

__all__ = [
    "Callback",
    "Checkpointed",
    "Event",
    "Listeners",
    "RolledBack",
    "Started",
    "Stepped",
    "Stop",
    "Stopped",
    "Validated",
]


@dataclass(frozen=True)
class Event:
    """Something that happened in a run. Callbacks are called with each event and tell kinds apart by their classes."""

    step: int
    """Optimiser steps so far."""
    done: float
    """The part of the budget that is used, from 0 to 1."""


@dataclass(frozen=True)
class Started(Event):
    """The run begins, or goes on from a checkpoint if ``step`` is not zero."""

    history: History
    """The history that `fit` will return, to which the run adds."""


@dataclass(frozen=True)
class Stepped(Event):
    """One optimiser step is over."""

    loss: float
    """Of the batch, before the step."""
    lr: float


@dataclass(frozen=True)
class Validated(Event):
    """The model was validated; the record is in the history."""

    record: Record
    best: float | None
    """The best validation number so far."""
    is_best: bool
    """Whether these weights are the best so far: those that the run would return now."""


@dataclass(frozen=True)
class RolledBack(Event):
    """The loss was not finite: the run went back to its last validated state, with half the learning rate."""

    cause: str


@dataclass(frozen=True)
class Checkpointed(Event):
    """The state of the run is on the disk."""

    path: str


@dataclass(frozen=True)
class Stopped(Event):
    """The run is over and the best weights are in the model. Not sent when an exception ends it."""

    reason: str


@dataclass(frozen=True)
class Stop:
    """Returned by a callback to end the run after this event. A checkpoint written then can be resumed."""

    reason: str = "stopped by a callback"


Callback = Callable[[Event], Any]
"""Called with every event, in the thread of `fit`. It may return `Stop`; whatever else it returns is ignored."""


class Listeners:
    """The callbacks of a run, called one after the other, and what they asked for."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = list(callbacks)
        self.stop: Stop | None = None

    def __bool__(self) -> bool:
        return bool(self.callbacks)

    def __call__(self, event: Event) -> None:
        for callback in self.callbacks:
            answer = callback(event)
            if isinstance(answer, Stop) and self.stop is None:
                self.stop = answer
