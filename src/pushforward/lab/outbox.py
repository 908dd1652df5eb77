"""What waits to be sent to a browser: every answer, and of each kind of event the newest one."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Any

__all__ = ["Outbox"]

FULL = 128
"""Answers that wait before no more messages are read from the browser."""


class Outbox:
    """Filled by any thread, emptied by one task of an event loop. A browser that reads slowly misses events, which are
    replaced by newer ones; it never makes the queue grow.

    Args:
        loop: whose task calls `take`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._lock = loop, threading.Lock()
        self._answers: deque[dict[str, Any]] = deque()
        self._events: dict[str, dict[str, Any]] = {}
        self._filled, self._drained = asyncio.Event(), asyncio.Event()
        self._drained.set()

    def put(self, message: dict[str, Any]) -> None:
        """Add an answer or an event; from any thread."""
        with self._lock:
            name = message.get("event")
            if name is None:
                self._answers.append(message)
            else:
                self._events[name] = _newer(self._events.pop(name, None), message)
        with suppress(RuntimeError):  # the loop has ended: nobody reads any more
            self._loop.call_soon_threadsafe(self._filled.set)

    async def take(self) -> list[dict[str, Any]]:
        """All that waits, as soon as there is something."""
        await self._filled.wait()
        self._filled.clear()
        with self._lock:
            messages = [*self._answers, *self._events.values()]
            self._answers.clear()
            self._events.clear()
        self._drained.set()
        return messages

    async def room_for_answers(self) -> None:
        """Wait while too many answers wait for the browser to read them."""
        while len(self._answers) >= FULL:
            self._drained.clear()
            await self._drained.wait()


def _newer(before: dict[str, Any] | None, event: dict[str, Any]) -> dict[str, Any]:
    """The newer of two events of one kind, with the held-out likelihood of the older one if it has none."""
    if before is None:
        return event
    old, new = before["data"], event["data"]
    if old.get("held_out") is None or new.get("held_out") is not None or old.get("run") != new.get("run"):
        return event
    return {**event, "data": {**new, "held_out": old["held_out"]}}
