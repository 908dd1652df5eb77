"""The distribution that an increasing scalar map stands for: that of x where τ(x; θ) has a reference distribution."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from pushforward.core.reference import REFERENCES, ReferenceDistribution, log_width, narrow
from pushforward.univariate.base import Univariate

__all__ = ["UnivariateDistribution", "distribution_of"]


class UnivariateDistribution:
    r"""The distribution of x where :math:`y = \tau(x; \theta)` follows a reference distribution.

    .. math:: P(X \le x) = F_{\mathrm{ref}}(\tau(x; \theta))

    Like the map it holds no parameters: they come with every call. `distribution_of` finds the class for a map.

    Args:
        univariate: the map τ.
        reference: the distribution of y, a standard normal by default.

    Shape:
        x and results: (*s); params: (num_params, *s), where sizes of one broadcast.
    """

    data_dependent: bool = False
    """Whether `initial_params` says where to start from for given data."""

    def __init__(self, univariate: Univariate, reference: ReferenceDistribution = REFERENCES["gaussian"]) -> None:
        self.univariate, self.reference = univariate, reference

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """The log-density at x."""
        y, log_slope = self.univariate.forward(x, params)
        return self.reference.log_density(y) + log_slope

    def log_tail(self, x: Tensor, params: Tensor, upper: bool = False) -> Tensor:
        """log P(X ≤ x), or log P(X > x) of the upper tail."""
        y = self.univariate.value(x, params)
        return self.reference.log_below(-y if upper else y)

    def log_mass(self, low: Tensor, high: Tensor, params: Tensor, width: Tensor | None = None) -> Tensor:
        """log P(low < X ≤ high), accurate far out in the tails.

        Args:
            low: lower end.
            high: upper end.
            params: parameters of the map.
            width: ``high - low``, where it is known to more digits than the difference of the rounded ends.
        """
        width = high - low if width is None else width
        ends = self.univariate.value(low, params), self.univariate.value(high, params)
        between = ends[1] - ends[0]
        small = narrow(width) | narrow(50 * between)  # where the map is flat, its ends may round to one number
        tiny = log_width(width) + self.log_density((low + high) / 2, params)
        return torch.where(small, tiny, self.reference.log_mass(*ends, torch.where(small, 1.0, between)))

    def quantile(self, p: Tensor, params: Tensor) -> Tensor:
        """x with P(X ≤ x) = p."""
        return self.univariate.inverse_value(self.reference.point(p), params)

    def initial_params(self, x: Tensor) -> Tensor | None:
        """Parameters (num_params, features) from which learning the distribution of a sample x (features, n) goes
        well; None for zeros, as for most maps."""
        return None

    def widening(self) -> Tensor | None:
        """The direction (num_params,) in which parameters make the distribution wider without moving it: t times it
        widens by about exp(t). None where a map has no such direction."""
        return None


@singledispatch
def distribution_of(univariate: Univariate) -> UnivariateDistribution:
    """The distribution that a map stands for; a class of maps may register one of its own."""
    return UnivariateDistribution(univariate)
