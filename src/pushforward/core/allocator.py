"""Memory that torch frees on the CPU stays with the process."""

from __future__ import annotations

import ctypes
import os
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
    """Have glibc take blocks below 1 GiB from its heap, and give the end of the heap back beyond 2 GiB alone, from now
    on and in the whole process. Other allocators, and settings of the user, are left as they are.

    The steps of models of images free and ask again for blocks of tens of MiB each, whose pages the system has to
    clear: a quarter of the time of such steps.
    """
    set_by_user = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(
        name.startswith("MALLOC_") and name.endswith("_") for name in os.environ
    )
    library = ctypes.CDLL(None) if sys.platform == "linux" and not set_by_user else None
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        return
    if not library.mallopt(MMAP_THRESHOLD, 1 << 30):  # older ones take no more than this
        library.mallopt(MMAP_THRESHOLD, 32 << 20)
    library.mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
    library.mallopt(TOP_PAD, 64 << 20)
