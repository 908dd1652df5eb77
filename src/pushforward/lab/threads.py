"""What threads of one process share: the number of threads of torch, and the filters of warnings."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["quiet", "single_threaded"]

_LOCK, _FILTERS = threading.Lock(), threading.RLock()
_inside, _before = 0, 1


@contextmanager
def single_threaded() -> Iterator[None]:
    """Operations of this thread run on one core, so that several trainings share the cores instead of fighting for
    them. Torch keeps the number for new threads in one place for the whole
    process, so it is put back when the last of all such blocks ends."""
    global _inside, _before
    with _LOCK:
        if not _inside:
            _before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            torch.set_num_threads(1 if _inside else _before)


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings, which a page has no place for. Their filters belong to the process, so one thread is in such a
    block at a time."""
    with _FILTERS, warnings.catch_warnings(action="ignore"):
        yield
