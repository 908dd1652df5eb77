"""Distributions: the simple ones that flows start from, and flows themselves."""

from pushforward.core.distribution import Distribution, FixedContext
from pushforward.distributions import targets
from pushforward.distributions.autoregressive import AutoregressiveDistribution, Conditional
from pushforward.distributions.base import CircularUniform, Independent, Normal, StandardNormal, StudentT, Uniform
from pushforward.distributions.columns.circular import Circular
from pushforward.distributions.columns.column_distribution import ColumnDistribution
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.columns.continuous import Bounded, Continuous, HeavyTailed, Positive
from pushforward.distributions.columns.discrete import Boolean, Categorical, Constant, Ordinal
from pushforward.distributions.columns.inflated import Inflated, ZeroInflated
from pushforward.distributions.columns.integer import Integer
from pushforward.distributions.columns.repeated import Repeated
from pushforward.distributions.flow import Flow
from pushforward.distributions.importance import ImportanceWeighted
from pushforward.distributions.joint import Joint
from pushforward.distributions.manifold import ManifoldFlow, ProbabilisticPCA
from pushforward.distributions.mixed.conditional import MixedConditional
from pushforward.distributions.mixed.model import MixedTypeModel
from pushforward.distributions.mixture import GaussianMixture, MultivariateNormal
from pushforward.distributions.solver import estimate_log_prob, solver_report

__all__ = [
    "AutoregressiveDistribution",
    "Boolean",
    "Bounded",
    "Categorical",
    "Circular",
    "CircularUniform",
    "ColumnDistribution",
    "ColumnType",
    "Conditional",
    "Constant",
    "Continuous",
    "Distribution",
    "FixedContext",
    "Flow",
    "GaussianMixture",
    "HeavyTailed",
    "ImportanceWeighted",
    "Independent",
    "Inflated",
    "Integer",
    "Joint",
    "ManifoldFlow",
    "MixedConditional",
    "MixedTypeModel",
    "MultivariateNormal",
    "Normal",
    "Ordinal",
    "Positive",
    "ProbabilisticPCA",
    "Repeated",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "ZeroInflated",
    "estimate_log_prob",
    "solver_report",
    "targets",
]
