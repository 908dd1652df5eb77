"""Where properties of univariates are tried: points and parameters that include the usual trouble spots."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core.domain import Circle
from pushforward.testing.univariates import spread
from pushforward.univariate import Univariate

__all__ = ["EXTREME", "MODERATE", "random_params", "random_points", "trouble_spots"]

MODERATE, EXTREME = 3.0, 50.0
"""Largest absolute parameters: of ordinary and of nearly degenerate maps."""


def trouble_spots(univariate: Univariate, dtype: torch.dtype) -> list[float]:
    """Far points, the ends of the box, evenly spaced knots, and the neighbours of the ends.

    A map that grows faster than straight states how far out its values fit into float64, its ``reach``. What grows
    exponentially fits float32 an eighth as far.
    """
    bound = getattr(univariate, "bound", 3.0)
    last = _last(univariate, dtype)
    circle = isinstance(univariate.domain, Circle)
    far = [10.0**k for k in ((6, 15, 100) if dtype == torch.float64 or circle else (6, 15))]
    ends = [math.nextafter(end, to) for end in (-bound, bound) for to in (-math.inf, math.inf)]
    knots = [bound * k / 6 for k in range(-6, 7)] + [bound * (2 * k / 5 - 1) for k in range(6)]
    return [x for x in knots + ends + [sign * x for x in far for sign in (-1, 1)] if abs(x) <= last]


def _last(univariate: Univariate, dtype: torch.dtype) -> float:
    """The largest absolute point to try."""
    if isinstance(univariate.domain, Circle):
        return math.nextafter(math.pi, 0)
    reach: float = getattr(univariate, "reach", math.inf)
    return reach / 8 if dtype == torch.float32 else reach


def random_points(univariate: Univariate, count: int, dtype: torch.dtype, random: torch.Generator) -> Tensor:
    """Points of the domain, (count,): a third of them trouble spots, a third in and near the box, a third far out."""
    spots = torch.tensor(trouble_spots(univariate, dtype), dtype=torch.float64)
    last = _last(univariate, dtype)
    bound = getattr(univariate, "bound", 3.0)
    near = min(1.5 * bound, last) * _symmetric(count, random)
    far = torch.minimum(10 ** (6 * torch.rand(count, generator=random, dtype=torch.float64)), torch.tensor(last))
    picks = spots[torch.randint(len(spots), (count,), generator=random)]
    choices = torch.stack([picks, near, far * _symmetric(count, random).sign()])
    x = choices.gather(0, torch.randint(3, (1, count), generator=random))[0].clamp(-last, last)
    return spread(univariate.domain, x.to(dtype))


def random_params(
    univariate: Univariate, count: int, size: float, dtype: torch.dtype, random: torch.Generator
) -> Tensor:
    """Parameters (num_params, count) within [-size, size], a quarter of them at the ends or zero."""
    shape = (univariate.num_params, count)
    params = size * _symmetric(shape, random)
    special = size * (torch.randint(3, shape, generator=random, dtype=torch.float64) - 1)
    return torch.where(torch.rand(shape, generator=random) < 0.25, special, params).to(dtype)


def _symmetric(shape: int | tuple[int, ...], random: torch.Generator) -> Tensor:
    """Uniform on (-1, 1)."""
    return 2 * torch.rand(shape, generator=random, dtype=torch.float64) - 1
