"""What lies between two knots of a spline: one formula, its slope and its inverse for each kind.

Everything is measured inside one bin: t in [0, 1] is the place in it, dy the distance in y from its lower knot,
``fraction`` the same as a fraction of the bin's height, in units where the box is [0, 1] × [0, 1]. All tensors have the
points' shape. `evaluate` meets both ends exactly, no digits are lost in differences of close numbers, and every formula
stays finite on the whole closed bin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

__all__ = [
    "CubicPiece",
    "LinearPiece",
    "LinearRationalPiece",
    "Piece",
    "QuadraticPiece",
    "RationalQuadraticPiece",
]


class Piece(ABC):
    """An increasing curve across a bin of known width and height."""

    @abstractmethod
    def rotated_where(self, from_upper: Tensor) -> Piece:
        """The piece rotated by 180° where ``from_upper`` is true: t and dy are measured from the upper knot.

        Near that knot 1 - t has digits that t has lost.
        """

    @abstractmethod
    def evaluate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(the fraction of the height reached at t, the log-slope there)."""

    @abstractmethod
    def solve(self, dy: Tensor) -> Tensor:
        """t where dy is reached, without gradients. Rounding may put it slightly outside [0, 1]: the caller clamps."""

    def solve_from(self, from_upper: Tensor, dy: Tensor) -> Tensor:
        """`solve` of the piece rotated where ``from_upper`` is true."""
        return self.rotated_where(from_upper).solve(dy)

    @abstractmethod
    def log_slope(self, t: Tensor) -> Tensor:
        """The log-slope at t."""

    def log_slope_at(self, t: Tensor, dy: Tensor) -> Tensor:
        """The log-slope at t, where dy is reached: from whichever of the two determines it better."""
        return self.log_slope(t)


P = TypeVar("P", bound=Piece)


class LinearPiece(Piece):
    """A straight line across one of ``bins`` equal bins."""

    def __init__(self, height: Tensor, bins: int) -> None:
        self.height, self.bins = height, bins

    def rotated_where(self, from_upper: Tensor) -> Piece:
        return self

    def evaluate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, self.log_slope(t)

    def solve(self, dy: Tensor) -> Tensor:
        return dy / self.height

    def log_slope(self, t: Tensor) -> Tensor:
        return torch.log(self.height * self.bins)


class QuadraticPiece(Piece):
    r"""A parabola: the slope runs straight from :math:`d_0` to :math:`d_1`, and its square runs straight in y."""

    def __init__(self, width: Tensor, slope_left: Tensor, slope_right: Tensor) -> None:
        self.slope_left, self.slope_right = slope_left, slope_right
        self.total = slope_left + slope_right
        self.width = width

    def rotated_where(self, from_upper: Tensor) -> Piece:
        return _rotated(self, from_upper, "slope_left", "slope_right")

    def evaluate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        fraction = t * torch.addcmul(self.slope_left * (2 - t), self.slope_right, t) / self.total
        return fraction, self.log_slope(t)

    def solve(self, dy: Tensor) -> Tensor:
        # The height is the area under the slope; the knots' difference may have rounded to nothing.
        fraction = (2 * dy / (self.width * self.total)).clamp(0.0, 1.0)
        slope = torch.lerp(self.slope_left.square(), self.slope_right.square(), fraction).sqrt()
        return fraction * self.total / (self.slope_left + slope)

    def log_slope(self, t: Tensor) -> Tensor:
        return torch.lerp(self.slope_left, self.slope_right, t).log()


