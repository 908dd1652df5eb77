"""Maps that exchange heavy tails for light ones."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import positive
from pushforward.core.config import configurable
from pushforward.core.special import expm1_ratio, log1p_over, log_mills, normal_point
from pushforward.univariate.base import Univariate
from pushforward.univariate.distribution import UnivariateDistribution, distribution_of

__all__ = ["TailDistribution", "TailTransform"]

SMALLEST, LARGEST = 0.02, 5.0  # λ that a start from data may have
HEADROOM = 0.9  # part of the dtype's exponents that the inverse uses; the rest is for scale and location


@configurable
class TailTransform(Univariate):
    r"""Turn power-law tails into normal ones, each side with its own learned power; the inverse makes normals heavy.

    Forward is the direction from heavy-tailed data to light-tailed latents, :math:`y = R^{-1}(x)` with

    .. math:: R(y) = \mu + \sigma\, \frac{s}{\lambda_s}
              \left(\operatorname{erfc}\bigl(|y| / \sqrt 2\bigr)^{-\lambda_s} - 1\right),
              \qquad s = \operatorname{sign} y

    so ``Elementwise(TailTransform(), D)`` stands on the data side of a stack that goes from data to latent, right
    after `Standardize`. A tail :math:`P(x > t) \sim t^{-\nu}` becomes normal with :math:`\lambda = 1 / \nu`: 1 for a
    Cauchy, 1/2 for two degrees of freedom. At :math:`\lambda = 0`, the limit, tails are exponential.

    Forward takes any x and grows like :math:`\sqrt{2 \log |x| / \lambda}`. The inverse grows like
    :math:`\exp(\lambda y^2 / 2)` and stands still where that leaves the dtype (:math:`|y| \approx 38` for
    :math:`\lambda = 1` in float64). Both directions are closed formulas up to the normal quantile. At zero parameters
    the slope at zero is one and both :math:`\lambda` are ``tail``: no member is the identity.

    Args:
        tail: :math:`\lambda` of both sides at zero parameters.

    Raises:
        ValueError: ``tail`` is not positive.

    References:
        | Flexible Tails for Normalizing Flows (Hickling and Prangle, 2024), arXiv:2406.16971

    >>> import torch
    >>> y, _ = TailTransform()(torch.tensor([1e2, 1e4, 1e6]), torch.zeros(4, 3))
    >>> [round(value, 2) for value in y.tolist()]
    [3.43, 5.41, 6.87]
    """

    num_params = 4
    smoothness = 1  # the second derivative jumps at the centre
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"tail": 1.0})

    def __init__(self, tail: float = 0.5) -> None:
        super().__init__()
        positive("TailTransform", "tail", tail)
        self.tail = tail

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        location, log_scale = self._scale(params)
        u = (x - location) * torch.exp(-log_scale)
        size, power = self._side(u, params)
        exponent = log1p_over(size, power)  # -log erfc(|y| / √2)
        y = normal_point(-exponent - math.log(2), torch.zeros_like(exponent))
        log_slope = log_mills(y) - torch.log1p(power * size) - log_scale
        return torch.where(u < 0, -y, y), log_slope

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        location, log_scale = self._scale(params)
        size, power = self._side(y, params)
        root = (size * math.sqrt(0.5)).clamp(max=1e-4 * math.sqrt(torch.finfo(y.dtype).max))
        exponent = torch.minimum(root.square() - torch.special.erfcx(root).log(), _most(power))
        reached = exponent * expm1_ratio(power * exponent)
        x = location + log_scale.exp() * torch.where(y < 0, -reached, reached)
        return x, log_scale + power * exponent - log_mills(size)

    @property
    def offset(self) -> float:
        """Where softplus is ``tail``."""
        return self.tail + math.log(-math.expm1(-self.tail))

    def _scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ: arsinh grows like a logarithm, so that no parameter makes σ overflow or vanish."""
        return params[0], torch.asinh(params[1]) + 0.5 * math.log(math.pi / 2)

    def _side(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """|x| and the λ of its side."""
        upper, lower = (-F.logsigmoid(-self.offset - params[2:])).unbind()  # softplus, to the last digit
        return torch.where(x < 0, -x, x), torch.where(x < 0, lower, upper)


class TailDistribution(UnivariateDistribution):
    """Power-law tails: the distribution whose values `TailTransform` makes normal."""

    data_dependent = True
    univariate: TailTransform

    def initial_params(self, x: Tensor) -> Tensor:
        r"""μ at the median, σ by the median distance from it, each λ by two quantiles of its side.

        Where :math:`E = -\log \operatorname{erfc}(|y| / \sqrt 2)` doubles, the distance from μ grows by the factor
        :math:`1 + e^{\lambda E}`: an estimator of Pickands' kind.
        """
        sorted_x = x.to(torch.float64).sort(dim=-1).values
        last = x.shape[-1] - 1
        median = sorted_x[:, last // 2]
        outer = min(0.125, max(0.002, 20 / (last + 1)))  # P(x > the outer quantile) of a side
        inner = math.sqrt(outer / 2)  # where E is half as large
        near, far = round(inner * last), round(outer * last)
        sides = [(sorted_x[:, last - near], sorted_x[:, last - far]), (sorted_x[:, near], sorted_x[:, far])]
        growth = torch.stack([(far - median) / (close - median) for close, far in sides])  # (2, features)
        power = (growth - 1).log() / -math.log(2 * inner)
        power = power.nan_to_num(nan=SMALLEST).clamp(SMALLEST, LARGEST)
        middle = (sorted_x - median[:, None]).abs().median(dim=-1).values  # where E = log 2
        scale = middle / (math.log(2) * expm1_ratio(math.log(2) * power.mean(dim=0)))
        log_scale = torch.where(scale > 0, scale, 1.0).log() - 0.5 * math.log(math.pi / 2)
        raw = power + torch.log(-torch.expm1(-power)) - self.univariate.offset
        return torch.cat([median[None], torch.sinh(log_scale)[None], raw]).to(x.dtype)


@distribution_of.register
def _(univariate: TailTransform) -> UnivariateDistribution:
    return TailDistribution(univariate)


@torch.no_grad()
def _most(power: Tensor) -> Tensor:
    """The largest E for which (exp(λE) - 1) / λ stays well inside the dtype."""
    power = power.clamp(min=torch.finfo(power.dtype).tiny)
    headroom = HEADROOM * math.log(torch.finfo(power.dtype).max) + power.log().clamp(max=0.0)
    return headroom.clamp(min=1.0) / power
