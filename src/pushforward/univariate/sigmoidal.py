"""Deep sigmoidal maps: networks of positive weights in one variable, evaluated in log space."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import at_least, positive
from pushforward.core.config import configurable
from pushforward.univariate.base import Iterative
from pushforward.univariate.polynomial import uneven

__all__ = ["DeepSigmoidal", "DenseDeepSigmoidal"]


class Layer(NamedTuple):
    """One dense sigmoidal layer, n inputs to k units to m outputs; see `DenseDeepSigmoidal`."""

    log_mix: Tensor | None
    """log u: how each unit weighs the inputs, (k, n, *s), rows summing to one; None where there is one input."""
    steepness: Tensor
    """a, (k, *s)."""
    log_steepness: Tensor
    offset: Tensor
    """b, (k, *s)."""
    log_weight: Tensor
    """log w: how each output weighs the units, (m, k, *s), rows summing to one."""


class Sigmoidal(Iterative):
    """What both maps share: layers of sigmoidal units between one input and one output."""

    smoothness = 99
    gains: Tensor

    def _build(self, units: int, depth: int, bound: float) -> None:
        self.bound = bound
        ins, outs = [1] + [units] * (depth - 1), [units] * (depth - 1) + [1]
        self.sizes = [(n, units, m) for n, m in zip(ins, outs, strict=True)]
        self.num_params = sum(k * (n if n > 1 else 0) + 2 * k + k * m for n, k, m in self.sizes)
        self.register_buffer("gains", uneven(self.num_params), persistent=False)

    def _prepare(self, params: Tensor) -> list[Layer]:
        rest = params * self.gains.reshape(-1, *(1,) * (params.ndim - 1))
        layers = []
        for n, k, m in self.sizes:
            mix, scale, offset, weight, rest = rest.split([k * n if n > 1 else 0, k, k, k * m, _rest(rest, n, k, m)])
            log_mix = mix.unflatten(0, (k, n)).log_softmax(dim=1) if n > 1 else None
            log_scale = self.bound * torch.tanh(scale / self.bound)
            log_weight = weight.unflatten(0, (m, k)).log_softmax(dim=1)
            layers.append(Layer(log_mix, log_scale.exp(), log_scale, offset, log_weight))
        return layers

    def _evaluate(self, x: Tensor, prepared: list[Layer]) -> tuple[Tensor, Tensor]:
        h, log_slope = x[None], torch.zeros_like(x)[None]  # (inputs, *s)
        for log_mix, steepness, log_steepness, offset, log_weight in prepared:
            if log_mix is not None:
                log_slope = (log_mix + log_slope).logsumexp(dim=1)
                h = (log_mix.exp() * h).sum(dim=1)
            z = torch.addcmul(offset, steepness, h)  # (units, *s)
            below, share_below = _pool(log_weight + F.logsigmoid(z))
            above, share_above = _pool(log_weight + F.logsigmoid(-z))
            # w σ(z) σ(-z) / (F (1 - F)) is the product of the units' shares in F and in 1 - F, over w.
            passed = share_below + share_above - log_weight
            h, log_slope = below - above, (passed + (log_steepness + log_slope)).logsumexp(dim=1)
        return h[0], log_slope[0]

    def _bracket(self, y: Tensor, prepared: list[Layer]) -> tuple[Tensor, Tensor]:
        """The smallest and the largest input with which some path of units alone would give y.

        A logit of a mean lies between the smallest and the largest z, and so does a mean; layer by layer, from the
        last, that bounds the inputs.
        """
        low = high = y
        for _, steepness, _, offset, _ in reversed(prepared):
            low = ((low - offset) / steepness).amin(dim=0)
            high = ((high - offset) / steepness).amax(dim=0)
        return low, high


def _rest(rest: Tensor, n: int, k: int, m: int) -> int:
    return rest.shape[0] - k * (n if n > 1 else 0) - 2 * k - k * m


def _pool(logs: Tensor) -> tuple[Tensor, Tensor]:
    """Over the second axis: log Σ exp, and the log of each term's share.

    Both come from differences to the largest term: subtracting the first from ``logs`` instead would lose the shares
    of nearly equal terms where all are huge, that is, in the tails.
    """
    largest = logs.detach().amax(dim=1, keepdim=True)
    shifted = logs - largest
    total = shifted.exp().sum(dim=1, keepdim=True).log()
    return (largest + total).squeeze(1), shifted - total


@configurable
class DeepSigmoidal(Sigmoidal):
    r"""The logit of a mixture of sigmoids: a monotone network with one hidden layer of positive weights.

    .. math:: y = \operatorname{logit} \sum_k w_k\, \sigma(a_k x + b_k), \qquad w_k, a_k > 0, \quad \sum_k w_k = 1

    Both tails are affine, of slope :math:`\min_k a_k`, so the map is onto; logits are differences of
    :math:`\log F` and :math:`\log (1 - F)`, so neither tail saturates. With zero parameters it is the identity; fixed
    unequal factors on the parameters let equal units part. The inverse lies between the smallest and the largest
    :math:`(y - b_k) / a_k` and is found numerically.

    Args:
        units: number K of sigmoids; the map has 3 K parameters.
        bound: largest size of the log-steepnesses :math:`\log a_k`.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> import torch
    >>> y, log_slope = DeepSigmoidal(4)(torch.tensor([1e6, -30.0]), torch.zeros(12, 2))
    >>> y.tolist(), log_slope.abs().max().item() < 1e-6
    ([1000000.0, -30.0], True)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"units": 3}, {"units": 4, "bound": 2.0})

    def __init__(self, units: int = 16, *, bound: float = 3.0) -> None:
        super().__init__()
        at_least("DeepSigmoidal", "units", units, 1)
        positive("DeepSigmoidal", "bound", bound)
        self._build(units, 1, bound)


@configurable
class DenseDeepSigmoidal(Sigmoidal):
    r"""Layers of sigmoidal units, each unit a mean of logits that are means of units.

    .. math:: h^{(l+1)} = \operatorname{logit}\bigl( w^{(l)}\, \sigma(a^{(l)} \odot u^{(l)} h^{(l)} + b^{(l)}) \bigr),
        \qquad h^{(0)} = x, \quad y = h^{(\text{depth})}

    with positive :math:`a` and row-stochastic :math:`u, w`; inner layers have as many outputs as units. One layer is
    `DeepSigmoidal`. The log-slope is a chain of products of positive matrices, taken in log space. With zero
    parameters the map is the identity. The inverse is found numerically between bounds passed back through the layers.

    Args:
        units: number of sigmoids in each layer.
        depth: number of layers.
        bound: largest size of the log-steepnesses :math:`\log a`.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> import torch
    >>> dense = DenseDeepSigmoidal(4, 2)
    >>> dense(torch.tensor([-30.0]), torch.zeros(dense.num_params, 1))[0].item()
    -30.0
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"units": 2, "depth": 2}, {"units": 2, "depth": 3, "bound": 2.0})

    def __init__(self, units: int = 8, depth: int = 2, *, bound: float = 3.0) -> None:
        super().__init__()
        at_least("DenseDeepSigmoidal", "units", units, 1)
        at_least("DenseDeepSigmoidal", "depth", depth, 1)
        positive("DenseDeepSigmoidal", "bound", bound)
        self._build(units, depth, bound)
