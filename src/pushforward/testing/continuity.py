"""Continuity of univariates: the value and, where smoothness is at least 1, the log-slope have no jump."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.core.domain import Circle
from pushforward.testing.bijections import require
from pushforward.testing.univariates import difference, rounding, spread, wrapped
from pushforward.univariate import Univariate

__all__ = ["continuous"]

Pair = tuple[Tensor, Tensor]

INTERVALS = 256


def continuous(univariate: Univariate, params: Tensor) -> None:
    """What changes across a small interval vanishes with it: the value and, where smoothness ≥ 1, the log-slope.

    Args:
        univariate: the map.
        params: (num_params, m): m maps. Each of 256 intervals is halved until it is a few units in the last place wide,
            keeping the half across which more changes.
    """
    eps = torch.finfo(params.dtype).eps
    circle = isinstance(univariate.domain, Circle)
    reach = math.pi if circle else min(1.6 * getattr(univariate, "bound", 5.0), getattr(univariate, "reach", math.inf))
    ends = torch.linspace(-reach, reach, INTERVALS + 1, dtype=params.dtype)
    ends = (ends if circle else spread(univariate.domain, ends))[:, None].expand(-1, params.shape[1])

    def curves(x: Tensor) -> Pair:
        pair: Pair = univariate(wrapped(univariate.domain, x), params[:, None].expand(-1, *x.shape))
        return pair

    width, left, right, changes = _zoom(
        curves, ends, eps, lambda a, b: difference(univariate.codomain, a[0], b[0]).abs()
    )
    allowed = rounding(left[0]) + (2 * width + rounding(ends[1:])) * torch.maximum(left[1], right[1]).exp()
    jumps = changes[-1][changes[-1] > allowed]
    require(jumps.numel() == 0, f"the value jumps by {jumps.max() if jumps.numel() else 0:.3g}")
    if univariate.smoothness >= 1:
        changes = _zoom(curves, ends, eps, lambda a, b: (a[1] - b[1]).abs())[-1]
        # What three halvings leave as it was is a jump, if it is more than rounding.
        largest = torch.where(changes[-1] > changes[-4] / 4, changes[-1], 0.0).max()
        require(largest <= eps**0.25, f"the log-slope jumps by {largest:.3g}")


def _zoom(
    curves: Callable[[Tensor], Pair], ends: Tensor, eps: float, change: Callable[[Pair, Pair], Tensor]
) -> tuple[Tensor, Pair, Pair, list[Tensor]]:
    """Width of the last intervals, (value, log-slope) at both their ends, and the change across them at each step."""
    low, high = ends[:-1], ends[1:]
    left, right, changes = curves(low), curves(high), []
    for _ in range(int(math.log2(1 / (256 * 16 * eps)))):
        middle = low + 0.5 * (high - low)
        here = curves(middle)
        lower_half = change(left, here) > change(here, right)
        low, high = torch.where(lower_half, low, middle), torch.where(lower_half, middle, high)
        left, right = _where(lower_half, left, here), _where(lower_half, here, right)
        changes.append(change(left, right))
    return high - low, left, right, changes


def _where(condition: Tensor, a: Pair, b: Pair) -> Pair:
    return torch.where(condition, a[0], b[0]), torch.where(condition, a[1], b[1])
