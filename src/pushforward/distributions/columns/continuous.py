"""Column types with a density: any number, heavy tails, above a bound, between two bounds."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import Interval, Real
from pushforward.core.numerics import quartiles
from pushforward.distributions.columns.scaled import LAST, Scaled, exp_up_to, log_up_to, turning_point
from pushforward.univariate.base import Univariate

__all__ = ["Bounded", "Continuous", "HeavyTailed", "Positive"]


@configurable
class Continuous(Scaled):
    r"""Any number, with a density.

    With smoothing h the distribution of :math:`x + h s \varepsilon` is learned instead of that of x, where s is the
    standard deviation of the column and ε is standard normal: what a kernel density of bandwidth h estimates.

    Args:
        univariate: the map whose distribution the standardised column has; a mixture of logistics by default.
        smoothing: the bandwidth h.
        low: the smallest number, if there is one: the distribution is truncated there.
        high: the largest number, if there is one.
        columns: how many such columns stand side by side.

    Raises:
        ValueError: ``smoothing`` is negative or not finite, ``low`` is not below ``high``, or numbers with limits are
            smoothed.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"univariate": {"type": "RationalQuadratic", "bins": 6}, "columns": 2},
        {"smoothing": 0.5, "univariate": {"type": "Affine"}},
        {"low": 0.0, "columns": 2, "univariate": {"type": "Affine"}},
        {"low": -1.0, "high": 2.0},
    )
    domain = Real()

    def __init__(
        self,
        univariate: Univariate | None = None,
        *,
        smoothing: float = 0.0,
        low: float | None = None,
        high: float | None = None,
        columns: int = 1,
    ) -> None:
        super().__init__(univariate, columns)
        self._limit(low, high)
        if smoothing and (low is not None or high is not None):
            raise ValueError("Continuous: smoothing adds noise, which would leave the limits. Leave one of them out.")
        if not (smoothing >= 0 and math.isfinite(smoothing)):
            raise ValueError(f"Continuous: smoothing must be a number of at least 0; got {smoothing}.")
        self.smoothing = float(smoothing)

    def add_noise(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.smoothing:
            return x
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return x + self.smoothing * self.scale * noise


@configurable
class HeavyTailed(Scaled):
    r"""Any number, with a density, where some values lie very far from most.

    Modelled is the distribution of :math:`\operatorname{arsinh}((x - m) / s)`, with the median m and the interquartile
    range s. Beyond most of the values that were measured the map goes straight on, so that tails have all moments.

    Args:
        univariate: the map whose distribution the transformed column has, as in `Continuous`.
        low: the smallest number, if there is one: the distribution is truncated there.
        high: the largest number, if there is one.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"columns": 2, "univariate": {"type": "Affine"}},
        {"low": 0.0, "high": 9.0},
    )
    domain = Real()
    per_column = (*Scaled.per_column, "median", "spread", "reach")
    median: Tensor
    spread: Tensor
    reach: Tensor

    def __init__(
        self,
        univariate: Univariate | None = None,
        *,
        low: float | None = None,
        high: float | None = None,
        columns: int = 1,
    ) -> None:
        super().__init__(univariate, columns)
        self._limit(low, high)
        self.register_buffer("median", torch.zeros(columns, 1, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(columns, 1, dtype=torch.float64))
        self.register_buffer("reach", torch.full((columns, 1), LAST, dtype=torch.float64))  # of (x - m) / s

    def _unconstrain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t = (x - self.median) / self.spread
        inside = torch.clamp(t, -self.reach, self.reach)
        stretch = torch.hypot(inside, torch.ones_like(t))
        return torch.asinh(inside) + (t - inside) / stretch, -self.spread.log() - stretch.log()

    def _constrain(self, v: Tensor) -> Tensor:
        end = torch.asinh(self.reach)
        inside = torch.clamp(v, -end, end)
        return self.median + self.spread * (torch.sinh(inside) + (v - inside) * torch.cosh(inside))

    def _measure(self, x: Tensor) -> Tensor:
        if len(x):
            low, middle, high = quartiles(x)
            self.median[0] = middle
            wide = high - low if high > low else (x - middle).abs().mean()
            self.spread[0] = wide if wide > 0 else 1.0
            self.reach[0] = turning_point((x - middle).abs() / self.spread[0]).clamp(min=1.0)
        return super()._measure(x)


@configurable
class Positive(Scaled):
    """Numbers above a bound, with a density: modelled is the distribution of their logarithm.

    Beyond most of the numbers that were measured the logarithm goes straight on: the upper tail has all moments.

    Args:
        low: the bound, which itself has no density.
        high: the largest number, if there is one: the distribution is truncated there.
        univariate: the map whose distribution the transformed column has, as in `Continuous`, for log(x - low).
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"low": -2.0, "columns": 2, "univariate": {"type": "Affine"}},
        {"high": 9.0},
    )
    per_column = (*Scaled.per_column, "last")
    last: Tensor

    def __init__(
        self,
        low: float = 0.0,
        *,
        high: float | None = None,
        univariate: Univariate | None = None,
        columns: int = 1,
    ) -> None:
        super().__init__(univariate, columns)
        self.low = float(low)
        self.domain = Interval(self.low, math.inf)
        self._limit(None, high)
        self.register_buffer("last", torch.full((columns, 1), LAST, dtype=torch.float64))  # of x - low

    def _unconstrain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return log_up_to(self.last, torch.where(self._inside(x), x - self.low, 1.0))

    def _constrain(self, v: Tensor) -> Tensor:
        least = v.new_tensor(math.nextafter(self.low, math.inf))
        return torch.maximum(self.low + exp_up_to(self.last, v), least)

    def _measure(self, x: Tensor) -> Tensor:
        if len(x):
            self.last[0] = turning_point(x - self.low)
        return super()._measure(x)


@configurable
class Bounded(Scaled):
    """Numbers between two bounds, with a density: modelled is the distribution of their logit.

    Args:
        low: the lower bound; the bounds themselves have no density.
        high: the upper bound.
        univariate: the map whose distribution the transformed column has, as in `Continuous`, for the logit.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"low": -1.0, "high": 3.0, "columns": 2, "univariate": {"type": "Affine"}},
    )

    def __init__(
        self, low: float = 0.0, high: float = 1.0, *, univariate: Univariate | None = None, columns: int = 1
    ) -> None:
        super().__init__(univariate, columns)
        self.low, self.high = float(low), float(high)
        self.domain = Interval(self.low, self.high)

    def _unconstrain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = torch.where(self._inside(x), x, 0.5 * (self.low + self.high))
        below, above = (inside - self.low).log(), (self.high - inside).log()
        return below - above, math.log(self.high - self.low) - below - above

    def _constrain(self, v: Tensor) -> Tensor:
        x = self.low + (self.high - self.low) * torch.sigmoid(v)
        return x.clamp(math.nextafter(self.low, math.inf), math.nextafter(self.high, -math.inf))
