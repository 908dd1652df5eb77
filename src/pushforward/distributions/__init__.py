"""Distributions: the simple ones that flows start from, and flows themselves."""

from pushforward.core.distribution import Conditioned, Distribution
from pushforward.distributions import targets
from pushforward.distributions.base import CircularUniform, Factorised, Normal, StandardNormal, StudentT, Uniform
from pushforward.distributions.conditional import Conditional, Ordered
from pushforward.distributions.flow import Flow
from pushforward.distributions.mixture import GaussianMixture, MultivariateNormal

__all__ = [
    "CircularUniform",
    "Conditional",
    "Conditioned",
    "Distribution",
    "Factorised",
    "Flow",
    "GaussianMixture",
    "MultivariateNormal",
    "Normal",
    "Ordered",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "targets",
]
