"""What threads of one process share: the number of threads of torch, and the filters of warnings."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["quiet", "single_threaded"]

_LOCK, _FILTERS = threading.Lock(), threading.RLock()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Operations of this thread run on one core, so that several trainings share the cores instead of fighting for
    them. Afterwards this thread has the number of before, whichever of several such blocks ends first."""
    before = torch.get_num_threads()
    _set_threads_here(1)
    try:
        yield
    finally:
        _set_threads_here(before)


def _set_threads_here(number: int) -> None:
    """Set how many cores this thread uses. Torch also takes the number for threads that begin later, so a new thread,
    which has that number itself, says what it was, and another one puts it back."""
    with _LOCK:
        default = _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(number)
        if default != number:
            _in_new_thread(lambda: torch.set_num_threads(default))


def _in_new_thread(action: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(action()))
    thread.start()
    thread.join()
    return results[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings, which a page has no place for. Their filters belong to the process, so one thread is in such a
    block at a time."""
    with _FILTERS, warnings.catch_warnings(action="ignore"):
        yield
