"""Integrals of densities in one and two dimensions as sums over a grid, which know nothing of the sampler."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.domain import Ball, Circle, Domain, Interval, Product, Real

__all__ = ["draw", "integrates_to_one", "masses", "samples_follow_the_density"]

Grid = Callable[[], tuple[Tensor, Tensor]]

POINTS = {1: 8001, 2: 241}
"""Grid points along each axis, by dimension."""


def draw(distribution: Distribution, context: Tensor | None, count: int = 2000, seed: int = 11) -> Tensor:
    """Samples, (count, *event_shape), that depend on the seed alone."""
    return distribution.sample((count,), context, generator=torch.Generator().manual_seed(seed))


def _midpoints(points: int) -> Tensor:
    """Midpoints of equal cells of (0, 1)."""
    return (torch.arange(points, dtype=torch.float64) + 0.5) / points


def _axis(domain: Domain, sample: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on one axis: even on an interval, on the line denser where the sample is."""
    u = _midpoints(points)
    if isinstance(domain, Interval | Circle | Ball):
        low, high = (-domain.radius, domain.radius) if isinstance(domain, Ball) else domain.ends
        return low + (high - low) * u, torch.full_like(u, (high - low) / points)
    if not isinstance(domain, Real):
        raise ValueError(f"integrates_to_one: there is no grid for {domain}. Leave the property out.")
    low, middle, high = torch.quantile(sample, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    angle = math.pi * (u - 0.5)
    return middle + (high - low) * angle.tan(), (high - low) * math.pi / points / angle.cos().square()


def _grid(distribution: Distribution, context: Tensor | None, refinement: int) -> tuple[Tensor, Tensor]:
    """Nodes (m, features) and weights (m,) that cover the support."""
    (features,) = distribution.event_shape
    support, points = distribution.support, refinement * POINTS[features]
    if isinstance(support, Ball) and features == 2:  # polar: no square grid follows a round edge
        radius, angle = torch.meshgrid(_midpoints(points), 2 * math.pi * _midpoints(points), indexing="ij")
        radius, angle = support.radius * radius.flatten(), angle.flatten()
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
        return x, radius * support.radius * 2 * math.pi / points**2
    sample = draw(distribution, context).to(torch.float64)
    parts = support.parts if isinstance(support, Product) else (support,) * features
    axes = [_axis(part, sample[:, j], points) for j, part in enumerate(parts)]
    nodes = torch.cartesian_prod(*(nodes for nodes, _ in axes)).reshape(-1, features)
    weights = torch.cartesian_prod(*(weights for _, weights in axes)).reshape(-1, features)
    return nodes, weights.prod(dim=-1)


@torch.no_grad()
def masses(distribution: Distribution, context: Tensor | None, refinement: int = 1) -> tuple[Tensor, Tensor]:
    """Nodes (m, features) of a grid and the probability of the cell of each, (m,)."""
    x, weights = _grid(distribution, context, refinement)
    log_prob = torch.cat([distribution.log_prob(part.to(distribution.dtype), context) for part in x.split(2**16)])
    return x, log_prob.to(torch.float64).exp() * weights


def integrates_to_one(distribution: Distribution, context: Tensor | None = None, grid: Grid | None = None) -> None:
    """The density integrates to one within 1e-3; a grid that may be too coarse for a steep density is refined once.

    ``grid()`` gives what `masses` gives, where it is shared.
    """
    for refinement in (1, 4):
        nodes = grid() if grid is not None and refinement == 1 else masses(distribution, context, refinement)
        total = nodes[1].sum().item()
        if abs(total - 1) < 1e-3:
            return
    raise AssertionError(f"the density integrates to {total:.5f}")


def samples_follow_the_density(
    distribution: Distribution, context: Tensor | None = None, grid: Grid | None = None
) -> None:
    """Sample means of bounded functions agree with their integrals under the density.

    The functions are first and second moments of the squashed features: they exist for every tail, and depend on
    location, scale and correlation. ``grid()`` gives what `masses` gives, where it is shared.
    """
    x, mass = masses(distribution, context) if grid is None else grid()
    sample = draw(distribution, context, 4000).to(torch.float64)
    centre, spread = sample.median(dim=0).values, sample.std(dim=0).clamp(max=3.0)

    def functions(points: Tensor) -> Tensor:
        squashed = torch.tanh((points - centre + 0.3 * spread) / spread)
        return torch.cat([squashed, (squashed[:, :, None] * squashed[:, None, :]).flatten(1)], dim=-1)

    values, means = functions(x), functions(sample).mean(dim=0)
    expected = (values * mass[:, None]).sum(dim=0)
    variance = (values.square() * mass[:, None]).sum(dim=0).sub(expected.square()).clamp(min=0)
    off = ((means - expected).abs() / (variance.div(len(sample)).sqrt() + 5e-4)).max().item()
    if off >= 5:
        raise AssertionError(f"a sample moment is {off:.1f} standard errors away from the density's")
