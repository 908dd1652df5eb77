"""Memory that torch frees on the CPU stays with the process."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["keep_freed_memory"]

LARGEST_KEPT = 31 << 20  # bytes; glibc learns from no block of 32 MiB or more


@cache
def keep_freed_memory() -> None:
    """Teach glibc to keep up to twice ``LARGEST_KEPT`` of what is freed; elsewhere nothing changes.

    What a training step frees, a few MiB, goes back to the system otherwise, to be asked for again, page by page, in
    each step. Nothing is set: glibc raises its own limits when a block of this size is freed. It is never touched.
    """
    torch.empty(LARGEST_KEPT, dtype=torch.uint8, device="cpu")
