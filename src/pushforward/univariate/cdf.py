"""Distribution functions of named families as maps of the reals onto [0, 1]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import one_of
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain, Interval
from pushforward.core.reference import REFERENCES
from pushforward.core.special import ndtr, normal_point
from pushforward.univariate.base import Univariate
from pushforward.univariate.squash import clamp_unit

__all__ = ["CDF", "FAMILIES"]


class Family(ABC):
    """A continuous distribution of one number, elementwise, each tail with its digits."""

    support: Domain = REAL

    @staticmethod
    @abstractmethod
    def cdf(x: Tensor) -> Tensor:
        """P(X ≤ x)."""

    @staticmethod
    @abstractmethod
    def log_density(x: Tensor) -> Tensor:
        """The log-density at x."""

    @staticmethod
    @abstractmethod
    def quantile(u: Tensor) -> Tensor:
        """x with P(X ≤ x) = u, for u inside of (0, 1)."""


def _lower_half(u: Tensor) -> tuple[Tensor, Tensor]:
    """Whether u is below one half, and the smaller of u and 1 - u."""
    lower = u < 0.5
    return lower, torch.where(lower, u, 1 - u)


class NormalFamily(Family):
    @staticmethod
    def cdf(x: Tensor) -> Tensor:
        return ndtr(x)

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        return REFERENCES["gaussian"].log_density(x)

    @staticmethod
    def quantile(u: Tensor) -> Tensor:
        lower, tail = _lower_half(u)
        size = normal_point(tail.log(), torch.zeros_like(u))
        return torch.where(lower, -size, size)


class LogisticFamily(Family):
    @staticmethod
    def cdf(x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        return REFERENCES["logistic"].log_density(x)

    @staticmethod
    def quantile(u: Tensor) -> Tensor:
        return u.log() - torch.log1p(-u)


class LaplaceFamily(Family):
    @staticmethod
    def cdf(x: Tensor) -> Tensor:
        tail = 0.5 * torch.exp(-_size(x))
        return torch.where(x < 0, tail, 1 - tail)

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        return -_size(x) - math.log(2)

    @staticmethod
    def quantile(u: Tensor) -> Tensor:
        lower, tail = _lower_half(u)
        size = -(2 * tail).log()
        return torch.where(lower, -size, size)


class CauchyFamily(Family):
    @staticmethod
    def cdf(x: Tensor) -> Tensor:
        return torch.atan2(torch.ones_like(x), -x) / math.pi

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        return -2 * torch.hypot(x, torch.ones_like(x)).log() - math.log(math.pi)

    @staticmethod
    def quantile(u: Tensor) -> Tensor:
        lower, tail = _lower_half(u)
        central = tail > 0.25
        near = torch.tan(math.pi * (0.5 - torch.where(central, tail, 0.375)))
        far = 1 / torch.tan(math.pi * torch.where(central, 0.125, tail))
        size = torch.where(central, near, far)
        return torch.where(lower, -size, size)


class GumbelFamily(Family):
    @staticmethod
    def cdf(x: Tensor) -> Tensor:
        return torch.exp(-_hazard(x))

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        return -x - _hazard(x)

    @staticmethod
    def quantile(u: Tensor) -> Tensor:
        return -(-u.log()).log()


class ExponentialFamily(Family):
    support = Interval(0.0, math.inf)

    @staticmethod
    def cdf(x: Tensor) -> Tensor:
        return -torch.expm1(-x)

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        return -x

    @staticmethod
    def quantile(u: Tensor) -> Tensor:
        return -torch.log1p(-u)


class SecantFamily(Family):
    """The hyperbolic secant distribution, scaled to the density sech(x) / π."""

    @staticmethod
    def cdf(x: Tensor) -> Tensor:
        return 2 / math.pi * torch.atan(x.clamp(max=300.0 if x.dtype == torch.float64 else 40.0).exp())

    @staticmethod
    def log_density(x: Tensor) -> Tensor:
        return -(_size(x) + F.softplus(-2 * _size(x)) - math.log(2)) - math.log(math.pi)

    @staticmethod
    def quantile(u: Tensor) -> Tensor:
        lower, tail = _lower_half(u)
        size = -torch.tan(0.5 * math.pi * tail).log()
        return torch.where(lower, -size, size)


FAMILIES: dict[str, type[Family]] = {
    "normal": NormalFamily,
    "logistic": LogisticFamily,
    "laplace": LaplaceFamily,
    "cauchy": CauchyFamily,
    "gumbel": GumbelFamily,
    "exponential": ExponentialFamily,
    "secant": SecantFamily,
}
"""The families of `CDF` by name."""


@configurable
class CDF(Univariate):
    r"""The distribution function of a family: :math:`y = F(x)`, from its support onto [0, 1]; its log-slope is the
    log-density.

    ``Composed([Affine(), CDF("normal")])`` has location and scale, and makes numbers of that distribution uniform;
    turned around by `Inverted` it is the quantile function. Log-slopes and values near zero keep their digits however
    far out x is; values near one can only be as close to it as the dtype has numbers. At the ends of [0, 1] the inverse
    is that of the nearest numbers inside. Both directions are closed formulas up to the normal quantile.

    Args:
        family: ``"normal"``, ``"logistic"``, ``"laplace"``, ``"cauchy"``, ``"gumbel"``, ``"secant"`` (the density
            :math:`1 / (\pi \cosh x)`), all on the reals, or ``"exponential"`` on the positive numbers.

    Raises:
        ValueError: ``family`` has no such value.

    >>> import torch
    >>> y, log_slope = CDF("normal")(torch.tensor([-10.0]), torch.empty(0, 1))
    >>> f"{y.item():.4g}", round(log_slope.item(), 4)
    ('7.62e-24', -50.9189)
    """

    num_params = 0
    codomain = Interval(0.0, 1.0)
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = tuple({"family": name} for name in FAMILIES)

    def __init__(self, family: str = "normal") -> None:
        super().__init__()
        one_of("CDF", "family", family, tuple(FAMILIES))
        self.family = FAMILIES[family]
        self.domain = self.family.support
        self.smoothness = 1 if family == "laplace" else 99

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.family.cdf(x), self.family.log_density(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x = self.family.quantile(clamp_unit(y))
        return x, -self.family.log_density(x)


def _size(x: Tensor) -> Tensor:
    """|x|, with a derivative at zero."""
    return torch.where(x < 0, -x, x)


def _hazard(x: Tensor) -> Tensor:
    """exp(-x), which stands still where it leaves the dtype."""
    return torch.exp((-x).clamp(max=math.log(torch.finfo(x.dtype).max) - 2))
