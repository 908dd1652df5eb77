"""The plain and the residual multi-layer perceptron, features first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least, one_of
from pushforward.networks.conditioner import Conditioner, register_dense
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.trunk import ACTIVATIONS, INPUT_LIMIT, activation_of, blocks_of, dropped, trunk

__all__ = ["MLP", "check_hidden"]


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


class MLP(Conditioner, MixedPrecision):
    """A perceptron whose last layer starts at zero, so that the layer that it conditions starts at its identity.

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

    Raises:
        ValueError: there is no layer, its width is below one, a residual network has layers of different
            widths, or ``activation`` or ``dropout`` is out of its range.
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
        self.num_blocks = blocks_of(hidden, residual)
        widths = [in_features, *hidden]
        if residual:
            widths = [in_features] + [hidden[0]] * (1 + 2 * self.num_blocks)
        self.residual, self.activation, self.dropout = residual, activation, dropout
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, [*widths[1:], out_features], strict=True))
        last = self.layers[-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = x if context is None else torch.cat([context, x])
        inputs = inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        with self.matmul_scope(inputs):
            act = activation_of(self.activation, self.residual)
            h = trunk(self._apply_layer, inputs, self.num_blocks, self.residual, act, self._drop)
            return self._apply_layer(-1, h).to(x.dtype)

    def _apply_layer(self, k: int, h: Tensor) -> Tensor:
        layer: Any = self.layers[k]
        return torch.addmm(layer.bias[:, None], layer.weight, h)

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.dropout > 0 and self.training else h


register_dense("plain", MLP)
register_dense("residual", partial(MLP, residual=True))
