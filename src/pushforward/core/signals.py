"""The request to end that schedulers of clusters and service managers send before they kill: as good as Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["INTERRUPTING", "end_by_interrupt"]

INTERRUPTING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def end_by_interrupt() -> Iterator[None]:
    """Within the block, or the function that this decorates, SIGTERM raises `KeyboardInterrupt` as Ctrl-C does, so that
    what is under way is saved or taken back. Where the program has a handler of its own, that one stays."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
