"""Deep sigmoidal maps: networks of positive weights in one variable, evaluated in log space."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import at_least, below_one, positive
from pushforward.core.config import configurable
from pushforward.univariate.base import Iterative
from pushforward.univariate.polynomial import uneven

__all__ = ["DeepSigmoidal", "DenseDeepSigmoidal"]

NARROW = 0.7  # scale of the units at the start, against one sigmoid


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
    offsets: Tensor

    def _build(self, owner: str, units: int, depth: int, bound: float, min_slope: float) -> None:
        at_least(owner, "units", units, 1)
        at_least(owner, "depth", depth, 1)
        positive(owner, "bound", bound)
        below_one(owner, "min_slope", min_slope, "the slope of the identity")
        self.bound, self.min_slope = bound, min_slope
        ins, outs = [1] + [units] * (depth - 1), [units] * (depth - 1) + [1]
        self.sizes = [(n, units, m) for n, m in zip(ins, outs, strict=True)]
        self.num_params = sum(k * (n if n > 1 else 0) + 2 * k + k * m for n, k, m in self.sizes)
        self.add_constant("gains", uneven(self.num_params))
        steepness, offsets = standing(units)
        self.log_steepness = math.log(steepness)
        self.add_constant("offsets", offsets)

    def _prepare(self, params: Tensor) -> list[Layer]:
        rest = params * self.gains.reshape(-1, *(1,) * (params.ndim - 1))
        layers = []
        for n, k, m in self.sizes:
            mix, scale, offset, weight, rest = rest.split([k * n if n > 1 else 0, k, k, k * m, _rest(rest, n, k, m)])
            log_mix = mix.unflatten(0, (k, n)).log_softmax(dim=1) if n > 1 else None
            log_scale = self.bound * torch.tanh(scale / self.bound) + self.log_steepness
            offset = offset + self.offsets.reshape(-1, *(1,) * (params.ndim - 1))
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
        share = self.min_slope
        least = torch.full_like(x, math.log(share))
        return torch.lerp(h[0], x, share), torch.logaddexp(log_slope[0] + math.log1p(-share), least)

    def _bracket(self, y: Tensor, prepared: list[Layer]) -> tuple[Tensor, Tensor]:
        """The smallest and the largest input with which some path of units alone would give y.

        A logit of a mean lies between the smallest and the largest z, and so does a mean; layer by layer, from the
        last, that bounds the inputs.
        """
        low = high = y
        for _, steepness, _, offset, _ in reversed(prepared):
            low = ((low - offset) / steepness).amin(dim=0)
            high = ((high - offset) / steepness).amax(dim=0)
        # Where the sigmoids alone stay below y and x does too, so does their mean.
        return torch.minimum(low, y), torch.maximum(high, y)


def standing(units: int) -> tuple[float, list[float]]:
    r"""Steepness and offsets of equal units whose mean is close to one sigmoid of steepness one.

    A logistic distribution is that of a narrower one, of scale s, whose place has the density
    :math:`\propto 1 / (\cosh m + \cos \pi s)`; units stand at its quantiles, and the steepness is such that the logit
    of their mean has slope one at zero. Equal units would all get the same gradient, which vanishes on standardised
    data: learning would start at a saddle.

    >>> standing(1)
    (1.0, [0.0])
    """
    ranks = [(k + 0.5) / units - 0.5 for k in range(units)]
    places = [2 * math.atanh(math.tan(math.pi * NARROW * u) / math.tan(math.pi * NARROW / 2)) for u in ranks]
    low, high = 1.0, 1 / NARROW**2
    for _ in range(60):
        steepness = 0.5 * (low + high)
        slope = steepness * sum(1 / math.cosh(0.5 * steepness * m) ** 2 for m in places) / units
        low, high = (steepness, high) if slope < 1 else (low, steepness)
    return round(low, 12), [0.0 - low * m for m in places]


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

    .. math:: y = (1 - \epsilon) \operatorname{logit} \sum_k w_k\, \sigma(a_k x + b_k) + \epsilon\, x,
        \qquad w_k, a_k > 0, \quad \sum_k w_k = 1

    Both tails of the logit are affine, of slope :math:`\min_k a_k`, so the map is onto; logits are differences of
    :math:`\log F` and :math:`\log (1 - F)`, so neither tail saturates. Between distant units a logit is flat to the
    last digit; the share :math:`\epsilon` of the identity keeps the inverse within reach there. Zero parameters give
    units that stand apart and together nearly one sigmoid: the closest member to the identity that can be learned from.
    The root of the logit lies between the smallest and the largest :math:`(y - b_k) / a_k`; the inverse is found
    numerically from there.

    Args:
        units: number K of sigmoids; the map has 3 K parameters.
        bound: largest size of the log-steepnesses :math:`\log a_k`, counted from those that zero parameters give.
        min_slope: the share :math:`\epsilon`, which is a lower bound of the slope.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> import torch
    >>> y, log_slope = DeepSigmoidal(4)(torch.tensor([0.0, 1.0]), torch.zeros(12, 2))
    >>> [round(v, 2) for v in y.tolist()]
    [0.0, 1.02]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"units": 3}, {"units": 4, "bound": 2.0, "min_slope": 0.01})

    def __init__(self, units: int = 16, *, bound: float = 3.0, min_slope: float = 1e-3) -> None:
        super().__init__()
        self._build("DeepSigmoidal", units, 1, bound, min_slope)


@configurable
class DenseDeepSigmoidal(Sigmoidal):
    r"""Layers of sigmoidal units, each unit a mean of logits that are means of units.

    .. math:: h^{(l+1)} = \operatorname{logit}\bigl( w^{(l)}\, \sigma(a^{(l)} \odot u^{(l)} h^{(l)} + b^{(l)}) \bigr),
        \qquad h^{(0)} = x, \quad y = (1 - \epsilon)\, h^{(\text{depth})} + \epsilon\, x

    with positive :math:`a` and row-stochastic :math:`u, w`; inner layers have as many outputs as units. One layer is
    `DeepSigmoidal`. The log-slope is a chain of products of positive matrices, taken in log space. Zero
    parameters give nearly the identity. The inverse is found numerically between bounds passed back through the layers.

    Args:
        units: number of sigmoids in each layer.
        depth: number of layers.
        bound: largest size of the log-steepnesses :math:`\log a`, counted from those that zero parameters give.
        min_slope: the share :math:`\epsilon`, which is a lower bound of the slope.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> import torch
    >>> dense = DenseDeepSigmoidal(4, 2)
    >>> round(dense(torch.tensor([-1.0]), torch.zeros(dense.num_params, 1))[0].item(), 2)
    -1.04
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"units": 2, "depth": 2},
        {"units": 2, "depth": 3, "bound": 2.0, "min_slope": 0.01},
    )

    def __init__(self, units: int = 8, depth: int = 2, *, bound: float = 3.0, min_slope: float = 1e-3) -> None:
        super().__init__()
        self._build("DenseDeepSigmoidal", units, depth, bound, min_slope)
