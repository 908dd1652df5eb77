"""The transformer as a conditioner of autoregressive layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.networks.attention import TransformerBlock, attend, causal_mask, check_attention
from pushforward.networks.conditioner import AutoregressiveConditioner, SupportsReversePass, register_masked
from pushforward.networks.mlp import check_hidden
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.transformer_passes import KeyValueCache, TransformerBlocks, TransformerSteps
from pushforward.networks.transformer_reverse import TransformerReverse
from pushforward.networks.trunk import ACTIVATIONS, INPUT_LIMIT

__all__ = ["CausalTransformer"]


class CausalTransformer(AutoregressiveConditioner, SupportsReversePass, MixedPrecision):
    r"""A transformer whose outputs for feature j depend only on features 1..j-1 and the context.

    Token j stands for feature j: it carries the value of the feature before it and a learned embedding of its place,
    attends to the tokens up to itself and ends in the parameters of feature j. The first token carries the context
    instead of a value. Each block normalises its inputs, inside of a token, before attention and before a perceptron.
    The last layer, which has weights for each feature, starts at zero. Inputs are clamped to ±``INPUT_LIMIT``.

    The parallel pass costs one pass over D tokens, with products quadratic in D for attention alone. The incremental
    pass of `start` keeps the keys and values of the tokens before, so that all D steps together cost one pass of
    arithmetic as well. Gradients of an inverse go back token by token, at the cost of a backward pass; while dropout is
    active, they go through the loop over features.

    With ``group`` > 1 a token stands for so many neighbouring features, such as the pixels of a patch: these depend on
    the groups before theirs, not on each other.

    Args:
        features: D, the number of features.
        num_params: parameters per feature.
        context: number of context features.
        channels: inputs that stand for one feature (2 for an angle: its cosine and sine).
        hidden: the width of a token, once for each block.
        activation: of the perceptrons, one of ``ACTIVATIONS``.
        dropout: probability of dropping a unit in training.
        heads: number of attention heads, which divides the width.
        expansion: hidden units of a perceptron for each unit of a token.
        group: number of neighbouring features that one token stands for; it divides D.
        frequencies: number of learned frequencies; each value x is seen as :math:`x, \sin(2 \pi f_k x),
            \cos(2 \pi f_k x)`, which resolves narrow features of data.

    Shape:
        ``x``: (features · channels, n), ``context``: (context, n), parameters: (num_params, features, n).

    Raises:
        ValueError: widths differ, or sizes do not divide each other.

    References:
        | Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762
        | Transformer Neural Autoregressive Flows (Patacchiola et al., 2024), arXiv:2401.01855
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329
        | On Embeddings for Numerical Features in Tabular Deep Learning (Gorishniy et al., 2022), arXiv:2203.05556
    """

    def __init__(
        self,
        features: int,
        num_params: int,
        *,
        context: int = 0,
        channels: int = 1,
        hidden: Sequence[int] = (64, 64),
        activation: str = "gelu",
        dropout: float = 0.0,
        heads: int = 4,
        expansion: int = 4,
        group: int = 1,
        frequencies: int = 0,
    ) -> None:
        super().__init__()
        owner = "CausalTransformer"
        check_hidden(owner, hidden, False, activation, dropout)
        width = hidden[0]
        check_attention(owner, hidden, heads, expansion)
        at_least(owner, "group", group, 1)
        at_least(owner, "frequencies", frequencies, 0)
        if features % group:
            raise ValueError(f"{owner}: group must divide the features; got groups of {group} of {features} features.")
        self.features, self.num_params, self.context, self.channels = features, num_params, context, channels
        self.width, self.heads, self.group, self.dropout = width, heads, group, dropout
        self.activation = activation
        tokens, numbers = features // group, group * channels * (1 + 2 * frequencies)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, heads, expansion=expansion, activation=activation, dropout=dropout) for _ in hidden
        )
        self.before_last = nn.LayerNorm(width)
        self.place_weight = nn.Parameter(torch.randn(tokens, width))
        # Rows are token-major: those of token t read the values of group t - 1.
        self.value_weight = nn.Parameter(torch.randn((tokens - 1) * width, numbers) / math.sqrt(numbers))
        octaves = 0.5 * torch.arange(frequencies, dtype=self.place_weight.dtype)
        self.frequency = nn.Parameter(0.25 * 2**octaves) if frequencies else None
        self.read_context = nn.Linear(context, width) if context else None
        self.mix_context = nn.Linear(width, width) if context else None
        # Rows are parameter-major.
        self.last_weight = nn.Parameter(torch.zeros(num_params * features, width))
        self.last_bias = nn.Parameter(torch.zeros(num_params * features))

    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        with self.matmul_scope(x):
            h = self.embed(x, context, 0, self.features // self.group)
            visible = causal_mask(len(h), len(h), h.device)
            for block in self.blocks:
                h = block(h, visible)
            params = self.read_out(h, 0)
        return params.to(x.dtype)

    def start(self, like: Tensor, context: Tensor | None = None) -> TransformerSteps:
        return TransformerSteps(self, like, context)

    def start_blocks(self, like: Tensor, context: Tensor | None = None) -> TransformerBlocks:
        return TransformerBlocks(self, like, context)

    @property
    def has_reverse_pass(self) -> bool:
        return not self.drops_units  # a reverse pass would drop other units than the solve

    def start_reverse(self, x: Tensor, context: Tensor | None, like: Tensor) -> TransformerReverse:
        return TransformerReverse(self, x, context)

    @property
    def drops_units(self) -> bool:
        return self.dropout > 0 and self.training

    # --- what the passes are made of

    def new_cache(self, like: Tensor) -> list[KeyValueCache]:
        """An empty cache for each block; ``like`` (features, n) gives dtype, device and number of points."""
        sizes = self.features // self.group, like.shape[-1] * self.heads, self.width // self.heads
        return [KeyValueCache(like, *sizes) for _ in self.blocks]

    def embed(self, x: Tensor, context: Tensor | None, start: int, stop: int) -> Tensor:
        """The tokens from ``start`` to ``stop``, (tokens, n, width), before the first block.

        Args:
            x: inputs (features · channels, n) from those that token ``start`` carries on; no more are read than the
                tokens carry. The very first token carries none.
            context: (context, n); the very first token carries it.
            start: number of the first of the tokens.
            stop: number of the token after the last of them.
        """
        pieces, n = [], x.shape[-1]
        if start == 0:
            pieces.append(self._first_token(n, context))
            start = 1
        if stop > start:
            values = x[: (stop - start) * self.group * self.channels].clamp(-INPUT_LIMIT, INPUT_LIMIT)
            if self.frequency is not None:
                values = _with_waves(values, self.frequency)
            values = values.unflatten(0, (stop - start, -1)).transpose(1, 2)  # (tokens, n, numbers)
            weight = self.value_weight.unflatten(0, (-1, self.width))[start - 1 : stop - 1]
            pieces.append(torch.baddbmm(self.place_weight[start:stop, None], values, weight.transpose(1, 2)))
        return torch.cat(pieces)

    def _first_token(self, n: int, context: Tensor | None) -> Tensor:
        token = self.place_weight[:1, None]
        if context is None or self.read_context is None or self.mix_context is None:
            return token.expand(1, n, self.width)
        hidden = self.read_context(context.t().clamp(-INPUT_LIMIT, INPUT_LIMIT))
        return token + self.mix_context(ACTIVATIONS[self.activation](hidden))

    def advance(self, h: Tensor, cache: Sequence[KeyValueCache], start: int) -> Tensor:
        """Further tokens through all blocks, given the keys and values of those before them.

        Args:
            h: embedded tokens from ``start`` on, (tokens, n, width).
            cache: of each block; it receives the keys and values of these tokens.
            start: how many tokens are before them.

        Returns:
            The tokens after the last block, (tokens, n, width).
        """
        for module, before in zip(self.blocks, cache, strict=True):
            block: Any = module
            query, key, value = block.split(h)
            keys, values = before.place(start, key, value)
            visible = causal_mask(len(h), keys.shape[1], h.device) if len(h) > 1 else None
            h = block.join(h, attend(query, keys, values, visible))
        return h

    def read_out(self, h: Tensor, start: int) -> Tensor:
        """The parameters (num_params, features, n) that the tokens (tokens, n, width) from ``start`` on end in."""
        stop = start + len(h)
        h = self.before_last(h).transpose(1, 2)  # (tokens, width, n)
        count = (self.num_params, self.features // self.group, self.group)
        weight = self.last_weight.unflatten(0, count)[:, start:stop].transpose(0, 1)
        bias = self.last_bias.unflatten(0, count)[:, start:stop].transpose(0, 1)
        outputs = torch.baddbmm(bias.flatten(1)[..., None], weight.flatten(1, 2), h)  # (tokens, num_params · group, n)
        return outputs.unflatten(1, (self.num_params, self.group)).transpose(0, 1).flatten(1, 2)

    @property
    def point_width(self) -> int:
        """About how many numbers one point needs at once."""
        block: Any = self.blocks[0]
        return len(self.place_weight) * self.width * max(2 * len(self.blocks), block.widen.out_features // self.width)


def _with_waves(values: Tensor, frequency: Tensor) -> Tensor:
    """Each row of the values (rows, n) followed by its sines and cosines, (rows · (1 + 2 frequencies), n)."""
    angles = 2 * math.pi * frequency[:, None] * values[:, None]
    return torch.cat([values[:, None], angles.sin(), angles.cos()], dim=1).flatten(0, 1)


register_masked("transformer", CausalTransformer)
