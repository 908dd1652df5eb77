"""Options that named flows share: their types, default values and documentation, each in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

__all__ = [
    "DEFAULTS",
    "DOCUMENTATION",
    "DataOptions",
    "Fast",
    "Mix",
    "NetworkOptions",
    "Options",
    "PlainOptions",
    "Tails",
    "TransformerOptions",
]

Fast = Literal["density", "sampling"]
Mix = Literal["lu", "permute", "flip", "none"]
Tails = Literal["normal", "heavy"]


class NetworkOptions(TypedDict, total=False):
    """Options of the networks that compute the parameters of the layers."""

    hidden: Sequence[int]
    conditioner: str
    activation: str
    dropout: float


class DataOptions(TypedDict, total=False):
    """Options of the data side of a flow."""

    tails: Tails
    data_dtype: str | None


class PlainOptions(TypedDict, total=False):
    """Options of the networks of flows that have conditioners of one kind."""

    hidden: Sequence[int]
    activation: str
    dropout: float


class TransformerOptions(PlainOptions, DataOptions, total=False):
    """Options of flows whose conditioners are transformers, and of their data side."""


class Options(NetworkOptions, DataOptions, total=False):
    """Keyword arguments that most named flows accept, with the type of each; `help` of a flow describes them."""


DEFAULTS: Options = {
    "hidden": (128, 128),
    "conditioner": "plain",
    "activation": "relu",
    "dropout": 0.0,
    "tails": "normal",
    "data_dtype": None,
}

DOCUMENTATION = {
    "features": "number of features of x, which has shape (*batch, features).",
    "context": "number of context features; the context has shape (*batch, context). 0: an unconditional flow.",
    "depth": "number of layers.",
    "fast": (
        'the direction that costs one parallel pass: ``"density"`` (`log_prob`) or ``"sampling"`` (`sample`). Coupling '
        "layers cost one pass in both."
    ),
    "mix": (
        'the map between neighbouring layers: ``"lu"`` (a learned linear map), ``"permute"`` (a fixed random '
        'permutation), ``"flip"`` (the reversed order), or ``"none"``, which keeps a stack of triangular layers '
        "triangular, with exact conditionals (`Flow.given`)."
    ),
    "bound": "the maps act on [-bound, bound], in standard deviations of the data, and are linear outside.",
    "hidden": "widths of the hidden layers of each conditioner.",
    "conditioner": "registered name of the conditioner.",
    "activation": "name of the conditioner's activation function.",
    "dropout": "dropout probability of the conditioner.",
    "tails": (
        '``"normal"``, or ``"heavy"`` for power-law tails: standardisation by quantiles, and a learned power on each '
        "side of each feature."
    ),
    "data_dtype": '``"float64"`` if x and context are float64 although the weights are float32.',
}
"""One sentence per argument; `named_flow` puts those of a flow's signature into its docstring."""
