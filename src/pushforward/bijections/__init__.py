"""Invertible maps between event shapes."""

from pushforward.bijections.angle import Angle
from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.block import BlockNeural
from pushforward.bijections.chain import Chain
from pushforward.bijections.coupling import Coupling
from pushforward.bijections.dequantize import Dequantize, VariationalDequantize
from pushforward.bijections.elementwise import Elementwise
from pushforward.bijections.grid import GridRosenblatt
from pushforward.bijections.injective import CurvedLift, Lift, LinearLift
from pushforward.bijections.knothe import Banana, GaussianRosenblatt, MixtureRosenblatt
from pushforward.bijections.linear import LU, Rotation
from pushforward.bijections.multiscale import Multiscale
from pushforward.bijections.order import Ascending, MaxPool, Sort
from pushforward.bijections.pointwise import Pointwise
from pushforward.bijections.radial import RadialSquash
from pushforward.bijections.rearrange import Flip, Permute
from pushforward.bijections.squeeze import Haar, Squeeze
from pushforward.bijections.standardize import Standardize
from pushforward.bijections.surjective import Abs, Augment, Slice, Surjection
from pushforward.bijections.triangular import Triangular, total_degree
from pushforward.core.bijection import Bijection, Inverse

__all__ = [
    "LU",
    "Abs",
    "Angle",
    "Ascending",
    "Augment",
    "Autoregressive",
    "Banana",
    "Bijection",
    "BlockNeural",
    "Chain",
    "Coupling",
    "CurvedLift",
    "Dequantize",
    "Elementwise",
    "Flip",
    "GaussianRosenblatt",
    "GridRosenblatt",
    "Haar",
    "Inverse",
    "Lift",
    "LinearLift",
    "MaxPool",
    "MixtureRosenblatt",
    "Multiscale",
    "Permute",
    "Pointwise",
    "RadialSquash",
    "Rotation",
    "Slice",
    "Sort",
    "Squeeze",
    "Standardize",
    "Surjection",
    "Triangular",
    "VariationalDequantize",
    "total_degree",
]
