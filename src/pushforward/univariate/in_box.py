"""Splines and polynomials in a box of any place and size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain, Interval
from pushforward.univariate.base import Boxed, Univariate
from pushforward.univariate.spline import Spline

__all__ = ["InBox"]


@configurable
class InBox(Univariate):
    r"""A map given on a symmetric box, moved to the box from ``low`` to ``high``: an asymmetric box.

    .. math:: y = m' + r'\, \tau\Bigl(\frac{x - m}{r};\ \theta\Bigr), \qquad
        m = \tfrac12 (\text{low} + \text{high}), \quad r = \frac{\text{high} - \text{low}}{2 b}

    with the half-width b of the box of :math:`\tau`; :math:`m', r'` are those of the box of y. ``PerFeature`` of such
    maps gives every feature bounds of its own. Both directions cost what those of the map cost.

    Args:
        univariate: a spline, or another map that has a box.
        low: lower end of the box.
        high: upper end of the box.
        image: ends (low, high) of the box of y, where they differ: zero parameters then give a straight line.
        closed: whether the ends are those of the domain, for densities on an interval: a spline takes the one box onto
            the other, and nothing lies beyond.

    Raises:
        ValueError: the map has no box, the ends of a box are not in order, or ``closed`` is set for a map that does not
            take its box onto itself.

    >>> import torch
    >>> from pushforward.univariate import RationalQuadratic
    >>> spline = InBox(RationalQuadratic(4), 0.0, 1.0, closed=True)
    >>> spline.domain.ends, spline(torch.tensor([0.0, 1.0]), torch.ones(11, 2))[0].tolist()
    ((0.0, 1.0), [0.0, 1.0])
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "RationalQuadratic", "bins": 3}, "low": -1.0, "high": 4.0},
        {
            "univariate": {"type": "LinearRational", "bins": 3},
            "low": 0.0,
            "high": 1.0,
            "image": [-1.0, 1.0],
            "closed": True,
        },
        {"univariate": {"type": "Bernstein", "degree": 4}, "low": -2.0, "high": 1.0},
    )

    def __init__(
        self,
        univariate: Univariate,
        low: float,
        high: float,
        *,
        image: Sequence[float] | None = None,
        closed: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(univariate, Spline | Boxed):
            raise ValueError(
                f"InBox: univariate must be a map that has a box; got {type(univariate).__name__}. Use a spline, such "
                "as RationalQuadratic(8)."
            )
        if closed and not isinstance(univariate, Spline):
            raise ValueError(
                f"InBox: closed needs a map of its box onto itself, but {type(univariate).__name__} moves the ends. "
                "Use a spline."
            )
        bottom, top = (low, high) if image is None else image
        for a, b in ((low, high), (bottom, top)):
            if not -math.inf < a < b < math.inf:
                raise ValueError(f"InBox: the ends of a box must be two finite numbers in order; got [{a}, {b}].")
        self.univariate = univariate
        self.num_params, self.num_free = univariate.num_params, univariate.num_free
        self.smoothness, self.inverse_kind = univariate.smoothness, univariate.inverse_kind
        self.bound = max(abs(low), abs(high))
        self.closed, self.ends, self.image = closed, (low, high), (bottom, top)
        self.log_stretch = math.log((top - bottom) / (high - low))
        if closed:
            self.domain: Domain = Interval(low, high)
            self.codomain: Domain = Interval(bottom, top)
        else:
            self.domain = self.codomain = REAL

    @property
    def point_width(self) -> int:
        return self.univariate.point_width

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.univariate.forward(self._enter(x, self.ends), params)
        return self._leave(y, self.image), log_slope + self.log_stretch

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, log_slope = self.univariate.inverse(self._enter(y, self.image), params)
        return self._leave(x, self.ends), log_slope - self.log_stretch

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        return self._leave(self.univariate.value(self._enter(x, self.ends), params), self.image)

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        return self._leave(self.univariate.inverse_value(self._enter(y, self.image), params), self.ends)

    @property
    def _half_width(self) -> float:
        inner: Any = self.univariate
        return inner.bound

    def _enter(self, x: Tensor, ends: tuple[float, float]) -> Tensor:
        low, high = ends
        inner = (x - 0.5 * (low + high)) * (2 * self._half_width / (high - low))
        # Rounding must not take an end of the interval out of the box.
        return inner.clamp(-self._half_width, self._half_width) if self.closed else inner

    def _leave(self, x: Tensor, ends: tuple[float, float]) -> Tensor:
        low, high = ends
        y = x * (0.5 * (high - low) / self._half_width) + 0.5 * (low + high)
        return y.clamp(low, high) if self.closed else y
