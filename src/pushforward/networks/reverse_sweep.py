"""The reverse pass through a masked perceptron, from the last feature to the first, for back substitution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.networks.block_triangular import BlockTriangularMatvec
from pushforward.networks.conditioner import ReversePass
from pushforward.networks.masked_linear import MaskedLinear
from pushforward.networks.trunk import ACTIVATIONS, INPUT_LIMIT, trunk

__all__ = ["ReverseSweep"]


class ReverseSweep(ReversePass):
    r"""The `ReversePass` of a `MaskedMLP`.

    Hidden units are sorted by degree: when ``step`` brings the cotangents of the parameters of feature j, those of the
    hidden units of degree j are complete, and with them those of feature j - 1. Each step multiplies by one block of
    each transposed weight, so all steps together cost one pass of arithmetic.

    Args:
        layers: the hidden layers.
        last: the last layer, whose rows are (num_params, features).
        features: number of features.
        num_blocks: of the network, as in `trunk`.
        activation: one of ``ACTIVATIONS``.
        residual: whether there are skip connections, as in `trunk`.
        x: features as the network sees them, (features · channels, n).
        inputs: what the first layer reads, (context + features · channels, n): context and x, clamped.
        like: gives the dtype, the device and, under vmap, the extra axes of the cotangents, (.., n).
    """

    def __init__(
        self,
        layers: Sequence[MaskedLinear],
        last: MaskedLinear,
        *,
        features: int,
        num_blocks: int,
        activation: str,
        residual: bool,
        x: Tensor,
        inputs: Tensor,
        like: Tensor,
    ) -> None:
        self.residual, self.num_blocks = residual, num_blocks
        slopes: list[Tensor] = []  # of each activation, in order
        act = ACTIVATIONS[activation]

        def recording(h: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = h.detach().requires_grad_()
                out = act(leaf)
                slopes.append(torch.autograd.grad(out.sum(), leaf)[0])
            return out.detach()

        # Each layer's graph reaches its own weights alone (the first one's the context, too): the steps find the
        # cotangents of all layers, so none needs to go back through the others.
        self.outputs: list[Tensor] = []

        def apply(k: int, h: Tensor) -> Tensor:
            self.outputs.append(layers[k](h.detach() if k else h))
            return self.outputs[-1].detach()

        h = trunk(apply, inputs, num_blocks, residual, recording, lambda h: h)
        num_params = len(last.bias) // features
        self.params = last(h.detach()).view(num_params, features, h.shape[-1])
        falling = slice(features - 1, None, -1)
        with torch.no_grad():  # weights are detached, and pieces are not recorded
            self.products = [
                BlockTriangularMatvec(layer.weight.detach().t(), layer.columns()[falling], layer.rows()[falling], like)
                for layer in layers
            ]
            # Feature-major, as in `IncrementalForward`.
            weight = last.weight.detach().view(num_params, features, -1).permute(2, 1, 0).flatten(1)
            params = [slice(j * num_params, (j + 1) * num_params) for j in range(features)]
            self.products.append(BlockTriangularMatvec(weight, last.columns()[falling], params[falling], like))
            self.computes_in_buffers = runs_eagerly_without_grad(like) and not residual
        self.inside = (x.detach().abs() <= INPUT_LIMIT).to(x.dtype)
        # Each activation's slopes, at the units of each degree; all layers of a residual network share the degrees.
        self.slopes = []
        for k, slope in enumerate(slopes):
            starts = layers[0 if residual else k].rows()[:features]
            self.slopes.append(slope.split([rows.stop - rows.start for rows in starts]))
        self.position = features

    def step(self, grad_params: Tensor, scale: Tensor) -> Tensor:
        self.position -= 1
        j, num_blocks, product = self.position, self.num_blocks, self.products
        if self.computes_in_buffers:  # each piece is written into the slot of its product, see `BlockTriangularMatvec`
            torch.mul(grad_params, scale, out=product[-1].slot())
            for k in reversed(range(num_blocks)):
                torch.mul(product[k + 1].completed(), self.slopes[k][j], out=product[k].slot())
            return product[0].completed()
        h = product[-1].push(grad_params * scale)
        if self.residual:
            h = h * self.slopes[-1][j]
            for b in reversed(range(num_blocks)):
                inner = product[2 * b + 2].push(h) * self.slopes[2 * b + 1][j]
                h = h + product[2 * b + 1].push(inner) * self.slopes[2 * b][j]
        else:
            for k in reversed(range(1, num_blocks)):
                h = product[k].push(h * self.slopes[k][j])
            h = h * self.slopes[0][j]
        return product[0].push(h)

    def cotangents(self) -> list[tuple[Tensor, Tensor]]:
        pairs: Any = zip(self.outputs, self.products[:-1], strict=True)
        return [(output, product.buffer) for output, product in pairs]
