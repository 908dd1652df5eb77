"""What column types on the real line share: standardisation, network inputs, and a scalar map's distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pushforward.core.constants import moved_wide
from pushforward.core.domain import Domain, Interval, Real
from pushforward.core.torch_internals import buffers_of
from pushforward.distributions.columns.column_type import WAVES, ColumnType, waves
from pushforward.distributions.columns.terms import InTerms, ScalarTerm, kind_of
from pushforward.univariate.base import Univariate
from pushforward.univariate.distribution import distribution_of
from pushforward.univariate.mixture_kinds import LogisticMixtureCDF

__all__ = ["FAR", "LAST", "Scaled", "exp_up_to", "log_up_to", "turning_point"]

INPUT_LIMIT = 10.0  # of a standardised value as an input of a network
FAR = 1e5  # of a standardised value: everything beyond counts as this
COMPONENTS, LOG_WIDTHS = 12, 7.0
"""Of the default mixture. Values of tables are often rounded, or follow from others: widths down to a thousandth."""
LARGEST_EXPONENT = 650.0
"""Of an exponential in float64."""
LAST = math.exp(LARGEST_EXPONENT)
"""Up to here logarithms hold, where no column was measured."""


UPPER, FARTHEST = 0.95, 5.0
"""Share of the numbers below the end of a log scale, and how many times as far the largest one may be. Of mixtures
fitted to 1,000 draws of gamma, exponential, lognormal and Pareto distributions, means were right within 15 %, draws
beyond ten times the data rare, and densities of other draws as high as on a log scale without end."""


def log_up_to(last: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """(v, log dv/dw): the logarithm of w > 0, and beyond ``last`` straight on with the slope that it has there.

    A density of a logarithm has power tails, whose moments may be infinite though no data have said so. Straight on
    its tail is that of the distribution of v, which has all moments.
    """
    inside = torch.minimum(w, last)
    v = inside.log()
    return v + (w - inside) / last, -v


def turning_point(w: Tensor) -> Tensor:
    """Where a log scale of the numbers w (n,) ends: where few are beyond, of which the largest is not far."""
    return torch.maximum(w.sort().values[int(UPPER * (len(w) - 1))], w.max() / FARTHEST)


def exp_up_to(last: Tensor, v: Tensor) -> Tensor:
    """The inverse of `log_up_to`."""
    inside = torch.minimum(v, last.log())
    return inside.exp() * (1 + (v - inside))


class Placed(NamedTuple):
    """Parameters of a distribution, and where it lies among standardised values u: that of (u - location) / scale."""

    params: Tensor
    location: Tensor | None = None
    log_scale: Tensor | None = None
    steepness: Tensor | None = None
    """One over the scale."""

    def points(self, u: Tensor) -> Tensor:
        """Standardised values, in float64, as the distribution sees them, in its dtype."""
        return self.widths(u if self.location is None else u - self.location)

    def widths(self, width: Tensor) -> Tensor:
        """Distances of standardised values as the distribution sees them."""
        return (width if self.steepness is None else width * self.steepness).to(self.params.dtype)

    def log_slopes(self, log_slope: Tensor) -> Tensor:
        """Log-slopes of standardised values as those of points."""
        log_slope = log_slope.to(self.params.dtype)
        return log_slope if self.log_scale is None else log_slope - self.log_scale

    def values(self, z: Tensor) -> Tensor:
        """Standardised values from points: the inverse of `points`."""
        u = z.to(torch.float64)
        return u if self.location is None or self.log_scale is None else u * self.log_scale.exp() + self.location


class Scaled(ColumnType):
    """Standardised values whose distribution is that of a scalar map, such as a mixture of logistics.

    u = (v - mean) / scale, where v is x or what `_unconstrain` makes of it, in float64; the rest in the dtype of the
    weights. A network sees the `waves` of u.

    Where values end at a limit, the distribution is that of the map given that values lie inside: a truncated one.
    """

    low_limit: float | None = None
    """The smallest value, which has a density too; None where no value is too small for the map."""
    high_limit: float | None = None
    num_inputs = WAVES
    is_real = True
    per_column: ClassVar[tuple[str, ...]] = ("mean", "scale")
    mean: Tensor
    scale: Tensor

    def __init__(self, univariate: Univariate | None, columns: int) -> None:
        super().__init__(columns)
        self.univariate = LogisticMixtureCDF(COMPONENTS, log_widths=LOG_WIDTHS) if univariate is None else univariate
        if self.univariate.domain != Real() or self.univariate.codomain != Real():
            raise ValueError(
                f"{type(self).__name__}: univariate must be a map of the real line; got "
                f"{type(self.univariate).__name__}. Try univariate.LogisticMixtureCDF()."
            )
        self.distribution, self.kind = distribution_of(self.univariate), kind_of(self.univariate)
        self.num_params = self.univariate.num_params
        self.register_buffer("mean", torch.zeros(columns, 1, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(columns, 1, dtype=torch.float64))

    def _apply(self, fn: Any, recurse: bool = True) -> Scaled:
        statistics = {name: buffers_of(self)[name] for name in self.per_column}
        super()._apply(fn, recurse)
        for name, tensor in statistics.items():
            moved = buffers_of(self)[name]
            buffers_of(self)[name] = None if tensor is None or moved is None else moved_wide(tensor, moved)
        return self

    def temperature_scaling(self) -> tuple[Tensor, Tensor] | None:
        direction = self.distribution.widening()
        return None if direction is None else (torch.zeros_like(direction), direction)

    def _unconstrain(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """(v, log dv/dx) with v on the real line for x in the domain; any finite numbers elsewhere."""
        return x, 0.0

    def _constrain(self, v: Tensor) -> Tensor:
        """x from v."""
        return v

    def holds(self, x: Tensor) -> Tensor:
        return self._inside(x) if self.is_density else super().holds(x)

    def _limit(self, low: float | None, high: float | None) -> None:
        """Truncate the distribution of a type of the real line, or of the numbers above a bound.

        Raises:
            ValueError: a limit is not finite, or values that the type can hold do not lie between.
        """
        name, (least, most) = type(self).__name__, self.domain.ends
        for limit in (low, high):
            if limit is not None and not math.isfinite(limit):
                raise ValueError(f"{name}: limits must be finite numbers, or None for no limit; got {limit}.")
        self.low_limit = None if low is None else float(low)
        self.high_limit = None if high is None else float(high)
        ends = (least if low is None else max(least, float(low)), most if high is None else min(most, float(high)))
        if not ends[0] < ends[1]:
            raise ValueError(f"{name}: low must be smaller than high; got {ends[0]} and {ends[1]}.")
        limited: Domain = Interval(*ends)
        self.domain = self.domain if ends == (least, most) else limited

    def _inside(self, x: Tensor) -> Tensor:
        """Where there is a density: strictly between the ends of the domain, and at limits."""
        low, high = self.domain.ends
        above = x > low if self.low_limit is None else x >= low
        return above & (x < high if self.high_limit is None else x <= high)

    def standardized(self, x: Tensor) -> Tensor:
        return torch.where(self.holds(x), self._standardize64(self._unconstrain(x)[0]), torch.nan)

    def _placed(self, params: Tensor, constant_place: bool = False) -> Placed:
        """Parameters with or without location and scale, which may be constants."""
        if params.shape[0] == self.num_params:
            return Placed(params)
        inner, linear = params.split((self.num_params, 2))
        location, log_scale = (linear.detach() if constant_place else linear).unbind()
        return Placed(inner, location, log_scale, (-log_scale).exp())

    def _standardize64(self, v: Tensor) -> Tensor:
        return ((v - self.mean) / self.scale).clamp(-FAR, FAR)

    def encode(self, x: Tensor) -> Tensor:
        return waves(self.position(x))

    @property
    def shown_values(self) -> list[float] | None:
        return []

    @property
    def plain_inputs(self) -> list[int]:
        return [0]

    def position(self, x: Tensor) -> Tensor:
        u = self._standardize64(self._unconstrain(x)[0])
        return u.to(self.like.dtype).clamp(-INPUT_LIMIT, INPUT_LIMIT)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return self.in_terms(x, params).evaluate()

    def in_terms(self, x: Tensor, params: Tensor, *, constant_place: bool = False) -> InTerms:
        v, log_slope = self._unconstrain(x)
        placed = self._placed(params, constant_place)
        z, offset = placed.points(self._standardize64(v)), placed.log_slopes(log_slope - self.scale.log())
        terms = [ScalarTerm(self.distribution, self.kind, placed.params, z, offset.expand_as(z))]
        if self._is_truncated:
            terms.append(self._between(placed))
        outside = ~self._inside(x)

        def combine(values: Sequence[Tensor]) -> Tensor:
            value = values[0] - values[1] if self._is_truncated else values[0]
            return value.masked_fill(outside, -torch.inf)

        return InTerms(terms, combine)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        low, high = self.domain.ends
        v = self._unconstrain(x)[0]
        placed, below = self._placed(params), self._below(v, params)
        if (start := self._end(self.low_limit, placed)) is not None:
            z = placed.points(self._standardize64(v))
            below = self.distribution.log_mass(start.expand_as(z), z, placed.params).exp()
        if self._is_truncated:
            below = below * (-self._between(self._placed(params)).evaluate()).exp()
        return torch.where(x <= low, 0.0, torch.where(x >= high, 1.0, below.clamp(max=1.0)))

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        placed = self._placed(params)
        if self._is_truncated:
            eps = torch.finfo(p.dtype).eps
            p = p * self._between(placed).evaluate().exp()
            start = self._end(self.low_limit, placed)
            p = (p if start is None else p + self.distribution.log_tail(start, placed.params).exp()).clamp(eps, 1 - eps)
        u = placed.values(self.distribution.quantile(p, placed.params))
        return self._constrain(u * self.scale + self.mean).clamp(*self.domain.ends)

    @property
    def _is_truncated(self) -> bool:
        return self.low_limit is not None or self.high_limit is not None

    def _end(self, limit: float | None, placed: Placed) -> Tensor | None:
        """A limit as the distribution sees it, (columns, n)."""
        return None if limit is None else placed.points(self._limit64(limit)).expand(placed.params.shape[1:])

    def _limit64(self, limit: float) -> Tensor:
        return self._standardize64(self._unconstrain(torch.full_like(self.mean, limit))[0])

    def _between(self, placed: Placed) -> ScalarTerm:
        """The log-probability of what lies between the limits under the distribution of the map."""
        low, high, width = self._end(self.low_limit, placed), self._end(self.high_limit, placed), None
        if self.low_limit is not None and self.high_limit is not None:
            width = placed.widths(self._limit64(self.high_limit) - self._limit64(self.low_limit))
            width = width.expand(placed.params.shape[1:])
        return ScalarTerm(self.distribution, self.kind, placed.params, low=low, high=high, width=width)

    def _below(self, v: Tensor, params: Tensor) -> Tensor:
        """P(V ≤ v)."""
        placed = self._placed(params)
        return self.distribution.log_tail(placed.points(self._standardize64(v)), placed.params).exp()

    def fitted_params(self, u: Tensor) -> Tensor | None:
        params = self.distribution.initial_params(u.to(self.like.dtype)[None]) if len(u) > 1 else None
        return None if params is None else params[:, 0]

    def _measure(self, x: Tensor) -> Tensor:
        v = self._unconstrain(x[None])[0][0]
        if len(v):
            self.mean[0] = v.mean()
            deviation = (v - v.mean()).square().mean().sqrt()
            self.scale[0] = deviation if deviation > 0 else 1.0
        if not self.fits_shape:
            return self.like.new_zeros(self.num_params)
        noisy = self.add_noise(x[None], torch.Generator(x.device).manual_seed(0))
        params = self.fitted_params(self._standardize64(self._unconstrain(noisy)[0])[0])
        return self.like.new_zeros(self.num_params) if params is None else params
