"""Memory that torch frees on the CPU stays with the process."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["keep_freed_memory"]

LARGEST_KEPT = 31 << 20  # bytes; the threshold follows no block of 32 MiB or more


@cache
def keep_freed_memory() -> None:
    """Free one large block so that glibc raises its mmap threshold; other allocators are left as they are.

    glibc then keeps up to twice ``LARGEST_KEPT`` of freed memory. Without, the few MiB that a training step frees go
    back to the system, and each step asks for them again, page by page. The block is never written to.
    """
    torch.empty(LARGEST_KEPT, dtype=torch.uint8, device="cpu")
