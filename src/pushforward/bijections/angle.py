"""Conversion of periodic quantities from their units to angles."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import TriangularMap
from pushforward.core.checks import one_of, positive
from pushforward.core.config import configurable
from pushforward.core.domain import Circle
from pushforward.core.shapes import EventSize, event_shape

__all__ = ["Angle"]


@configurable
class Angle(TriangularMap):
    r"""Convert periodic quantities to angles: :math:`y = 2 \pi (x - \text{low}) / \text{period} - \pi`.

    The hour of the day has ``period=24, low=0``, a direction in degrees ``period=360, low=-180``. By default x is an
    angle already. Both directions cost one multiplication.

    Args:
        features: number of features, or the shape of an event of several axes.
        period: the length of the circle, in the units of x.
        low: lower end of the range of x, which is [low, low + period). Default: -period / 2.
        data_dtype: ``"float64"`` if x is float64 although the model is float32; by default x has the model's dtype.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: ``period`` is not positive, or ``data_dtype`` has no such value.

    >>> import torch
    >>> Angle(1, period=24.0, low=0.0)(torch.tensor([12.0])).item()
    0.0
    """

    codomain = Circle()
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2},
        {"features": 1, "period": 24.0, "low": 0.0, "data_dtype": "float64"},
        {"features": [2, 2]},
    )
    like: Tensor

    def __init__(
        self,
        features: EventSize,
        *,
        period: float = 2 * math.pi,
        low: float | None = None,
        data_dtype: str | None = None,
    ) -> None:
        super().__init__()
        positive("Angle", "period", period)
        one_of("Angle", "data_dtype", data_dtype, (None, "float64"))
        self.in_shape = self.out_shape = event_shape("Angle", features)
        self.low, self.high = (-0.5 * period, 0.5 * period) if low is None else (low, low + period)
        self.domain = Circle(self.low, self.high)
        self.rate = 2 * math.pi / period
        self.wide = data_dtype == "float64"
        self.add_constant("like", 0.0)  # has the dtype of the model; its value is not used

    @property
    def dtype(self) -> torch.dtype | None:
        return self.like.dtype

    @property
    def in_dtype(self) -> torch.dtype | None:
        return torch.float64 if self.wide else self.like.dtype

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y = ((x - self.low) * self.rate - math.pi).to(self.like.dtype)
        return _below(y, -math.pi, math.pi), torch.full_like(y, math.log(self.rate))

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = (y.to(self.in_dtype) + math.pi) / self.rate + self.low
        return _below(x, self.low, self.high), torch.full_like(y, -math.log(self.rate))


def _below(x: Tensor, low: float, high: float) -> Tensor:
    """x, kept inside [low, high) against rounding."""
    return x.clamp(low, high - torch.finfo(x.dtype).eps * max(abs(low), abs(high)))
