"""Named targets with an exact Knothe-Rosenblatt map, with which fitted triangular maps can be compared.

Each is a flow ``Flow(StandardNormal, T)`` with the exact T: it has densities, samples, conditionals and the map itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pushforward.bijections.knothe import Banana, MixtureRosenblatt
from pushforward.core.checks import at_least
from pushforward.distributions.base import StandardNormal
from pushforward.distributions.flow import Flow

__all__ = ["TARGETS", "banana", "clusters", "moons", "ring"]


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
    return _necklace([*upper, *lower], along=0.6 * math.pi / components, across=0.1)


def ring(components: int = 12) -> Flow:
    """A circle of radius two, made of ``components`` normals around it.

    >>> ring().cdf(ring().sample(4)).shape
    torch.Size([4, 2])
    """
    at_least("ring", "components", components, 3)
    angles = [2 * math.pi * k / components for k in range(components)]
    return _necklace(
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


def _necklace(beads: list[tuple[float, float, float]], *, along: float, across: float) -> Flow:
    """Normals at (x, y) on an arc whose radius points in the direction of the angle."""
    covariances = []
    for _, _, angle in beads:
        c, s = math.cos(angle), math.sin(angle)
        mixed = c * s * (across**2 - along**2)
        covariances.append(
            [[(c * across) ** 2 + (s * along) ** 2, mixed], [mixed, (s * across) ** 2 + (c * along) ** 2]]
        )
    means = [[x, y] for x, y, _ in beads]
    return Flow(StandardNormal(2), MixtureRosenblatt([1.0] * len(beads), means, covariances=covariances))


TARGETS: dict[str, Callable[..., Flow]] = {f.__name__: f for f in (banana, moons, ring, clusters)}
"""The targets by name."""
