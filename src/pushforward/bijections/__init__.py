"""Invertible maps between event shapes."""

from pushforward.bijections.actnorm import ActNorm
from pushforward.bijections.angle import Angle
from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.block import BlockNeural
from pushforward.bijections.chain import Chain
from pushforward.bijections.continuous import NeuralODE
from pushforward.bijections.convolution import Convolution1x1
from pushforward.bijections.coupling import Coupling
from pushforward.bijections.diagonal import Diagonal
from pushforward.bijections.elementwise import Elementwise
from pushforward.bijections.fixed import Linear, RandomRotation
from pushforward.bijections.grid import GridRosenblatt
from pushforward.bijections.knothe import Banana, GaussianRosenblatt, MixtureRosenblatt
from pushforward.bijections.linear import LU, PLU
from pushforward.bijections.linear_map import LinearMap
from pushforward.bijections.orthogonal import Householder, Orthogonal
from pushforward.bijections.planar import Planar
from pushforward.bijections.qr import QR
from pushforward.bijections.radial import Radial, RadialSquash
from pushforward.bijections.rearrange import Flip, Permute
from pushforward.bijections.residual import Residual
from pushforward.bijections.rotation import Rotation
from pushforward.bijections.standardize import Standardize
from pushforward.bijections.sylvester import Sylvester
from pushforward.bijections.triangular import Triangular, total_degree
from pushforward.bijections.whitening import Whitening
from pushforward.core.bijection import Bijection, Inverse

__all__ = [
    "LU",
    "PLU",
    "QR",
    "ActNorm",
    "Angle",
    "Autoregressive",
    "Banana",
    "Bijection",
    "BlockNeural",
    "Chain",
    "Convolution1x1",
    "Coupling",
    "Diagonal",
    "Elementwise",
    "Flip",
    "GaussianRosenblatt",
    "GridRosenblatt",
    "Householder",
    "Inverse",
    "Linear",
    "LinearMap",
    "MixtureRosenblatt",
    "NeuralODE",
    "Orthogonal",
    "Permute",
    "Planar",
    "Radial",
    "RadialSquash",
    "RandomRotation",
    "Residual",
    "Rotation",
    "Standardize",
    "Sylvester",
    "Triangular",
    "Whitening",
    "total_degree",
]
