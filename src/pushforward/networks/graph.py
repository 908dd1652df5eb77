"""A masked perceptron for any pattern of dependences between its inputs and its groups of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.constants import HasConstants
from pushforward.networks.conditioner import Conditioner
from pushforward.networks.mlp import check_hidden
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.trunk import INPUT_LIMIT, activation_of, blocks_of, dropped, trunk

__all__ = ["GraphMLP"]


class GraphMLP(Conditioner, MixedPrecision):
    r"""A perceptron whose outputs for feature j depend on exactly the inputs that row j of a pattern names.

    Every hidden unit has one of the different rows as the set of inputs that it may depend on, and reads the units
    before it whose sets are contained in its own; each row has units of its own in every layer, so that no dependence
    is lost, and widths too small for that are widened. The last layer starts at zero. Inputs are clamped to
    ±``INPUT_LIMIT``. It costs one masked forward pass.

    Args:
        reads: for each feature whether it depends on each input, (features, inputs), in nested lists.
        num_params: outputs of each feature.
        hidden: layer widths; with ``residual`` they are equal.
        residual: whether to add skip connections around blocks of two linear maps.
        activation: one of ``ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        (inputs, n) to (num_params, features, n).

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), arXiv:1502.03509
        | Graphical Normalizing Flows (Wehenkel and Louppe, 2020), arXiv:2006.02548
    """

    def __init__(
        self,
        reads: Sequence[Sequence[bool]],
        num_params: int,
        *,
        hidden: Sequence[int] = (64, 64),
        residual: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_hidden("GraphMLP", hidden, residual, activation, dropout)
        self.features, self.num_params = len(reads), num_params
        self.residual, self.activation, self.dropout = residual, activation, dropout
        self.num_blocks = blocks_of(hidden, residual)
        rows = [tuple(bool(value) for value in row) for row in reads]
        sets = sorted(set(rows), key=lambda row: (sum(row), row))
        within = [[all(b or not a for a, b in zip(small, large, strict=True)) for small in sets] for large in sets]
        widths = [hidden[0]] * (1 + 2 * self.num_blocks) if residual else list(hidden)
        kinds = [[k * len(sets) // width for k in range(width)] for width in (max(w, len(sets)) for w in widths)]
        layers = [_SetLinear(sets, list(range(len(rows[0]))), kinds[0])]
        layers += [_SetLinear(within, before, after) for before, after in pairwise(kinds)]
        self.layers = nn.ModuleList(layers)
        # Parameter-major rows: the output views as (num_params, features, n) without a copy.
        self.last = _SetLinear(within, kinds[-1], [sets.index(row) for row in rows] * num_params)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = x if context is None else torch.cat([context, x])
        inputs = inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        with self.matmul_scope(inputs):
            act = activation_of(self.activation, self.residual)
            h = trunk(self._apply_layer, inputs, self.num_blocks, self.residual, act, self._drop)
            params = self.last(h).to(x.dtype)
        return params.view(self.num_params, self.features, params.shape[-1])

    def _apply_layer(self, k: int, h: Tensor) -> Tensor:
        layer: Any = self.layers[k]
        return layer(h)

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.dropout > 0 and self.training else h


class _SetLinear(HasConstants):
    """A linear map from columns to rows of several kinds, masked by whether a kind of row reads a kind of column.

    Args:
        table: whether each kind of row reads each kind of column.
        columns: the kind of each column.
        rows: the kind of each row.
    """

    mask: Tensor
    table: Tensor
    column_kinds: Tensor
    row_kinds: Tensor
    derived_constants = ("mask",)

    def __init__(self, table: Sequence[Sequence[bool]], columns: list[int], rows: list[int]) -> None:
        super().__init__()
        self.add_constant("table", [[int(value) for value in row] for row in table], torch.int64)
        self.add_constant("column_kinds", columns, torch.int64)
        self.add_constant("row_kinds", rows, torch.int64)
        self.register_buffer("mask", torch.empty(len(rows), len(columns)), persistent=False)
        self._round_constants()
        self.weight = nn.Parameter(torch.empty(len(rows), len(columns)))
        self.bias = nn.Parameter(torch.empty(len(rows)))
        # Variance-preserving for the inputs that a row really reads, not for the masked ones.
        counts = [sum(table[row][column] for column in columns) for row in rows]
        scale = torch.tensor(counts, dtype=self.weight.dtype).clamp(min=1).rsqrt()
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(scale[:, None])
            self.bias.uniform_(-1, 1).mul_(scale)

    def _round_constants(self) -> None:
        super()._round_constants()
        self.mask = self.table[self.row_kinds][:, self.column_kinds].to(self.mask.dtype)

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight * self.mask, h)
