"""Increasing scalar maps, whose parameters come from outside; every layer kind takes any of them."""

from pushforward.univariate.base import Univariate
from pushforward.univariate.bounded import BoundedRationalQuadratic
from pushforward.univariate.circular import CircularRationalQuadratic, CircularShift, Moebius
from pushforward.univariate.composed import Composed
from pushforward.univariate.distribution import UnivariateDistribution, distribution_of
from pushforward.univariate.elementary import Affine, Shift, SinhArcsinh, YeoJohnson
from pushforward.univariate.integrated import IntegratedNetwork
from pushforward.univariate.mixture_distribution import MixtureDistribution
from pushforward.univariate.mixture_kinds import GaussianMixtureCDF, LogisticMixtureCDF
from pushforward.univariate.per_feature import PerFeature
from pushforward.univariate.polynomial import Bernstein, SumOfSquares
from pushforward.univariate.rational_splines import LinearRational, RationalQuadratic
from pushforward.univariate.sigmoidal import DeepSigmoidal, DenseDeepSigmoidal
from pushforward.univariate.spline_kinds import CubicSpline, LinearSpline, QuadraticSpline
from pushforward.univariate.tails import TailTransform

__all__ = [
    "Affine",
    "Bernstein",
    "BoundedRationalQuadratic",
    "CircularRationalQuadratic",
    "CircularShift",
    "Composed",
    "CubicSpline",
    "DeepSigmoidal",
    "DenseDeepSigmoidal",
    "GaussianMixtureCDF",
    "IntegratedNetwork",
    "LinearRational",
    "LinearSpline",
    "LogisticMixtureCDF",
    "MixtureDistribution",
    "Moebius",
    "PerFeature",
    "QuadraticSpline",
    "RationalQuadratic",
    "Shift",
    "SinhArcsinh",
    "SumOfSquares",
    "TailTransform",
    "Univariate",
    "UnivariateDistribution",
    "YeoJohnson",
    "distribution_of",
]