class CubicPiece(Piece):
    r"""Hermite's cubic, written with coefficients of Bernstein, all of one sign,

    .. math:: a\, t (1 - t)^2 + (3 - b)\, t^2 (1 - t) + t^3, \qquad a = d_0 / s, \quad b = d_1 / s \le 3
    """

    # From the start below, six steps reach rounding for every a and b in [1e-7, 3] (the test scans them).
    STEPS = 6

    def __init__(self, width: Tensor, slope: Tensor, slope_left: Tensor, slope_right: Tensor) -> None:
        self.width, self.slope = width, slope
        self.a, self.b = slope_left / slope, slope_right / slope

    def rotated_where(self, from_upper: Tensor) -> Piece:
        return _rotated(self, from_upper, "a", "b")

    def evaluate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self._fraction(t), self.log_slope(t)

    def solve(self, dy: Tensor) -> Tensor:
        return self._root((dy / (self.width * self.slope)).clamp(0.0, 1.0))

    def log_slope(self, t: Tensor) -> Tensor:
        return torch.log(self.slope * self._steepness(t))

    def _fraction(self, t: Tensor) -> Tensor:
        one_minus_t = 1 - t
        return t * torch.addcmul(t * torch.addcmul(t, 3 - self.b, one_minus_t), self.a, one_minus_t.square())

    def _steepness(self, t: Tensor) -> Tensor:
        one_minus_t = 1 - t
        middle = 2 * (3 - self.a - self.b) * t * one_minus_t
        return torch.addcmul(torch.addcmul(middle, self.a, one_minus_t.square()), self.b, t.square())

    def _root(self, fraction: Tensor) -> Tensor:
        """Halley's steps from the inverse of the rational quadratic with the same ends.

        Unlike the trigonometric roots this needs no case for a leading coefficient near zero or the number of roots.
        """
        a, b = self.a, self.b
        second, third = 3 - 2 * a - b, a + b - 2
        t = _quadratic_root(
            torch.addcmul(1 - a, third, fraction), torch.addcmul(a, third, fraction, value=-1), fraction
        )
        for _ in range(self.STEPS):
            gap = torch.addcmul(-fraction, torch.addcmul(a, torch.addcmul(second, third, t), t), t)
            half_curvature = torch.addcmul(second, third, t, value=3)
            slope = torch.addcmul(a, second + half_curvature, t)
            denominator = torch.addcmul(slope.square(), gap, half_curvature, value=-1).clamp(
                min=torch.finfo(t.dtype).tiny
            )
            t = torch.addcdiv(t, gap * slope, denominator, value=-1).clamp(0.0, 1.0)
        return t


