"""Ctrl-C, and the request to end, between two steps of a run, where its state is whole."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pushforward.core.signals import INTERRUPTING

__all__ = ["postponed_interrupts"]

REPEATED_SECONDS = 3.0
"""In which the same signal may come again, handed on by ``torchrun``."""


@contextmanager
def postponed_interrupts() -> Iterator[Callable[[], None]]:
    """Give a function that raises `KeyboardInterrupt` if a signal came that does so, such as Ctrl-C; within the block
    nothing else does.

    A second signal interrupts at once. Under ``torchrun``, which hands on what the terminal has sent to all processes
    already, only one that comes later does. Other handlers of signals, and other threads, are left as they are.
    """
    pressed: float | None = None
    patience = REPEATED_SECONDS if "TORCHELASTIC_RUN_ID" in os.environ else 0.0

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed is not None and time.monotonic() - pressed >= patience:
            raise KeyboardInterrupt
        pressed = time.monotonic() if pressed is None else pressed

    def check() -> None:
        if pressed is not None:
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [n for n in INTERRUPTING if is_main and signal.getsignal(n) is signal.default_int_handler]
    for number in numbers:
        signal.signal(number, note)
    try:
        yield check
    finally:
        for number in numbers:
            # What the first signal asked for, such as saving, is not cut off by its repetition.
            signal.signal(number, note if pressed is not None and patience else signal.default_int_handler)
