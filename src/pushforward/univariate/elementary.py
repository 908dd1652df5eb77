"""Maps of few parameters whose two directions are closed formulas: shifts, scales and changes of shape."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.checks import positive
from pushforward.core.config import configurable
from pushforward.core.dispatch import accelerated
from pushforward.core.special import expm1_ratio, log1p_over, log_cosh
from pushforward.univariate.base import Univariate

__all__ = ["Affine", "Shift", "SinhArcsinh", "YeoJohnson"]


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

    def shift_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """The map as y = x exp(log-scale) + shift."""
        return params[0], torch.zeros_like(params[0])


@configurable
class Affine(Univariate):
    r"""Scale and shift, with a bounded conditional and a free global log-scale.

    .. math:: y = x\, \exp\bigl(b \tanh(\theta_1 / b) + \theta_2\bigr) + \theta_0

    The conditioner decides :math:`\theta_0, \theta_1`; the layer learns :math:`\theta_2` per feature. The bound keeps
    a wild conditioner from overflowing, the free part keeps every global scale within reach.

    Args:
        bound: largest size b of the conditional log-scale.

    Raises:
        ValueError: ``bound`` is not positive.

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
    zero: Tensor
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"bound": 1.5})

    def __init__(self, bound: float = 3.0) -> None:
        super().__init__()
        positive("Affine", "bound", bound)
        self.bound = bound
        self.add_constant("zero", 0.0)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._move(x, *params.unbind())

    @accelerated()
    def forward_with_free(self, x: Tensor, params: Tensor, free: Tensor | None) -> tuple[Tensor, Tensor]:
        if type(self) is not Affine or free is None:  # a subclass may write `forward` alone
            return super().forward_with_free(x, params, free)
        shift, bounded = params.unbind()  # without joining them with the free ones in a tensor first
        return self._move(x, shift, bounded, free[0])

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, log_scale = self._back(y, *params.unbind())
        return x, -log_scale.expand_as(y)

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        return self._back(y, *params.unbind())[0]

    def inverse_value_with_free(self, y: Tensor, params: Tensor, free: Tensor | None) -> Tensor:
        if type(self) is not Affine or free is None:
            return super().inverse_value_with_free(y, params, free)
        shift, bounded = params.unbind()
        return self._back(y, shift, bounded, free[0])[0]

    def shift_and_log_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """The map as y = x exp(log-scale) + shift."""
        shift, bounded, free = params.unbind()
        return shift, self._log_scale(bounded, free)

    def _move(self, x: Tensor, shift: Tensor, bounded: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(bounded, free)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale.expand_as(x)

    def _back(self, y: Tensor, shift: Tensor, bounded: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = self._log_scale(bounded, free)
        return (y - shift) / log_scale.exp(), log_scale

    def _log_scale(self, bounded: Tensor, free: Tensor) -> Tensor:
        # ``alpha`` stays a number; a factor would be made a tensor first, which costs more than all else where the
        # points are few.
        bounded = torch.tanh(torch.add(self.zero, bounded, alpha=1 / self.bound))
        return torch.add(free, bounded, alpha=self.bound)


@configurable
class SinhArcsinh(Univariate):
    r"""Bend both tails and lean to one side.

    .. math:: y = \sinh(\delta \operatorname{arsinh} x + \varepsilon), \qquad
              \delta = b^{\tanh \theta_0}, \quad \varepsilon = b \tanh(\theta_1 / b)

    Far out y grows like :math:`|x|^\delta`: powers above one lighten heavy tails, powers below one make them heavier;
    :math:`\varepsilon` skews. Zero parameters give the identity. Both directions are closed formulas. The bound keeps
    values in the dtype for :math:`|x|^b` within it; beyond, they stand still.

    Args:
        bound: b > 1, the largest power :math:`\delta` (the smallest is 1 / b) and the largest size of
            :math:`\varepsilon`.

    Raises:
        ValueError: ``bound`` is not above one.

    References:
        | Sinh-arcsinh distributions (Jones and Pewsey, 2009), doi:10.1093/biomet/asp053

    >>> import torch
    >>> SinhArcsinh()(torch.tensor([1.0], dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64))[0].item()
    1.0
    """

    num_params = 2
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"bound": 1.5})

    def __init__(self, bound: float = 3.0) -> None:
        super().__init__()
        positive("SinhArcsinh", "bound", bound)
        if bound <= 1:
            raise ValueError(f"SinhArcsinh: bound must be above one; got {bound}. With 1 no power but 1 is left.")
        self.bound = bound

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_power, lean = self._shape(params)
        y, inner = _sinh(log_power.exp() * torch.asinh(x) + lean)
        return y, log_power + log_cosh(inner) - _log_hypot(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_power, lean = self._shape(params)
        x, inner = _sinh((torch.asinh(y) - lean) * torch.exp(-log_power))
        return x, log_cosh(inner) - log_power - _log_hypot(y)

    def _shape(self, params: Tensor) -> tuple[Tensor, Tensor]:
        return math.log(self.bound) * torch.tanh(params[0]), self.bound * torch.tanh(params[1] / self.bound)


@configurable
class YeoJohnson(Univariate):
    r"""The power transform for numbers of both signs, with a learned power.

    .. math:: y = \begin{cases} \bigl((1 + x)^{\lambda} - 1\bigr) / \lambda & x \ge 0 \\
              -\bigl((1 - x)^{2 - \lambda} - 1\bigr) / (2 - \lambda) & x < 0 \end{cases},
              \qquad \lambda = 1 + \tanh \theta

    Powers between 0 and 2 are those that reach the whole line: below one the right side is drawn in (to a logarithm
    at 0) and the left side stretched, above one the other way round. The zero parameter gives the identity. Both
    directions are closed formulas; the inverse of a logarithm is an exponential, and where it or a power leaves the
    dtype, values stand still.

    References:
        | A new family of power transformations to improve normality or symmetry (Yeo and Johnson, 2000),
          doi:10.1093/biomet/87.4.954

    >>> import torch
    >>> YeoJohnson()(torch.tensor([2.0, -2.0]), torch.zeros(1, 2))[0]
    tensor([ 2., -2.])
    """

    num_params = 1
    smoothness = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        size, power = self._side(x, params)
        log_size = torch.log1p(size)
        grown = log_size * expm1_ratio(_exponent(power * log_size))
        return torch.where(x < 0, -grown, grown), (power - 1) * log_size

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        size, power = self._side(y, params)
        log_size = _exponent(log1p_over(size, power))
        grown = torch.expm1(log_size)
        return torch.where(y < 0, -grown, grown), (1 - power) * log_size

    @staticmethod
    def _side(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """|x| and the power of its side, λ or 2 - λ: the two sides mirror each other."""
        tilt = torch.tanh(params[0])
        return torch.where(x < 0, -x, x), 1 + torch.where(x < 0, -tilt, tilt)


def _exponent(t: Tensor) -> Tensor:
    """t where its exponential stays in the dtype, the last such number beyond."""
    return t.clamp(max=math.log(torch.finfo(t.dtype).max) - 2)


def _sinh(t: Tensor) -> tuple[Tensor, Tensor]:
    limit = math.log(torch.finfo(t.dtype).max) - 2
    inside = t.clamp(-limit, limit)
    return torch.sinh(inside), inside


def _log_hypot(x: Tensor) -> Tensor:
    """log √(1 + x²), without the square of a large x."""
    return torch.hypot(x, torch.ones_like(x)).log()
