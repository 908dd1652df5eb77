"""Monotone splines on a box, continued by straight tails.

A spline kind is a knot function: it turns parameters into the two knots around each point and the slopes there.
Search, gather and tails are shared.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import at_least, positive
from pushforward.core.config import configurable
from pushforward.univariate.base import Univariate

__all__ = ["RationalQuadratic"]


class Bin(NamedTuple):
    """The bin each point falls in, in units where the box is [0, 1] × [0, 1]; every entry has the points' shape."""

    left: Tensor
    width: Tensor
    bottom: Tensor
    height: Tensor
    slope_left: Tensor
    slope_right: Tensor


@configurable
class RationalQuadratic(Univariate):
    r"""The monotone rational-quadratic spline with ``bins`` bins on [-bound, bound] and identity tails.

    Between two knots, with :math:`t` the position in the bin, :math:`s` its mean slope and :math:`d_0, d_1` the slopes
    at its ends,

    .. math:: y = y_0 + h\, \frac{s t^2 + d_0 t (1 - t)}{s + (d_0 + d_1 - 2 s)\, t (1 - t)}

    Both directions cost the same; the inverse is the root of a quadratic in the form without cancellation.

    Args:
        bins: number of bins K; the map has 3K - 1 parameters (K widths, K heights, K - 1 inner slopes).
        bound: half-width of the box.
        min_bin: smallest width and height of a bin, as a part of the box; at most 1 / bins.
        min_slope: smallest slope at a knot.

    References:
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032
        | Piecewise rational quadratic interpolation (Gregory and Delbourgo, 1982)

    >>> import torch
    >>> y, log_slope = RationalQuadratic(4)(torch.tensor([1.0]), torch.zeros(11, 1))
    >>> y.item(), log_slope.item()
    (1.0, 0.0)
    """

    smoothness = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bins": 4},
        {"bins": 5, "bound": 3.0, "min_bin": 0.01, "min_slope": 0.01},
    )

    def __init__(self, bins: int = 8, *, bound: float = 5.0, min_bin: float = 1e-3, min_slope: float = 1e-3) -> None:
        super().__init__()
        at_least("RationalQuadratic", "bins", bins, 2)
        positive("RationalQuadratic", "bound", bound)
        positive("RationalQuadratic", "min_bin", min_bin)
        positive("RationalQuadratic", "min_slope", min_slope)
        if min_bin * bins >= 1 or min_slope >= 1:
            raise ValueError(
                f"RationalQuadratic: {bins} bins of at least {min_bin} of the box and slopes of at least {min_slope} "
                "leave no room; lower min_bin below 1 / bins and min_slope below 1."
            )
        self.bins, self.bound, self.min_bin, self.min_slope = bins, bound, min_bin, min_slope
        self.num_params = 3 * bins - 1
        # softplus(offset) + min_slope = 1: zero parameters give slope one, as do both ends of the box.
        self.slope_offset = math.log(math.expm1(1.0 - min_slope))

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside, u = self._enter(x)
        bin = self._find(u, params, 0)
        t = (u - bin.left) / bin.width
        slope = bin.height / bin.width
        mixed = t * (1 - t)
        bend = bin.slope_left + bin.slope_right - 2 * slope
        scale = slope + bend * mixed
        v = bin.bottom + bin.height * (slope * t.square() + bin.slope_left * mixed) / scale
        y = torch.where(inside, (2 * v - 1) * self.bound, x)
        return y, torch.where(inside, _log_slope(t, slope, bin, mixed, scale), 0.0)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        inside, v = self._enter(y)
        bin = self._find(v, params, 1)
        slope = bin.height / bin.width
        bend = bin.slope_left + bin.slope_right - 2 * slope
        rise = v - bin.bottom
        a = bin.height * (slope - bin.slope_left) + rise * bend
        b = bin.height * bin.slope_left - rise * bend
        c = slope * rise
        # a t² + b t - c = 0 in the form that never subtracts close numbers (b > 0 wherever a root lies in the bin).
        root = (b.square() + 4 * a * c).clamp(min=torch.finfo(y.dtype).tiny).sqrt()
        t = (2 * c / (b + root)).clamp(0.0, 1.0)
        mixed = t * (1 - t)
        x = torch.where(inside, (2 * (bin.left + t * bin.width) - 1) * self.bound, y)
        return x, torch.where(inside, -_log_slope(t, slope, bin, mixed, slope + bend * mixed), 0.0)

    def _enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether x lies in the box, and its place in it. Clipping comes before the search: a point evaluated outside
        and masked afterwards would give NaN gradients to the whole batch."""
        inside = x.abs() < self.bound
        return inside, x.clamp(-self.bound, self.bound) / (2 * self.bound) + 0.5

    def _find(self, u: Tensor, params: Tensor, axis: int) -> Bin:
        """The bin of each u along the axis searched (0: widths, 1: heights): one search, one gather for both axes."""
        bins = self.bins
        shares = torch.softmax(params[: 2 * bins].unflatten(0, (2, bins)), dim=1)  # (axis, bins, *s)
        least = torch.arange(1, bins, device=u.device, dtype=u.dtype).mul_(self.min_bin)
        least = least.reshape(-1, *(1,) * u.ndim)
        # Inner knots; the outer ones are 0 and 1 exactly.
        knots = torch.add(least, shares.cumsum(dim=1)[:, :-1], alpha=1 - bins * self.min_bin)
        index = (u >= knots[axis]).sum(dim=0)  # (*s), 0 .. bins - 1
        ends = torch.stack([index - 1, index])  # inner knot to the left and to the right
        at_end = torch.stack([index == 0, index == bins - 1])
        ends = ends.clamp(0, bins - 2)
        around = knots.gather(1, ends.expand(2, *ends.shape))  # (axis, end, *s)
        outer = torch.tensor([0.0, 1.0], device=u.device, dtype=u.dtype).reshape(2, *(1,) * u.ndim)
        around = torch.where(at_end, outer, around)
        raw = params[2 * bins :].gather(0, ends)
        slopes = torch.where(at_end, 1.0, self.min_slope + F.softplus(raw + self.slope_offset))
        (left, right), (bottom, top) = around[0], around[1]
        return Bin(left, right - left, bottom, top - bottom, slopes[0], slopes[1])


def _log_slope(t: Tensor, slope: Tensor, bin: Bin, mixed: Tensor, scale: Tensor) -> Tensor:
    inner = bin.slope_right * t.square() + 2 * slope * mixed + bin.slope_left * (1 - t).square()
    return torch.log(slope.square() * inner / scale.square())
