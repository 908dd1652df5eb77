"""The masked perceptron of autoregressive layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.dispatch import accelerated
from pushforward.networks.conditioner import AutoregressiveConditioner, SupportsReversePass, register_masked
from pushforward.networks.incremental import IncrementalForward
from pushforward.networks.masked_linear import MaskedLinear, hidden_degrees
from pushforward.networks.mlp import check_hidden
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.reverse_sweep import ReverseSweep
from pushforward.networks.trunk import INPUT_LIMIT, activation_of, blocks_of, dropped, trunk

__all__ = ["MaskedMLP"]


class MaskedMLP(AutoregressiveConditioner, SupportsReversePass, MixedPrecision):
    r"""Masked MLP (MADE): its outputs for feature j depend only on features 1..j-1 and the context.

    The outputs are the parameters of D univariate maps. Hidden units carry sorted degrees: a unit of degree d depends
    on the context and :math:`x_1..x_d`, and feature j reads units of degree < j. Units of degree 0 depend on the
    context alone, so that the first feature can depend on it. Widths too small to hold every degree are widened: no
    dependence is lost. Inputs are clamped to ±``INPUT_LIMIT``.

    The parallel pass costs one masked forward pass. The incremental pass of `start` gives the parameters feature by
    feature: step j computes only the block of each weight that feature j adds, so all D steps together cost one forward
    pass of arithmetic. While dropout is active, gradients of an inverse go through the loop over features.

    Args:
        features: D, the number of features.
        num_params: parameters per feature.
        context: number of context features.
        channels: inputs that stand for one feature (2 for an angle: its cosine and sine).
        hidden: layer widths; with ``residual`` they are equal.
        residual: whether to add skip connections around blocks of two linear maps: len(hidden) - 1 blocks, at least 1,
            behind a first linear map.
        activation: one of ``ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        ``x``: (features · channels, n), ``context``: (context, n), parameters: (num_params, features, n).

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), arXiv:1502.03509
    """

    # `autoregressive`, `autoregressive_spline` and `perceptron` of `kernels` read the attributes of this class and of
    # `MaskedLinear`, and call `prepare_inputs`, `hidden_units` and `split_params`: keep them in step.

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
        self.num_blocks = blocks_of(hidden, residual)
        widths = [hidden[0]] * (1 + 2 * self.num_blocks) if residual else list(hidden)
        # Degrees must have values at construction, so they are on the CPU even under ``torch.device("meta")``.
        feature_degrees = torch.arange(1, features + 1, device="cpu").repeat_interleave(channels)
        input_degrees = torch.cat([feature_degrees.new_zeros(context), feature_degrees])
        degrees = [input_degrees, *(hidden_degrees(width, features, context) for width in widths)]
        self.layers = nn.ModuleList(MaskedLinear(i, o) for i, o in pairwise(degrees))
        # Rows of the last layer are parameter-major: the output views as (num_params, features, n) without a copy.
        self.last = MaskedLinear(degrees[-1], torch.arange(features, device="cpu"), repeats=num_params)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    @accelerated()
    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = self.prepare_inputs(x, context)
        with self.matmul_scope(x):
            params = self.last(self.hidden_units(inputs))
        return self.split_params(params.to(x.dtype))

    def start(self, like: Tensor, context: Tensor | None = None) -> IncrementalForward:
        is_plain_chain = not self.residual and not self.drops_units
        return IncrementalForward(
            self._hidden_layers(),
            self.last,
            features=self.features,
            run_trunk=self._run_trunk,
            in_place_activation=self.activation if is_plain_chain else None,
            like=like,
            context=context,
        )

    @property
    def has_reverse_pass(self) -> bool:
        return not self.drops_units  # a reverse pass would drop other units than the solve

    def start_reverse(self, x: Tensor, context: Tensor | None, like: Tensor) -> ReverseSweep:
        return ReverseSweep(
            self._hidden_layers(),
            self.last,
            features=self.features,
            num_blocks=self.num_blocks,
            activation=self.activation,
            residual=self.residual,
            x=x,
            inputs=self.prepare_inputs(x, context),
            like=like,
        )

    @property
    def drops_units(self) -> bool:
        """Whether hidden units are dropped at random now."""
        return self.dropout > 0 and self.training

    def prepare_inputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What the first layer reads, (context + features · channels, n): context and x, clamped."""
        inputs = x if context is None else torch.cat([context, x])
        return inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)

    def hidden_units(self, inputs: Tensor) -> Tensor:
        """What the last layer reads, (units, n), in the order of degrees."""
        return self._run_trunk(lambda k, h: self.layers[k](h), inputs)

    def split_params(self, params: Tensor) -> Tensor:
        """The output of the last layer as (num_params, features, n), without a copy."""
        return params.view(self.num_params, self.features, params.shape[-1])

    def _hidden_layers(self) -> list[Any]:
        return list(self.layers)  # as a list whose entries type checkers take for what they are

    def _run_trunk(self, apply: Callable[[int, Tensor], Tensor], inputs: Tensor) -> Tensor:
        act = activation_of(self.activation, self.residual)
        return trunk(apply, inputs, self.num_blocks, self.residual, act, self._drop)

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.drops_units else h


register_masked("plain", MaskedMLP)
register_masked("residual", partial(MaskedMLP, residual=True))
