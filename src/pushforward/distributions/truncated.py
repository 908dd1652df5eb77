"""Independent features cut off at bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.config import configurable
from pushforward.core.domain import Circle, Domain, Interval, Real
from pushforward.core.entries import domain_of_each, product
from pushforward.distributions.base import Independent
from pushforward.distributions.draws import uniforms

__all__ = ["Truncated"]


@configurable
class Truncated(Independent):
    r"""Independent features given that each lies between its bounds.

    .. math:: q(x) = \prod_j \frac{p_j(x_j)}{F_j(h_j) - F_j(l_j)}, \qquad l_j \le x_j \le h_j

    Densities cost those of the base and two of its distribution functions; points are quantiles of the base. Where the
    bounds leave less than about 1e-6 of the base in float32 (1e-14 in float64), at its upper end, no digits are left.

    Args:
        base: independent features with a distribution function, without context, such as `StandardNormal`.
        low: lower bound of each feature, None where there is none.
        high: upper bound of each feature, None where there is none.

    Shape:
        ``x``: (*batch, features).

    Raises:
        ValueError: the base has no distribution function or takes a context, or the bounds leave nothing.

    >>> import torch
    >>> from pushforward.distributions import StandardNormal
    >>> half = Truncated(StandardNormal(1), [0.0], [None])
    >>> half.log_prob(torch.tensor([[0.0], [-1.0]])).exp().tolist()
    [0.7978845834732056, 0.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"base": {"type": "Normal", "loc": [0.0, 1.0], "scale": [1.0, 2.0]}, "low": [-1.0, 0.0], "high": [2.0, None]},
        {"base": {"type": "Gumbel", "features": 1}, "low": [None], "high": [2.0]},
    )
    low: Tensor
    high: Tensor

    def __init__(self, base: Independent, low: Sequence[float | None], high: Sequence[float | None]) -> None:
        super().__init__()
        if not isinstance(base, Independent) or base.context_shape is not None or len(base.event_shape) != 1:
            raise ValueError(
                "Truncated: base must be a vector of independent features with a distribution function and without "
                f"context, such as StandardNormal(2); got {type(base).__name__}."
            )
        (features,) = base.event_shape
        supports = domain_of_each(base.support, features)
        if any(isinstance(part, Circle) or not isinstance(part, Real | Interval) for part in supports):
            raise ValueError(f"Truncated: base must live on intervals of the real line; got {base.support}.")
        if not len(low) == len(high) == features:
            raise ValueError(f"Truncated: low and high must list {features} bounds; got {len(low)} and {len(high)}.")
        ends = [_cut(part, a, b) for part, a, b in zip(supports, low, high, strict=True)]
        self.base, self.event_shape = base, base.event_shape
        self.support: Domain = product(tuple(Interval(a, b) if (a, b) != OPEN else Real() for a, b in ends))
        self.add_constant("low", [a for a, _ in ends])
        self.add_constant("high", [b for _, b in ends])

    @property
    def cdf_kind(self) -> Kind:
        return self.base.cdf_kind

    @property
    def icdf_kind(self) -> Kind:
        return self.base.icdf_kind

    @property
    def sample_kind(self) -> Kind:
        return self.base.icdf_kind

    def _ends(self) -> tuple[Tensor, Tensor]:
        """The distribution function at both bounds; infinite bounds go through it at a point inside."""
        below, above = self.low > -torch.inf, self.high < torch.inf
        inner = self.base.support.anchor(self.low)
        first = self.base._cdf(torch.where(below, self.low, inner), None)
        last = self.base._cdf(torch.where(above, self.high, inner), None)
        return torch.where(below, first, 0.0), torch.where(above, last, 1.0)

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        first, last = self._ends()
        inside = (x >= self.low) & (x <= self.high)  # a flow's inverse may leave the bounds
        return torch.where(inside, self.base._log_probs(x, None) - (last - first).log(), -torch.inf)

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        first, last = self._ends()
        return ((self.base._cdf(x, None) - first) / (last - first)).clamp(0.0, 1.0)

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        first, last = self._ends()
        eps = torch.finfo(u.dtype).eps
        inner = (first + u * (last - first)).clamp(torch.finfo(u.dtype).tiny, 1 - eps / 2)
        return torch.minimum(torch.maximum(self.base._icdf(inner, None), self.low), self.high)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self._icdf(uniforms((*batch, *self.event_shape), self.low, generator), None)


OPEN = (-math.inf, math.inf)


def _cut(part: Domain, low: float | None, high: float | None) -> tuple[float, float]:
    """The ends of the part of a domain between two bounds."""
    a, b = part.ends
    a, b = a if low is None else max(a, float(low)), b if high is None else min(b, float(high))
    if not a < b:
        raise ValueError(f"Truncated: the bounds {low} and {high} leave nothing of {part}. Move them apart.")
    return a, b
