"""Attention over the columns of a row of which some are seen: transformers in place of `SubsetNetwork` and
`PrefixNetwork`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.networks.attention import TransformerBlock, causal_mask
from pushforward.networks.subset import ColumnNetwork, PrefixNetwork, SubsetNetwork, zero_linear

__all__ = ["COLUMN_NETWORKS", "PrefixTransformer", "SubsetTransformer"]

HEAD_WIDTH = 16
"""Units of a token for each attention head, at least."""
EXPANSION = 2
"""Hidden units of a perceptron for each unit of a token."""


class _ColumnTransformer(ColumnNetwork):
    """A token for each column, blocks, and a last layer with weights of each column.

    A token carries the value of a column where it is seen, and one learned embedding of the column where it is seen,
    another where it is not. ``hidden`` gives the width of a token and one more than the number of blocks.
    """

    inputs_of: Tensor

    def __init__(
        self,
        inputs: Sequence[int],
        groups: Sequence[tuple[Sequence[int], int]],
        *,
        hidden: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__(inputs, groups, hidden=hidden, activation=activation, dropout=dropout)
        columns, widest, width = len(self.inputs), max(self.inputs, default=0), hidden[0]
        self.width, self.heads = width, math.gcd(width, max(1, width // HEAD_WIDTH))
        # Where the numbers of each column are among the inputs; what is over reads a row of zeros after all of them.
        starts = [sum(self.inputs[:k]) for k in range(columns)]
        places = [
            [start + i if i < count else sum(self.inputs) for i in range(widest)]
            for start, count in zip(starts, self.inputs, strict=True)
        ]
        self.add_constant("inputs_of", places, torch.int64)
        self.value_weight = nn.Parameter(torch.randn(columns * width, widest) / math.sqrt(max(1, widest)))
        self.seen_weight, self.unseen_weight = (nn.Parameter(torch.randn(columns, width)) for _ in range(2))
        options: dict[str, Any] = {"expansion": EXPANSION, "activation": activation, "dropout": dropout}
        self.blocks = nn.ModuleList(TransformerBlock(width, self.heads, **options) for _ in range(self.num_blocks))
        self.before_last = nn.LayerNorm(width)
        self.last = nn.ModuleList(zero_linear(width, len(some) * count) for some, count in self.groups)

    @property
    def point_width(self) -> int:
        columns, last = len(self.inputs), list[Any](self.last)
        outputs = [layer.weight.shape[0] for layer in last]
        return max([columns * EXPANSION * self.width, self.heads * columns**2, *outputs])

    def _tokens(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """A token for each column, (columns, n, width), and which are seen, (columns, n)."""
        columns = len(self.inputs)
        shown, flags = inputs[:-columns], inputs[-columns:]
        values = torch.cat([shown, torch.zeros_like(inputs[:1])])[self.inputs_of]  # (columns, widest, n)
        weight = self.value_weight.unflatten(0, (columns, self.width)).transpose(1, 2)
        seen = torch.baddbmm(self.seen_weight[:, None], values.transpose(1, 2), weight)
        return torch.where(flags[..., None] > 0, seen, self.unseen_weight[:, None]), flags > 0

    def _through(self, h: Tensor, visible: Tensor) -> Tensor:
        """The tokens after all blocks; ``visible`` (n, tokens, tokens)."""
        visible = visible.repeat_interleave(self.heads, dim=0)
        for block in self.blocks:
            h = block(h, visible)
        normed: Tensor = self.before_last(h)
        return normed

    def _last(self, h: Tensor, layers: Sequence[Any], shifts: Sequence[Tensor] | None) -> Sequence[Tensor]:
        outputs = []
        for k, layer in enumerate(layers):
            # Groups may be some alone: the layer knows its own.
            columns, count = next(group for group, one in zip(self.groups, self.last, strict=True) if one is layer)
            bias = layer.bias if shifts is None else layer.bias + shifts[k].reshape(-1)
            rows = range(len(columns))
            outputs.append(
                _read_out(layer.weight, bias, h[list(columns)], count, len(columns), list(rows)).flatten(0, 1)
            )
        return outputs


def _read_out(weight: Tensor, bias: Tensor, h: Tensor, num_params: int, columns: int, some: Sequence[int]) -> Tensor:
    """Parameters (num_params, columns, n) of some columns of a group from their tokens (columns, n, width)."""
    weights = weight.unflatten(0, (num_params, columns))[:, some].transpose(0, 1)
    biases = bias.unflatten(0, (num_params, columns))[:, some].t()[..., None]
    return torch.baddbmm(biases, weights, h.to(weight.dtype).transpose(1, 2)).transpose(0, 1)


class SubsetTransformer(_ColumnTransformer):
    """Parameters of all columns, given any set of seen ones; those of seen columns are meaningless.

    Each token attends to the columns that are seen, and to itself.

    References:
        | A Deep and Tractable Density Estimator (Uria, Murray, Larochelle, 2014), arXiv:1310.1757
        | Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762
    """

    def _trunk(self, inputs: Tensor) -> Tensor:
        h, seen = self._tokens(inputs)
        itself = torch.eye(len(h), dtype=torch.bool, device=h.device)
        return self._through(h, seen.t()[:, None] | itself)

    def one_each(self, encoded: Tensor, seen: Tensor, asked: Sequence[int]) -> list[Tensor]:
        """Parameters of some columns, each given a set of seen columns of its own; see `SubsetNetwork.one_each`."""
        count, n = seen.shape[0], seen.shape[-1]
        tiled = encoded[:, None].expand(-1, count, n).flatten(1)
        inputs = self._inputs(tiled, seen.transpose(0, 1).flatten(1))
        place = {j: k for k, j in enumerate(asked)}
        params = []
        with self.matmul_scope(inputs):
            h = self._trunk(inputs).unflatten(1, (count, n))  # (columns, asked, n, width)
            for module, (columns, num_params) in zip(self.last, self.groups, strict=True):
                layer: Any = module
                inside = [i for i, j in enumerate(columns) if j in place]
                tokens = h[[columns[i] for i in inside], [place[columns[i]] for i in inside]]
                product = _read_out(layer.weight, layer.bias, tokens, num_params, len(columns), inside)
                params.append(product.to(encoded.dtype))
        return params


class PrefixTransformer(_ColumnTransformer):
    """Parameters of all columns, each given those of the seen ones that stand before it.

    Token j carries the column before it and attends to the tokens up to itself whose columns are seen.

    References:
        | Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762
    """

    def __init__(self, inputs: Sequence[int], groups: Any, *, hidden: Sequence[int], **options: Any) -> None:
        super().__init__(inputs, groups, hidden=hidden, **options)
        self.target_weight = nn.Parameter(torch.randn(len(self.inputs), hidden[0]))

    def _trunk(self, inputs: Tensor) -> Tensor:
        carried, seen = self._tokens(inputs)
        h = torch.cat([torch.zeros_like(carried[:1]), carried[:-1]]) + self.target_weight[:, None]
        before = torch.cat([torch.ones_like(seen[:1]), seen[:-1]])
        itself = torch.eye(len(h), dtype=torch.bool, device=h.device)
        return self._through(h, (before.t()[:, None] | itself) & causal_mask(len(h), len(h), h.device))


COLUMN_NETWORKS: dict[str, dict[str, type[ColumnNetwork]]] = {
    "residual": {"any": SubsetNetwork, "fixed": PrefixNetwork},
    "attention": {"any": SubsetTransformer, "fixed": PrefixTransformer},
}
"""Networks of mixed-type models by name, for any order of the columns and for a fixed one."""
