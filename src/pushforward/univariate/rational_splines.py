"""Splines of rational functions, free to choose their knots along both axes and their slopes there."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import below_one, positive
from pushforward.core.config import configurable
from pushforward.univariate.spline import MEAN_SLOPE_IN_BOX, Knots, Spline
from pushforward.univariate.spline_pieces import LinearRationalPiece, Piece, RationalQuadraticPiece

__all__ = ["LinearRational", "RationalQuadratic", "SlopedSpline"]


class SlopedSpline(Spline):
    r"""A spline that is free to choose its knots along both axes and its slopes there: K widths, K heights, slopes."""

    smoothness = 1
    slope_offset_tensor: Tensor
    min_slope_tensor: Tensor

    def __init__(
        self,
        bins: int = 8,
        *,
        bound: float = 5.0,
        tails: str = "identity",
        min_bin: float = 1e-3,
        min_slope: float = 1e-3,
    ) -> None:
        super().__init__(bins, bound=bound, tails=tails, min_bin=min_bin)
        below_one(type(self).__name__, "min_slope", min_slope, MEAN_SLOPE_IN_BOX)
        # softplus(slope_offset) + min_slope = 1: zero parameters give slope one, as have identity tails.
        self.slope_offset, self.min_slope = math.log(math.expm1(1.0 - min_slope)), min_slope
        # The same constants as tensors, because torch converts a plain number on every call.
        self.add_constant("slope_offset_tensor", self.slope_offset)
        self.add_constant("min_slope_tensor", min_slope)
        self.num_params = 2 * bins + self.num_knot_params

    def _knots(self, params: Tensor) -> Knots:
        inner = self._places(params[: 2 * self.bins].unflatten(0, (2, self.bins)))
        return Knots(inner, self._with_ends(params[-self.num_knot_params :], 0.0))

    def _slopes(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The slopes at both ends of each point's bin: raw is (2, *s)."""
        left, right = (F.softplus(raw + self.slope_offset_tensor) + self.min_slope_tensor).unbind()
        return left, right


@configurable
class LinearRational(SlopedSpline):
    r"""The monotone linear-rational spline over ``bins`` bins of [-bound, bound]: two hyperbolas in each bin.

    They meet with one slope at a learned place λ of the bin (formula: `LinearRationalPiece`). Both directions cost the
    same, and the inverse is a linear-rational spline again.

    Args:
        bins: number of bins K; the map has K widths, K heights, K places and, with identity or linear tails, K - 1 or
            K + 1 slopes.
        bound: half-width of the box, which is mapped onto itself.
        tails: beyond the box ``"identity"``, or ``"linear"`` with the learned slopes at the ends.
        min_bin: smallest width and height of a bin, as a fraction of the box; less than 1 / bins.
        min_slope: smallest slope at a knot; less than 1.
        min_split: least distance of λ from 0 and 1; less than 1/2.

    Raises:
        ValueError: an argument is out of its range, or so many bins leave no room.

    References:
        | Invertible Generative Modeling using Linear Rational Splines (Dolatabadi et al., 2020), arXiv:2001.05168
        | Monotone linear rational spline interpolation (Fuhr and Kallay, 1992)

    >>> import torch
    >>> y, log_slope = LinearRational(4)(torch.tensor([1.0]), torch.zeros(15, 1))
    >>> round(y.item(), 6), round(log_slope.item(), 6)
    (1.0, 0.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bins": 4},
        {"bins": 3, "bound": 3.0, "tails": "linear", "min_bin": 0.01, "min_slope": 0.01, "min_split": 0.1},
    )

    def __init__(
        self,
        bins: int = 8,
        *,
        bound: float = 5.0,
        tails: str = "identity",
        min_bin: float = 1e-3,
        min_slope: float = 1e-3,
        min_split: float = 0.025,
    ) -> None:
        super().__init__(bins, bound=bound, tails=tails, min_bin=min_bin, min_slope=min_slope)
        positive("LinearRational", "min_split", min_split)
        if min_split >= 0.5:
            raise ValueError(f"LinearRational: min_split must be below 1/2; got {min_split!r}.")
        self.min_split = min_split
        self.num_params += bins

    def _knots(self, params: Tensor) -> Knots:
        return super()._knots(params)._replace(in_bins=params[2 * self.bins : 3 * self.bins])

    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        split = self.min_split + (1 - 2 * self.min_split) * torch.sigmoid(in_bin)
        return LinearRationalPiece(width, height, *self._slopes(at_knots), split)


@configurable
class RationalQuadratic(SlopedSpline):
    r"""The monotone rational-quadratic spline with ``bins`` bins on [-bound, bound].

    Between two knots, with :math:`t` the position in the bin, :math:`s` its mean slope and :math:`d_0, d_1` the slopes
    at its ends,

    .. math:: y = y_0 + h\, \frac{s t^2 + d_0 t (1 - t)}{s + (d_0 + d_1 - 2 s)\, t (1 - t)}

    Both directions cost the same. The inverse is the root of a quadratic, measured from the nearer knot of the bin, in
    a form free of cancellation.

    Args:
        bins: number of bins K. The parameters are, in this order, K width logits and K height logits (through softmax,
            then scaled to leave ``min_bin`` for each), and K - 1 raw slopes with identity tails, K + 1 with linear ones
            (through softplus).
        bound: half-width of the box, which is mapped onto itself.
        tails: beyond the box ``"identity"``, or ``"linear"`` with the learned slopes at the ends.
        min_bin: smallest width and height of a bin, as a fraction of the box; less than 1 / bins.
        min_slope: smallest slope at a knot; less than 1.

    Raises:
        ValueError: an argument is out of its range, or so many bins leave no room.

    References:
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032
        | Piecewise rational quadratic interpolation (Gregory and Delbourgo, 1982)

    >>> import torch
    >>> y, log_slope = RationalQuadratic(4)(torch.tensor([1.0]), torch.zeros(11, 1))
    >>> round(y.item(), 6), round(log_slope.item(), 6)
    (1.0, 0.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bins": 4},
        {"bins": 5, "bound": 3.0, "min_bin": 0.01, "min_slope": 0.01},
        {"bins": 3, "tails": "linear"},
    )

    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        return RationalQuadraticPiece(width, height, *self._slopes(at_knots))
