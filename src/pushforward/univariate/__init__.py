"""Increasing scalar maps, whose parameters come from outside; every layer kind takes any of them."""

from pushforward.univariate.base import Univariate
from pushforward.univariate.elementary import Affine, Shift
from pushforward.univariate.spline import RationalQuadratic

__all__ = ["Affine", "RationalQuadratic", "Shift", "Univariate"]
