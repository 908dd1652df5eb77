"""Named targets with exact densities, with which fitted flows can be compared.

Each but one is a flow ``Flow(StandardNormal, T)`` with the exact Knothe-Rosenblatt map T: it has densities, samples,
conditionals and the map itself. The checkerboard, whose density is zero in half of the plane, is a mixture of boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from pushforward.bijections.knothe import Banana, MixtureRosenblatt
from pushforward.core.checks import at_least, positive
from pushforward.core.distribution import Distribution
from pushforward.distributions.base import StandardNormal, Uniform
from pushforward.distributions.flow import Flow
from pushforward.distributions.mixture_of_parts import Mixture

__all__ = [
    "PLANE_TARGETS",
    "TARGETS",
    "banana",
    "checkerboard",
    "clusters",
    "eight_gaussians",
    "entropy_on_grid",
    "moons",
    "pinwheel",
    "ring",
    "rings",
    "two_spirals",
]


def banana(bend: float = 1.0) -> Flow:
    r"""A normal bent along a parabola, :math:`x_2 = z_2 + b (z_1^2 - 1)`.

    >>> banana().sample(3).shape
    torch.Size([3, 2])
    """
    return Flow(StandardNormal(2), Banana(bend))


def moons(components: int = 8) -> Flow:
    """Two interleaved half circles of radius one, each made of ``components`` normals along its arc.

    >>> moons().marginal(1).event_shape
    (1,)
    """
    at_least("moons", "components", components, 2)
    angles = [math.pi * (k + 0.5) / components for k in range(components)]
    upper = [(math.cos(a) - 0.5, math.sin(a) - 0.25, a) for a in angles]
    lower = [(0.5 - math.cos(a), 0.25 - math.sin(a), a) for a in angles]
    return _along_curve([*upper, *lower], along=0.6 * math.pi / components, across=0.1)


def ring(components: int = 12) -> Flow:
    """A circle of radius two, made of ``components`` normals around it.

    >>> ring().cdf(ring().sample(4)).shape
    torch.Size([4, 2])
    """
    at_least("ring", "components", components, 3)
    angles = [2 * math.pi * k / components for k in range(components)]
    return _along_curve(
        [(2 * math.cos(a), 2 * math.sin(a), a) for a in angles], along=2 * 1.2 * math.pi / components, across=0.2
    )


def clusters(features: int = 5) -> Flow:
    """Four overlapping normals, each correlated in its own way, in any number of features.

    >>> clusters().event_shape
    (5,)
    """
    at_least("clusters", "features", features, 2)
    count = 4
    # Irrational steps spread signs and sizes over components and features without a pattern.
    means = [[2.0 * math.sin(1 + 2.4 * k + 1.7 * j * (k + 1)) for j in range(features)] for k in range(count)]
    loadings = [[0.8 * math.cos(2 + 1.3 * k + 2.9 * j) for j in range(features)] for k in range(count)]
    covariances = [
        [[a * b + (0.3 if i == j else 0.0) for j, b in enumerate(row)] for i, a in enumerate(row)] for row in loadings
    ]
    return Flow(StandardNormal(features), MixtureRosenblatt([0.4, 0.3, 0.2, 0.1], means, covariances=covariances))


def eight_gaussians(scale: float = 0.25) -> Flow:
    """Eight round normals on a circle of radius two.

    >>> eight_gaussians().bijection.loc.shape
    torch.Size([8, 2])
    """
    positive("eight_gaussians", "scale", scale)
    angles = [2 * math.pi * k / 8 for k in range(8)]
    return _along_curve([(2 * math.cos(a), 2 * math.sin(a), a) for a in angles], along=scale, across=scale)


def two_spirals(components: int = 42) -> Flow:
    """Two arms that wind one and a half times around the origin, each made of ``components`` normals along it.

    >>> two_spirals().sample(3).shape
    torch.Size([3, 2])
    """
    at_least("two_spirals", "components", components, 10)
    turns, radius = 3 * math.pi, 3.0
    step = radius / turns
    places = []
    for k in range(components):
        # The length of the arm up to the angle t is nearly t² / 2: roots spread the normals evenly along it.
        t = turns * math.sqrt((k + 0.5) / components)
        direction = t - math.atan2(1.0, t)  # at right angles to the arm
        x, y = step * t * math.cos(t), step * t * math.sin(t)
        places += [(x, y, direction), (-x, -y, direction)]
    return _along_curve(places, along=0.6 * step * turns**2 / 2 / components, across=0.12)


def pinwheel(blades: int = 5, components: int = 10) -> Flow:
    """Blades that start at the origin's side and bend around it, each made of ``components`` normals along it.

    >>> pinwheel(blades=3).bijection.loc.shape
    torch.Size([30, 2])
    """
    at_least("pinwheel", "blades", blades, 2)
    at_least("pinwheel", "components", components, 4)
    inner, outer, bend = 0.4, 3.0, 0.55  # a blade turns by ``bend`` radians for each unit of its radius
    spacing = (outer - inner) / components
    places, weights, widths, lengths = [], [], [], []
    for j in range(blades):
        for k in range(components):
            r = inner + spacing * (k + 0.5)
            angle = 2 * math.pi * j / blades + bend * r
            places.append((r * math.cos(angle), r * math.sin(angle), angle + math.atan(bend * r) - math.pi / 2))
            weights.append(math.exp(-0.5 * ((r - 1.6) / 0.7) ** 2))
            widths.append(0.06 + 0.05 * r)
            lengths.append(0.6 * spacing * math.hypot(1.0, bend * r))
    return _along_curve(places, along=lengths, across=widths, weights=weights)


def rings(count: int = 3) -> Flow:
    """Rings of radius 0.8, 1.6, ... around one another, all of one density, made of normals around them.

    >>> rings(2).event_shape
    (2,)
    """
    at_least("rings", "count", count, 1)
    places = []
    for k in range(1, count + 1):
        angles = [2 * math.pi * j / (16 * k) for j in range(16 * k)]
        places += [(0.8 * k * math.cos(a), 0.8 * k * math.sin(a), a) for a in angles]
    return _along_curve(places, along=0.6 * 2 * math.pi * 0.8 / 16, across=0.12)


def checkerboard(squares: int = 4, side: float = 1.5) -> Mixture:
    """Uniform on the squares of one colour of a board around the origin; its entropy is the logarithm of their area.

    >>> import torch
    >>> checkerboard().log_prob(torch.tensor([[0.1, 0.1], [0.1, -0.1]])).exp().round(decimals=4).tolist()
    [0.05559999868273735, 0.0]
    """
    at_least("checkerboard", "squares", squares, 2)
    positive("checkerboard", "side", side)
    edges = [side * (k - squares / 2) for k in range(squares)]
    black = [(a, b) for i, a in enumerate(edges) for j, b in enumerate(edges) if (i + j) % 2 == 0]
    return Mixture([Uniform([a, b], [a + side, b + side]) for a, b in black])


@torch.no_grad()
def entropy_on_grid(distribution: Distribution, *, bound: float = 6.0, points: int = 400) -> tuple[float, float]:
    """The entropy of a density in the plane by the midpoint rule, and the probability that the grid saw.

    Args:
        distribution: of events (2,), smooth on the scale of the cells or constant within them.
        bound: the grid covers the square from -bound to bound.
        points: number of midpoints along each axis.

    Returns:
        (the entropy in nats, the integral of the density over the square, which should be near one).

    >>> entropy, mass = entropy_on_grid(checkerboard())
    >>> round(entropy, 4), round(math.log(8 * 1.5**2), 4), round(mass, 4)
    (2.8904, 2.8904, 1.0)
    """
    cell = 2 * bound / points
    axis = -bound + cell * (torch.arange(points, dtype=torch.float64) + 0.5)
    rows = torch.cartesian_prod(axis, axis).to(distribution.dtype)
    log_prob = torch.cat([distribution.log_prob(some) for some in rows.split(30_000)]).double()
    density = log_prob.exp()
    return float(-torch.xlogy(density, density).sum() * cell**2), float(density.sum() * cell**2)


Sizes = float | list[float]


def _along_curve(
    places: list[tuple[float, float, float]], *, along: Sizes, across: Sizes, weights: list[float] | None = None
) -> Flow:
    """Normals at (x, y) on an arc whose radius points in the direction of the angle."""
    lengths, widths = (size if isinstance(size, list) else [size] * len(places) for size in (along, across))
    covariances = []
    for (_, _, angle), length, width in zip(places, lengths, widths, strict=True):
        c, s = math.cos(angle), math.sin(angle)
        mixed = c * s * (width**2 - length**2)
        covariances.append(
            [[(c * width) ** 2 + (s * length) ** 2, mixed], [mixed, (s * width) ** 2 + (c * length) ** 2]]
        )
    means = [[x, y] for x, y, _ in places]
    return Flow(StandardNormal(2), MixtureRosenblatt(weights or [1.0] * len(places), means, covariances=covariances))


PLANE_TARGETS: dict[str, Callable[..., Distribution]] = {
    f.__name__: f for f in (eight_gaussians, two_spirals, checkerboard, pinwheel, rings, moons)
}
"""Shapes in the plane that flows are usually tried on, by name."""
TARGETS: dict[str, Callable[..., Flow]] = {f.__name__: f for f in (banana, moons, ring, clusters)}
"""Targets with an exact Knothe-Rosenblatt map that fitted ones are compared with, by name."""
