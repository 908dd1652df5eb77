"""Distributions: the simple ones that flows start from, and flows themselves."""

from pushforward.core.distribution import Conditioned, Distribution
from pushforward.distributions import targets
from pushforward.distributions.base import CircularUniform, Factorised, Normal, StandardNormal, StudentT, Uniform
from pushforward.distributions.conditional import Conditional, Ordered
from pushforward.distributions.flow import Flow
from pushforward.distributions.kinds import Boolean, Categorical, Column, Constant, Inflated, Ordinal, ZeroInflated
from pushforward.distributions.measured import Bounded, Circular, Continuous, HeavyTailed, Integer, Positive
from pushforward.distributions.mixed import Mixed
from pushforward.distributions.mixed_given import MixedConditional
from pushforward.distributions.mixture import GaussianMixture, MultivariateNormal
from pushforward.distributions.of_column import ColumnLaw

__all__ = [
    "Boolean",
    "Bounded",
    "Categorical",
    "Circular",
    "CircularUniform",
    "Column",
    "ColumnLaw",
    "Conditional",
    "Conditioned",
    "Constant",
    "Continuous",
    "Distribution",
    "Factorised",
    "Flow",
    "GaussianMixture",
    "HeavyTailed",
    "Inflated",
    "Integer",
    "Mixed",
    "MixedConditional",
    "MultivariateNormal",
    "Normal",
    "Ordered",
    "Ordinal",
    "Positive",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "ZeroInflated",
    "targets",
]
