"""Integrals of densities, which know nothing of the sampler: as sums over a grid in one and two dimensions, and as
averages over points that cover the space in more."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.domain import Ball, Circle, Domain, Interval, Product, Real, Simplex, Sphere
from pushforward.core.spaces import Rotations, SpaceProduct
from pushforward.testing.uniform_points import covering_points

__all__ = [
    "draw",
    "has_grid",
    "integrates_to_one",
    "integrates_to_one_by_sampling",
    "is_covered",
    "masses",
    "samples_follow_the_density",
]

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
    if isinstance(domain, Interval) and math.isinf(domain.high - domain.low):
        return _half_axis(domain, sample, u)
    if isinstance(domain, Interval):  # dense at the ends, where densities may be infinite
        low, high = domain.ends
        place = u**3 * (10 - 15 * u + 6 * u.square())
        return low + (high - low) * place, (high - low) * 30 * (u * (1 - u)).square() / points
    if isinstance(domain, Circle | Ball):
        low, high = (-domain.radius, domain.radius) if isinstance(domain, Ball) else domain.ends
        return low + (high - low) * u, torch.full_like(u, (high - low) / points)
    if not isinstance(domain, Real):
        raise ValueError(f"integrates_to_one: there is no grid for {domain}. Leave the property out.")
    low, middle, high = torch.quantile(sample, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    angle = math.pi * (u - 0.5)
    return middle + (high - low) * angle.tan(), (high - low) * math.pi / points / angle.cos().square()


def _half_axis(domain: Interval, sample: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on a half line, dense at its end, where densities may be infinite."""
    end, sign = (domain.low, 1.0) if math.isfinite(domain.low) else (domain.high, -1.0)
    scale, t = (sample - end).abs().median(), u / (1 - u)
    return end + sign * scale * t**4, 4 * scale * t**3 / (1 - u).square() / len(u)


def _curved_grid(support: Domain, features: int, points: int) -> tuple[Tensor, Tensor] | None:
    """Nodes and weights on the circle in the plane, the sphere in space and the triangle of three shares."""
    if isinstance(support, Simplex) and features == 2:
        u = _midpoints(POINTS[1] * points // POINTS[features])
        u, weights = u**3 * (10 - 15 * u + 6 * u.square()), 30 * (u * (1 - u)).square() / len(u)
        return torch.stack([u, 1 - u], dim=-1), weights
    if isinstance(support, Sphere) and features == 2:
        angle = 2 * math.pi * _midpoints(POINTS[1] * points // POINTS[features])
        return torch.stack([angle.cos(), angle.sin()], dim=-1), torch.full_like(angle, 2 * math.pi / len(angle))
    u, v = (t.flatten() for t in torch.meshgrid(_midpoints(points), _midpoints(points), indexing="ij"))
    if isinstance(support, Sphere) and features == 3:
        height, angle = 2 * u - 1, 2 * math.pi * v
        radius = (1 - height.square()).sqrt()
        x = torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=-1)
        return x, torch.full_like(height, 4 * math.pi / points**2)
    if isinstance(support, Simplex) and features == 3:
        (u, du), (v, dv) = ((t**3 * (10 - 15 * t + 6 * t**2), 30 * (t * (1 - t)).square()) for t in (u, v))
        return torch.stack([u, v * (1 - u), (1 - v) * (1 - u)], dim=-1), (1 - u) * du * dv / points**2
    return None


def has_grid(distribution: Distribution) -> bool:
    """Whether there is a grid on the support: in one and two dimensions."""
    shape, support = distribution.event_shape, distribution.support
    if len(shape) != 1 or isinstance(support, Rotations):
        return False
    if isinstance(support, Sphere | Simplex):
        return shape[0] <= 3
    parts = support.parts if isinstance(support, Product) else (support,)
    return shape[0] <= 2 and all(isinstance(p, Real | Interval | Circle | Ball) for p in parts)


def is_covered(distribution: Distribution) -> bool:
    """Whether `integrates_to_one_by_sampling` has points for the support: of up to four dimensions."""
    shape, support = distribution.event_shape, distribution.support
    if len(shape) != 1 or support.dimension(shape) > 4:
        return False
    parts = support.parts if isinstance(support, Product) else (support,)
    return all(isinstance(p, Real | Interval | Circle | Ball | Sphere | Simplex | SpaceProduct) for p in parts)


def _grid(distribution: Distribution, context: Tensor | None, refinement: int) -> tuple[Tensor, Tensor]:
    """Nodes (m, features) and weights (m,) that cover the support."""
    (features,) = distribution.event_shape
    support = distribution.support
    points = refinement * POINTS[min(features, 2)]
    if isinstance(support, Sphere | Simplex):
        curved = _curved_grid(support, features, points)
        if curved is None:
            raise ValueError(f"integrates_to_one: there is no grid for {support}. Leave the property out.")
        return curved
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


@torch.no_grad()
def integrates_to_one_by_sampling(distribution: Distribution, context: Tensor | None = None) -> None:
    """The density integrates to one within four standard errors of an average over points that cover the support."""
    sample = draw(distribution, context, 40_000).to(torch.float64)
    x, log_density = covering_points(distribution.support, sample, torch.Generator().manual_seed(12))
    log_prob = torch.cat([distribution.log_prob(part.to(distribution.dtype), context) for part in x.split(2**14)])
    ratio = (log_prob.to(torch.float64) - log_density).exp()
    total, error = ratio.mean().item(), ratio.std().item() / len(ratio) ** 0.5
    if not abs(total - 1) < 4 * error + 1e-9:
        raise AssertionError(f"the density integrates to {total:.4f} with a standard error of {error:.2g}")


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
