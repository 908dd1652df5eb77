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
    powers = torch.stack([torch.ones_like(x), x, x.square()], dim=1)  # (features, 3, n)
    outside = x.new_tensor([math.log(background), 0.0, -0.5]).expand(len(x), 1, 3)
    for _ in range(STEPS):
        # Log-densities are quadratic in x, and moments linear in the powers of x: two products of matrices.
        precision = deviation.square().reciprocal()
        start = (weight / deviation).log() + math.log1p(-background) - 0.5 * mean.square() * precision
        inside = torch.stack([start, mean * precision, -0.5 * precision], dim=-1).transpose(0, 1)
        share = torch.softmax(torch.cat([inside, outside], dim=1) @ powers, dim=1)[:, :-1]
        mass, first, second = (share @ powers.mT).permute(2, 1, 0)  # each (components, features)
        mass = mass + PRIOR
        # A component to which no point belongs stays where it is: the prior is a small part of a point there.
        mean = (first + PRIOR * mean) / mass
        square = second - 2 * mean * first + (mass - PRIOR) * mean.square() + PRIOR * deviation.square()
        weight = mass / mass.sum(dim=0)
        deviation = torch.maximum((square / mass).clamp(min=0.0).sqrt(), least_width)
    return weight, mean, deviation
