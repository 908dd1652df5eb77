"""The block neural autoregressive map: one network that is triangular by its blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import context_features_first, to_batch_first, to_features_first
from pushforward.bijections.sequential import sequential_inverse
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least, below_one, positive
from pushforward.core.config import configurable
from pushforward.core.numerics import invert_increasing, solve_between
from pushforward.networks.block_triangular import BlockTriangularMatvec
from pushforward.networks.masked_linear import MaskedLinear
from pushforward.networks.trunk import INPUT_LIMIT

__all__ = ["BlockNeural"]

SPREAD = 1.5  # initial biases of the units of one feature, from -SPREAD to SPREAD


class DiagonalBlock(NamedTuple):
    """The diagonal blocks of one layer, which connect units of the same feature, for some or all of the features."""

    weight: Tensor
    """Positive, (features, outs, ins)."""
    bend: Tensor | None
    """α of each unit, (features, outs, 1); None for the last layer, which has no activation function."""


FeatureNetwork = tuple[list[DiagonalBlock], list[Tensor]]
"""The network of one feature: its diagonal blocks, and the offsets of its layers."""


@configurable
class BlockNeural(TriangularMap):
    r"""A block neural autoregressive map: every layer of one network has separate units for each feature.

    .. math:: h^{(0)}_j = x_j, \qquad
        h^{(l)}_j = \varphi\Bigl(e^{\Theta^{(l)}_j} h^{(l-1)}_j + \sum_{i<j} V^{(l)}_{ji} h^{(l-1)}_i + C^{(l)}_j c +
        b^{(l)}_j\Bigr), \qquad y_j = h^{(\text{layers} + 1)}_j

    Weights within a feature are positive and those from earlier features unconstrained, so the Jacobian is triangular,
    and :math:`\partial y_j / \partial x_j` is a product of small positive matrices. The units are
    :math:`\varphi(h) = h + \alpha (\tanh h - h)` with learned :math:`|\alpha| \le 1 - \epsilon`: slopes are at
    least :math:`\epsilon`, so the map is onto, and with :math:`\alpha = 0`, where learning starts, it is the identity.

    Forward costs one pass. The inverse is computed one feature at a time: a bracket in closed form, since a unit stays
    within :math:`|\alpha|` of a straight line, and a numerical root; the products between the features cost about one
    pass in all. Gradients of the inverse cost about one more, by back substitution.

    Args:
        features: number of features D.
        context: number of context features.
        units: hidden units of each feature in each layer.
        layers: number of hidden layers.
        bound: largest absolute value of the logarithm of a positive weight times the number of inputs of its layer.
        min_slope: the least slope :math:`\epsilon` of a unit.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: a number is out of its range.

    References:
        | Block Neural Autoregressive Flow (De Cao et al., 2019), arXiv:1904.04676

    >>> import torch
    >>> layer, x = BlockNeural(3), torch.tensor([1.0, -2.0, 1e6])
    >>> torch.allclose(layer(x), x, rtol=1e-5)
    True
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "units": 4, "layers": 2},
        {"features": 1, "units": 3, "layers": 1, "bound": 2.0},
        {"features": 4, "context": 2, "units": 3, "layers": 2, "min_slope": 0.2},
    )
    inverse_kind: Kind = "iterative"

    def __init__(
        self,
        features: int,
        *,
        context: int = 0,
        units: int = 8,
        layers: int = 2,
        bound: float = 3.0,
        min_slope: float = 0.05,
    ) -> None:
        super().__init__()
        at_least("BlockNeural", "features", features, 1)
        at_least("BlockNeural", "context", context, 0)
        at_least("BlockNeural", "units", units, 1)
        at_least("BlockNeural", "layers", layers, 1)
        positive("BlockNeural", "bound", bound)
        below_one("BlockNeural", "min_slope", min_slope, "the slope of the identity")
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.bound, self.min_slope = bound, min_slope
        sizes = [(1, units), *[(units, units)] * (layers - 1), (units, 1)]
        place = torch.arange(features, device="cpu")
        self.between = nn.ModuleList(
            MaskedLinear(
                # No feature depends on the units of the last one; the first depends on the context only.
                torch.cat([place.new_zeros(context), place[1:].repeat_interleave(ins)]),
                place.repeat_interleave(outs),
            )
            for ins, outs in sizes
        )
        self.within = nn.ParameterList(torch.zeros(features, outs, ins) for ins, outs in sizes)
        self.bends = nn.Parameter(torch.zeros(layers, features, units))
        self._start(features)

    @torch.no_grad()
    def _start(self, features: int) -> None:
        """Units come in pairs with opposite biases and weights: they differ, and their mean is the identity."""
        layers: list[Any] = list(self.between)
        *hidden, last = layers
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        for layer in hidden:
            weight = layer.weight.unflatten(0, (features, -1))  # (features, units, ins)
            weight.copy_(0.5 * (weight - weight.flip(1)))
            units = weight.shape[1]
            layer.bias.copy_((torch.linspace(-SPREAD, SPREAD, units) if units > 1 else torch.zeros(1)).repeat(features))

    def _blocks(self) -> list[DiagonalBlock]:
        """The diagonal blocks of every layer, for all features."""
        bends: list[Tensor | None] = [*((1 - self.min_slope) * torch.tanh(self.bends)[..., None]).unbind(), None]
        return [
            DiagonalBlock(torch.exp(self.bound * torch.tanh(theta / self.bound)) / theta.shape[2], bend)
            for theta, bend in zip(self.within, bends, strict=True)
        ]

    def _offsets(self, k: int, h: Tensor, context: Tensor | None) -> Tensor:
        """The bias of layer k and the terms of earlier features and of the context, (features, outs, n)."""
        layer: Any = self.between[k]
        before = h.flatten(0, 1)[: -h.shape[1]]  # of one feature: nothing, which ONNX cannot flatten
        inputs = before if context is None else torch.cat([context, before])
        return layer(inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)).unflatten(0, (len(h), -1))

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        columns, blocks = context_features_first(context), self._blocks()
        y, _, tanhs = _pass(to_features_first(x), blocks, lambda k, h: self._offsets(k, h, columns))
        return to_batch_first(y, x.shape[:-1]), to_batch_first(_log_slope(blocks, tanhs), x.shape[:-1])

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._inverse(y, context)
        return x, -self._forward_and_slopes(x, context)[1]

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return to_batch_first(
            sequential_inverse(self, to_features_first(y), context_features_first(context)), y.shape[:-1]
        )

    def _solve(self, y: Tensor, context: Tensor | None) -> Tensor:
        """x (features, n), feature by feature; see `sequential_inverse`."""
        y = y.contiguous()
        layers: list[Any] = list(self.between)
        features = len(y)
        products = [
            BlockTriangularMatvec(layer.weight, layer.rows()[:features], layer.columns()[:features], y, layer.bias)
            for layer in layers
        ]
        first = y[:0] if context is None else context.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        inputs = [first] * len(layers)  # of each layer, from the previous feature; at first the context
        roots = []
        for j, blocks in enumerate(_each(self._blocks(), features)):
            offsets = [product.push(piece)[None] for product, piece in zip(products, inputs, strict=True)]
            x = _root(y[j : j + 1], blocks, offsets)
            roots.append(x)
            if j + 1 < features:
                _, hidden, _ = _pass(x, blocks, _constant(offsets))
                inputs = [h[0].clamp(-INPUT_LIMIT, INPUT_LIMIT) for h in hidden]
        return torch.cat(roots)

    def _back_substitute(
        self, x: Tensor, context: Tensor | None, grad_x: Tensor
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """See `SequentiallyInvertible`. With J the Jacobian, g is the solution of Jᵀ g = grad_x.

        The cotangent of x_j needs the contributions of all later features, which reach the units of j first and x_j
        through these. Feature j itself contributes g_j times the derivative of S_j to the cotangents of its units.
        """
        blocks = self._blocks()
        y, inputs, tanhs = _pass(x, blocks, lambda k, h: self._offsets(k, h, context))
        with torch.no_grad():
            slopes = _unit_slopes(blocks, tanhs)
            derivatives = _derivatives(blocks, slopes, y)
            falling = slice(len(x) - 1, None, -1)
            layers: list[Any] = list(self.between)
            products = [
                BlockTriangularMatvec(
                    layer.weight.detach().t(), layer.columns()[falling], layer.rows()[falling], grad_x
                )
                for layer in layers
            ]
            inside = [(h.abs() <= INPUT_LIMIT).to(grad_x.dtype) for h in inputs]
            # The cotangents that units of feature j get from the features after it.
            later = [grad_x.new_zeros(h.shape[1], grad_x.shape[-1]) for h in inputs]
            g = [grad_x[:0]] * len(x)
            for j in reversed(range(len(x))):
                within = _backward_within(j, blocks, slopes, later)
                g[j] = (grad_x[j] - within[0][0]) / derivatives[0][j, 0]
                if j:
                    whole = [a + g[j] * d[j] for a, d in zip(within[1:], derivatives[1:], strict=True)]
                    later = [p.push(piece) * i[j - 1] for p, piece, i in zip(products, whole, inside, strict=True)]
            g_all = torch.stack(g)
        return g_all, [(y, g_all)]


def _pass(
    x: Tensor, blocks: Sequence[DiagonalBlock], offsets: Callable[[int, Tensor], Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """y at x (features, n), the inputs of each layer, and the tanh of each hidden unit.

    ``offsets(k, h)`` is added in layer k, whose inputs are h.
    """
    h, inputs, tanhs = x[:, None], [], []
    for k, (weight, bend) in enumerate(blocks):
        inputs.append(h)
        h = torch.baddbmm(offsets(k, h), weight, h)  # (features, outs, n)
        if bend is not None:
            t = torch.tanh(h)
            h = torch.addcmul(h, bend, t - h)
            tanhs.append(t)
    return h[:, 0], inputs, tanhs


def _unit_slopes(blocks: Sequence[DiagonalBlock], tanhs: Sequence[Tensor]) -> list[Tensor]:
    """Slopes of the units of each hidden layer, (features, units, n)."""
    return [1 - cast(Tensor, block.bend) * t.square() for block, t in zip(blocks[:-1], tanhs, strict=True)]


def _log_slope(blocks: Sequence[DiagonalBlock], tanhs: Sequence[Tensor]) -> Tensor:
    """log ∂y_j/∂x_j, (features, n)."""
    slope = blocks[0].weight
    for block, unit in zip(blocks[1:], _unit_slopes(blocks, tanhs), strict=True):
        slope = block.weight @ (slope * unit)
    return slope[:, 0].log()


def _constant(offsets: Sequence[Tensor]) -> Callable[[int, Tensor], Tensor]:
    """Offsets for `_pass` that do not depend on the inputs of the layers."""
    return lambda k, h: offsets[k]


def _root(y: Tensor, blocks: list[DiagonalBlock], offsets: list[Tensor]) -> Tensor:
    """x with y = S_j(x) for one feature, (1, n)."""

    def curve(x: Tensor, network: FeatureNetwork) -> tuple[Tensor, Tensor]:
        blocks, offsets = network
        y, _, tanhs = _pass(x, blocks, _constant(offsets))
        return y, _log_slope(blocks, tanhs)

    return invert_increasing(curve, partial(solve_between, curve, _bracket), y, (blocks, offsets))[0]


def _bracket(y: Tensor, network: FeatureNetwork) -> tuple[Tensor, Tensor]:
    """An interval that contains the root. Each unit differs from the straight line of slope 1 - α by at most |α|, so
    each output differs from a line in x by a bounded number."""
    rate = y.new_ones(1, 1, 1)
    low = high = torch.zeros_like(y)[:, None]
    for (weight, bend), offset in zip(*network, strict=True):
        rate, low, high = weight @ rate, weight @ low + offset, weight @ high + offset
        if bend is not None:
            rate, low, high = rate * (1 - bend), low * (1 - bend) - bend.abs(), high * (1 - bend) + bend.abs()
    return (y - high[:, 0]) / rate[:, 0], (y - low[:, 0]) / rate[:, 0]


def _derivatives(blocks: Sequence[DiagonalBlock], slopes: Sequence[Tensor], y: Tensor) -> list[Tensor]:
    """Derivatives of each y_j in x_j, then in the preactivations of its units in each layer, (features, units, n)."""
    derivative = torch.ones_like(y)[:, None]
    derivatives = [derivative]
    for k in reversed(range(len(blocks))):
        derivative = blocks[k].weight.mT @ derivative
        if k:
            derivative = derivative * slopes[k - 1]
        derivatives.append(derivative)
    return derivatives[::-1]


def _backward_within(
    j: int, blocks: Sequence[DiagonalBlock], slopes: Sequence[Tensor], later: Sequence[Tensor]
) -> list[Tensor]:
    """Backpropagation through the network of feature j of the cotangents that its units have from later features.

    The result has the cotangent of x_j, those of the preactivations of each layer, and that of y_j, which is zero.
    """
    cotangent = torch.zeros_like(later[0])
    cotangents = [cotangent]
    for k in reversed(range(len(blocks))):
        cotangent = later[k] + blocks[k].weight[j].t() @ cotangent
        if k:
            cotangent = cotangent * slopes[k - 1][j]
        cotangents.append(cotangent)
    return cotangents[::-1]


def _each(blocks: Sequence[DiagonalBlock], features: int) -> list[list[DiagonalBlock]]:
    """The blocks of each feature, in turn."""
    return [
        [DiagonalBlock(b.weight[j : j + 1], None if b.bend is None else b.bend[j : j + 1]) for b in blocks]
        for j in range(features)
    ]
