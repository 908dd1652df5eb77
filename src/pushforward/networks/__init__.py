"""Conditioners: networks that turn what a layer may see into the parameters of its univariate maps.

All networks here put features first: they map ``(in_features, n)`` to ``(out_features, n)`` for n points, so that
parameters arrive with their own axis leading and every later operation runs along contiguous memory.
"""

from pushforward.networks.conditioner import (
    DENSE,
    MASKED,
    AutoregressiveConditioner,
    Conditioner,
    IncrementalPass,
    ReversePass,
    SupportsReversePass,
    register_dense,
    register_masked,
)
from pushforward.networks.conv import CONV, ConvNet, register_conv
from pushforward.networks.graph import GraphMLP
from pushforward.networks.masked import MaskedMLP
from pushforward.networks.mlp import MLP
from pushforward.networks.trunk import ACTIVATIONS

__all__ = [
    "ACTIVATIONS",
    "CONV",
    "DENSE",
    "MASKED",
    "MLP",
    "AutoregressiveConditioner",
    "Conditioner",
    "ConvNet",
    "GraphMLP",
    "IncrementalPass",
    "MaskedMLP",
    "ReversePass",
    "SupportsReversePass",
    "register_conv",
    "register_dense",
    "register_masked",
]
