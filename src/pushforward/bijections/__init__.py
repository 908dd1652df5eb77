"""Invertible maps between event shapes."""

from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.chain import Chain
from pushforward.bijections.coupling import Coupling
from pushforward.bijections.elementwise import Elementwise
from pushforward.bijections.linear import LU
from pushforward.bijections.radial import RadialSquash
from pushforward.bijections.rearrange import Flip, Permute
from pushforward.bijections.standardize import Standardize
from pushforward.core.bijection import Bijection, Inverse

__all__ = [
    "LU",
    "Autoregressive",
    "Bijection",
    "Chain",
    "Coupling",
    "Elementwise",
    "Flip",
    "Inverse",
    "Permute",
    "RadialSquash",
    "Standardize",
]
