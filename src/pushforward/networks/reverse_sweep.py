"""The masked perceptron backwards: one reverse sweep from the last feature to the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_directly
from pushforward.networks.block_triangular import BlockTriangularMatvec
from pushforward.networks.mlp import INPUT_LIMIT
from pushforward.networks.trunk import ACTIVATIONS, trunk

if TYPE_CHECKING:
    from pushforward.networks.masked import MaskedMLP

__all__ = ["ReverseSweep"]


class ReverseSweep:
    r"""The transposed Jacobian of a `MaskedMLP`, applied from the last feature to the first.

    Going back through the inverse of an autoregressive map, the cotangent of feature j is known once the features
    after j have sent theirs. Hidden units are sorted by degree: when ``push`` brings the cotangents of the parameters
    of feature j, those of the hidden units of degree j are complete, and with them what feature j - 1 receives. Each
    step multiplies by one block of each transposed weight, so the sweep costs one pass of arithmetic.

    Args:
        network: the conditioner.
        x: the inputs of one parallel pass, (features · channels, n).
        context: (context, n).
        like: cotangents will have the dtype, the device and, under vmap, the extra axes of this tensor (.., n).
    """

    def __init__(self, network: MaskedMLP, x: Tensor, context: Tensor | None, like: Tensor) -> None:
        self.network = network
        slopes: list[Tensor] = []  # of each activation, in order
        act = ACTIVATIONS[network.activation]

        def recording(h: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = h.detach().requires_grad_()
                out = act(leaf)
                slopes.append(torch.autograd.grad(out.sum(), leaf)[0])
            return out.detach()

        # Each layer's graph reaches its own weights alone (the first one's the context, too): the sweep finds the
        # cotangents of all layers, so none needs to go back through the others.
        self.outputs: list[Tensor] = []

        def apply(k: int, h: Tensor) -> Tensor:
            self.outputs.append(network.layers[k](h.detach() if k else h))
            return self.outputs[-1].detach()

        h = trunk(apply, network._inputs(x, context), network.depth, network.residual, recording, lambda h: h)
        self.params = network._params(network.last(h.detach()))  # (num_params, features, n)
        hidden: list[Any] = list(network.layers)
        num, last, falling = network.num_params, network.last, slice(network.features - 1, None, -1)
        with torch.no_grad():  # weights are detached; what is pushed is not recorded either
            self.products = [
                BlockTriangularMatvec(layer.weight.detach().t(), layer.columns()[falling], layer.rows()[falling], like)
                for layer in hidden
            ]
            weight = last.weight.detach().view(num, network.features, -1).permute(2, 1, 0).flatten(1)
            params = [
                slice(j * num, (j + 1) * num) for j in range(network.features)
            ]  # feature-major, as in `IncrementalForward`
            self.products.append(BlockTriangularMatvec(weight, last.columns()[falling], params[falling], like))
            self.direct = runs_directly(like) and not network.residual
        self.inside = (x.detach().abs() <= INPUT_LIMIT).to(x.dtype)
        # Each activation's slopes, at the units of each degree; all layers of a residual network share the degrees.
        self.slopes = []
        for k, slope in enumerate(slopes):
            starts = hidden[0 if network.residual else k].rows()[: network.features]
            self.slopes.append(slope.split([rows.stop - rows.start for rows in starts]))
        self.step = network.features

    def push(self, by_params: Tensor, g: Tensor) -> Tensor:
        """Add the cotangents g · by_params, (n,) and (num_params, n), of the parameters of the next feature j, from the
        last to the first; to be called where nothing is recorded.

        Returns:
            (channels, n): the cotangents that the inputs of feature j - 1, as the first layer sees them, now have in
            full; of the context for j = 0. What is clamped on the way to that layer is zero in ``inside``.
        """
        self.step -= 1
        j, depth, product = self.step, self.network.depth, self.products
        if self.direct:
            torch.mul(by_params, g, out=product[-1].place())
            for k in reversed(range(depth)):
                torch.mul(product[k + 1].rows_completed(), self.slopes[k][j], out=product[k].place())
            return product[0].rows_completed()
        h = product[-1].push(by_params * g)
        if self.network.residual:
            h = h * self.slopes[-1][j]
            for b in reversed(range(depth)):
                inner = product[2 * b + 2].push(h) * self.slopes[2 * b + 1][j]
                h = h + product[2 * b + 1].push(inner) * self.slopes[2 * b][j]
        else:
            for k in reversed(range(1, depth)):
                h = product[k].push(h * self.slopes[k][j])
            h = h * self.slopes[0][j]
        return product[0].push(h)

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """After all pushes: the output of each hidden layer and its cotangent."""
        return [(out, product.buffer) for out, product in zip(self.outputs, self.products[:-1], strict=True)]
