"""Maps without parameters that approach a limit slowly, or on one side alone."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.checks import positive
from pushforward.core.config import configurable
from pushforward.core.domain import Interval
from pushforward.univariate.base import Univariate

__all__ = ["ELU", "Softclip"]


@configurable
class ELU(Univariate):
    r"""The exponential linear unit: :math:`y = x` for x ≥ 0 and :math:`y = e^x - 1` for x < 0, from the reals to the
    numbers above -1.

    Its slope is continuous. Images of x below about -17 in float32, and -37 in float64, round to -1, whose inverse is
    that of the nearest number inside. Both directions are closed formulas.

    References:
        | Fast and Accurate Deep Network Learning by Exponential Linear Units (Clevert et al., 2015), arXiv:1511.07289

    >>> import torch
    >>> y, log_slope = ELU()(torch.tensor([-2.0, 2.0]), torch.empty(0, 2))
    >>> log_slope.tolist()
    [-2.0, 0.0]
    """

    num_params = 0
    codomain = Interval(-1.0, math.inf)
    smoothness = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        below = torch.where(x < 0, x, 0.0)
        return torch.where(x < 0, torch.expm1(below), x), below

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        below = torch.log1p(torch.where(y < 0, y, 0.0).clamp(min=0.5 * torch.finfo(y.dtype).eps - 1))
        return torch.where(y < 0, below, y), -below


@configurable
class Softclip(Univariate):
    r"""A clip with slow tails, from the reals to [-bound, bound].

    .. math:: y = \frac{x}{1 + |x| / b}, \qquad \tau^{-1}(y) = \frac{y}{1 - |y| / b}, \qquad
        \log \tau'(x) = -2 \log(1 + |x| / b)

    It approaches its limits like 1 / x, so that points far out keep an inverse longer than with `Tanh`. At the ends the
    inverse is that of the nearest numbers inside. Both directions are closed formulas.

    Args:
        bound: the limit b on both sides.

    Raises:
        ValueError: ``bound`` is not positive.

    >>> import torch
    >>> Softclip(2.0)(torch.tensor([-2.0, 6.0]), torch.empty(0, 2))[0].tolist()
    [-1.0, 1.5]
    """

    num_params = 0
    smoothness = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"bound": 2.0})

    def __init__(self, bound: float = 1.0) -> None:
        super().__init__()
        positive("Softclip", "bound", bound)
        self.bound = bound
        self.codomain = Interval(-bound, bound)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        size = torch.where(x < 0, -x, x) / self.bound
        return (x / (1 + size)).clamp(-self.bound, self.bound), -2 * torch.log1p(size)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        largest = self.bound * (1 - 0.5 * torch.finfo(y.dtype).eps)
        y = y.clamp(-largest, largest)
        size = torch.where(y < 0, -y, y) / self.bound
        return y / (1 - size), -2 * torch.log1p(-size)
