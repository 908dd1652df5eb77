"""The distribution that a mixture map stands for: the mixture itself, computed without the map."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from pushforward.core.reference import REFERENCES
from pushforward.univariate import mixture_slopes
from pushforward.univariate.distribution import UnivariateDistribution, distribution_of
from pushforward.univariate.mixture import LOG_WIDTH, MixtureCDF
from pushforward.univariate.mixture_fit import fit_gaussians

__all__ = ["MixtureDistribution"]


class MixtureDistribution(UnivariateDistribution):
    """A mixture of logistics or Gaussians, the components and the reference being of the same family.

    Densities and tails are logs of sums over the components, which lose no digits at any distance.
    """

    data_dependent = True
    univariate: MixtureCDF

    def __init__(self, univariate: MixtureCDF) -> None:
        super().__init__(univariate, REFERENCES[univariate.reference])

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        if mixture_slopes.can_run(self.univariate, params, x):
            return mixture_slopes.log_density(self.univariate, x, params, partial(self._log_density, x))
        return self._log_density(x, params)

    def _log_density(self, x: Tensor, params: Tensor) -> Tensor:
        log_weight, location, log_width = self.univariate.mixture(params)
        u = (x - location) * torch.exp(-log_width)
        return torch.logsumexp(log_weight - log_width + self.reference.log_density(u), dim=0)

    def log_tail(self, x: Tensor, params: Tensor, upper: bool = False) -> Tensor:
        if mixture_slopes.can_run(self.univariate, params, x):
            return mixture_slopes.log_tail(self.univariate, x, params, upper, partial(self._log_tail, x, upper))
        return self._log_tail(x, upper, params)

    def _log_tail(self, x: Tensor, upper: bool, params: Tensor) -> Tensor:
        log_weight, location, log_width = self.univariate.mixture(params)
        u = (x - location) * torch.exp(-log_width)
        return torch.logsumexp(log_weight + self.reference.log_below(-u if upper else u), dim=0)

    def log_mass(self, low: Tensor, high: Tensor, params: Tensor, width: Tensor | None = None) -> Tensor:
        if width is not None and mixture_slopes.can_run(self.univariate, params, low, high, width):

            def reference(params: Tensor) -> Tensor:
                return self._log_mass(low, high, params, width)

            return mixture_slopes.log_mass(self.univariate, low, high, width, params, reference)
        return self._log_mass(low, high, params, width)

    def _log_mass(self, low: Tensor, high: Tensor, params: Tensor, width: Tensor | None) -> Tensor:
        log_weight, location, log_width = self.univariate.mixture(params)
        steepness = torch.exp(-log_width)
        below, above = ((x - location) * steepness for x in (low, high))
        widths = above - below if width is None else width * steepness
        return torch.logsumexp(log_weight + self.reference.log_mass(below, above, widths), dim=0)

    def initial_params(self, x: Tensor) -> Tensor:
        """Parameters of the maximum-likelihood mixture of each feature, found by expectation maximisation."""
        mixture = self.univariate
        least = math.exp(mixture.log_width - 0.9 * LOG_WIDTH)
        weight, location, deviation = fit_gaussians(x, mixture.components, mixture.background, least)
        log_width = deviation.log() - 0.5 * math.log(mixture.variance)
        raw = [
            weight.log(),
            _inverse_squash(location, mixture.bound) - mixture.places.to(torch.float64)[:, None],
            _inverse_squash(log_width - mixture.log_width, mixture.log_widths),
        ]
        return torch.cat(raw).to(x.dtype)

    def widening(self) -> Tensor:
        """All components grow wider, none of them moves."""
        return torch.tensor([0.0, 0.0, 1.0]).repeat_interleave(self.univariate.components)


def _inverse_squash(value: Tensor, bound: float) -> Tensor:
    """The argument at which b tanh(· / b) takes this value; close to the bound, for values beyond it."""
    return bound * torch.atanh((value / bound).clamp(-0.99, 0.99))


@distribution_of.register
def _(univariate: MixtureCDF) -> UnivariateDistribution:
    return MixtureDistribution(univariate)
