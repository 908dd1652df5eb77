"""Increasing maps of an interval onto itself."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import Interval
from pushforward.univariate.rational_splines import SlopedSpline
from pushforward.univariate.spline_pieces import Piece, RationalQuadraticPiece

__all__ = ["BoundedRationalQuadratic"]


@configurable
class BoundedRationalQuadratic(SlopedSpline):
    r"""The monotone rational-quadratic spline of [-bound, bound] onto itself, and of nothing beyond.

    It is `RationalQuadratic` with learned slopes at both ends. Both directions cost the same. Heights on a sphere take
    it; for [0, 1] put `Bounds` or an affine map in front.

    Args:
        bins: number of bins K; the map has 3K + 1 parameters (K widths, K heights, K + 1 slopes).
        bound: half-width of the interval.
        min_bin: smallest width and height of a bin, as a fraction of the interval; less than 1 / bins.
        min_slope: smallest slope at a knot; less than 1.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> y, log_slope = BoundedRationalQuadratic(4)(torch.tensor([0.5]), torch.zeros(13, 1))
    >>> round(y.item(), 6), round(log_slope.exp().item(), 6)
    (0.5, 1.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bins": 3},
        {"bins": 4, "bound": 2.0, "min_bin": 0.01, "min_slope": 0.01},
    )

    def __init__(self, bins: int = 8, *, bound: float = 1.0, min_bin: float = 1e-3, min_slope: float = 1e-3) -> None:
        super().__init__(bins, bound=bound, tails="linear", min_bin=min_bin, min_slope=min_slope)
        self.domain = self.codomain = Interval(-float(bound), float(bound))

    def _extend_tails(self, x: Tensor, outside: Tensor, y: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        return y.clamp(-self.bound, self.bound), log_slope

    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        return RationalQuadraticPiece(width, height, *self._slopes(at_knots))
