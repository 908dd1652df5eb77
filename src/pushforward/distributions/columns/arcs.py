"""Arcs, medians and means of the distribution of a point of a circle."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.domain import Circle

__all__ = ["circular_distance", "mean_direction", "mean_distances", "shortest_arc"]


def circular_distance(a: Tensor, b: Tensor, circle: Circle) -> Tensor:
    """The length of the shorter way from a to b."""
    period = circle.high - circle.low
    gap = (a - b).abs()
    return torch.minimum(gap, (period - gap).abs())


def shortest_arc(
    quantiles: Callable[[Tensor], Tensor], circle: Circle, probability: float, like: Tensor, *, starts: int
) -> Tensor:
    """Start and end, (n, 2), of the shortest arc that holds a probability, among as many as ``starts``, from which each
    start is equally likely. The end is smaller than the start where the arc passes the cut of the circle.

    Args:
        quantiles: those (levels, n) of levels (levels,), counted from the cut.
        circle: where the points lie.
        probability: of the arc.
        like: a tensor on the device of the answer.
        starts: how many arcs are compared.
    """
    start = (torch.arange(starts, dtype=torch.float64, device=like.device) + 0.5) / starts
    passes = start + probability > 1
    ends = torch.stack([start, start + probability - passes.double()])  # (2, starts)
    values = quantiles(ends.flatten()).unflatten(0, (2, starts))  # (2, starts, n)
    length = values[1] - values[0] + passes[:, None] * (circle.high - circle.low)
    least, shortest = length.min(dim=0)
    arcs = values.gather(1, shortest.expand(2, 1, -1))[:, 0].t()
    whole = arcs.new_tensor([circle.low, circle.high]).expand_as(arcs)  # an arc of discrete points may end at its start
    return torch.where((least >= circle.high - circle.low)[:, None], whole, arcs)


def mean_distances(values: Tensor, circle: Circle) -> Tensor:
    """The mean distance on the circle of each value to all of its column, (count, n), for values (count, n) that
    rise."""
    period, count = circle.high - circle.low, len(values)
    x = values.t().contiguous()
    twice = torch.cat([x, x + period], dim=1)  # once around and around again, (n, 2 count)
    sums = F.pad(twice.cumsum(dim=1), (1, 0))
    first = torch.arange(count, device=x.device)
    opposite = torch.searchsorted(twice, x + period / 2)  # those before it are nearer forwards
    to_opposite = sums.gather(1, opposite)
    forwards = to_opposite - sums[:, :count] - (opposite - first) * x
    backwards = (first + count - opposite) * (x + period) - (sums[:, count : 2 * count] - to_opposite)
    return ((forwards + backwards) / count).t()


def mean_direction(values: Tensor, weights: Tensor, circle: Circle) -> Tensor:
    """The direction (n,) of the mean of points (count, n) of a circle with these weights (count,)."""
    radian = (circle.high - circle.low) / (2 * torch.pi)
    angles = (values - circle.low) / radian
    right, up = ((part * weights[:, None]).sum(dim=0) for part in (angles.cos(), angles.sin()))
    x = circle.low + torch.remainder(torch.atan2(up, right), 2 * torch.pi) * radian
    return torch.where(x >= circle.high, circle.low, x)  # rounding must not leave the circle
