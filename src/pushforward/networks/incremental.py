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
        run_trunk: ``run_trunk(apply, inputs)`` runs the network between its inputs and its last layer, where
            ``apply(k, h)`` is the product of hidden layer k.
        in_place_activation: if set, the network is a plain chain of products and this activation, which without
            gradients is computed in place, each product written into the buffer of the next one; None: by
            ``run_trunk``.
        like: gives dtype, device and number of points.
        context: (context, n).
    """

    __slots__ = ("arrived", "in_place_activation", "products", "run_trunk")  # see `BlockTriangularMatvec`

    def __init__(
        self,
        layers: Sequence[MaskedLinear],
        last: MaskedLinear,
        *,
        features: int,
        run_trunk: Callable[[Callable[[int, Tensor], Tensor], Tensor], Tensor],
        in_place_activation: str | None,
        like: Tensor,
        context: Tensor | None,
    ) -> None:
        self.run_trunk = run_trunk
        self.in_place_activation = in_place_activation if runs_eagerly_without_grad(like) else None
        self.products = [
            BlockTriangularMatvec(layer.weight, layer.rows(), layer.columns()[:features], like, layer.bias)
            for layer in layers
        ]
        num_params = len(last.bias) // features
        # Feature-major, so that the parameters of one feature are contiguous rows.
        weight = last.weight.view(num_params, features, -1).transpose(0, 1).flatten(0, 1)
        bias = last.bias.view(num_params, features).t().flatten()
        rows = [slice(j * num_params, (j + 1) * num_params) for j in range(features)]
        self.products.append(BlockTriangularMatvec(weight, rows, last.columns(), like, bias))
        self.arrived = like[:0] if context is None else context

    def step(self, previous: Tensor | None) -> Tensor:
        # The first columns of the first weight read the context: it arrives in the first step, before any feature.
        arrived = self.arrived if previous is None else previous
        products = self.products
        if self.in_place_activation is None:
            inputs = arrived.clamp(-INPUT_LIMIT, INPUT_LIMIT)
            return products[-1].push(self.run_trunk(lambda k, h: products[k].push(h), inputs))
        act = IN_PLACE[self.in_place_activation]
        # Each input is written into the slot of its product, whose `completed` then gives the new rows.
        torch.clamp(arrived, -INPUT_LIMIT, INPUT_LIMIT, out=products[0].slot())
        for product, then in pairwise(products):
            act(product.completed(out=then.slot()))
        return products[-1].completed()
