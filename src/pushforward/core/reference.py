"""Normal and logistic reference distributions with exact tails."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["REFERENCES", "ReferenceDistribution", "log1mexp", "log_width", "narrow"]

FAR = -50.0  # below this the tail of a normal is computed by its asymptotic series, in float64 too


def log1mexp(d: Tensor) -> Tensor:
    r""":math:`\log(1 - e^{-d})` for :math:`d \ge 0`, to the last digit at both ends.

    References:
        | Accurately computing log(1 - exp(-\|a\|)) (Mächler, 2012)
    """
    d = d.clamp(min=torch.finfo(d.dtype).tiny)  # where rounding left zero: finite, with a finite slope
    near = d < math.log(2)
    small, large = torch.where(near, d, 1.0), torch.where(near, 1.0, d)
    return torch.where(near, (-torch.expm1(-small)).log(), torch.log1p(-torch.exp(-large)))


def narrow(width: Tensor) -> Tensor:
    """Where an interval of this width, in standard units, is so narrow that its probability is more accurate as the
    density in its middle times the width than as a difference of two tails. The relative error of the product is about
    width²/24, that of the difference about eps/width; they meet near the cube root of eps."""
    return width < 0.2 * torch.finfo(width.dtype).eps ** (1 / 3)


def log_width(width: Tensor) -> Tensor:
    """log(width), finite and with a finite slope where rounding left a width of zero."""
    return width.clamp(min=torch.finfo(width.dtype).tiny).log()


def _largest_square(y: Tensor) -> float:
    """A magnitude below which squares are finite in this dtype, and stay so when multiplied by moderate factors."""
    return math.sqrt(torch.finfo(y.dtype).max) * 1e-4


class ReferenceDistribution(ABC):
    """A symmetric distribution on the real line: log-density, log-tails and quantiles, elementwise."""

    @staticmethod
    @abstractmethod
    def log_density(y: Tensor) -> Tensor:
        """The log-density at y."""

    @staticmethod
    @abstractmethod
    def log_below(y: Tensor) -> Tensor:
        """log P(Y ≤ y), with full relative accuracy of the tail; log P(Y > y) is that of -y."""

    @staticmethod
    @abstractmethod
    def point(p: Tensor) -> Tensor:
        """y with P(Y ≤ y) = p."""

    def log_mass(self, low: Tensor, high: Tensor, width: Tensor) -> Tensor:
        """log P(low < Y ≤ high), from the tail in which the interval lies: a difference of numbers near one has no
        digits. The ``width`` from low to high may have more digits than their difference."""
        upper = low > 0
        inner, outer = torch.where(upper, low, -high), torch.where(upper, high, -low)  # now in the upper tail
        near, far = self.log_below(-inner), self.log_below(-outer)
        small = narrow(width)
        tiny = log_width(width) + self.log_density((low + high) / 2)
        return torch.where(small, tiny, near + log1mexp(torch.where(small, 1.0, near - far)))


class GaussianReference(ReferenceDistribution):
    """The standard normal."""

    @staticmethod
    def log_density(y: Tensor) -> Tensor:
        limit = _largest_square(y)
        return -0.5 * (y.clamp(-limit, limit).square() + math.log(2 * math.pi))

    @staticmethod
    def log_below(y: Tensor) -> Tensor:
        # Far out torch computes the slope of log_ndtr as a difference of two large numbers, which ends in NaN.
        far = y < FAR
        v = torch.where(far, y, FAR).clamp(min=-_largest_square(y))
        w = 1 / v.square()
        tail = GaussianReference.log_density(v) - (-v).log() + torch.log1p(-w * (1 - 3 * w * (1 - 5 * w * (1 - 7 * w))))
        return torch.where(far, tail, torch.special.log_ndtr(torch.where(far, 0.0, y)))

    @staticmethod
    def point(p: Tensor) -> Tensor:
        return torch.special.ndtri(p)


class LogisticReference(ReferenceDistribution):
    """The standard logistic."""

    @staticmethod
    def log_density(y: Tensor) -> Tensor:
        return F.logsigmoid(y) + F.logsigmoid(-y)

    @staticmethod
    def log_below(y: Tensor) -> Tensor:
        return F.logsigmoid(y)

    @staticmethod
    def point(p: Tensor) -> Tensor:
        return torch.logit(p)

    def log_mass(self, low: Tensor, high: Tensor, width: Tensor) -> Tensor:
        # σ(b) - σ(a) = σ(b) σ(-a) (1 - e^(a - b)): a product, in which nothing cancels.
        return F.logsigmoid(high) + F.logsigmoid(-low) + log1mexp(width)


REFERENCES: dict[str, ReferenceDistribution] = {"gaussian": GaussianReference(), "logistic": LogisticReference()}
