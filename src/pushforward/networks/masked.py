"""The masked perceptron of autoregressive layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.dispatch import accelerated
from pushforward.networks.conditioner import AutoregressiveConditioner, register_masked
from pushforward.networks.incremental import IncrementalForward
from pushforward.networks.masked_linear import MaskedLinear, hidden_degrees
from pushforward.networks.mlp import check_hidden
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.reverse_sweep import ReverseSweep
from pushforward.networks.trunk import INPUT_LIMIT, activation_of, dropped, trunk

__all__ = ["MaskedMLP"]


class MaskedMLP(AutoregressiveConditioner, MixedPrecision):
    r"""Parameters of D univariate maps, those of feature j from the features before it and the context.

    Hidden units carry sorted degrees: a unit of degree d depends on the context and :math:`x_1..x_d`, and feature j
    reads units of degree < j. Units of degree 0 depend on the context alone, so the first feature depends on it. Widths
    too small to hold every degree are widened: no dependence is lost.

    The parallel pass costs one masked forward pass. The incremental pass of `start` gives the parameters feature by
    feature: step j computes only the block of each weight that feature j adds, so all D steps together cost one forward
    pass of arithmetic.

    Args:
        features: D, the number of features.
        num_params: parameters per feature.
        context: number of context features.
        channels: inputs that stand for one feature (2 for an angle: its cosine and sine).
        hidden: layer widths; see `MLP` for what they mean with ``residual``.
        residual: whether to add skip connections.
        activation: one of ``ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        ``x``: (features · channels, n), ``context``: (context, n), parameters: (num_params, features, n).

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), arXiv:1502.03509
    """

    def __init__(
        self,
        features: int,
        num_params: int,
        *,
        context: int = 0,
        channels: int = 1,
        hidden: Sequence[int] = (64, 64),
        residual: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_hidden("MaskedMLP", hidden, residual, activation, dropout)
        self.features, self.num_params, self.context, self.channels = features, num_params, context, channels
        self.residual, self.activation, self.dropout = residual, activation, dropout
        self.depth = max(1, len(hidden) - 1) if residual else len(hidden)
        widths = [hidden[0]] * (1 + 2 * self.depth) if residual else list(hidden)
        # Degrees are read while the network is built: on the CPU, also where its weights are not.
        feature_degrees = torch.arange(1, features + 1, device="cpu").repeat_interleave(channels)
        inputs = torch.cat([feature_degrees.new_zeros(context), feature_degrees])
        degrees = [inputs, *(hidden_degrees(width, features, context) for width in widths)]
        self.layers = nn.ModuleList(MaskedLinear(i, o) for i, o in pairwise(degrees))
        # Rows of the last layer are parameter-major: the output views as (num_params, features, n) without a copy.
        self.last = MaskedLinear(degrees[-1], torch.arange(features, device="cpu"), copies=num_params)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    @accelerated()
    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = self.inputs(x, context)
        with self.matmul_scope(x):
            params = self.last(self.hidden_units(inputs))
        return self.split(params.to(x.dtype))

    def start(self, x_like: Tensor, context: Tensor | None = None) -> IncrementalForward:
        plain = not self.residual and not self.drops_units
        return IncrementalForward(
            self._hidden_layers(),
            self.last,
            features=self.features,
            trunk=self._trunk,
            activation=self.activation if plain else None,
            x_like=x_like,
            context=context,
        )

    @property
    def has_reverse_pass(self) -> bool:
        return not self.drops_units  # another pass would drop other units

    def start_reverse(self, x: Tensor, context: Tensor | None, like: Tensor) -> ReverseSweep:
        return ReverseSweep(
            self._hidden_layers(),
            self.last,
            features=self.features,
            activation=self.activation,
            residual=self.residual,
            x=x,
            inputs=self.inputs(x, context),
            like=like,
        )

    @property
    def drops_units(self) -> bool:
        """Whether hidden units are dropped at random now."""
        return self.dropout > 0 and self.training

    def inputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What the first layer reads, (context + features · channels, n)."""
        inputs = x if context is None else torch.cat([context, x])
        return inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)

    def hidden_units(self, inputs: Tensor) -> Tensor:
        """What the last layer reads, (units, n), in the order of degrees."""
        return self._trunk(lambda k, h: self.layers[k](h), inputs)

    def split(self, params: Tensor) -> Tensor:
        """What the last layer gives, as (num_params, features, n)."""
        return params.view(self.num_params, self.features, params.shape[-1])

    def _hidden_layers(self) -> list[Any]:
        return list(self.layers)

    def _trunk(self, apply: Callable[[int, Tensor], Tensor], inputs: Tensor) -> Tensor:
        act = activation_of(self.activation, self.residual)
        return trunk(apply, inputs, self.depth, self.residual, act, self._drop)

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.drops_units else h


register_masked("plain", MaskedMLP)
register_masked("residual", partial(MaskedMLP, residual=True))
