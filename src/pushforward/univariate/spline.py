"""What monotone splines share: the box, one search, one gather and the tails.

A kind (`spline_kinds`, `rational_splines`) says where its knots are, a piece (`spline_pieces`) what lies between two.
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

MEAN_SLOPE_IN_BOX = "the mean slope in the box"
"""What 1 is, for messages."""


class Knots(NamedTuple):
    """What a kind makes of its parameters, in units where the box is [0, 1] × [0, 1]."""

    inner: Tensor
    """Places of the inner knots along both axes, (2, bins - 1, *s), rising; the outer ones are 0 and 1."""
    at_knots: Tensor | None = None
    """A number for each knot, (bins + 1, *s)."""
    in_bins: Tensor | None = None
    """A number for each bin, (bins, *s)."""


class Bin(NamedTuple):
    """The bin of each point, (*s), in units where the box is [0, 1] × [0, 1]."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    piece: Piece
    """The curve across it."""


class Spline(Univariate):
    r"""What splines share: the box, one search, one gather and the tails.

    The box is the interval [-bound, bound], which is mapped onto itself. A subclass writes `_knots` and `_piece`; it
    may override `_extend_tails` (what holds beyond the box), `_with_ends` (numbers of the end knots) and the attribute
    ``num_knot_params``.

    Args:
        bins: number of bins.
        bound: half-width of the box.
        tails: beyond the box y = x (``"identity"``), or straight on with the learned slopes that the spline has at
            the ends (``"linear"``).
        min_bin: smallest size of a bin, as a fraction of the box.
    """

    least_knots_tensor: Tensor
    low: Tensor
    high: Tensor
    size: Tensor
    middle: Tensor
    knot_offsets: Tensor

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
        # Where the inner knots are if all bins before them are as small as they may be.
        self.least_knots = tuple(k * min_bin for k in range(1, bins))
        # The same and other constants as tensors, because torch converts a plain number into one on every call, which
        # takes as long as adding a few hundred.
        self.add_constant("least_knots_tensor", self.least_knots)
        self.add_constant("low", -bound)
        self.add_constant("high", bound)
        self.add_constant("size", 2 * bound)
        self.add_constant("middle", 0.5)
        self.add_constant("knot_offsets", [0, 1], torch.int64)
        # Parameters that belong to knots: with identity tails the end knots have none.
        self.num_knot_params = bins - 1 if tails == "identity" else bins + 1

    @abstractmethod
    def _knots(self, params: Tensor) -> Knots:
        """Where the knots are, and what belongs to them and to the bins."""

    @abstractmethod
    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        """The curve across the bin of each point, from its numbers at both knots (2, *s) and its own (*s)."""

    @accelerated()
    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        outside, u = self._to_box(x)
        left, bottom, width, height, piece = self._find(u, params, 0)
        fraction, log_slope = piece.evaluate((u - left) / width)
        return self._extend_tails(x, outside, self._from_box(torch.addcmul(bottom, height, fraction)), log_slope)

    @accelerated()
    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        outside, v = self._to_box(y)
        left, bottom, width, height, piece = self._find(v, params, 1)
        from_upper, dy, piece = _from_nearer_knot(v - bottom, height, piece)
        with torch.no_grad():
            t = piece.solve(dy).clamp(0.0, 1.0)
            if self.tails != "identity":
                # Outside the box the tail continues with the slope at the end knot: evaluate exactly there, where t,
                # measured from the nearer knot, is 0.
                t = t.masked_fill(outside, 0.0)

        def curve(dx: Tensor) -> tuple[Tensor, Tensor]:
            fraction, log_slope = piece.evaluate(dx / width)
            return height * fraction, log_slope

        # Implicit differentiation: autograd through the formula of the root is inaccurate where the slopes at both
        # knots differ by many orders of magnitude.
        dx = attach_root_gradients(curve, dy, t * width)
        log_slope = -piece.log_slope_at(dx / width, dy)
        return self._extend_tails(y, outside, self._from_box(left + torch.where(from_upper, width - dx, dx)), log_slope)

    @accelerated()
    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        # `inverse` is needed for gradients (`attach_root_gradients`) and for linear tails, whose slope it computes.
        if self.tails != "identity" or needs_derivatives():
            return self.inverse(y, params)[0]
        outside, v = self._to_box(y)
        left, bottom, width, height, piece = self._find(v, params, 1)
        dy = v - bottom
        dy_from_top = height - dy
        from_upper = dy > dy_from_top
        dx = piece.solve_from(from_upper, torch.minimum(dy, dy_from_top)).clamp(0.0, 1.0) * width
        return torch.where(outside, y, self._from_box(left + torch.where(from_upper, width - dx, dx)))

    def _to_box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether x lies outside the box, and its place in [0, 1] in it. Clipping comes before the search: a point
        evaluated outside and masked afterwards would give NaN gradients to the whole batch."""
        return x.abs() >= self.high, torch.addcdiv(self.middle, x.clamp(-self.bound, self.bound), self.size)

    def _from_box(self, v: Tensor) -> Tensor:
        """The number at the place v in [0, 1] of the box."""
        return torch.add(self.low, v, alpha=2 * self.bound)

    def _extend_tails(self, x: Tensor, outside: Tensor, y: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """What holds for all x, from what holds for x clipped to the box; either direction."""
        if self.tails == "identity":
            return torch.where(outside, x, y), log_slope.masked_fill(outside, 0.0)
        return torch.addcmul(y, x - x.clamp(-self.bound, self.bound), log_slope.exp()), log_slope

    def _find(self, u: Tensor, params: Tensor, axis: int) -> Bin:
        """The bin of each u along the axis searched (0: x, 1: y): one search, one gather for both axes."""
        inner, at_knots, in_bins = self._knots(params)
        # The outer knots are 0 and 1 exactly, whatever the running sum rounds to.
        zero = torch.zeros_like(inner[:, :1])
        knots = torch.cat([zero, inner, torch.ones_like(zero)], dim=1)  # (axis, bins + 1, *s)
        index = (u >= inner[axis]).sum(dim=0)  # (*s), 0 .. bins - 1
        ends = index + self.knot_offsets.reshape(2, *(1,) * index.ndim)
        s = index.shape  # knots may have size 1 where points share them
        lower, upper = knots.expand(-1, -1, *s).gather(1, ends.expand(2, *ends.shape)).unbind(1)  # (axis, *s)
        (left, bottom), (width, height) = lower.unbind(), (upper - lower).unbind()
        beside = None if at_knots is None else at_knots.expand(-1, *s).gather(0, ends)  # (end, *s)
        bin_params = None if in_bins is None else in_bins.expand(-1, *s).gather(0, index[None])[0]
        return Bin(left, bottom, width, height, self._piece(width, height, beside, bin_params))

    def _places(self, raw: Tensor) -> Tensor:
        """Inner knots (axes, bins - 1, *s) of bins that share the box: raw is (axes, bins, *s)."""
        probs = torch.softmax(raw, dim=1)
        least = self.least_knots_tensor.reshape(-1, *(1,) * (raw.ndim - 2))
        return torch.add(least, probs.cumsum(dim=1)[:, :-1], alpha=1 - self.bins * self.min_bin)

    def _sizes(self, raw: Tensor) -> Tensor:
        """Sizes (bins, *s) of bins that share the box."""
        return self.min_bin + (1 - self.bins * self.min_bin) * torch.softmax(raw, dim=0)

    def _with_ends(self, at_knots: Tensor, value: float) -> Tensor:
        """Numbers for all knots: with identity tails ``value`` at the ends."""
        if self.tails != "identity":
            return at_knots
        end = torch.full_like(at_knots[:1], value)
        return torch.cat([end, at_knots, end])


def _from_nearer_knot(dy: Tensor, height: Tensor, piece: Piece) -> tuple[Tensor, Tensor, Piece]:
    """The bin measured from its end that is nearer in y; dy is the distance from the lower knot.

    Close to the upper knot t is close to 1, and 1 - t loses digits; measured from that knot, the same distance is a
    small number. The rotated curve has the same formula, with the two slopes at its ends exchanged.

    Returns:
        Whether the upper knot is nearer, the distance in y from the nearer knot, and the piece measured from it.
    """
    dy_from_top = height - dy
    from_upper = dy > dy_from_top
    # Not `torch.minimum`: halfway up, where both are equal, its gradients would cancel.
    return from_upper, torch.where(from_upper, dy_from_top, dy), piece.rotated_where(from_upper)
