"""What lies between two knots of a spline: one formula, its slope and its inverse for each kind.

Everything is seen from inside one bin: t in [0, 1] is the place in it, ``climbed`` the way up from its lower knot, in
units where the box is [0, 1] × [0, 1]. All tensors have the points' shape. `rise` meets both ends exactly, no digits
are lost in differences of close numbers, and every formula stays finite on the whole closed bin.
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
    def seen_from(self, upper: Tensor) -> Piece:
        """The piece turned by half a turn where ``upper`` is true: t and ``climbed`` are measured from the upper knot.

        Near that knot 1 - t and what is missing of the height have digits that t and ``climbed`` have lost.
        """

    @abstractmethod
    def rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(the share of the height reached at t, the log-slope there)."""

    @abstractmethod
    def fall(self, climbed: Tensor) -> Tensor:
        """t where ``climbed`` is reached, up to rounding beyond [0, 1]; its gradients are not asked for."""

    @abstractmethod
    def log_slope(self, t: Tensor) -> Tensor:
        """The log-slope at t."""

    def log_slope_at(self, t: Tensor, climbed: Tensor) -> Tensor:
        """The log-slope at t, where ``climbed`` is reached: from whichever of the two determines it better."""
        return self.log_slope(t)


P = TypeVar("P", bound=Piece)


class LinearPiece(Piece):
    """A straight line."""

    def __init__(self, width: Tensor, height: Tensor) -> None:
        self.width, self.height = width, height

    def seen_from(self, upper: Tensor) -> Piece:
        return self

    def rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t, self.log_slope(t)

    def fall(self, climbed: Tensor) -> Tensor:
        return climbed / self.height

    def log_slope(self, t: Tensor) -> Tensor:
        return torch.log(self.height / self.width)


