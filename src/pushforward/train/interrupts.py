"""Ctrl-C, and the request to end, between two steps of a run, where its state is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pushforward.core.signals import INTERRUPTING

__all__ = ["postponed_interrupts"]


@contextmanager
def postponed_interrupts() -> Iterator[Callable[[], None]]:
    """Give a function that raises `KeyboardInterrupt` if a signal came that does so, such as Ctrl-C; within the block
    nothing else does.

    A second signal interrupts at once. Other handlers of signals, and other threads, are left as they are.
    """
    pressed = False

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [n for n in INTERRUPTING if is_main and signal.getsignal(n) is signal.default_int_handler]
    for number in numbers:
        signal.signal(number, note)
    try:
        yield check
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)
