"""Monotone splines of polynomials: where the knots are and which slopes they have."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import below_one
from pushforward.core.config import configurable
from pushforward.univariate.spline import MEAN_SLOPE_IN_BOX, Knots, Spline
from pushforward.univariate.spline_pieces import CubicPiece, LinearPiece, Piece, QuadraticPiece

__all__ = ["CubicSpline", "LinearSpline", "QuadraticSpline"]


@configurable
class LinearSpline(Spline):
    r"""The straight lines over ``bins`` equal bins of [-bound, bound]: a density that is a histogram.

    .. math:: y = y_0 + h\, t, \qquad \tau' = h / w

    The widths are equal because the density jumps at the knots: the gradient of a likelihood cannot tell where to move
    them. The tails continue the first and the last line or, with identity tails, meet them in an edge.

    Args:
        bins: number of bins K; the map has K parameters (heights).
        bound: half-width of the box, which is mapped onto itself.
        tails: beyond the box ``"identity"``, or ``"linear"`` with the slopes of the first and the last line.
        min_bin: smallest height of a bin, as a fraction of the box; less than 1 / bins.

    Raises:
        ValueError: an argument is out of its range, or so many bins leave no room.

    References:
        | Neural Importance Sampling (Müller et al., 2019), arXiv:1808.03856

    >>> import torch
    >>> y, log_slope = LinearSpline(4)(torch.tensor([1.0]), torch.zeros(4, 1))
    >>> round(y.item(), 6), round(log_slope.item(), 6)
    (1.0, 0.0)
    """

    smoothness = 0
    places: Tensor
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bins": 4},
        {"bins": 5, "bound": 3.0, "tails": "linear", "min_bin": 0.01},
    )

    def __init__(self, bins: int = 8, *, bound: float = 5.0, tails: str = "identity", min_bin: float = 1e-3) -> None:
        super().__init__(bins, bound=bound, tails=tails, min_bin=min_bin)
        self.num_params = bins
        self.add_constant("places", range(1, bins))

    def _knots(self, params: Tensor) -> Knots:
        sizes = self._sizes(params)
        heights = sizes.cumsum(dim=0)[None, :-1]
        widths = (self.places / self.bins).reshape(-1, *(1,) * (params.ndim - 1))
        # The sizes themselves, too: of a bin that is hardly higher than the rounding of its knots, their difference has
        # no correct digit.
        return Knots(torch.cat([widths.expand_as(heights), heights]), in_bins=sizes)

    def _to_box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # The slope jumps at the ends of the box, and they belong to it: a density on an interval is that of its bins.
        return x.abs() > self.high, super()._to_box(x)[1]

    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        return LinearPiece(in_bin, self.bins)


@configurable
class QuadraticSpline(Spline):
    r"""The parabolas over ``bins`` bins of [-bound, bound] whose slope is continuous and straight between the knots.

    .. math:: \tau' = d_0 (1 - t) + d_1 t, \qquad \sum_k w_k (d_{k-1} + d_k) / 2 = 1

    With identity tails the slopes at the ends are one.

    Args:
        bins: number of bins K; the map has K widths and, with identity or linear tails, K - 1 or K + 1 slopes.
        bound: half-width of the box, which is mapped onto itself.
        tails: beyond the box ``"identity"``, or ``"linear"`` with the learned slopes at the ends.
        min_bin: smallest width of a bin, as a fraction of the box; less than 1 / bins.
        min_slope: smallest slope; less than 1.

    Raises:
        ValueError: an argument is out of its range, or so many bins leave no room.

    References:
        | Neural Importance Sampling (Müller et al., 2019), arXiv:1808.03856

    >>> import torch
    >>> y, log_slope = QuadraticSpline(4)(torch.tensor([1.0]), torch.zeros(7, 1))
    >>> round(y.item(), 6), round(log_slope.item(), 6)
    (1.0, 0.0)
    """

    smoothness = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bins": 4},
        {"bins": 3, "bound": 3.0, "tails": "linear", "min_bin": 0.01, "min_slope": 0.01},
    )

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
        below_one("QuadraticSpline", "min_slope", min_slope, MEAN_SLOPE_IN_BOX)
        self.min_slope = min_slope
        self.num_params = bins + self.num_knot_params

    def _knots(self, params: Tensor) -> Knots:
        widths = self._sizes(params[: self.bins])
        # A knot's slope counts for half of the bins beside it; given slopes at the ends fill their own half bins.
        beside = widths if self.tails == "identity" else F.pad(widths, (0, 0) * (widths.ndim - 1) + (1, 1))
        free = normalised_densities(params[self.bins :], 0.5 * (beside[:-1] + beside[1:]), self.min_slope)
        slopes = self._with_ends(free, 1.0)
        heights = 0.5 * widths * (slopes[:-1] + slopes[1:])
        return Knots(cumulative_knots(widths, heights), slopes)

    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        return QuadraticPiece(width, *at_knots.unbind())


@configurable
class CubicSpline(Spline):
    r"""Steffen's monotone cubic spline over ``bins`` bins of [-bound, bound].

    Between two knots it is the cubic with their slopes. At inner knots, beside bins of mean slopes :math:`s_0, s_1` and
    widths :math:`w_0, w_1`, the slope is :math:`\min\bigl(2 s_0, 2 s_1, (s_0 w_1 + s_1 w_0) / (w_0 + w_1)\bigr)`; at an
    end it may be anything up to three times the mean slope there. So the map increases. With identity tails it is one,
    and the first and the last bin have mean slopes of at least 1/3.

    The inverse starts from the root of a rational quadratic and takes six steps of Halley's method.

    Args:
        bins: number of bins K; the map has K widths, K mean slopes and, with linear tails, 2 slopes at the ends.
        bound: half-width of the box, which is mapped onto itself.
        tails: beyond the box ``"identity"``, or ``"linear"`` with the learned slopes at the ends.
        min_bin: smallest width of a bin, as a fraction of the box; less than 1 / bins.
        min_slope: smallest mean slope of a bin and smallest slope at a knot; less than 1.

    Raises:
        ValueError: an argument is out of its range, or so many bins leave no room.

    References:
        | Cubic-Spline Flows (Durkan et al., 2019), arXiv:1906.02145
        | A simple method for monotonic interpolation in one dimension (Steffen, 1990)
        | Monotone piecewise cubic interpolation (Fritsch and Carlson, 1980), doi:10.1137/0717021

    >>> import torch
    >>> y, log_slope = CubicSpline(4)(torch.tensor([1.0]), torch.zeros(8, 1))
    >>> round(y.item(), 6), round(log_slope.item(), 6)
    (1.0, 0.0)
    """

    smoothness = 1
    floor: Tensor
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bins": 4},
        {"bins": 3, "bound": 3.0, "tails": "linear", "min_bin": 0.01, "min_slope": 0.01},
    )

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
        below_one("CubicSpline", "min_slope", min_slope, MEAN_SLOPE_IN_BOX)
        self.min_slope = min_slope
        self.num_params = 2 * bins + (2 if tails == "linear" else 0)
        floor = [min_slope] * bins
        if tails == "identity":  # a slope of one at the end is at most three times the mean slope there
            floor[0] = floor[-1] = max(1 / 3, min_slope)
        self.add_constant("floor", floor)
        # min_slope + (3 - min_slope) sigmoid(offset) = 1
        self.end_offset = math.log((1 - min_slope) / 2)

    def _knots(self, params: Tensor) -> Knots:
        widths = self._sizes(params[: self.bins])
        floor = self.floor.reshape(-1, *(1,) * (params.ndim - 1))
        means = normalised_densities(params[self.bins : 2 * self.bins], widths, floor)
        parabola = (means[:-1] * widths[1:] + means[1:] * widths[:-1]) / (widths[:-1] + widths[1:])
        slopes = self._with_ends(torch.minimum(2 * torch.minimum(means[:-1], means[1:]), parabola), 1.0)
        if self.tails == "linear":
            headroom = 3 * torch.stack([means[0], means[-1]]) - self.min_slope
            first, last = self.min_slope + headroom * torch.sigmoid(params[2 * self.bins :] + self.end_offset)
            slopes = torch.cat([first[None], slopes, last[None]])
        return Knots(cumulative_knots(widths, widths * means), slopes, means)

    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        return CubicPiece(width, in_bin, *at_knots.unbind())


def normalised_densities(raw: Tensor, weights: Tensor, floor: Tensor | float) -> Tensor:
    """Densities over the first axis: at least ``floor``, of weighted mean one, all one where raw is zero."""
    above_floor = (1 - floor) * torch.softmax(raw, dim=0)
    return floor + above_floor * ((weights * (1 - floor)).sum(dim=0) / (weights * above_floor).sum(dim=0))


def cumulative_knots(widths: Tensor, heights: Tensor) -> Tensor:
    """Inner knots along both axes from the sizes (bins, *s) of the bins. Rounding may give the last bin zero width."""
    return torch.stack([widths, heights]).cumsum(dim=1)[:, :-1].clamp(max=1.0)
