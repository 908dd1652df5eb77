"""Random numbers like a tensor, from a generator or from torch's global one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["normal", "uniform"]


def uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers of [0, 1) in the dtype and on the device of ``like``."""
    size = tuple(shape)
    if generator is None:  # graphs of `torch.compile` with open batch sizes take no such argument
        return torch.rand(size, dtype=like.dtype, device=like.device)
    return torch.rand(size, dtype=like.dtype, device=like.device, generator=generator)


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers in the dtype and on the device of ``like``."""
    size = tuple(shape)
    if generator is None:
        return torch.randn(size, dtype=like.dtype, device=like.device)
    return torch.randn(size, dtype=like.dtype, device=like.device, generator=generator)
