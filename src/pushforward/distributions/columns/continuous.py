"""Kinds of columns that hold measurements: on the line, above or between bounds, on a circle, or counted."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.constants import moved_wide
from pushforward.core.domain import Circle, Integers, Interval, Real
from pushforward.core.numerics import quartiles
from pushforward.distributions.columns.discrete import ColumnType
from pushforward.univariate.base import Univariate
from pushforward.univariate.circular import CircularRationalQuadratic
from pushforward.univariate.mixture import LogisticMixtureCDF

__all__ = ["Bounded", "Circular", "Continuous", "HeavyTailed", "Integer", "Positive"]

SEEN = 10.0  # of a standardised value, what a network sees
FAR = 1e5  # of a standardised value: everything beyond counts as this
COMPONENTS, NARROW = 12, 7.0
"""Of the default mixture. Values of tables are often rounded, or follow from others: widths down to a thousandth."""
OCTAVES = 4
LARGEST = 650.0
"""Of what goes into an exponential in float64."""
MOST = 2**53
"""Whole numbers up to here are float64."""


class Scaled(ColumnType):
    """What kinds on the line share: mean and scale of the column, and a map that gives the law around them.

    u = (v - mean) / scale, where v is x or what `_open` makes of it, in float64; the rest in the dtype of the weights.
    A network sees u and sines and cosines of it, with which it tells near values apart.

    References:
        | On Embeddings for Numerical Features in Tabular Deep Learning (Gorishniy et al., 2022), arXiv:2203.05556
    """

    num_inputs = 1 + 2 * OCTAVES
    each_its_own: ClassVar[tuple[str, ...]] = ("mean", "scale")
    mean: Tensor
    scale: Tensor

    def __init__(self, univariate: Univariate | None, columns: int) -> None:
        super().__init__(columns)
        self.univariate = LogisticMixtureCDF(COMPONENTS, log_widths=NARROW) if univariate is None else univariate
        if self.univariate.domain != Real() or self.univariate.codomain != Real():
            raise ValueError(
                f"{type(self).__name__}: univariate must be a map of the real line; got "
                f"{type(self.univariate).__name__}. Try univariate.LogisticMixtureCDF()."
            )
        self.num_params = self.univariate.num_params
        self.register_buffer("mean", torch.zeros(columns, 1, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(columns, 1, dtype=torch.float64))

    def _apply(self, fn: Any, recurse: bool = True) -> Scaled:
        measured = {name: self._buffers[name] for name in self.each_its_own}
        super()._apply(fn, recurse)
        for name, tensor in measured.items():
            after = self._buffers[name]
            self._buffers[name] = None if tensor is None or after is None else moved_wide(tensor, after)
        return self

    def tempering(self) -> tuple[Tensor, Tensor] | None:
        wider = self.univariate.widening()
        return None if wider is None else (torch.zeros_like(wider), wider)

    def _open(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(v, log dv/dx) for x in the domain; any finite numbers elsewhere."""
        return x, torch.zeros_like(x)

    def _close(self, v: Tensor) -> Tensor:
        """x from v."""
        return v

    def holds(self, x: Tensor) -> Tensor:
        return super().holds(x) & self._inside(x) if self.is_density else super().holds(x)

    def _inside(self, x: Tensor) -> Tensor:
        """Where there is a density: between the ends, which have none."""
        low, high = self.domain.ends
        return (x > low) & (x < high)

    def _standard(self, v: Tensor) -> Tensor:
        return self._standard64(v).to(self.like.dtype)

    def _standard64(self, v: Tensor) -> Tensor:
        return ((v - self.mean) / self.scale).clamp(-FAR, FAR)

    def encode(self, x: Tensor) -> Tensor:
        u = self._standard(self._open(x)[0]).clamp(-SEEN, SEEN)[:, None]
        angles = u * (0.5 * math.pi * 2.0 ** torch.arange(OCTAVES, dtype=u.dtype, device=u.device))[:, None]
        return torch.cat([u, angles.sin(), angles.cos()], dim=1)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        v, log_slope = self._open(x)
        found = self.univariate.log_density(self._standard(v), params)
        found = found + (log_slope - self.scale.log()).to(found.dtype)
        return torch.where(self._inside(x), found, -torch.inf)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        low, high = self.domain.ends
        below = self.univariate.log_tails(self._standard(self._open(x)[0]), params)[0].exp()
        return torch.where(x <= low, 0.0, torch.where(x >= high, 1.0, below))

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        u = self.univariate.quantile(p, params)
        return self._close(u.to(torch.float64) * self.scale + self.mean)

    def _start(self, x: Tensor) -> Tensor:
        v = self._open(x[None])[0][0]
        if len(v):
            self.mean[0] = v.mean()
            deviation = (v - v.mean()).square().mean().sqrt()
            self.scale[0] = deviation if deviation > 0 else 1.0
        learned = self._standard(self._open(self.add_noise(x[None]))[0])
        start = self.univariate.start(learned) if len(v) > 1 else None
        return self.like.new_zeros(self.num_params) if start is None else start[:, 0]


