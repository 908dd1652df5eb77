"""Networks that see some of the columns of a row and give parameters for each column that they do not see."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from pushforward.core.constants import HasConstants
from pushforward.networks.masked_linear import MaskedLinear, hidden_degrees
from pushforward.networks.mlp import check_hidden
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.trunk import INPUT_LIMIT, activation_of, blocks_of, dropped, trunk

__all__ = ["ColumnNetwork", "PrefixNetwork", "SubsetNetwork", "zero_linear"]


class ColumnNetwork(HasConstants, MixedPrecision):
    """A network that sees some columns of a row, with a last layer for each group of columns, whose rows are
    (num_params, columns).

    Args:
        inputs: how many numbers each column is seen as.
        groups: the columns of each group, rising, and how many parameters one of them has. Columns in no group, if
            there are any, come first: they are only seen.
        hidden: equal layer widths, one more than there are blocks.
        activation: one of ``networks.ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.

    Shape:
        encoded: (sum of inputs, n), column by column; seen: (columns, n), true or false.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        groups: Sequence[tuple[Sequence[int], int]],
        *,
        hidden: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        check_hidden(type(self).__name__, hidden, True, activation, dropout)
        self.activation, self.dropout = activation, dropout
        self.num_blocks = blocks_of(hidden, True)
        self.inputs, self.groups = list(inputs), [(list(columns), count) for columns, count in groups]
        owner = [column for column, count in enumerate(self.inputs) for _ in range(count)]
        self.add_constant("owner", owner, torch.int64)  # of each input

    owner: Tensor
    last: nn.ModuleList

    @property
    @abstractmethod
    def point_width(self) -> int:
        """How many numbers the widest intermediate result of one point holds."""

    @abstractmethod
    def _trunk(self, inputs: Tensor) -> Tensor:
        """What the last layers read, from the values and flags of `_inputs`."""

    @abstractmethod
    def _last(self, h: Tensor, layers: Sequence[Any], shifts: Sequence[Tensor] | None) -> Sequence[Tensor]:
        """What the last layers of some groups give, with shifts added."""

    def forward(
        self, encoded: Tensor, seen: Tensor, shifts: Iterable[Tensor] | None = None, only: Sequence[int] | None = None
    ) -> list[Tensor]:
        """(num_params, columns, n) for each group, or for some alone; ``shifts``, (num_params, columns), are added."""
        inputs = self._inputs(encoded, seen)
        layers = [self.last[k] for k in range(len(self.groups)) if only is None or k in only]
        with self.matmul_scope(inputs):
            outputs = self._last(self._trunk(inputs), layers, None if shifts is None else list(shifts))
        groups = [group for k, group in enumerate(self.groups) if only is None or k in only]
        return [
            output.to(encoded.dtype).unflatten(0, (count, len(columns)))
            for output, (columns, count) in zip(outputs, groups, strict=True)
        ]

    def of_column(self, encoded: Tensor, seen: Tensor, k: int, i: int) -> Tensor:
        """Parameters of column i of group k alone, (num_params, 1, n)."""
        return self(encoded, seen, only=[k])[0][:, i : i + 1]

    @torch.no_grad()
    def scale_last(self, k: int, factor: Tensor) -> None:
        """Multiply the parameters of group k by factors (num_params, columns)."""
        layer: Any = self.last[k]
        layer.weight.mul_(factor.reshape(-1, 1))
        layer.bias.mul_(factor.reshape(-1))

    def _inputs(self, encoded: Tensor, seen: Tensor) -> Tensor:
        """The values that are seen, and a flag for each column, since a zero may be a value."""
        shown = torch.where(seen.index_select(0, self.owner), encoded, 0.0).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        return torch.cat([shown, seen.to(encoded.dtype)])


class _ResidualColumns(ColumnNetwork):
    """Perceptrons with skip connections."""

    layers: nn.ModuleList

    @property
    def point_width(self) -> int:
        layers: list[Any] = [*self.layers, *self.last]
        return max([layer.weight.shape[0] for layer in layers])

    def _trunk(self, inputs: Tensor) -> Tensor:
        act = activation_of(self.activation, True)
        return trunk(lambda k, h: self._linear(self.layers[k], h), inputs, self.num_blocks, True, act, self._drop)

    def _linear(self, layer: Any, h: Tensor) -> Tensor:
        return torch.addmm(layer.bias[:, None], layer.weight, h)

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.dropout > 0 and self.training else h

    def _last(self, h: Tensor, layers: Sequence[Any], shifts: Sequence[Tensor] | None) -> Sequence[Tensor]:
        outputs = [self._linear(layer, h) for layer in layers]
        if shifts is None:
            return outputs
        return [output + shift.reshape(-1, 1) for output, shift in zip(outputs, shifts, strict=True)]


