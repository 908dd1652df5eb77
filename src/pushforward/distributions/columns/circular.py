"""The column type of points of a circle."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import Circle
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.univariate.circular import CircularRationalQuadratic

__all__ = ["Circular"]


@configurable
class Circular(ColumnType):
    """A point of a circle, such as an hour of the day, with a density that is periodic.

    Args:
        period: length of the circle: 24 for hours.
        low: where the circle is cut open; values lie in [low, low + period). Tables may hold low + period too, which is
            the same point: it is read as low. Quantiles count from the cut, densities do not depend on it.
        bins: of the circular spline whose slope is the density.
        columns: how many such columns stand side by side.

    Raises:
        ValueError: ``period`` is not positive.

    >>> from pushforward.data import Circular
    >>> Circular(24).circle
    Circle(low=0.0, high=24.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"period": 24.0},
        {"low": -180.0, "period": 360.0, "bins": 5, "columns": 2},
    )
    num_inputs = 2

    def __init__(self, period: float = 2 * math.pi, *, low: float = 0.0, bins: int = 8, columns: int = 1) -> None:
        super().__init__(columns)
        if not (period > 0 and math.isfinite(period)):
            raise ValueError(f"Circular: period must be positive; got {period}.")
        self.period, self.low = float(period), float(low)
        self.domain = Circle(self.low, self.low + self.period)
        self.univariate = CircularRationalQuadratic(bins)
        self.num_params = self.univariate.num_params

    def encode(self, x: Tensor) -> Tensor:
        angle = self._angle(x)
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        _, log_slope = self.univariate.forward(self._angle(x), params)
        return torch.where(self.domain.contains(x), log_slope - math.log(self.period), -torch.inf)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        low, high = self.domain.ends
        below = self.univariate.value(self._angle(x), params) / (2 * math.pi) + 0.5
        return torch.where(x <= low, 0.0, torch.where(x >= high, 1.0, below.clamp(0.0, 1.0)))

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        angle = self.univariate.inverse_value((2 * p - 1) * math.pi, params).to(torch.float64)
        x = self.low + (angle / (2 * math.pi) + 0.5) * self.period
        return x.clamp(self.low, math.nextafter(self.low + self.period, -math.inf))

    def _measure(self, x: Tensor) -> Tensor:
        return self.like.new_zeros(self.num_params)

    def _angle(self, x: Tensor) -> Tensor:
        """The angle in [-π, π) of x, -π at the cut, where the spline is cut open too."""
        turn = ((x - self.low) / self.period).clamp(0.0, 1.0)
        return ((2 * turn - 1) * math.pi).to(self.like.dtype)
