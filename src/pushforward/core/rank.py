"""Which of several processes this one is, as ``torchrun`` tells it, without loading torch."""

from __future__ import annotations

import os

__all__ = ["is_first_process"]


def is_first_process() -> bool:
    """Whether this process runs alone or is the first of those that ``torchrun`` has started: the one that speaks and
    writes files."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"