@configurable
class Continuous(Scaled):
    r"""Any number, with a density.

    With smoothing h the law of :math:`x + h s \varepsilon` is learned instead of that of x, where s is the standard
    deviation of the column and ε is standard normal: what a kernel density of bandwidth h estimates.

    Args:
        univariate: the map whose law the column has, up to mean and scale; a mixture of logistics by default.
        smoothing: of the law, in standard deviations of the column.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"univariate": {"type": "RationalQuadratic", "bins": 6}, "columns": 2},
        {"smoothing": 0.5, "univariate": {"type": "Affine"}},
    )
    domain = Real()

    def __init__(self, univariate: Univariate | None = None, *, smoothing: float = 0.0, columns: int = 1) -> None:
        super().__init__(univariate, columns)
        if not (smoothing >= 0 and math.isfinite(smoothing)):
            raise ValueError(f"Continuous: smoothing must be a number of at least 0; got {smoothing}.")
        self.smoothing = float(smoothing)

    def add_noise(self, x: Tensor) -> Tensor:
        return x + self.smoothing * self.scale * torch.randn_like(x) if self.smoothing else x


@configurable
class HeavyTailed(Scaled):
    r"""Any number, with a density, where some lie very far from most: the law of
    :math:`\operatorname{arsinh}((x - m) / s)`, with the median m and s from the quartiles.

    Args:
        univariate: as of `Continuous`.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"columns": 2, "univariate": {"type": "Affine"}})
    domain = Real()
    each_its_own = (*Scaled.each_its_own, "median", "spread")
    median: Tensor
    spread: Tensor

    def __init__(self, univariate: Univariate | None = None, *, columns: int = 1) -> None:
        super().__init__(univariate, columns)
        self.register_buffer("median", torch.zeros(columns, 1, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(columns, 1, dtype=torch.float64))

    def _open(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t = (x - self.median) / self.spread
        return torch.asinh(t), -self.spread.log() - torch.hypot(t, torch.ones_like(t)).log()

    def _close(self, v: Tensor) -> Tensor:
        return self.median + self.spread * torch.sinh(v.clamp(-LARGEST, LARGEST))

    def _start(self, x: Tensor) -> Tensor:
        if len(x):
            low, middle, high = quartiles(x)
            self.median[0] = middle
            wide = high - low if high > low else (x - middle).abs().mean()
            self.spread[0] = wide if wide > 0 else 1.0
        return super()._start(x)


@configurable
class Positive(Scaled):
    """Numbers above a bound, with a density: the law of their logarithm.

    Args:
        low: the bound, which itself has no density.
        univariate: as of `Continuous`, for log(x - low).
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"low": -2.0, "columns": 2, "univariate": {"type": "Affine"}},
    )

    def __init__(self, low: float = 0.0, *, univariate: Univariate | None = None, columns: int = 1) -> None:
        super().__init__(univariate, columns)
        self.low = float(low)
        self.domain = Interval(self.low, math.inf)

    def _open(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = torch.where(self._inside(x), x - self.low, 1.0).log()
        return v, -v

    def _close(self, v: Tensor) -> Tensor:
        return torch.maximum(self.low + v.clamp(max=LARGEST).exp(), v.new_tensor(math.nextafter(self.low, math.inf)))


@configurable
class Bounded(Scaled):
    """Numbers between two bounds, with a density: the law of their logit.

    Args:
        low: the lower bound; the bounds themselves have no density.
        high: the upper bound.
        univariate: as of `Continuous`, for the logit.
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

    def _open(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = torch.where(self._inside(x), x, 0.5 * (self.low + self.high))
        below, above = (inside - self.low).log(), (self.high - inside).log()
        return below - above, math.log(self.high - self.low) - below - above

    def _close(self, v: Tensor) -> Tensor:
        x = self.low + (self.high - self.low) * torch.sigmoid(v)
        return x.clamp(math.nextafter(self.low, math.inf), math.nextafter(self.high, -math.inf))


@configurable
class Integer(Scaled):
    r"""Whole numbers, with a probability each: what a continuous law has between k - ½ and k + ½.

    .. math:: q(k) = F(k + \tfrac12) - F(k - \tfrac12), \qquad
              F(\mathrm{low} - \tfrac12) = 0,\ F(\mathrm{high} + \tfrac12) = 1

    No noise is added to the values, so nothing is lost by it.

    Args:
        low: the smallest number, if there is one.
        high: the largest number, if there is one.
        skewed: take the law of log(k - low + 1) instead, for numbers of many magnitudes.
        univariate: as of `Continuous`.
        columns: how many such columns stand side by side.

    References:
        | PixelCNN++ (Salimans et al., 2017), arXiv:1701.05517, §2.1
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"low": 0, "high": 7, "columns": 2},
        {"low": 1, "skewed": True, "univariate": {"type": "Affine"}},
    )
    is_density = False

    def __init__(
        self,
        low: int | None = None,
        high: int | None = None,
        *,
        skewed: bool = False,
        univariate: Univariate | None = None,
        columns: int = 1,
    ) -> None:
        super().__init__(univariate, columns)
        if skewed and low is None:
            raise ValueError("Integer: skewed=True counts from a smallest number; give low.")
        self.skewed = skewed
        self.low, self.high = -MOST if low is None else int(low), MOST if high is None else int(high)
        if self.low >= self.high:
            raise ValueError(
                f"Integer: low must be smaller than high; got {low} and {high}. Use Constant for one value."
            )
        self.domain = Integers(self.low, self.high)

    def _open(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = (x - (self.low - 1)).clamp(min=0.5).log() if self.skewed else x
        return v, torch.zeros_like(v)  # densities are not asked for

    def _close(self, v: Tensor) -> Tensor:
        return v.clamp(max=LARGEST).exp() + (self.low - 1) if self.skewed else v

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        below, above = (self._standard64(self._open(x + half)[0]) for half in (-0.5, 0.5))
        # The difference of ends has no digits where numbers have many, such as seconds since 1970.
        width = (torch.log1p(1 / (x - self.low + 0.5).clamp(min=0.5)) if self.skewed else 1.0) / self.scale
        first, last = x <= self.low, x >= self.high
        below, above = below.masked_fill(first, -FAR), above.masked_fill(last, FAR)
        width = torch.where(first | last, above - below, width)
        ends = below.to(params.dtype), above.to(params.dtype)
        found = self.univariate.log_mass(*ends, params, width.to(params.dtype))
        return torch.where(self.domain.contains(x), found, -torch.inf)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        below = self.univariate.log_tails(self._standard(self._open(x.floor() + 0.5)[0]), params)[0].exp()
        return torch.where(x < self.low, 0.0, torch.where(x >= self.high, 1.0, below))

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        return (super().icdf(p, params) - 0.5).ceil().clamp(self.low, self.high) + 0.0  # no -0


@configurable
class Circular(ColumnType):
    """A point of a circle, such as an hour of the day, with a density that closes where the circle does.

    Args:
        period: how long the circle is: 24 for hours.
        low: where it is cut open; values lie in [low, low + period).
        bins: of the circular spline that gives the law.
        columns: how many such columns stand side by side.
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

    def _start(self, x: Tensor) -> Tensor:
        return self.like.new_zeros(self.num_params)

    def _angle(self, x: Tensor) -> Tensor:
        """In [-π, π), where the spline is cut open, too."""
        turn = ((x - self.low) / self.period).clamp(0.0, 1.0)
        return ((2 * turn - 1) * math.pi).to(self.like.dtype)
