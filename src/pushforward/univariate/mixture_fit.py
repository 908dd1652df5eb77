"""Mixtures of Gaussians in one dimension, fitted to data by expectation maximisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["fit_gaussians"]

STEPS, PRIOR, BANDWIDTH, MOST_ROWS = 30, 1e-3, 0.3, 5_000


def fit_gaussians(x: Tensor, components: int, background: float, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mixtures of Gaussians in one dimension, beside a standard normal of fixed weight, by expectation maximisation.

    The likelihood rises from step to step. Widths stay above ``least`` and above a part of the bandwidth that a kernel
    density estimate would take, so that no component closes in on a single point.

    Args:
        x: samples, (features, n); of many, every k-th is used.
        components: K of each mixture.
        background: weight of the standard normal.
        least: the smallest standard deviation of a component.

    Returns:
        Weights, means and standard deviations, each (components, features), in float64.
    """
    x = x[:, :: 1 + x.shape[-1] // MOST_ROWS].to(torch.float64)
    rows = x.shape[-1]
    least_width = (BANDWIDTH * x.std(dim=-1, correction=0) * rows**-0.2).clamp(min=least)  # (features,)
    middles = (torch.arange(components, device=x.device) + 0.5) * rows / components
    mean = x.sort(dim=-1).values[:, middles.long()].t()  # (components, features)
    weight = torch.full_like(mean, 1 / components)
    deviation = x.std(dim=-1, correction=0).expand_as(mean) / math.sqrt(components)
    deviation = torch.maximum(deviation, least_width)
    outside = (math.log(background) - 0.5 * x.square())[None]
    for _ in range(STEPS):
        u = (x - mean[..., None]) / deviation[..., None]  # (components, features, n)
        inside = (weight / deviation).log()[..., None] + math.log1p(-background) - 0.5 * u.square()
        share = torch.softmax(torch.cat([inside, outside]), dim=0)[:-1]
        mass = share.sum(dim=-1) + PRIOR
        # A component to which no point belongs stays where it is: the prior is a small part of a point there.
        mean = ((share * x).sum(dim=-1) + PRIOR * mean) / mass
        square = (share * (x - mean[..., None]).square()).sum(dim=-1) + PRIOR * deviation.square()
        weight, deviation = mass / mass.sum(dim=0), torch.maximum((square / mass).sqrt(), least_width)
    return weight, mean, deviation
