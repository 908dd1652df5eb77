"""Mixture maps by the distribution of their components: logistic and Gaussian."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.execution_mode import needs_derivatives
from pushforward.core.special import log_mills, log_normal, ndtr, normal_point
from pushforward.univariate.mixture import MixtureCDF

__all__ = ["GaussianMixtureCDF", "LogisticMixtureCDF"]


@configurable
class LogisticMixtureCDF(MixtureCDF):
    r"""The distribution function of a mixture of logistics, then the logit: logistic where x is such a mixture.

    .. math:: y = \operatorname{logit} \sum_{k=0}^{K} w_k\, \sigma\!\left(\frac{x - \mu_k}{s_k}\right), \qquad
              \mu_k \in (-b, b), \quad \mu_0 = 0,\ s_0 = 1,\ w_0 = \epsilon

    The fixed background component 0 keeps slopes between far components away from zero. The tails are straight lines
    of slope :math:`1 / \max_k s_k`. Zero parameters give components that stand apart and together nearly a single
    logistic: the closest member to the identity that can be learned from. The inverse is numeric, between the
    smallest and the largest :math:`\mu_k + s_k y`.

    Args:
        components: K; the map has 3 K parameters.
        bound: b, the largest distance of a component from zero.
        background: the weight :math:`\epsilon` of component 0.
        log_widths: how far the log of a width may go from where zero parameters have it.

    Raises:
        ValueError: ``background`` is not below one.

    References:
        | Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design
          (Ho et al., 2019), arXiv:1902.00275

    >>> import torch
    >>> y, log_slope = LogisticMixtureCDF(4)(torch.tensor([0.0, 1e6]), torch.zeros(12, 2))
    >>> round(y[0].item(), 6), round(y[1].item() / 1e6, 3)
    (0.0, 1.0)
    """

    reference = "logistic"
    variance = math.pi**2 / 3
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"components": 3},
        {"components": 2, "bound": 4.0, "background": 0.02, "log_widths": 5.0},
    )

    @staticmethod
    def _reach(p: float) -> float:
        return -math.log(p)

    @staticmethod
    def _plain_tail(v: Tensor, weight: Tensor) -> Tensor:
        return torch.sigmoid(-v) * weight

    @staticmethod
    def _plain_density(v: Tensor, log_weight: Tensor) -> Tensor:
        return torch.sigmoid(v) * torch.sigmoid(-v) * log_weight.exp()

    @staticmethod
    def _plain_point(tail: Tensor) -> tuple[Tensor, Tensor]:
        log_tail, log_rest = tail.log(), torch.log1p(-tail)
        return log_rest - log_tail, log_tail + log_rest

    @staticmethod
    def _tail(v: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        log_below = F.logsigmoid(v)
        return torch.where(v >= 0, log_below - (v - near), F.logsigmoid(-v)), log_below

    @staticmethod
    def _point(log_tail: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        log_below = torch.log1p(-torch.exp(log_tail - near))
        return near - log_tail + log_below, log_below


@configurable
class GaussianMixtureCDF(MixtureCDF):
    r"""The distribution function of a mixture of Gaussians, then the normal quantile: normal where x is such a mixture.

    .. math:: y = \Phi^{-1} \sum_{k=0}^{K} w_k\, \Phi\!\left(\frac{x - \mu_k}{s_k}\right), \qquad
              \mu_k \in (-b, b), \quad \mu_0 = 0,\ s_0 = 1,\ w_0 = \epsilon

    The fixed background component 0 keeps slopes between far components away from zero. The tails approach straight
    lines of slope :math:`1 / \max_k s_k`. Zero parameters give components that stand apart and together nearly a
    single normal: the closest member to the identity that can be learned from. The inverse is numeric, between the
    smallest and the largest :math:`\mu_k + s_k y`.

    Args:
        components: K; the map has 3 K parameters.
        bound: b, the largest distance of a component from zero.
        background: the weight :math:`\epsilon` of component 0.
        log_widths: how far the log of a width may go from where zero parameters have it.

    Raises:
        ValueError: ``background`` is not below one.

    References:
        | Gaussianization (Chen and Gopinath, 2000)
        | Gaussianization Flows (Meng et al., 2020), arXiv:2003.01941

    >>> import torch
    >>> y, log_slope = GaussianMixtureCDF(4)(torch.tensor([0.0, 1e6]), torch.zeros(12, 2))
    >>> round(y[0].item(), 6), round(y[1].item() / 1e6, 3)
    (0.0, 1.0)
    """

    reference = "gaussian"
    variance = 1.0
    unit = math.sqrt(2)
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"components": 3},
        {"components": 2, "bound": 4.0, "background": 0.02, "log_widths": 5.0},
    )

    @staticmethod
    def _reach(p: float) -> float:
        return math.sqrt(-math.log(p))

    @staticmethod
    def _plain_tail(v: Tensor, weight: Tensor) -> Tensor:
        return torch.erfc(v).mul_(0.5 * weight)

    @staticmethod
    def _plain_density(v: Tensor, log_weight: Tensor) -> Tensor:
        square = v.square() if needs_derivatives() else v.mul_(v)
        return square.neg_().add_(log_weight - 0.5 * math.log(2 * math.pi)).exp_()

    @staticmethod
    def _plain_point(tail: Tensor) -> tuple[Tensor, Tensor]:
        v = -torch.special.ndtri(tail)
        return v, -0.5 * (v.square() + math.log(2 * math.pi))

    @staticmethod
    def _tail(v: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        right, left, beyond = v.clamp(min=0.0), v.clamp(max=0.0), v > 0
        ratio = log_mills(right)
        most = torch.log1p(-ndtr(left))  # the tail left of the middle is most of all
        log_tail = torch.where(beyond, ratio + log_normal(right, near), most)
        return log_tail, torch.where(beyond, -ratio, log_normal(left, torch.zeros_like(v)) - most)

    @staticmethod
    def _point(log_tail: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        v = normal_point(log_tail, near)
        return v, -log_mills(v)
