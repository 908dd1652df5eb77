"""Invertible maps between event shapes."""

from pushforward.bijections.angle import Angle
from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.block import BlockNeural
from pushforward.bijections.bounds import Bounds
from pushforward.bijections.chain import Chain
from pushforward.bijections.coupling import Coupling
from pushforward.bijections.elementwise import Elementwise
from pushforward.bijections.grid import GridRosenblatt
from pushforward.bijections.knothe import Banana, GaussianRosenblatt, MixtureRosenblatt
from pushforward.bijections.linear import LU, Rotation
from pushforward.bijections.radial import RadialSquash
from pushforward.bijections.rearrange import Flip, Permute
from pushforward.bijections.simplex import CentredSoftmax, StickBreaking
from pushforward.bijections.sphere import SphereCoordinates, SphereLinear, SphereMoebius, SphereRotation
from pushforward.bijections.sphere_exponential import SphereExponential
from pushforward.bijections.standardize import Standardize
from pushforward.bijections.triangular import Triangular, total_degree
from pushforward.core.bijection import Bijection, Inverse

__all__ = [
    "LU",
    "Angle",
    "Autoregressive",
    "Banana",
    "Bijection",
    "BlockNeural",
    "Bounds",
    "CentredSoftmax",
    "Chain",
    "Coupling",
    "Elementwise",
    "Flip",
    "GaussianRosenblatt",
    "GridRosenblatt",
    "Inverse",
    "MixtureRosenblatt",
    "Permute",
    "RadialSquash",
    "Rotation",
    "SphereCoordinates",
    "SphereExponential",
    "SphereLinear",
    "SphereMoebius",
    "SphereRotation",
    "Standardize",
    "StickBreaking",
    "Triangular",
    "total_degree",
]
