"""Random points that cover a space, with their densities: what integrals over it are estimated with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core.domain import Ball, Circle, Domain, Interval, Product, Real, Simplex, Sphere
from pushforward.core.entries import domain_of_each
from pushforward.core.spaces import Rotations, SpaceProduct

__all__ = ["covering_points"]

POWER = 2.0  # of the tails of the proposals on unbounded lines


def covering_points(domain: Domain, sample: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points and their log-densities with respect to the measure of the space, (n, features) and (n,).

    Spheres, simplices, circles and finite intervals are covered uniformly, lines by heavy-tailed points around a
    ``sample`` (n, features) of the distribution that is to be integrated.
    """
    n, features = sample.shape
    if isinstance(domain, SpaceProduct):
        pairs = zip(domain.parts, sample.split(domain.sizes, dim=-1), strict=True)
        covered = [covering_points(part, block, random) for part, block in pairs]
        return torch.cat([x for x, _ in covered], dim=-1), torch.stack([log for _, log in covered]).sum(dim=0)
    if isinstance(domain, Sphere):
        half = 0.5 * features
        log_area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)
        log_density = 0.0 if isinstance(domain, Rotations) else -log_area
        return domain.example((n, features), random), torch.full((n,), log_density, dtype=torch.float64)
    if isinstance(domain, Simplex):
        x = -torch.rand(n, features, dtype=torch.float64, generator=random).log()
        return x / x.sum(dim=-1, keepdim=True), torch.full((n,), math.lgamma(features), dtype=torch.float64)
    if isinstance(domain, Ball):
        half = 0.5 * features
        log_volume = half * math.log(math.pi) - math.lgamma(half + 1) + features * math.log(domain.radius)
        return domain.example((n, features), random), torch.full((n,), -log_volume, dtype=torch.float64)
    if not isinstance(domain, Product | Real | Interval | Circle):
        raise ValueError(f"covering_points: there are no proposals for {domain}. Leave the property out.")
    columns = zip(domain_of_each(domain, features), sample.unbind(dim=-1), strict=True)
    lines = [_on_line(part, column, random) for part, column in columns]
    return torch.stack([x for x, _ in lines], dim=-1), torch.stack([log for _, log in lines]).sum(dim=0)


def _on_line(domain: Domain, sample: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    low, high = domain.ends
    u = torch.rand(len(sample), dtype=torch.float64, generator=random)
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * u, torch.full_like(u, -math.log(high - low))
    if math.isfinite(low) or math.isfinite(high):  # distance from the end, heavy-tailed and dense near zero
        end, sign = (low, 1.0) if math.isfinite(low) else (high, -1.0)
        scale = (sample - end).abs().median().clamp(min=1e-3)
        t = u / (1 - u)
        density = (1 - u).square() / (2 * scale * t)
        return end + sign * scale * t.square(), density.log()
    quarter, middle, three = torch.quantile(sample, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    scale = (three - quarter).clamp(min=1e-3)
    t = (u - 0.5) * (2 / (u * (1 - u))).sqrt()  # Student-t with two degrees of freedom
    return middle + scale * t, -1.5 * torch.log1p(0.5 * t.square()) - 1.5 * math.log(2) - scale.log()