class LinearRationalPiece(Piece):
    r"""Two hyperbolas that meet at the place λ with one slope.

    With :math:`a = \sqrt{d_0}, b = \sqrt{d_1}, m = λ a + (1 - λ) b`, the left one reaches

    .. math:: \frac{a b λ a t / s}{b (λ - t) + a b m t / s}

    of the height; the right one is the same seen from the upper end. Where they meet, the slope may change by orders of
    magnitude between neighbouring numbers t; in the height reached it is one over the square of a line.
    """

    def __init__(self, width: Tensor, height: Tensor, slope_left: Tensor, slope_right: Tensor, split: Tensor) -> None:
        self.height, self.split = height, split
        self.left, self.right = slope_left.sqrt(), slope_right.sqrt()
        self.product = self.left * self.right
        self.average = torch.addcmul(self.right * (1 - split), split, self.left)
        self.pull = self.product * width / height
        self.width = width

    def rotated_where(self, from_upper: Tensor) -> Piece:
        rotated = _rotated(self, from_upper, "left", "right")
        rotated.split = torch.where(from_upper, 1 - self.split, self.split)
        return rotated

    def evaluate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        in_left = t <= self.split
        t_near = torch.where(in_left, t, 1 - t)
        length, near_root, far_root = self._half(in_left)
        denominator = self._denominator(t_near, length, far_root)
        fraction = self.pull * length * near_root * t_near / denominator
        return torch.where(in_left, fraction, 1 - fraction), 2 * torch.log(self.product * length / denominator)

    def solve(self, dy: Tensor) -> Tensor:
        in_left, fraction, length, _, far_root, denominator = self._at(dy)
        t_near = far_root * length * fraction / denominator
        return torch.where(in_left, t_near, 1 - t_near)

    def log_slope(self, t: Tensor) -> Tensor:
        in_left = t <= self.split
        length, _, far_root = self._half(in_left)
        return 2 * torch.log(
            self.product * length / self._denominator(torch.where(in_left, t, 1 - t), length, far_root)
        )

    def log_slope_at(self, t: Tensor, dy: Tensor) -> Tensor:
        _, _, length, _, _, denominator = self._at(dy)
        return 2 * torch.log(denominator / (self.pull * length))

    def _at(self, dy: Tensor) -> tuple[Tensor, ...]:
        """Whether dy is reached to the left of the meeting point, the fraction of the height from that side's end, the
        numbers of `_half`, and the denominator of the inverse."""
        fraction = dy / self.height
        to_meeting = torch.addcmul(self.split * self.left, self.average, fraction, value=-1)
        in_left = to_meeting >= 0
        fraction = torch.where(in_left, fraction, 1 - fraction)
        # From the other side this is the same number: computed from 1 - fraction it would have fewer digits.
        to_meeting = to_meeting.abs()
        length, near_root, far_root = self._half(in_left)
        return in_left, fraction, length, near_root, far_root, torch.addcmul(far_root * fraction, self.pull, to_meeting)

    def _half(self, in_left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Length of the half in which the point lies, and the roots of the slopes at its near and far end."""
        length = torch.where(in_left, self.split, 1 - self.split)
        return length, torch.where(in_left, self.left, self.right), torch.where(in_left, self.right, self.left)

    def _denominator(self, t_near: Tensor, length: Tensor, far_root: Tensor) -> Tensor:
        return torch.addcmul(far_root * (length - t_near), self.pull * self.average, t_near)


class RationalQuadraticPiece(Piece):
    r"""A quotient of two parabolas,

    .. math:: \frac{s t^2 + d_0 t (1 - t)}{s + (d_0 + d_1 - 2 s)\, t (1 - t)}
    """

    def __init__(self, width: Tensor, height: Tensor, slope_left: Tensor, slope_right: Tensor) -> None:
        self.height, self.slope = height, height / width
        self.slope_left, self.slope_right = slope_left, slope_right
        # Of the denominator: d0 + d1 - 2s.
        self.curvature = torch.sub(slope_left + slope_right, self.slope, alpha=2)

    def rotated_where(self, from_upper: Tensor) -> Piece:
        return _rotated(self, from_upper, "slope_left", "slope_right")

    def evaluate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        one_minus_t, square = 1 - t, t.square()
        t_rest = t * one_minus_t  # t (1 - t)
        denominator = torch.addcmul(self.slope, self.curvature, t_rest)
        fraction = torch.addcmul(self.slope_left * t_rest, self.slope, square) / denominator
        return fraction, self._log_slope(one_minus_t, square, t_rest, denominator)

    def solve(self, dy: Tensor) -> Tensor:
        return self._solve(self.slope_left, dy)

    def solve_from(self, from_upper: Tensor, dy: Tensor) -> Tensor:
        # The root does not depend on the slope at the far end but by the sum of both.
        return self._solve(torch.where(from_upper, self.slope_right, self.slope_left), dy)

    def _solve(self, slope: Tensor, dy: Tensor) -> Tensor:
        """t where dy is reached, both measured from the end with this slope."""
        curved = dy * self.curvature
        a = torch.addcmul(curved, self.height, self.slope - slope)
        b = self.height * slope - curved
        return _quadratic_root(a, b, self.slope * dy)

    def log_slope(self, t: Tensor) -> Tensor:
        one_minus_t = 1 - t
        t_rest = t * one_minus_t
        return self._log_slope(one_minus_t, t.square(), t_rest, torch.addcmul(self.slope, self.curvature, t_rest))

    def _log_slope(self, one_minus_t: Tensor, square: Tensor, t_rest: Tensor, denominator: Tensor) -> Tensor:
        numerator = torch.addcmul(self.slope_right * square, self.slope, t_rest, value=2)
        numerator = torch.addcmul(numerator, self.slope_left, one_minus_t.square())
        return torch.log(numerator * (self.slope / denominator).square())


def _rotated(piece: P, from_upper: Tensor, left: str, right: str) -> P:
    """The piece with its numbers at the two ends, ``left`` and ``right``, exchanged where ``from_upper`` is true; the
    rest belongs to the bin as a whole."""
    at_left, at_right = getattr(piece, left), getattr(piece, right)
    rotated = object.__new__(type(piece))
    ends = {left: torch.where(from_upper, at_right, at_left), right: torch.where(from_upper, at_left, at_right)}
    vars(rotated).update(vars(piece), **ends)
    return rotated


def _quadratic_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The smallest t ≥ 0 with a t² + b t = c ≥ 0, where there is one: b < 0 leaves one only where a > 0.

    With R the root of the discriminant, t = 2c / (R + b) = (R - b) / 2a, of which one form or the other subtracts close
    numbers. If p / q = r / s, then (p + k r) / (q + k s) is the same for any k with a denominator other than zero;
    with k = max(-b, 0) / R no close numbers are subtracted.
    """
    # Rounding may have put the discriminant below zero.
    root = torch.addcmul(b.square(), a, c, value=4).clamp(min=torch.finfo(b.dtype).tiny).sqrt()
    minus_k = b.clamp(max=0.0) / root
    return torch.addcmul(c + c, minus_k, root - b, value=-1) / torch.addcmul(root + b, minus_k, a, value=-2)
