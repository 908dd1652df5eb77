"""Distributions: the simple ones that flows start from, and flows themselves."""

from pushforward.core.distribution import Conditioned, Distribution
from pushforward.distributions.base import MultivariateNormal, Normal, StandardNormal, StudentT, Uniform
from pushforward.distributions.flow import Flow

__all__ = [
    "Conditioned",
    "Distribution",
    "Flow",
    "MultivariateNormal",
    "Normal",
    "StandardNormal",
    "StudentT",
    "Uniform",
]
