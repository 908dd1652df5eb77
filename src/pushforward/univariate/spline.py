"""What monotone splines share: the box, one search, one gather and the tails.

A kind (`spline_kinds`) says where its knots are, a piece (`spline_pieces`) what lies between two of them.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core.checks import at_least, one_of, positive
from pushforward.core.dispatch import accelerated
from pushforward.core.execution_mode import needs_derivatives
from pushforward.core.numerics import attach_root_gradients
from pushforward.univariate.base import Univariate
from pushforward.univariate.spline_pieces import Piece

__all__ = ["Knots", "Spline"]


class Knots(NamedTuple):
    """What a kind makes of its parameters, in units where the box is [0, 1] × [0, 1]."""

    inner: Tensor
    """Places of the inner knots along both axes, (2, bins - 1, *s), rising; the outer ones are 0 and 1."""
    at_knots: Tensor | None = None
    """A number for each knot, (bins + 1, *s)."""
    in_bins: Tensor | None = None
    """A number for each bin, (bins, *s)."""


class Spline(Univariate):
    r"""What splines share: the box, its bins, one search, one gather and the tails.

    Args:
        bins: number of bins.
        bound: half-width of the box: [-bound, bound] is mapped onto itself.
        tails: beyond the box y = x (``"identity"``), or straight on with the learned slopes that the spline has at
            the ends (``"linear"``).
        min_bin: smallest size of a bin, as a part of the box.
    """

    least: Tensor
    low: Tensor
    high: Tensor
    size: Tensor
    middle: Tensor
    either_end: Tensor

    def __init__(self, bins: int, *, bound: float, tails: str, min_bin: float) -> None:
        super().__init__()
        owner = type(self).__name__
        at_least(owner, "bins", bins, 2)
        positive(owner, "bound", bound)
        one_of(owner, "tails", tails, ("identity", "linear"))
        positive(owner, "min_bin", min_bin)
        if min_bin * bins >= 1:
            raise ValueError(
                f"{owner}: {bins} bins of at least {min_bin} of the box leave no room; lower min_bin below 1 / bins."
            )
        self.bins, self.bound, self.tails, self.min_bin = bins, bound, tails, min_bin
        self.least_numbers = tuple(k * min_bin for k in range(1, bins))
        self.add_constant("least", self.least_numbers)
        # As tensors: torch converts each plain number into one first, which takes as long as adding a few hundred.
        self.add_constant("low", -bound)
        self.add_constant("high", bound)
        self.add_constant("size", 2 * bound)
        self.add_constant("middle", 0.5)
        self.add_constant("either_end", [0, 1], torch.int64)
        # Numbers that belong to knots: with identity tails those at the ends are given.
        self.free_knots = bins - 1 if tails == "identity" else bins + 1

    @abstractmethod
    def _knots(self, params: Tensor) -> Knots:
        """Where the knots are, and what belongs to them and to the bins."""

    @abstractmethod
    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        """The curve across the bin of each point, from its numbers at both knots (2, *s) and its own (*s)."""

    @accelerated()
    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        outside, u = self._enter(x)
        left, bottom, width, height, piece = self._find(u, params, 0)
        rise, log_slope = piece.rise((u - left) / width)
        return self._continue(x, outside, self._leave(torch.addcmul(bottom, height, rise)), log_slope)

    @accelerated()
    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        outside, v = self._enter(y)
        left, bottom, width, height, piece = self._find(v, params, 1)
        upper, climbed, piece = _from_nearer_knot(v - bottom, height, piece)
        with torch.no_grad():
            t = piece.fall(climbed).clamp(0.0, 1.0)
            if self.tails != "identity":  # the slope is wanted at the end itself, whatever rounding did
                t = t.masked_fill(outside, 0.0)

        def curve(along: Tensor) -> tuple[Tensor, Tensor]:
            rise, log_slope = piece.rise(along / width)
            return height * rise, log_slope

        # The derivative of the root is that of the curve at it: going back through the formula of the root would lose
        # digits where slopes beside it differ a millionfold.
        along = attach_root_gradients(curve, climbed, t * width)
        log_slope = -piece.log_slope_at(along / width, climbed)
        return self._continue(y, outside, self._leave(left + torch.where(upper, width - along, along)), log_slope)

    @accelerated()
    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        # With gradients the curve is wanted, and its slope for what lies beyond the box with linear tails.
        if self.tails != "identity" or needs_derivatives():
            return self.inverse(y, params)[0]
        outside, v = self._enter(y)
        left, bottom, width, height, piece = self._find(v, params, 1)
        upper, climbed, piece = _from_nearer_knot(v - bottom, height, piece)
        t = piece.fall(climbed).clamp(0.0, 1.0)
        along = t * width
        return torch.where(outside, y, self._leave(left + torch.where(upper, width - along, along)))

    def _enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether x lies outside the box, and its place in it. Clipping comes before the search: a point evaluated
        outside and masked afterwards would give NaN gradients to the whole batch."""
        return x.abs() >= self.high, torch.addcdiv(self.middle, x.clamp(-self.bound, self.bound), self.size)

    def _leave(self, v: Tensor) -> Tensor:
        return torch.add(self.low, v, alpha=2 * self.bound)

    def _continue(self, x: Tensor, outside: Tensor, y: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """What holds for all x, from what holds for x clipped to the box; either direction."""
        if self.tails == "identity":
            return torch.where(outside, x, y), log_slope.masked_fill(outside, 0.0)
        return torch.addcmul(y, x - x.clamp(-self.bound, self.bound), log_slope.exp()), log_slope

    def _find(self, u: Tensor, params: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Piece]:
        """The bin of each u along the axis searched (0: x, 1: y): one search, one gather for both axes."""
        inner, at_knots, in_bins = self._knots(params)
        # The outer knots are 0 and 1 exactly, whatever the running sum rounds to.
        zero = torch.zeros_like(inner[:, :1])
        knots = torch.cat([zero, inner, torch.ones_like(zero)], dim=1)  # (axis, bins + 1, *s)
        index = (u >= inner[axis]).sum(dim=0)  # (*s), 0 .. bins - 1
        ends = index + self.either_end.reshape(2, *(1,) * index.ndim)
        s = index.shape  # parameters that points share have less
        lower, upper = knots.expand(-1, -1, *s).gather(1, ends.expand(2, *ends.shape)).unbind(1)  # (axis, *s)
        (left, bottom), (width, height) = lower.unbind(), (upper - lower).unbind()
        beside = None if at_knots is None else at_knots.expand(-1, *s).gather(0, ends)  # (end, *s)
        bin_params = None if in_bins is None else in_bins.expand(-1, *s).gather(0, index[None])[0]
        return left, bottom, width, height, self._piece(width, height, beside, bin_params)

    def _places(self, raw: Tensor) -> Tensor:
        """Inner knots (axes, bins - 1, *s) of bins that share the box: raw is (axes, bins, *s)."""
        shares = torch.softmax(raw, dim=1)
        least = self.least.reshape(-1, *(1,) * (raw.ndim - 2))
        return torch.add(least, shares.cumsum(dim=1)[:, :-1], alpha=1 - self.bins * self.min_bin)

    def _sizes(self, raw: Tensor) -> Tensor:
        """Sizes (bins, *s) of bins that share the box."""
        return self.min_bin + (1 - self.bins * self.min_bin) * torch.softmax(raw, dim=0)

    def _with_ends(self, at_knots: Tensor, value: float) -> Tensor:
        """Numbers for all knots: with identity tails ``value`` at the ends."""
        if self.tails != "identity":
            return at_knots
        end = torch.full_like(at_knots[:1], value)
        return torch.cat([end, at_knots, end])


def _from_nearer_knot(climbed: Tensor, height: Tensor, piece: Piece) -> tuple[Tensor, Tensor, Piece]:
    """Whether the upper knot is nearer along y, and the way from the nearer knot and the piece as seen from it."""
    missing = height - climbed
    upper = climbed > missing
    # Not `torch.minimum`: halfway up, where both are equal, its gradients would cancel.
    return upper, torch.where(upper, missing, climbed), piece.seen_from(upper)
