"""Invertible maps between event shapes."""

from pushforward.bijections.angle import Angle
from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.batch_norm import BatchNorm
from pushforward.bijections.block import BlockNeural
from pushforward.bijections.chain import Chain
from pushforward.bijections.combine import Concatenate, Indexed, Stack
from pushforward.bijections.coupling import Coupling
from pushforward.bijections.elementwise import Elementwise
from pushforward.bijections.graph import GraphAutoregressive
from pushforward.bijections.grid import GridRosenblatt
from pushforward.bijections.knothe import Banana, GaussianRosenblatt, MixtureRosenblatt
from pushforward.bijections.linear import LU, Rotation
from pushforward.bijections.place import Reflect, Reordered, Reshape
from pushforward.bijections.radial import RadialSquash
from pushforward.bijections.rearrange import Flip, Permute
from pushforward.bijections.scan import Scan
from pushforward.bijections.standardize import Standardize
from pushforward.bijections.triangular import Triangular, total_degree
from pushforward.core.bijection import Bijection, Inverse

__all__ = [
    "LU",
    "Angle",
    "Autoregressive",
    "Banana",
    "BatchNorm",
    "Bijection",
    "BlockNeural",
    "Chain",
    "Concatenate",
    "Coupling",
    "Elementwise",
    "Flip",
    "GaussianRosenblatt",
    "GraphAutoregressive",
    "GridRosenblatt",
    "Indexed",
    "Inverse",
    "MixtureRosenblatt",
    "Permute",
    "RadialSquash",
    "Reflect",
    "Reordered",
    "Reshape",
    "Rotation",
    "Scan",
    "Stack",
    "Standardize",
    "Triangular",
    "total_degree",
]
