"""The plain and the residual multi-layer perceptron, features first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least, one_of
from pushforward.networks.dropout import dropout
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.trunk import ACTIVATIONS, activation_of, trunk

__all__ = ["DENSE", "INPUT_LIMIT", "MLP", "check_hidden", "register_dense"]

# A conditioner may be any function of what it sees, so it may see clamped inputs; a huge finite entry of one row
# then cannot overflow inside the network and reach the weight gradients of all rows.
INPUT_LIMIT = 1e6

DENSE: dict[str, Callable[..., nn.Module]] = {}
"""Conditioners by name: factories called as ``factory(in_features, out_features, hidden=, activation=, dropout=)``
whose module maps (in_features, n) to (out_features, n)."""


def register_dense(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make a network available as ``conditioner=name`` in `Coupling` and `Elementwise`.

    Args:
        name: a new name; saved models refer to it.
        factory: called as ``factory(in_features, out_features, hidden=, activation=, dropout=)``; returns a module
            that maps (in_features, n) to (out_features, n).
    """
    if name in DENSE:
        raise ValueError(f"register_dense: the name {name!r} is taken. Choose another.")
    DENSE[name] = factory


def check_hidden(owner: str, hidden: Sequence[int], residual: bool, activation: str, dropout: float) -> None:
    """Refuse a network that cannot be built."""
    if not isinstance(hidden, Sequence) or not hidden:
        raise ValueError(f"{owner}: hidden must list at least one layer width; got {hidden!r}. Use hidden=(64, 64).")
    for width in hidden:
        at_least(owner, "hidden", width, 1)
    if residual and len(set(hidden)) > 1:
        raise ValueError(f"{owner}: a residual network needs equal widths; got hidden={tuple(hidden)}.")
    one_of(owner, "activation", activation, tuple(ACTIVATIONS))
    if not 0 <= dropout < 1:
        raise ValueError(f"{owner}: dropout must lie in [0, 1); got {dropout!r}.")


class MLP(MixedPrecision):
    """A perceptron whose last layer starts at zero, so that the layer it steers starts at its identity.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        hidden: layer widths. A residual network of equal widths has ``max(1, len(hidden) - 1)`` blocks of two linear
            maps between its first and last one.
        residual: whether to add skip connections.
        activation: one of ``ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        (in_features, n) to (out_features, n).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: Sequence[int] = (64, 64),
        residual: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_hidden("MLP", hidden, residual, activation, dropout)
        widths = [in_features, *hidden]
        if residual:
            widths = [in_features] + [hidden[0]] * (1 + 2 * max(1, len(hidden) - 1))
        self.depth = max(1, len(hidden) - 1) if residual else len(hidden)
        self.residual, self.activation, self.dropout = residual, activation, dropout
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, [*widths[1:], out_features], strict=True))
        last = self.layers[-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        with self.multiplying(x):
            act = activation_of(self.activation, self.residual)
            h = trunk(self._apply_layer, x, self.depth, self.residual, act, self._drop)
            return self._apply_layer(-1, h).to(x.dtype)

    def _apply_layer(self, k: int, h: Tensor) -> Tensor:
        layer: Any = self.layers[k]
        return torch.addmm(layer.bias[:, None], layer.weight, h)

    def _drop(self, h: Tensor) -> Tensor:
        return dropout(h, self.dropout, self.training)


def _residual_mlp(in_features: int, out_features: int, **options: Any) -> nn.Module:
    return MLP(in_features, out_features, residual=True, **options)


register_dense("plain", MLP)
register_dense("residual", _residual_mlp)
