"""Shifts and affine maps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.checks import positive
from pushforward.core.config import configurable
from pushforward.univariate.base import Univariate

__all__ = ["Affine", "Shift"]


@configurable
class Shift(Univariate):
    r"""Add a number: :math:`y = x + \theta`, of slope one.

    References:
        | NICE: Non-linear Independent Components Estimation (Dinh et al., 2014), arXiv:1410.8516

    >>> import torch
    >>> Shift()(torch.tensor([1.0]), torch.tensor([[2.0]]))
    (tensor([3.]), tensor([0.]))
    """

    num_params = 1
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return x + params[0], torch.zeros_like(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return y - params[0], torch.zeros_like(y)


@configurable
class Affine(Univariate):
    r"""Scale and shift, with a bounded conditional and a free global log-scale.

    .. math:: y = x\, \exp\bigl(b \tanh(\theta_1 / b) + \theta_2\bigr) + \theta_0

    The conditioner decides :math:`\theta_0, \theta_1`; the layer learns :math:`\theta_2` per feature. The bound keeps
    a wild conditioner from overflowing, the free part keeps every global scale within reach.

    Args:
        bound: largest size b of the conditional log-scale.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803

    >>> import torch
    >>> y, log_slope = Affine()(torch.tensor([2.0]), torch.tensor([[1.0], [0.0], [0.0]]))
    >>> y, log_slope
    (tensor([3.]), tensor([0.]))
    """

    num_params = 3
    num_free = 1
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"bound": 1.5})

    def __init__(self, bound: float = 3.0) -> None:
        super().__init__()
        positive("Affine", "bound", bound)
        self.bound = bound

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(params)
        return torch.addcmul(params[0], x, log_scale.exp()), log_scale.expand_as(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = -self._log_scale(params)
        return (y - params[0]) * log_slope.exp(), log_slope.expand_as(y)

    def _log_scale(self, params: Tensor) -> Tensor:
        return self.bound * torch.tanh(params[1] / self.bound) + params[2]
