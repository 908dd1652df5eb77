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
from pushforward.distributions.context_pair import ContextPair
from pushforward.distributions.denoise import denoise
from pushforward.distributions.directions import SphericalUniform, VonMises, VonMisesFisher
from pushforward.distributions.discrete_grid import DiscreteGrid
from pushforward.distributions.each_context import contexts_act_on_latents, log_prob_of_each
from pushforward.distributions.ensembles import Ensemble, ensemble
from pushforward.distributions.flow import Flow
from pushforward.distributions.from_torch import TorchDistribution, from_torch
from pushforward.distributions.guidance import guided, with_temperature
from pushforward.distributions.guided_grid import GuidedGrid
from pushforward.distributions.half_line import Exponential, Gamma, LogNormal, Weibull
from pushforward.distributions.importance import ImportanceWeighted
from pushforward.distributions.joint import Joint
from pushforward.distributions.manifold import ManifoldFlow, ProbabilisticPCA
from pushforward.distributions.mixed.conditional import MixedConditional
from pushforward.distributions.mixed.model import MixedTypeModel
from pushforward.distributions.mixed.with_flow import MixedFlow
from pushforward.distributions.mixture import GaussianMixture, MultivariateNormal
from pushforward.distributions.mixture_of_parts import Mixture
from pushforward.distributions.parametric import LocationScale, Parametric, ParametricQuantiles
from pushforward.distributions.product_space import ProductDistribution
from pushforward.distributions.real_line import DiagonalNormal, Laplace, Logistic
from pushforward.distributions.resampled import Resampled
from pushforward.distributions.rotations import RotationDistribution, rotation_matrix
from pushforward.distributions.skewed_and_heavy import Cauchy, GeneralizedNormal, Gumbel
from pushforward.distributions.solver import estimate_log_prob, solver_report
from pushforward.distributions.truncated import Truncated
from pushforward.distributions.unit_interval import Beta, Dirichlet

__all__ = [
    "AutoregressiveDistribution",
    "Beta",
    "Boolean",
    "Bounded",
    "Categorical",
    "Cauchy",
    "Circular",
    "CircularUniform",
    "ColumnDistribution",
    "ColumnType",
    "Conditional",
    "Constant",
    "ContextPair",
    "Continuous",
    "DiagonalNormal",
    "Dirichlet",
    "DiscreteGrid",
    "Distribution",
    "Ensemble",
    "Exponential",
    "FixedContext",
    "Flow",
    "Gamma",
    "GaussianMixture",
    "GeneralizedNormal",
    "GuidedGrid",
    "Gumbel",
    "HeavyTailed",
    "ImportanceWeighted",
    "Independent",
    "Inflated",
    "Integer",
    "Joint",
    "Laplace",
    "LocationScale",
    "LogNormal",
    "Logistic",
    "ManifoldFlow",
    "MixedConditional",
    "MixedFlow",
    "MixedTypeModel",
    "Mixture",
    "MultivariateNormal",
    "Normal",
    "Ordinal",
    "Parametric",
    "ParametricQuantiles",
    "Positive",
    "ProbabilisticPCA",
    "ProductDistribution",
    "Repeated",
    "Resampled",
    "RotationDistribution",
    "SphericalUniform",
    "StandardNormal",
    "StudentT",
    "TorchDistribution",
    "Truncated",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "Weibull",
    "ZeroInflated",
    "contexts_act_on_latents",
    "denoise",
    "ensemble",
    "estimate_log_prob",
    "from_torch",
    "guided",
    "log_prob_of_each",
    "rotation_matrix",
    "solver_report",
    "targets",
    "with_temperature",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
