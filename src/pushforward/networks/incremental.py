"""The incremental pass through a masked perceptron, feature by feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.networks.block_triangular import BlockTriangularMatvec
from pushforward.networks.conditioner import IncrementalPass
from pushforward.networks.masked_linear import MaskedLinear
from pushforward.networks.trunk import IN_PLACE, INPUT_LIMIT

__all__ = ["IncrementalForward"]


class IncrementalForward(IncrementalPass):
    """The `IncrementalPass` of a `MaskedMLP`: step j multiplies by the rows of each weight that feature j completes.

    Args:
        layers: the hidden layers.
        last: the last layer, whose rows are (num_params, features).
        features: number of features.
        trunk: ``trunk(apply, inputs)`` runs the network between its inputs and its last layer, where ``apply(k, h)`` is
            the product of hidden layer k.
        activation: the name of the only activation between two products, so that these can be written straight into
            each other's buffers where nothing is recorded; None where there is more between them.
        x_like: has the dtype, the device and the number of points.
        context: (context, n).
    """

    __slots__ = ("activation", "arrived", "products", "trunk")  # see `BlockTriangularMatvec`

    def __init__(
        self,
        layers: Sequence[MaskedLinear],
        last: MaskedLinear,
        *,
        features: int,
        trunk: Callable[[Callable[[int, Tensor], Tensor], Tensor], Tensor],
        activation: str | None,
        x_like: Tensor,
        context: Tensor | None,
    ) -> None:
        self.trunk = trunk
        self.activation = activation if runs_eagerly_without_grad(x_like) else None
        self.products = [
            BlockTriangularMatvec(layer.weight, layer.rows(), layer.columns()[:features], x_like, layer.bias)
            for layer in layers
        ]
        num_params = len(last.bias) // features
        # Feature-major, so that the parameters of one feature are contiguous rows.
        weight = last.weight.view(num_params, features, -1).transpose(0, 1).flatten(0, 1)
        bias = last.bias.view(num_params, features).t().flatten()
        rows = [slice(j * num_params, (j + 1) * num_params) for j in range(features)]
        self.products.append(BlockTriangularMatvec(weight, rows, last.columns(), x_like, bias))
        self.arrived = x_like[:0] if context is None else context

    def step(self, block: Tensor | None) -> Tensor:
        # The first columns of the first weight read the context: it arrives in the first step, before any feature.
        arrived = self.arrived if block is None else block
        products = self.products
        if self.activation is None:
            inputs = arrived.clamp(-INPUT_LIMIT, INPUT_LIMIT)
            return products[-1].push(self.trunk(lambda k, h: products[k].push(h), inputs))
        act = IN_PLACE[self.activation]
        torch.clamp(arrived, -INPUT_LIMIT, INPUT_LIMIT, out=products[0].slot())
        for product, then in pairwise(products):
            act(product.completed(out=then.slot()))
        return products[-1].completed()
