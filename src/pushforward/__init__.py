"""Normalizing flows: push a simple density through an invertible map and know the exact likelihood of every point."""

from pushforward import bijections, distributions, flows, io, univariate
from pushforward._version import __version__
from pushforward.core.config import build, configurable
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow
from pushforward.io import load, save
from pushforward.train import fit

__all__ = [
    "Distribution",
    "Flow",
    "__version__",
    "bijections",
    "build",
    "configurable",
    "distributions",
    "fit",
    "flows",
    "io",
    "load",
    "save",
    "univariate",
]