class QuadraticPiece(Piece):
    r"""A parabola: the slope runs straight from :math:`d_0` to :math:`d_1`, and its square runs straight in y."""

    def __init__(self, width: Tensor, slope_left: Tensor, slope_right: Tensor) -> None:
        self.slope_left, self.slope_right = slope_left, slope_right
        self.total = slope_left + slope_right
        self.width = width

    def seen_from(self, upper: Tensor) -> Piece:
        return _turned(self, upper, "slope_left", "slope_right")

    def rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        share = t * torch.addcmul(self.slope_left * (2 - t), self.slope_right, t) / self.total
        return share, self.log_slope(t)

    def fall(self, climbed: Tensor) -> Tensor:
        # The height is the area under the slope; the knots' difference may have rounded to nothing.
        share = (2 * climbed / (self.width * self.total)).clamp(0.0, 1.0)
        slope = torch.lerp(self.slope_left.square(), self.slope_right.square(), share).sqrt()
        return share * self.total / (self.slope_left + slope)

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

    def seen_from(self, upper: Tensor) -> Piece:
        return _turned(self, upper, "a", "b")

    def rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self._share(t), self.log_slope(t)

    def fall(self, climbed: Tensor) -> Tensor:
        return self._root((climbed / (self.width * self.slope)).clamp(0.0, 1.0))

    def log_slope(self, t: Tensor) -> Tensor:
        return torch.log(self.slope * self._steepness(t))

    def _share(self, t: Tensor) -> Tensor:
        rest = 1 - t
        return t * torch.addcmul(t * torch.addcmul(t, 3 - self.b, rest), self.a, rest.square())

    def _steepness(self, t: Tensor) -> Tensor:
        rest = 1 - t
        middle = 2 * (3 - self.a - self.b) * t * rest
        return torch.addcmul(torch.addcmul(middle, self.a, rest.square()), self.b, t.square())

    def _root(self, share: Tensor) -> Tensor:
        """Halley's steps from the inverse of the rational quadratic with the same ends.

        Unlike the trigonometric roots this needs no case for a leading coefficient near zero or the number of roots.
        """
        a, b = self.a, self.b
        second, third = 3 - 2 * a - b, a + b - 2
        t = _quadratic_root(torch.addcmul(1 - a, third, share), torch.addcmul(a, third, share, value=-1), share)
        for _ in range(self.STEPS):
            gap = torch.addcmul(-share, torch.addcmul(a, torch.addcmul(second, third, t), t), t)
            bend = torch.addcmul(second, third, t, value=3)
            slope = torch.addcmul(a, second + bend, t)
            below = torch.addcmul(slope.square(), gap, bend, value=-1).clamp(min=torch.finfo(t.dtype).tiny)
            t = torch.addcdiv(t, gap * slope, below, value=-1).clamp(0.0, 1.0)
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

    def seen_from(self, upper: Tensor) -> Piece:
        turned = _turned(self, upper, "left", "right")
        turned.split = torch.where(upper, 1 - self.split, self.split)
        return turned

    def rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        near = t <= self.split
        place = torch.where(near, t, 1 - t)
        length, near_root, far_root = self._seen_from(near)
        below = self._below(place, length, far_root)
        share = self.pull * length * near_root * place / below
        return torch.where(near, share, 1 - share), 2 * torch.log(self.product * length / below)

    def fall(self, climbed: Tensor) -> Tensor:
        near, share, length, _, far_root, below = self._at(climbed)
        place = far_root * length * share / below
        return torch.where(near, place, 1 - place)

    def log_slope(self, t: Tensor) -> Tensor:
        near = t <= self.split
        length, _, far_root = self._seen_from(near)
        return 2 * torch.log(self.product * length / self._below(torch.where(near, t, 1 - t), length, far_root))

    def log_slope_at(self, t: Tensor, climbed: Tensor) -> Tensor:
        _, _, length, _, _, below = self._at(climbed)
        return 2 * torch.log(below / (self.pull * length))

    def _at(self, climbed: Tensor) -> tuple[Tensor, ...]:
        """On which side of the meeting point ``climbed`` is reached, the share of the height from that side's end, the
        numbers of `_seen_from`, and the denominator of the inverse."""
        share = climbed / self.height
        rest = torch.addcmul(self.split * self.left, self.average, share, value=-1)
        near = rest >= 0
        share = torch.where(near, share, 1 - share)
        # Seen from the other side the rest is the same number: in 1 - share it would have fewer digits.
        rest = rest.abs()
        length, near_root, far_root = self._seen_from(near)
        return near, share, length, near_root, far_root, torch.addcmul(far_root * share, self.pull, rest)

    def _seen_from(self, near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Length of the half in which the point lies, and the roots of the slopes at its near and far end."""
        length = torch.where(near, self.split, 1 - self.split)
        return length, torch.where(near, self.left, self.right), torch.where(near, self.right, self.left)

    def _below(self, place: Tensor, length: Tensor, other: Tensor) -> Tensor:
        return torch.addcmul(other * (length - place), self.pull * self.average, place)


class RationalQuadraticPiece(Piece):
    r"""A quotient of two parabolas,

    .. math:: \frac{s t^2 + d_0 t (1 - t)}{s + (d_0 + d_1 - 2 s)\, t (1 - t)}
    """

    def __init__(self, width: Tensor, height: Tensor, slope_left: Tensor, slope_right: Tensor) -> None:
        self.height, self.slope = height, height / width
        self.slope_left, self.slope_right = slope_left, slope_right
        self.bend = torch.sub(slope_left + slope_right, self.slope, alpha=2)

    def seen_from(self, upper: Tensor) -> Piece:
        return _turned(self, upper, "slope_left", "slope_right")

    def rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rest, square = 1 - t, t.square()
        mixed = t * rest
        scale = torch.addcmul(self.slope, self.bend, mixed)
        share = torch.addcmul(self.slope_left * mixed, self.slope, square) / scale
        return share, self._log_slope(rest, square, mixed, scale)

    def fall(self, climbed: Tensor) -> Tensor:
        bent = climbed * self.bend
        a = torch.addcmul(bent, self.height, self.slope - self.slope_left)
        b = self.height * self.slope_left - bent
        return _quadratic_root(a, b, self.slope * climbed)

    def log_slope(self, t: Tensor) -> Tensor:
        rest = 1 - t
        mixed = t * rest
        return self._log_slope(rest, t.square(), mixed, torch.addcmul(self.slope, self.bend, mixed))

    def _log_slope(self, rest: Tensor, square: Tensor, mixed: Tensor, scale: Tensor) -> Tensor:
        inner = torch.addcmul(self.slope_right * square, self.slope, mixed, value=2)
        inner = torch.addcmul(inner, self.slope_left, rest.square())
        return torch.log(inner * (self.slope / scale).square())


def _turned(piece: P, upper: Tensor, left: str, right: str) -> P:
    """The piece with its numbers at the two ends, ``left`` and ``right``, exchanged where ``upper`` is true; all else
    belongs to the bin as a whole."""
    at_left, at_right = getattr(piece, left), getattr(piece, right)
    turned = object.__new__(type(piece))
    ends = {left: torch.where(upper, at_right, at_left), right: torch.where(upper, at_left, at_right)}
    vars(turned).update(vars(piece), **ends)
    return turned


def _quadratic_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The smallest t ≥ 0 with a t² + b t = c ≥ 0, where there is one: b < 0 leaves one only where a > 0.

    With R the root of the discriminant, t = 2c / (R + b) = (R - b) / 2a, of which one form or the other subtracts close
    numbers. Equal fractions stay so when numerators and denominators are added; this sum subtracts none.
    """
    # Rounding may have put the discriminant below zero.
    root = torch.addcmul(b.square(), a, c, value=4).clamp(min=torch.finfo(b.dtype).tiny).sqrt()
    other = b.clamp(max=0.0) / root  # minus how much the second form counts
    return torch.addcmul(c + c, other, root - b, value=-1) / torch.addcmul(root + b, other, a, value=-2)
