"""The support of densities on surfaces of lower dimension than their space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.domain import Domain, Measure

__all__ = ["Surface", "on_surface"]


@dataclass(frozen=True)
class Surface(Domain):
    """A surface of ``size`` dimensions in a space, whose place a map decides.

    Densities are with respect to its area (its Hausdorff measure of that dimension: length for curves). The map may
    depend on weights and on a context, so `contains` says no more than whether points lie in the space around it; the
    density of a `Flow` is zero off the surface.
    """

    space: Domain
    size: int

    @property
    def measure(self) -> Measure:
        return "surface"

    def dimension(self, event_shape: Sequence[int]) -> int:
        return self.size

    @property
    def event_ndim(self) -> int:
        return self.space.event_ndim

    @property
    def ends(self) -> tuple[float, float]:
        return self.space.ends

    def contains(self, x: Tensor) -> Tensor:
        return self.space.contains(x)

    def why_outside(self, event: Tensor, first: int = 0) -> str:
        return self.space.why_outside(event, first)

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return self.space.example(shape, generator)

    def anchor(self, x: Tensor) -> Tensor:
        return self.space.anchor(x)


def on_surface(x: Tensor, nearest: Tensor, event_ndim: int) -> Tensor:
    """Whether points (*batch, *event) lie on a surface, to half the digits of their dtype: whether what a projection
    to it makes of them is nearly the same. Shape (*batch,)."""
    axes = tuple(range(-event_ndim, 0))
    far, size = (x - nearest).abs().amax(dim=axes), x.abs().amax(dim=axes)
    return far <= torch.finfo(x.dtype).eps ** 0.5 * (1 + size)
