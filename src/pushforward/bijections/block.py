"""The block neural autoregressive map: one network that is triangular by its blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import context_columns, from_columns, to_columns
from pushforward.bijections.sequential import sequential_inverse
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least, below_one, positive
from pushforward.core.config import configurable
from pushforward.core.numerics import invert_increasing, solve_between
from pushforward.networks.block_triangular import BlockTriangularMatvec
from pushforward.networks.masked_linear import MaskedLinear
from pushforward.networks.trunk import INPUT_LIMIT

__all__ = ["BlockNeural"]

SPREAD = 1.5  # biases of the units of one feature at the start, from -SPREAD to SPREAD


class Block(NamedTuple):
    """The part of one layer that stays inside a feature, for some or all of the features."""

    weight: Tensor
    """Positive, (features, outs, ins)."""
    bend: Tensor | None
    """α of each unit, (features, outs, 1); None for the last layer, whose outputs are not bent."""


Given = tuple[list[Block], list[Tensor]]
"""The blocks of one feature, and what its layers get from outside."""


@configurable
class BlockNeural(TriangularMap):
    r"""A block neural autoregressive map: each feature has units of its own in every layer of one network.

    .. math:: h^{(0)}_j = x_j, \qquad
        h^{(l)}_j = \varphi\Bigl(e^{\Theta^{(l)}_j} h^{(l-1)}_j + \sum_{i<j} V^{(l)}_{ji} h^{(l-1)}_i + C^{(l)}_j c +
        b^{(l)}_j\Bigr), \qquad y_j = h^{(\text{layers} + 1)}_j

    Weights inside a feature are positive and those from earlier features free, so the Jacobian is triangular, and
    :math:`\partial y_j / \partial x_j` is a product of small positive matrices. The units are
    :math:`\varphi(h) = h + \alpha (\tanh h - h)` with a learned bend :math:`|\alpha| \le 1 - \epsilon`: slopes are at
    least :math:`\epsilon`, so the map is onto, and with :math:`\alpha = 0`, where learning starts, it is the identity.

    Forward costs one pass. The inverse goes one feature at a time: a bracket in closed form, since a unit stays within
    :math:`|\alpha|` of a straight line, and a numeric root; in all about one pass of arithmetic between the features.
    So do gradients, by one reverse sweep.

    Args:
        features: number of features D.
        context: number of context features.
        units: hidden units of each feature in each layer.
        layers: number of hidden layers.
        bound: largest size of the logs of the positive weights, times the number of units that they add up.
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
                # Nobody reads the last feature, the first reads nothing but the context.
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

    def _blocks(self) -> list[Block]:
        """What stays inside a feature, for all features."""
        bends: list[Tensor | None] = [*((1 - self.min_slope) * torch.tanh(self.bends)[..., None]).unbind(), None]
        return [
            Block(torch.exp(self.bound * torch.tanh(theta / self.bound)) / theta.shape[2], bend)
            for theta, bend in zip(self.within, bends, strict=True)
        ]

    def _steer(self, k: int, h: Tensor, context: Tensor | None) -> Tensor:
        """What the features before each one and the context add in layer k, (features, outs, n)."""
        layer: Any = self.between[k]
        before = h[:-1].flatten(0, 1)
        seen = before if context is None else torch.cat([context, before])
        return layer(seen.clamp(-INPUT_LIMIT, INPUT_LIMIT)).unflatten(0, (len(h), -1))

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        known, blocks = context_columns(context), self._blocks()
        y, _, tanhs = _pass(to_columns(x), blocks, lambda k, h: self._steer(k, h, known))
        return from_columns(y, x.shape[:-1]), from_columns(_log_slope(blocks, tanhs), x.shape[:-1])

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._inverse(y, context)
        return x, -self._forward_and_slopes(x, context)[1]

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return from_columns(sequential_inverse(self, to_columns(y), context_columns(context)), y.shape[:-1])

    def _solve(self, y: Tensor, context: Tensor | None) -> Tensor:
        """x (features, n), feature by feature; see `sequential_inverse`."""
        y = y.contiguous()
        layers: list[Any] = list(self.between)
        features = len(y)
        products = [
            BlockTriangularMatvec(layer.weight, layer.rows()[:features], layer.columns()[:features], y, layer.bias)
            for layer in layers
        ]
        nothing = y[:0] if context is None else context.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        arrived = [nothing] * len(layers)  # what each layer got from the feature before; at first the context
        found = []
        for j, blocks in enumerate(_each(self._blocks(), features)):
            steer = [product.push(piece)[None] for product, piece in zip(products, arrived, strict=True)]
            x = _root(y[j : j + 1], blocks, steer)
            found.append(x)
            if j + 1 < features:
                _, inputs, _ = _pass(x, blocks, _known(steer))
                arrived = [h[0].clamp(-INPUT_LIMIT, INPUT_LIMIT) for h in inputs]
        return torch.cat(found)

    def _sweep(self, x: Tensor, context: Tensor | None, v: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Back substitution from the last feature to the first; see `sequential_inverse`.

        The cotangent of feature j is known once the features after j have sent theirs, first to the units of j, then
        through these to x_j. What it adds itself to the cotangents of its units is g_j times their share in S_j.
        """
        blocks = self._blocks()
        y, inputs, tanhs = _pass(x, blocks, lambda k, h: self._steer(k, h, context))
        with torch.no_grad():
            slopes = _bent_slopes(blocks, tanhs)
            shares = _shares(blocks, slopes, y)
            falling = slice(len(x) - 1, None, -1)
            layers: list[Any] = list(self.between)
            products = [
                BlockTriangularMatvec(layer.weight.detach().t(), layer.columns()[falling], layer.rows()[falling], v)
                for layer in layers
            ]
            inside = [(h.abs() <= INPUT_LIMIT).to(v.dtype) for h in inputs]
            sent = [v.new_zeros(h.shape[1], v.shape[-1]) for h in inputs]  # by later features to the units of j
            g = [v[:0]] * len(x)
            for j in reversed(range(len(x))):
                later = _sent_within(j, blocks, slopes, sent)
                g[j] = (v[j] - later[0][0]) / shares[0][j, 0]
                if j:
                    whole = [a + g[j] * s[j] for a, s in zip(later[1:], shares[1:], strict=True)]
                    sent = [p.push(piece) * i[j - 1] for p, piece, i in zip(products, whole, inside, strict=True)]
            found = torch.stack(g)
        return found, [(y, found)]


def _pass(
    x: Tensor, blocks: Sequence[Block], steer: Callable[[int, Tensor], Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """y at x (features, n), what each layer reads, and the tanh of each hidden unit.

    ``steer(k, h)`` is what layer k, which reads h, gets from outside.
    """
    h, inputs, tanhs = x[:, None], [], []
    for k, (weight, bend) in enumerate(blocks):
        inputs.append(h)
        h = torch.baddbmm(steer(k, h), weight, h)  # (features, outs, n)
        if bend is not None:
            t = torch.tanh(h)
            h = torch.addcmul(h, bend, t - h)
            tanhs.append(t)
    return h[:, 0], inputs, tanhs


def _bent_slopes(blocks: Sequence[Block], tanhs: Sequence[Tensor]) -> list[Tensor]:
    """Slopes of the units of each hidden layer, (features, units, n)."""
    return [1 - cast(Tensor, block.bend) * t.square() for block, t in zip(blocks[:-1], tanhs, strict=True)]


def _log_slope(blocks: Sequence[Block], tanhs: Sequence[Tensor]) -> Tensor:
    """log ∂y_j/∂x_j, (features, n)."""
    slope = blocks[0].weight
    for block, bent in zip(blocks[1:], _bent_slopes(blocks, tanhs), strict=True):
        slope = block.weight @ (slope * bent)
    return slope[:, 0].log()


def _known(steer: Sequence[Tensor]) -> Callable[[int, Tensor], Tensor]:
    """What each layer gets from outside, where that is known beforehand."""
    return lambda k, h: steer[k]


def _root(y: Tensor, blocks: list[Block], steer: list[Tensor]) -> Tensor:
    """x with y = S_j(x) for one feature, (1, n)."""

    def curve(x: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        y, _, tanhs = _pass(x, given[0], _known(given[1]))
        return y, _log_slope(given[0], tanhs)

    return invert_increasing(curve, partial(solve_between, curve, _bracket), y, (blocks, steer))[0]


def _bracket(y: Tensor, given: Given) -> tuple[Tensor, Tensor]:
    """Each unit is the straight line of slope 1 - α up to |α|; so each output is a line in x, up to a known number."""
    rate = y.new_ones(1, 1, 1)
    low = high = torch.zeros_like(y)[:, None]
    for (weight, bend), steer in zip(*given, strict=True):
        rate, low, high = weight @ rate, weight @ low + steer, weight @ high + steer
        if bend is not None:
            rate, low, high = rate * (1 - bend), low * (1 - bend) - bend.abs(), high * (1 - bend) + bend.abs()
    return (y - high[:, 0]) / rate[:, 0], (y - low[:, 0]) / rate[:, 0]


def _shares(blocks: Sequence[Block], slopes: Sequence[Tensor], y: Tensor) -> list[Tensor]:
    """Derivatives of each y_j in x_j, then in what its units of each layer are applied to, (features, units, n)."""
    share = torch.ones_like(y)[:, None]
    found = [share]
    for k in reversed(range(len(blocks))):
        share = blocks[k].weight.mT @ share
        if k:
            share = share * slopes[k - 1]
        found.append(share)
    return found[::-1]


def _sent_within(j: int, blocks: Sequence[Block], slopes: Sequence[Tensor], sent: Sequence[Tensor]) -> list[Tensor]:
    """What later features sent to the units of feature j, passed on inside of it: the cotangent of x_j, then those of
    what its units of each layer are applied to, last that of y_j, to which nobody sends."""
    through = torch.zeros_like(sent[0])
    found = [through]
    for k in reversed(range(len(blocks))):
        through = sent[k] + blocks[k].weight[j].t() @ through
        if k:
            through = through * slopes[k - 1][j]
        found.append(through)
    return found[::-1]


def _each(blocks: Sequence[Block], features: int) -> list[list[Block]]:
    """The blocks of each feature, in turn."""
    return [
        [Block(b.weight[j : j + 1], None if b.bend is None else b.bend[j : j + 1]) for b in blocks]
        for j in range(features)
    ]
