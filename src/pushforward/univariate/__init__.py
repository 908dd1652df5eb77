"""Increasing scalar maps, whose parameters come from outside; every layer kind takes any of them."""

from pushforward.univariate.base import Iterative, Univariate
from pushforward.univariate.bounded import BoundedRationalQuadratic
from pushforward.univariate.cdf import CDF
from pushforward.univariate.circular import CircularRationalQuadratic, CircularShift, Moebius
from pushforward.univariate.composed import Composed
from pushforward.univariate.distribution import UnivariateDistribution, distribution_of
from pushforward.univariate.elementary import Affine, Shift, SinhArcsinh, YeoJohnson
from pushforward.univariate.fixed import Exp, Log, SignedPower, Softplus
from pushforward.univariate.guided import GuidedAffine
from pushforward.univariate.in_box import InBox
from pushforward.univariate.integrated import IntegratedNetwork
from pushforward.univariate.inverted import Inverted
from pushforward.univariate.mixture_distribution import MixtureDistribution
from pushforward.univariate.mixture_kinds import GaussianMixtureCDF, LogisticMixtureCDF
from pushforward.univariate.monotone import Monotone, register_monotone
from pushforward.univariate.per_feature import PerFeature
from pushforward.univariate.polynomial import Bernstein, SumOfSquares
from pushforward.univariate.rational_splines import LinearRational, RationalQuadratic
from pushforward.univariate.saturating import ELU, Softclip
from pushforward.univariate.sigmoidal import DeepSigmoidal, DenseDeepSigmoidal
from pushforward.univariate.spline_kinds import CubicSpline, LinearSpline, QuadraticSpline
from pushforward.univariate.squash import LeakyReLU, LeakyTanh, Logit, Sigmoid, Tanh
from pushforward.univariate.tails import TailTransform

__all__ = [
    "CDF",
    "ELU",
    "Affine",
    "Bernstein",
    "BoundedRationalQuadratic",
    "CircularRationalQuadratic",
    "CircularShift",
    "Composed",
    "CubicSpline",
    "DeepSigmoidal",
    "DenseDeepSigmoidal",
    "Exp",
    "GaussianMixtureCDF",
    "GuidedAffine",
    "InBox",
    "IntegratedNetwork",
    "Inverted",
    "Iterative",
    "LeakyReLU",
    "LeakyTanh",
    "LinearRational",
    "LinearSpline",
    "Log",
    "LogisticMixtureCDF",
    "Logit",
    "MixtureDistribution",
    "Moebius",
    "Monotone",
    "PerFeature",
    "QuadraticSpline",
    "RationalQuadratic",
    "Shift",
    "Sigmoid",
    "SignedPower",
    "SinhArcsinh",
    "Softclip",
    "Softplus",
    "SumOfSquares",
    "TailTransform",
    "Tanh",
    "Univariate",
    "UnivariateDistribution",
    "YeoJohnson",
    "distribution_of",
    "register_monotone",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
