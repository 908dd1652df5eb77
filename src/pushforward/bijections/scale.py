"""A fixed number by which all features are multiplied, and one that is added."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import TriangularMap
from pushforward.core.checks import positive
from pushforward.core.config import configurable
from pushforward.core.shapes import EventSize, event_shape

__all__ = ["Scale"]


@configurable
class Scale(TriangularMap):
    r"""Multiply by a fixed number and add another: :math:`y = s x + b`; nothing is learned.

    Both directions cost one product.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        factor: s, a positive number.
        shift: b, a finite number.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: a size or the factor is not positive, or the shift not finite.

    >>> import torch
    >>> y, ladj = Scale(2, factor=3.0).forward_and_ladj(torch.ones(2))
    >>> y.tolist(), round(ladj.exp().item(), 4)
    ([3.0, 3.0], 9.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 2, "factor": 0.5, "shift": -1.5},)

    def __init__(self, features: EventSize, *, factor: float, shift: float = 0.0) -> None:
        super().__init__()
        self.in_shape = self.out_shape = event_shape("Scale", features)
        positive("Scale", "factor", factor)
        if not math.isfinite(shift):
            raise ValueError(f"Scale: shift must be a finite number; got {shift}.")
        self.factor, self.shift = factor, shift

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x * self.factor + self.shift, torch.full_like(x, math.log(self.factor))

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return (y - self.shift) / self.factor, torch.full_like(y, -math.log(self.factor))
