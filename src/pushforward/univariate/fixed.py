"""Maps without parameters to half lines and back, and powers that keep the sign."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import positive
from pushforward.core.config import configurable
from pushforward.core.domain import Interval
from pushforward.core.reference import log1mexp
from pushforward.univariate.base import Univariate

__all__ = ["Exp", "Log", "SignedPower", "Softplus"]

POSITIVE = Interval(0.0, math.inf)


@configurable
class Exp(Univariate):
    r"""The exponential: :math:`y = e^x`, from the reals to the positive numbers, with :math:`\log \tau'(x) = x`.

    Like all maps without parameters it stands alone in `Elementwise`; in the other layers `Composed` puts one with
    parameters beside it, as in ``Composed([Affine(), Exp()])``. Where the exponential leaves the dtype, values stand
    still. Both directions are closed formulas.

    >>> import torch
    >>> y, log_slope = Exp()(torch.tensor([2.0]), torch.empty(0, 1))
    >>> round(y.item(), 4), log_slope.item()
    (7.3891, 2.0)
    """

    num_params = 0
    codomain = POSITIVE
    smoothness = 99
    reach = 700.0
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return _exp(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return _log(y)


@configurable
class Log(Univariate):
    r"""The logarithm: :math:`y = \log x`, from the positive numbers to the reals: the inverse of `Exp`.

    At zero it takes the value at the smallest normal number. Both directions are closed formulas.

    >>> import torch
    >>> Log()(torch.tensor([1.0]), torch.empty(0, 1))[0].item()
    0.0
    """

    num_params = 0
    domain = POSITIVE
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return _log(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return _exp(y)


@configurable
class Softplus(Univariate):
    r"""The softplus: :math:`y = \log(1 + e^x)`, from the reals to the positive numbers; straight for large x.

    .. math:: \log \tau'(x) = -\log(1 + e^{-x}), \qquad \tau^{-1}(y) = y + \log(1 - e^{-y})

    Both directions are closed formulas, and keep their digits in both tails.

    >>> import torch
    >>> round(Softplus()(torch.tensor([0.0]), torch.empty(0, 1))[0].item(), 4)
    0.6931
    """

    num_params = 0
    codomain = POSITIVE
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return -F.logsigmoid(-x), F.logsigmoid(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y = y.clamp(min=torch.finfo(y.dtype).tiny)
        log_slope = log1mexp(y)
        return y + log_slope, -log_slope


@configurable
class SignedPower(Univariate):
    r"""A power that keeps the sign: :math:`y = \operatorname{sign}(x)\, |x|^p`.

    .. math:: p = b^{\tanh \theta}, \qquad \log \tau'(x) = \log p + (p - 1) \log |x|

    The zero parameter gives the identity. At zero the slope vanishes for powers above one and is infinite below one:
    the log-slope is that at the smallest normal number. Where a power leaves the dtype, values stand still. Both
    directions are closed formulas.

    Args:
        power: a fixed power p instead of a learned one; the map then has no parameter.
        bound: b > 1, the largest learned power; the smallest is 1 / b.

    Raises:
        ValueError: ``power`` is not positive, or ``bound`` is not above one.

    >>> import torch
    >>> SignedPower(3.0)(torch.tensor([-2.0]), torch.empty(0, 1))[0].item()
    -8.0
    """

    smoothness = 0
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bound": 2.0}, {"power": 3.0})

    def __init__(self, power: float | None = None, *, bound: float = 3.0) -> None:
        super().__init__()
        positive("SignedPower", "bound", bound)
        if bound <= 1:
            raise ValueError(f"SignedPower: bound must be above one; got {bound}. With 1 no power but 1 is left.")
        if power is not None:
            positive("SignedPower", "power", power)
        self.power, self.log_bound = power, math.log(bound)
        self.num_params = 1 if power is None else 0

    @property
    def reach(self) -> float:
        """How far out values and slopes fit float64, and an eighth as far float32."""
        largest = max(self.power, 1 / self.power) if self.power else math.exp(self.log_bound)
        return 1e37 ** (1 / largest)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        power = self._power(params)
        return _raised(x, power), self._log_slope(x, power)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        power = self._power(params)
        x = _raised(y, 1 / power)
        return x, -self._log_slope(x, power)

    def _power(self, params: Tensor) -> Tensor:
        """p, of shape (*s) where it is learned."""
        return params.new_tensor(self.power) if self.power else torch.exp(self.log_bound * torch.tanh(params[0]))

    @staticmethod
    def _log_slope(x: Tensor, power: Tensor) -> Tensor:
        return power.log() + (power - 1) * _normal_size(x).log()


def _raised(x: Tensor, power: Tensor) -> Tensor:
    largest = torch.exp((math.log(torch.finfo(x.dtype).max) - 2) / power.clamp(min=1.0)).detach()
    return torch.sign(x) * torch.minimum(_normal_size(x), largest) ** power


def _normal_size(x: Tensor) -> Tensor:
    """|x|, at least the smallest normal number."""
    return torch.where(x < 0, -x, x).clamp(min=torch.finfo(x.dtype).tiny)


def _exp(x: Tensor) -> tuple[Tensor, Tensor]:
    inside = x.clamp(max=math.log(torch.finfo(x.dtype).max) - 1)
    return inside.exp(), inside


def _log(y: Tensor) -> tuple[Tensor, Tensor]:
    info = torch.finfo(y.dtype)
    x = y.clamp(min=info.tiny, max=info.max).log()
    return x, -x
