"""Maps without parameters between the reals and intervals, and maps with another slope on either side or far out."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import one_of, positive
from pushforward.core.config import configurable
from pushforward.core.domain import Interval
from pushforward.core.special import log_cosh
from pushforward.univariate.base import Univariate

__all__ = ["LeakyReLU", "LeakyTanh", "Logit", "Sigmoid", "Tanh", "clamp_unit"]


def clamp_unit(u: Tensor) -> Tensor:
    """u kept off the ends of [0, 1], where the inverse of a distribution function is infinite: by a few of the smallest
    normal numbers at zero, by one rounding at one."""
    info = torch.finfo(u.dtype)
    return u.clamp(16 * info.tiny, 1 - 0.5 * info.eps)


class _Logistic(Univariate):
    """The logistic curve from the reals to [low, high], and back."""

    num_params = 0
    smoothness = 99

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        owner = type(self).__name__
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"{owner}: low must be a number below high; got [{low}, {high}].")
        self.low, self.high, self.log_width = low, high, math.log(high - low)

    def _squash(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = F.logsigmoid(x) + F.logsigmoid(-x)
        y = torch.sigmoid(x) * (self.high - self.low) + self.low
        return y.clamp(self.low, self.high), log_slope + self.log_width

    def _stretch(self, y: Tensor) -> tuple[Tensor, Tensor]:
        u = clamp_unit((y - self.low) / (self.high - self.low))
        log_below, log_above = u.log(), torch.log1p(-u)
        return log_below - log_above, -log_below - log_above - self.log_width


@configurable
class Sigmoid(_Logistic):
    r"""The logistic curve from the reals to [low, high].

    .. math:: y = \text{low} + \frac{\text{high} - \text{low}}{1 + e^{-x}}

    Both directions are closed formulas; log-slopes keep their digits in both tails. Values near zero keep theirs too,
    values near another end can only be as close to it as the dtype has numbers.

    Args:
        low: lower end.
        high: upper end.

    Raises:
        ValueError: the ends are not finite, or ``low`` is not below ``high``.

    >>> import torch
    >>> y, log_slope = Sigmoid()(torch.tensor([-80.0]), torch.empty(0, 1))
    >>> log_slope.item()
    -80.0
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"low": -1.0, "high": 3.0})

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(low, high)
        self.codomain = Interval(low, high)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._squash(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._stretch(y)


@configurable
class Logit(_Logistic):
    r"""The log-odds of the place in [low, high], a real number: the inverse of `Sigmoid`.

    .. math:: y = \log \frac{x - \text{low}}{\text{high} - x}

    At the ends values are those at the nearest numbers inside. Both directions are closed formulas.

    Args:
        low: lower end.
        high: upper end.

    Raises:
        ValueError: the ends are not finite, or ``low`` is not below ``high``.

    >>> import torch
    >>> Logit(0.0, 4.0)(torch.tensor([2.0]), torch.empty(0, 1))[0].item()
    0.0
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"low": -1.0, "high": 3.0})

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(low, high)
        self.domain = Interval(low, high)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._stretch(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._squash(y)


@configurable
class Tanh(Univariate):
    r"""The hyperbolic tangent, from the reals to [-1, 1], with :math:`\log \tau'(x) = -2 \log \cosh x`.

    The log-slope is computed without :math:`1 - \tanh^2 x`, which is zero from :math:`|x| = 20` on. Images of larger
    :math:`|x|` round to ±1, whose inverse is that of the nearest numbers inside. Both directions are closed formulas.

    >>> import torch
    >>> Tanh()(torch.tensor([50.0]), torch.empty(0, 1))[1].item()
    -98.61370849609375
    """

    num_params = 0
    codomain = Interval(-1.0, 1.0)
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(x), -2 * log_cosh(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        largest = 1 - 0.5 * torch.finfo(y.dtype).eps
        y = y.clamp(-largest, largest)
        return torch.atanh(y), -torch.log1p(y) - torch.log1p(-y)


@configurable
class LeakyTanh(Univariate):
    r"""The hyperbolic tangent on [-bound, bound], continued beyond with a continuous slope: reals to reals.

    .. math:: y = \tanh x \ (|x| \le b), \qquad
        y = \operatorname{sign}(x) \bigl(\tanh b + s\, (|x| - b)\bigr) \ (|x| > b), \qquad s = \cosh^{-2} b

    or, with ``tails="log"``, :math:`\operatorname{sign}(x)\, (\tanh b + s\, b \log(|x| / b))`. It has the shape of
    `Tanh` without its limits, so that no point is without an inverse. Both directions are closed formulas.

    Args:
        bound: b, where the tails begin.
        tails: ``"linear"`` or ``"log"``.

    Raises:
        ValueError: ``bound`` is not positive, or ``tails`` has no such value.

    >>> import torch
    >>> LeakyTanh(3.0).inverse(torch.tensor([2.0]), torch.empty(0, 1))[0].item() > 3
    True
    """

    num_params = 0
    smoothness = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"bound": 1.5, "tails": "log"})

    def __init__(self, bound: float = 3.0, *, tails: str = "linear") -> None:
        super().__init__()
        positive("LeakyTanh", "bound", bound)
        one_of("LeakyTanh", "tails", tails, ("linear", "log"))
        self.bound, self.tails = bound, tails
        self.height, self.slope = math.tanh(bound), math.cosh(bound) ** -2

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.clamp(-self.bound, self.bound)
        beyond = _beyond(x, self.bound)
        y, log_slope = torch.tanh(inside), -2 * log_cosh(inside)
        if self.tails == "log":
            grown = torch.log1p(beyond / self.bound)
            beyond, log_slope = self.bound * grown, log_slope - grown
        return torch.addcmul(y, torch.sign(x), beyond, value=self.slope), log_slope

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside = y.clamp(-self.height, self.height)
        beyond = _beyond(y, self.height) / self.slope
        x = torch.atanh(inside)
        log_slope = -torch.log1p(inside) - torch.log1p(-inside)
        if self.tails == "log":
            grown = (beyond / self.bound).clamp(max=math.log(torch.finfo(y.dtype).max) - 2)
            beyond, log_slope = self.bound * torch.expm1(grown), log_slope + grown
        return torch.addcmul(x, torch.sign(y), beyond), log_slope


def _beyond(x: Tensor, bound: float) -> Tensor:
    """How far |x| is beyond the bound; by `where`, for at the bound itself derivatives come from the inner part."""
    size = torch.where(x < 0, -x, x)
    return torch.where(size > bound, size - bound, 0.0)


@configurable
class LeakyReLU(Univariate):
    r"""Straight lines of two slopes, one for each sign: :math:`y = x` for x ≥ 0 and :math:`y = a x` for x < 0.

    The slope a is fixed, or learned as :math:`a = e^{b \tanh(\theta / b)}`, the parametric form, where the zero
    parameter gives the identity. The density of a flow with it jumps where x changes its sign. Both directions cost
    one multiplication.

    Args:
        slope: a for negative x; None: learned.
        bound: largest size b of a learned log-slope.

    Raises:
        ValueError: ``slope`` or ``bound`` is not positive.

    References:
        | Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification (He et al., 2015),
          arXiv:1502.01852

    >>> import torch
    >>> LeakyReLU(0.5)(torch.tensor([-2.0, 2.0]), torch.empty(0, 2))[0].tolist()
    [-1.0, 2.0]
    """

    smoothness = 0
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"slope": 0.5}, {"slope": None, "bound": 2.0})

    def __init__(self, slope: float | None = 0.01, *, bound: float = 3.0) -> None:
        super().__init__()
        positive("LeakyReLU", "bound", bound)
        if slope is not None:
            positive("LeakyReLU", "slope", slope)
        self.slope, self.largest = slope, bound
        self.num_params = 1 if slope is None else 0

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = self._log_slope(x, params)
        return x * log_slope.exp(), log_slope

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = -self._log_slope(y, params)
        return y * log_slope.exp(), log_slope

    def _log_slope(self, x: Tensor, params: Tensor) -> Tensor:
        if self.slope is None:
            lower = self.largest * torch.tanh(params[0] / self.largest)
            return torch.where(x < 0, lower, 0.0)
        return torch.where(x < 0, math.log(self.slope), torch.zeros_like(x))
