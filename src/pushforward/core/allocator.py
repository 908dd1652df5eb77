"""Memory that torch frees on the CPU stays with the process."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import torch

__all__ = ["keep_freed_memory", "keep_memory_of_steps"]

LARGEST_KEPT = 31 << 20  # bytes; the threshold follows no block of 32 MiB or more
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # the numbers of these parameters in glibc's malloc.h


@cache
def keep_freed_memory() -> None:
    """Free one large block so that glibc raises its mmap threshold; other allocators are left as they are.

    glibc then keeps up to twice ``LARGEST_KEPT`` of freed memory. Without, the few MiB that a training step frees go
    back to the system, and each step asks for them again, page by page. The block is never written to.
    """
    torch.empty(LARGEST_KEPT, dtype=torch.uint8, device="cpu")


@cache
def keep_memory_of_steps() -> None:
    """Have glibc keep up to 2 GiB of freed memory from now on, for training; other allocators are left as they are.

    The steps of models of images free and ask again for blocks of tens of MiB each, whose pages the system has to
    clear: a quarter of the time of such steps.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "gnu_get_libc_version"):
        for parameter, size in ((MMAP_THRESHOLD, 1 << 30), (TRIM_THRESHOLD, (1 << 31) - 1), (TOP_PAD, 64 << 20)):
            library.mallopt(parameter, size)
