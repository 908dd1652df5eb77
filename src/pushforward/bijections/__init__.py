"""Invertible maps between event shapes."""

from pushforward.bijections.actnorm import ActNorm
from pushforward.bijections.angle import Angle
from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.batch_norm import BatchNorm
from pushforward.bijections.block import BlockNeural
from pushforward.bijections.bounds import Bounds
from pushforward.bijections.chain import Chain
from pushforward.bijections.combine import Concatenate, Indexed, Stack
from pushforward.bijections.continuous import NeuralODE
from pushforward.bijections.convolution import Convolution1x1
from pushforward.bijections.coupling import Coupling
from pushforward.bijections.dequantize import Dequantize, VariationalDequantize
from pushforward.bijections.diagonal import Diagonal
from pushforward.bijections.elementwise import Elementwise
from pushforward.bijections.exponential import MatrixExponential
from pushforward.bijections.fixed import DiscreteCosine, Linear, RandomRotation
from pushforward.bijections.graph import GraphAutoregressive
from pushforward.bijections.grid import GridRosenblatt
from pushforward.bijections.guided import FirstContext, Guided
from pushforward.bijections.injective import CurvedLift, Lift, LinearLift
from pushforward.bijections.knothe import Banana, GaussianRosenblatt, MixtureRosenblatt
from pushforward.bijections.linear import LU, PLU
from pushforward.bijections.linear_map import LinearMap
from pushforward.bijections.multiscale import Multiscale
from pushforward.bijections.order import Ascending, MaxPool, Sort
from pushforward.bijections.orthogonal import Householder, Orthogonal
from pushforward.bijections.place import Reflect, Reordered, Reshape
from pushforward.bijections.planar import Planar
from pushforward.bijections.pointwise import Pointwise
from pushforward.bijections.qr import QR
from pushforward.bijections.radial import Radial, RadialSquash
from pushforward.bijections.rearrange import Flip, Permute
from pushforward.bijections.residual import Residual
from pushforward.bijections.rotation import Rotation
from pushforward.bijections.scale import Scale
from pushforward.bijections.scan import Scan
from pushforward.bijections.simplex import CentredSoftmax, StickBreaking
from pushforward.bijections.sphere import SphereCoordinates, SphereLinear, SphereMoebius, SphereRotation
from pushforward.bijections.sphere_exponential import SphereExponential
from pushforward.bijections.squeeze import Haar, Squeeze
from pushforward.bijections.standardize import Standardize
from pushforward.bijections.surjective import Abs, Augment, Slice, Surjection
from pushforward.bijections.sylvester import Sylvester
from pushforward.bijections.torch_transform import TorchTransform, from_torch_transform
from pushforward.bijections.triangular import Triangular, total_degree
from pushforward.bijections.whitening import Whitening
from pushforward.core.bijection import Bijection, Inverse

__all__ = [
    "LU",
    "PLU",
    "QR",
    "Abs",
    "ActNorm",
    "Angle",
    "Ascending",
    "Augment",
    "Autoregressive",
    "Banana",
    "BatchNorm",
    "Bijection",
    "BlockNeural",
    "Bounds",
    "CentredSoftmax",
    "Chain",
    "Concatenate",
    "Convolution1x1",
    "Coupling",
    "CurvedLift",
    "Dequantize",
    "Diagonal",
    "DiscreteCosine",
    "Elementwise",
    "FirstContext",
    "Flip",
    "GaussianRosenblatt",
    "GraphAutoregressive",
    "GridRosenblatt",
    "Guided",
    "Haar",
    "Householder",
    "Indexed",
    "Inverse",
    "Lift",
    "Linear",
    "LinearLift",
    "LinearMap",
    "MatrixExponential",
    "MaxPool",
    "MixtureRosenblatt",
    "Multiscale",
    "NeuralODE",
    "Orthogonal",
    "Permute",
    "Planar",
    "Pointwise",
    "Radial",
    "RadialSquash",
    "RandomRotation",
    "Reflect",
    "Reordered",
    "Reshape",
    "Residual",
    "Rotation",
    "Scale",
    "Scan",
    "Slice",
    "Sort",
    "SphereCoordinates",
    "SphereExponential",
    "SphereLinear",
    "SphereMoebius",
    "SphereRotation",
    "Squeeze",
    "Stack",
    "Standardize",
    "StickBreaking",
    "Surjection",
    "Sylvester",
    "TorchTransform",
    "Triangular",
    "VariationalDequantize",
    "Whitening",
    "from_torch_transform",
    "total_degree",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
