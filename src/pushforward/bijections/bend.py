"""One-dimensional maps that planar and Sylvester maps are made of: the identity plus a multiple of tanh."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.bijections.triangular import MIN_SLOPE
from pushforward.core.numerics import invert_increasing, solve_between
from pushforward.core.special import log_cosh, polynomial

__all__ = ["bend", "slope_ratio", "unbend"]

NEAR = 0.05
RATIO_SERIES = [1 / 8, -1 / 192, 1 / 2880, -17 / 645120]  # of log(cosh(a / 2)) / a², in a²


def slope_ratio(a: Tensor) -> Tensor:
    r""":math:`(g(a) - 1) / a` with the positive function g of `rectified`, for which :math:`g(0) = 1`.

    A factor a = w u that may be any number becomes :math:`g(a) - 1 > -1` if u is multiplied by this ratio.
    """
    near = a.abs() < NEAR
    small, large = torch.where(near, a, 0.0), torch.where(near, 1.0, a)
    # g(a) - 1 is (1 - ε) / log 2 times a / 2 + log cosh(a / 2).
    half = torch.where(near, small * polynomial(small.square(), RATIO_SERIES), log_cosh(0.5 * large) / large)
    return (1 - MIN_SLOPE) / math.log(2) * (0.5 + half)


def bend(v: Tensor, shape: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    r""":math:`v + r \tanh(w v + k)` and its log-slope, where :math:`1 + r w = g > 0`.

    The slope is :math:`t^2 + g (1 - t^2)` with t the value of tanh: a sum of positive terms, so no digits are lost.

    Args:
        v: any shape.
        shape: r, w, k and g.
    """
    r, w, k, g = shape
    t = torch.tanh(w * v + k)
    square = t.square()
    return v + r * t, torch.log(square + g * (1 - square))


def unbend(y: Tensor, shape: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The inverse of `bend`: v and its log-slope with respect to y, by a root search inside a bracket; NaN where it
    fails."""

    def bracket(y: Tensor, shape: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        reach = shape[0].abs()  # tanh lies between -1 and 1
        return y - reach, y + reach

    return invert_increasing(bend, lambda y, shape: solve_between(bend, bracket, y, shape), y, shape)