class SubsetNetwork(_ResidualColumns):
    """Parameters of all columns, given any set of seen ones; those of seen columns are meaningless.

    References:
        | A Deep and Tractable Density Estimator (Uria, Murray, Larochelle, 2014), arXiv:1310.1757
    """

    def __init__(self, inputs: Sequence[int], groups: Any, *, hidden: Sequence[int], **options: Any) -> None:
        super().__init__(inputs, groups, hidden=hidden, **options)
        width = hidden[0]
        widths = [sum(inputs) + len(inputs)] + [width] * (1 + 2 * self.num_blocks)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.last = nn.ModuleList(zero_linear(width, len(columns) * count) for columns, count in self.groups)

    def _last(self, h: Tensor, layers: Sequence[Any], shifts: Sequence[Tensor] | None) -> Sequence[Tensor]:
        """One product for all groups: there may be many with few columns each."""
        weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
        if shifts is not None:
            bias = bias + torch.cat([shift.reshape(-1) for shift in shifts])
        return torch.addmm(bias[:, None], weight, h).split([len(layer.bias) for layer in layers])

    def of_column(self, encoded: Tensor, seen: Tensor, k: int, i: int) -> Tensor:
        inputs, linear = self._inputs(encoded, seen), cast(Any, self.last[k])
        columns, count = self.groups[k]
        rows = slice(i, count * len(columns), len(columns))
        with self.matmul_scope(inputs):
            product = torch.addmm(linear.bias[rows, None], linear.weight[rows], self._trunk(inputs))
        return product.to(encoded.dtype)[:, None]

    def one_each(self, encoded: Tensor, seen: Tensor, asked: Sequence[int]) -> list[Tensor]:
        """Parameters of some columns, each given a set of seen columns of its own.

        Args:
            encoded: (inputs, n).
            seen: (asked, columns, n); entry [k] holds what is seen for column asked[k].
            asked: the requested columns.

        Returns:
            Parameters of the requested columns of each group, (num_params, columns, n).
        """
        count, n = seen.shape[0], seen.shape[-1]
        tiled = encoded[:, None].expand(-1, count, n).flatten(1)
        inputs = self._inputs(tiled, seen.transpose(0, 1).flatten(1))
        place = {j: k for k, j in enumerate(asked)}
        with self.matmul_scope(inputs):
            h = self._trunk(inputs).unflatten(1, (count, n))  # (width, asked, n)
            params = []
            for layer, (columns, num_params) in zip(self.last, self.groups, strict=True):
                linear: Any = layer
                inside = [i for i, j in enumerate(columns) if j in place]
                at = [place[columns[i]] for i in inside]
                weight = linear.weight.unflatten(0, (num_params, len(columns)))[:, inside].transpose(0, 1)
                bias = linear.bias.unflatten(0, (num_params, len(columns)))[:, inside].t()[..., None]
                products = torch.bmm(weight, h[:, at].transpose(0, 1)) + bias
                params.append(products.transpose(0, 1).to(encoded.dtype))
        return params


class PrefixNetwork(_ResidualColumns):
    """Parameters of all columns, each given those of the seen ones that stand before it."""

    def __init__(self, inputs: Sequence[int], groups: Any, *, hidden: Sequence[int], **options: Any) -> None:
        super().__init__(inputs, groups, hidden=hidden, **options)
        count = sum(len(columns) for columns, _ in self.groups)
        context = len(self.inputs) - count
        place = torch.arange(len(self.inputs), device="cpu")
        degrees = (place + 1 - context).clamp(min=0)  # context stands before all others
        values = degrees.repeat_interleave(torch.tensor(self.inputs, device="cpu"))
        both = torch.cat([values, degrees])
        order = both.argsort(stable=True)  # the value of a column beside whether it is seen: degrees have to rise
        self.add_constant("order", order.tolist(), torch.int64)
        hiddens = [hidden_degrees(hidden[0], count, context)] * (1 + 2 * self.num_blocks)
        self.layers = nn.ModuleList(MaskedLinear(i, o) for i, o in pairwise([both[order], *hiddens]))
        self.last = nn.ModuleList(
            MaskedLinear(hiddens[-1], degrees[columns] - 1, repeats=number) for columns, number in self.groups
        )
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    order: Tensor

    def _inputs(self, encoded: Tensor, seen: Tensor) -> Tensor:
        return super()._inputs(encoded, seen)[self.order]

    def _linear(self, layer: Any, h: Tensor) -> Tensor:
        out: Tensor = layer(h)
        return out


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map that starts at zero. Built by hand, since `nn.Linear` warns where a group has no parameters."""
    layer = nn.Linear(inputs, 1)
    layer.weight, layer.bias = nn.Parameter(torch.zeros(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
    layer.out_features = outputs
    return layer
