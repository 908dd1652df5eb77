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
    slope: Tensor
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
    least: Tensor
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
        self.register_buffer("least", torch.arange(1, bins) * min_bin, persistent=False)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        outside, u = self._enter(x)
        bin = self._find(u, params, 0)
        t = (u - bin.left) / bin.width
        y, mixed, scale = self._rise(t, bin)
        return torch.where(outside, x, y), _log_slope(t, mixed, scale, bin).masked_fill(outside, 0.0)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        outside, v = self._enter(y)
        bin = self._find(v, params, 1)
        x, t, bend = self._fall(v, bin)
        mixed = t * (1 - t)
        log_slope = _log_slope(t, mixed, torch.addcmul(bin.slope, bend, mixed), bin)
        return torch.where(outside, y, x), -log_slope.masked_fill(outside, 0.0)

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        outside, v = self._enter(y)
        return torch.where(outside, y, self._fall(v, self._find(v, params, 1))[0])

    def _enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether x lies outside the box, and its place in it. Clipping comes before the search: a point evaluated
        outside and masked afterwards would give NaN gradients to the whole batch."""
        return x.abs() >= self.bound, x.clamp(-self.bound, self.bound) / (2 * self.bound) + 0.5

    def _leave(self, v: Tensor) -> Tensor:
        return v * (2 * self.bound) - self.bound

    def _find(self, u: Tensor, params: Tensor, axis: int) -> Bin:
        """The bin of each u along the axis searched (0: widths, 1: heights): one search, one gather for both axes."""
        bins = self.bins
        shares = torch.softmax(params[: 2 * bins].unflatten(0, (2, bins)), dim=1)  # (axis, bins, *s)
        least = self.least.reshape(-1, *(1,) * u.ndim)
        inner = torch.add(least, shares.cumsum(dim=1)[:, :-1], alpha=1 - bins * self.min_bin)
        # The outer knots are 0 and 1 exactly, whatever the running sum rounds to; the slopes there are one.
        sides = (0, 0) * u.ndim
        knots = F.pad(F.pad(inner, (*sides, 1, 0)), (*sides, 0, 1), value=1.0)  # (axis, bins + 1, *s)
        raw = F.pad(params[2 * bins :], (*sides, 1, 1))  # (bins + 1, *s)
        index = (u >= inner[axis]).sum(dim=0)  # (*s), 0 .. bins - 1
        ends = torch.stack([index, index + 1])
        around = knots.gather(1, ends.expand(2, *ends.shape))  # (axis, end, *s)
        slope_left, slope_right = (F.softplus(raw.gather(0, ends) + self.slope_offset) + self.min_slope).unbind()
        (left, bottom), (width, height) = around[:, 0].unbind(), (around[:, 1] - around[:, 0]).unbind()
        return Bin(left, width, bottom, height, height / width, slope_left, slope_right)

    def _rise(self, t: Tensor, bin: Bin) -> tuple[Tensor, Tensor, Tensor]:
        """y at place t of the bin, and what the slope there needs."""
        mixed = t * (1 - t)
        scale = torch.addcmul(bin.slope, bin.slope_left + bin.slope_right - 2 * bin.slope, mixed)
        rise = torch.addcmul(bin.slope_left * mixed, bin.slope, t.square()) / scale
        return self._leave(torch.addcmul(bin.bottom, bin.height, rise)), mixed, scale

    def _fall(self, v: Tensor, bin: Bin) -> tuple[Tensor, Tensor, Tensor]:
        """x where the spline reaches v, its place t in the bin, and the bin's bend."""
        bend = bin.slope_left + bin.slope_right - 2 * bin.slope
        rise = v - bin.bottom
        bent = rise * bend
        a = torch.addcmul(bent, bin.height, bin.slope - bin.slope_left)
        b = bin.height * bin.slope_left - bent
        c = bin.slope * rise
        # a t² + b t - c = 0 in the form that never subtracts close numbers (b > 0 wherever a root lies in the bin).
        root = torch.addcmul(b.square(), a, c, value=4).clamp(min=torch.finfo(v.dtype).tiny).sqrt()
        t = (2 * c / (b + root)).clamp(0.0, 1.0)
        return self._leave(torch.addcmul(bin.left, t, bin.width)), t, bend


def _log_slope(t: Tensor, mixed: Tensor, scale: Tensor, bin: Bin) -> Tensor:
    inner = torch.addcmul(2 * bin.slope * mixed, bin.slope_right, t.square())
    inner = torch.addcmul(inner, bin.slope_left, (1 - t).square())
    return torch.log(inner * (bin.slope / scale).square())
