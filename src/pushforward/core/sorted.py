"""The set of vectors whose entries do not decrease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.domain import Domain

__all__ = ["Sorted"]


@dataclass(frozen=True)
class Sorted(Domain):
    """Vectors whose entries do not decrease, :math:`x_1 \\le x_2 \\le \\dots`; the last axis is one point."""

    @property
    def event_ndim(self) -> int:
        return 1

    def dimension(self, event_shape: Sequence[int]) -> int:
        if not event_shape:
            raise ValueError("Sorted: a point has 1 or more axes; got events of shape ().")
        return super().dimension(event_shape)

    @property
    def remedy(self) -> str:
        return "Sort the entries of each row."

    def fault(self, point: Tensor) -> str:
        return "which decrease somewhere"

    def contains(self, x: Tensor) -> Tensor:
        return (x[..., 1:] >= x[..., :-1]).all(dim=-1)

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator).sort(dim=-1).values

    def anchor(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
