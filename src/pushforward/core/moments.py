"""Averages over points of a space, with standard errors."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.domain import Circle, Domain
from pushforward.core.entries import domain_of_each
from pushforward.core.exactness import Estimate

__all__ = ["average", "mean_of_points"]


def average(values: Tensor) -> Estimate:
    """The mean along the first axis, with its standard error."""
    return Estimate(values.mean(dim=0), values.std(dim=0) / len(values) ** 0.5)


def mean_of_points(x: Tensor, support: Domain) -> Estimate:
    """The mean of points (n, *batch, *event shape): of angles their mean direction, by the delta method's error.

    Args:
        x: the points.
        support: the space that they belong to.
    """
    plain = average(x)
    if support.event_ndim == 0 and not isinstance(support, Circle):
        return plain
    domains = domain_of_each(support, 1)
    if not any(isinstance(part, Circle) for part in domains):
        return plain
    shape = x.shape[x.ndim - max(support.event_ndim, 1) :] if len(domains) > 1 else (1,)
    low, period, circular = (
        x.new_tensor(list(column)).reshape(shape)
        for column in zip(*((*_turn(part), isinstance(part, Circle)) for part in domains), strict=True)
    )
    angle = (x - low) / period
    cos, sin = angle.cos(), angle.sin()
    right, up = cos.mean(dim=0), sin.mean(dim=0)
    length = torch.hypot(right, up)
    across = (sin * right - cos * up) / length.square()  # how far each point turns the mean
    value = torch.remainder(torch.atan2(up, right), 2 * torch.pi) * period + low
    error = average(across).error * period
    is_circle = circular > 0
    return Estimate(torch.where(is_circle, value, plain.value), torch.where(is_circle, error, plain.error))


def _turn(part: Domain) -> tuple[float, float]:
    """The lower end and the length of one radian."""
    low, high = part.ends
    return (low, (high - low) / (2 * torch.pi)) if isinstance(part, Circle) else (0.0, 1.0)
