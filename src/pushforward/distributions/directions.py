"""Bases on circles and spheres: von Mises angles, uniform points, and von Mises-Fisher points of the sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least, positive
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Circle, Domain, Sphere
from pushforward.core.numerics import invert_increasing, solve_between
from pushforward.core.quadrature import gauss_legendre
from pushforward.core.shapes import EventSize
from pushforward.distributions.draws import normals, uniforms
from pushforward.distributions.parametric import ParametricQuantiles, Start

__all__ = ["SphericalUniform", "VonMises", "VonMisesFisher"]

NODES, WEIGHTS = gauss_legendre(64)
REACH = 12.0  # beyond so many standard deviations from its mode a von Mises variable has no mass that counts


@configurable
class VonMises(ParametricQuantiles):
    r"""Independent von Mises angles: normals of the circle, with learned directions and concentrations.

    .. math:: q(x) = \prod_j \frac{e^{\kappa_j \cos(x_j - \mu_j)}}{2 \pi I_0(\kappa_j)}

    on :math:`[-\pi, \pi)`, with respect to the angle. `cdf` is measured from the point opposite to the mode, by
    quadrature; points are its quantiles, found numerically, and carry exact gradients. Densities cost one Bessel
    function per feature, points some ten quadratures of 64 nodes.

    Args:
        features: number of angles, or the shape of an event of angles.
        loc: initial mode, one number or nested lists of the shape of an event.
        concentration: initial concentration κ, likewise given; positive. About 1 / variance where it is large.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a concentration is not positive; both ``context`` and ``classes`` are given.

    References:
        | Statistics of Directional Data (Mardia, 1975)

    >>> import torch
    >>> round(VonMises(1, concentration=2.0).log_prob(torch.zeros(1)).exp().item(), 4)
    0.5159
    """

    support: Domain = Circle()
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": [0.5, 3.0], "concentration": 2.0},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def __init__(
        self,
        features: EventSize,
        *,
        loc: Start = 0.0,
        concentration: Start = 1.0,
        context: int = 0,
        classes: int = 0,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        start: dict[str, tuple[Start, bool]] = {"loc": (loc, False), "concentration": (concentration, True)}
        self._build(features, context, classes, hidden, **start)

    @property
    def icdf_kind(self) -> Kind:
        return "iterative"

    @property
    def sample_kind(self) -> Kind:
        return "iterative"

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        return _von_mises(x - values[0], values[1].exp())

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        angle, concentration = _wrapped(x - values[0]), values[1].exp()
        tail = _tail(angle.abs(), concentration)
        return torch.where(angle < 0, tail, 1 - tail)

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        below = u < 0.5
        goal = torch.where(below, u, 1 - u).log()
        concentration = values[1].exp().expand(u.shape)
        # The log of the tail in the log of the distance from its far end: nearly straight, so that a few steps do.
        log_width = invert_increasing(_log_tail, _find, goal, concentration)[0]
        size = _far(concentration) - log_width.exp()
        return _wrapped(values[0] + torch.where(below, -size, size))

    def _mean_of(self, *values: Tensor) -> Tensor:
        return _wrapped(values[0])

    def _entropy_of(self, *values: Tensor) -> Tensor:
        k = values[1].exp()
        zeroth, first = torch.special.i0e(k), torch.special.i1e(k)
        return torch.log(2 * math.pi * zeroth) + k - k * first / zeroth


def _von_mises(angle: Tensor, k: Tensor) -> Tensor:
    """The log-density; 1 - cos as a square, which has digits near the mode."""
    return -2 * k * torch.sin(0.5 * angle).square() - torch.log(2 * math.pi * torch.special.i0e(k))


def _far(k: Tensor) -> Tensor:
    """The distance from the mode beyond which there is no mass that counts."""
    return (REACH / k.sqrt()).clamp(max=math.pi)


def _tail(size: Tensor, k: Tensor) -> Tensor:
    """P(X < -size), for size from 0 to π."""
    far = _far(k)
    width = (far - size).clamp(min=0.0)
    nodes, weights = (size.new_tensor(v).reshape(-1, *(1,) * width.ndim) for v in (NODES, WEIGHTS))
    return width * (weights * _von_mises(-far + nodes * width, k).exp()).sum(dim=0)


def _log_tail(log_width: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """log P(X < -far + width), and the log of its derivative in the log of the width."""
    far, width = _far(k), log_width.exp()
    log_tail = _tail(far - width, k).clamp(min=torch.finfo(width.dtype).tiny).log()
    return log_tail, _von_mises(width - far, k) - log_tail + log_width


def _bracket(goal: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """A width that is too small, with the largest density all along it, and half of the line."""
    high = _far(k).log().expand_as(goal)
    return torch.minimum(goal - _von_mises(torch.zeros_like(k), k), high), high


def _find(goal: Tensor, k: Tensor) -> Tensor:
    return solve_between(_log_tail, _bracket, goal, k)


def _wrapped(x: Tensor) -> Tensor:
    """x as an angle in [-π, π)."""
    x = x - 2 * math.pi * torch.floor((x + math.pi) / (2 * math.pi))
    return torch.where(x >= math.pi, -math.pi, x.clamp(min=-math.pi))


def _log_area(features: int) -> float:
    """The log of the area of the unit sphere of vectors of so many entries."""
    return math.log(2) + 0.5 * features * math.log(math.pi) - math.lgamma(0.5 * features)


@configurable
class SphericalUniform(Distribution):
    r"""The uniform distribution on a sphere: the base of flows on it.

    .. math:: q(x) = \frac{\Gamma(D / 2)}{2 \pi^{D / 2}}, \qquad \|x\| = 1

    with respect to area, for points of D entries. Densities cost nothing.

    Args:
        features: number D of entries of a point; 3 for the sphere in space.

    Shape:
        ``x``: (*batch, features).

    Raises:
        ValueError: there are fewer than two entries.

    >>> import torch
    >>> round(SphericalUniform(3).log_prob(torch.tensor([0.0, 0.0, 1.0])).exp().item() * 4 * math.pi, 4)
    1.0
    """

    support: Domain = Sphere()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 3}, {"features": 2}, {"features": 4})
    like: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("SphericalUniform", "features", features, 2, "The circle in the plane has two entries.")
        self.event_shape = (features,)
        self.add_constant("like", 0.0)  # has the dtype and device of the model; its value is not used

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x.new_full(x.shape[:-1], -_log_area(x.shape[-1]))

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        z = normals((*batch, *self.event_shape), self.like, generator)
        return z / torch.linalg.vector_norm(z, dim=-1, keepdim=True)

    def _mean(self, context: Tensor | None) -> Tensor:
        return self.like.new_zeros(self.event_shape)

    def _entropy(self, context: Tensor | None) -> Tensor:
        return self.like.new_full((), _log_area(self.event_shape[0]))


@configurable
class VonMisesFisher(Distribution):
    r"""Points of the sphere in space around a learned direction.

    .. math:: q(x) = \frac{\kappa}{4 \pi \sinh \kappa}\, e^{\kappa \mu^\top x}

    with respect to area. The height along :math:`\mu` has a closed quantile function, so that points cost one
    logarithm and carry gradients; densities cost one product.

    Args:
        direction: initial direction, three numbers, of any length but zero.
        concentration: initial concentration κ; positive.

    Shape:
        ``x``: (*batch, 3).

    Raises:
        ValueError: ``direction`` is not three numbers, or ``concentration`` is not positive.

    References:
        | Dispersion on a sphere (Fisher, 1953), doi:10.1098/rspa.1953.0064

    >>> import torch
    >>> round(VonMisesFisher([0.0, 0.0, 1.0], 2.0).log_prob(torch.tensor([0.0, 0.0, 1.0])).exp().item(), 4)
    0.3242
    """

    support: Domain = Sphere()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"direction": [1.0, 0.5, -0.5], "concentration": 3.0},)

    def __init__(self, direction: Sequence[float], concentration: float = 1.0) -> None:
        super().__init__()
        positive("VonMisesFisher", "concentration", concentration)
        if len(direction) != 3 or not 0 < math.hypot(*direction) < math.inf:
            raise ValueError(f"VonMisesFisher: direction must be three numbers, not all zero; got {direction}.")
        self.event_shape = (3,)
        self.direction = nn.Parameter(torch.tensor([float(value) for value in direction]))
        self.log_concentration = nn.Parameter(torch.tensor(math.log(concentration)))

    def _parts(self) -> tuple[Tensor, Tensor]:
        return self.direction / torch.linalg.vector_norm(self.direction), self.log_concentration.exp()

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        mode, k = self._parts()
        apart = 0.5 * (x - mode).square().sum(dim=-1)  # 1 - μ·x, with digits near the mode
        return -k * apart + k.log() - math.log(2 * math.pi) - torch.log(-torch.expm1(-2 * k))

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        mode, k = self._parts()
        u = uniforms(batch, mode, generator)
        # The height w has the density κ e^(κ (w - 1)) / (1 - e^(-2κ)).
        depth = -torch.log1p(u * torch.expm1(-2 * k)) / k  # 1 - w
        z = normals((*batch, 3), mode, generator)
        z = z - (z * mode).sum(dim=-1, keepdim=True) * mode
        side = z / torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        radius = (depth * (2 - depth)).clamp(min=torch.finfo(u.dtype).tiny).sqrt()
        x = (1 - depth)[..., None] * mode + radius[..., None] * side
        return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)

    def _mean(self, context: Tensor | None) -> Tensor:
        mode, k = self._parts()
        return (1 / torch.tanh(k) - 1 / k) * mode

    def _entropy(self, context: Tensor | None) -> Tensor:
        _, k = self._parts()
        return k * (1 - 1 / torch.tanh(k)) + 1 - k.log() + math.log(2 * math.pi) + torch.log(-torch.expm1(-2 * k))
