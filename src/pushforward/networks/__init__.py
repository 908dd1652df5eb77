"""Conditioners: networks that turn what a layer may see into the parameters of its univariate maps.

Conditioners put features first: they map ``(in_features, n)`` to ``(out_features, n)`` for n points, so that parameters
arrive with their own axis leading and every later operation runs along contiguous memory. Networks with a Lipschitz
constant, which map events to events, put the batch first.
"""

from pushforward.networks.conditioner import (
    DENSE,
    MASKED,
    AutoregressiveConditioner,
    BlockPass,
    Conditioner,
    IncrementalPass,
    ReversePass,
    SupportsReversePass,
    register_dense,
    register_masked,
)
from pushforward.networks.conv import CONV, ConvNet, register_conv
from pushforward.networks.gated_conv import GatedConvNet, GlowConvNet
from pushforward.networks.graph import GraphMLP
from pushforward.networks.grid_recurrence import GridRecurrence
from pushforward.networks.lipschitz import (
    LIPSCHITZ,
    LIPSCHITZ_ACTIVATIONS,
    Linearization,
    LipschitzConvNet,
    LipschitzMLP,
    LipschitzNetwork,
    register_lipschitz,
)
from pushforward.networks.masked import MaskedMLP
from pushforward.networks.mlp import MLP
from pushforward.networks.spectral import conv_norm_bound, norm_bound
from pushforward.networks.transformer import CausalTransformer
from pushforward.networks.trunk import ACTIVATIONS
from pushforward.networks.window import CausalWindow

__all__ = [
    "ACTIVATIONS",
    "CONV",
    "DENSE",
    "LIPSCHITZ",
    "LIPSCHITZ_ACTIVATIONS",
    "MASKED",
    "MLP",
    "AutoregressiveConditioner",
    "BlockPass",
    "CausalTransformer",
    "CausalWindow",
    "Conditioner",
    "ConvNet",
    "GatedConvNet",
    "GlowConvNet",
    "GraphMLP",
    "GridRecurrence",
    "IncrementalPass",
    "Linearization",
    "LipschitzConvNet",
    "LipschitzMLP",
    "LipschitzNetwork",
    "MaskedMLP",
    "ReversePass",
    "SupportsReversePass",
    "conv_norm_bound",
    "norm_bound",
    "register_conv",
    "register_dense",
    "register_lipschitz",
    "register_masked",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
