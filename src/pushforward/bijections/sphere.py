"""Maps between spheres and their coordinates, and of spheres to themselves with closed formulas both ways.

A point of the sphere of dimension d is a unit vector of d + 1 entries; densities are with respect to its area.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.rotation import Rotation
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, below_one
from pushforward.core.config import configurable
from pushforward.core.domain import Circle, Interval, Sphere
from pushforward.core.entries import product
from pushforward.networks.context_parameters import ContextParameters

__all__ = ["SphereCoordinates", "SphereLinear", "SphereMoebius", "SphereRotation", "unit"]

LOG_LIMIT = 8.0  # of the size of a logarithm on the diagonal, which no context may make overflow
REMEDY = "The circle in the plane has two entries."


def unit(x: Tensor) -> Tensor:
    """x of length one: what rounding moved off the sphere is put back."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)


@configurable
class SphereCoordinates(Bijection):
    r"""Cylindrical coordinates to points of a sphere: heights in [-1, 1] and one angle.

    .. math:: y^{(1)} = (\cos\theta, \sin\theta), \qquad
              y^{(k)} = \bigl(\sqrt{1 - h_k^2}\; y^{(k - 1)},\ h_k\bigr), \qquad
              \log|\det| = \sum_{k = 2}^d \bigl(\tfrac k2 - 1\bigr) \log(1 - h_k^2)

    x lists the heights :math:`h_d, \dots, h_2` and then the angle. On the sphere in space heights and angle keep areas
    (Archimedes): the log-determinant is zero. Densities on the sphere are with respect to its area. Maps of heights and
    angles between the inverse of this map and itself are the recursive flows on spheres. Where a height is 1 or -1 the
    coordinates below it mean nothing; one point of the sphere has a finite density there all the same. Both directions
    cost a few operations per entry.

    Args:
        features: number of entries of a point, d + 1.

    Shape:
        ``x``: (*batch, features - 1), ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two entries.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> SphereCoordinates(3)(torch.tensor([0.6, 0.0])).tolist()
    [0.800000011920929, 0.0, 0.6000000238418579]
    """

    codomain = Sphere()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 2}, {"features": 3}, {"features": 5})
    powers: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("SphereCoordinates", "features", features, 2, REMEDY)
        self.in_shape, self.out_shape = (features - 1,), (features,)
        self.domain = product((*(Interval(-1.0, 1.0),) * (features - 2), Circle()))
        self.add_constant("powers", [0.5 * k - 1 for k in range(features - 1, 1, -1)])

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        angle, heights = x[..., -1], x[..., :-1]
        square = _no_less(1 - heights, 1 + heights)
        radius = square.sqrt()
        entries = [angle.cos(), angle.sin()]
        for k in range(heights.shape[-1] - 1, -1, -1):
            entries = [entry * radius[..., k] for entry in entries]
            entries.append(heights[..., k])
        return torch.stack(entries, dim=-1), (self.powers * square.log()).sum(dim=-1)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # Squared lengths of the first two, three, ... entries: near a pole they have digits that 1 - h² has lost.
        squares = y.square().cumsum(dim=-1)[..., 1:].clamp(min=_least(y.dtype))
        heights = (y[..., 2:] / squares[..., 1:].sqrt()).clamp(-1.0, 1.0)
        ladj = (self.powers.flip(0) * (squares[..., :-1] / squares[..., 1:]).log()).sum(dim=-1)
        at_pole = squares[..., 0] <= _least(y.dtype)  # where the angle means nothing, and has no derivative
        angle = torch.atan2(torch.where(at_pole, 0.0, y[..., 1]), torch.where(at_pole, 1.0, y[..., 0]))
        angle = torch.where(angle >= math.pi, -math.pi, angle.clamp(min=-math.pi))
        return torch.cat([heights.flip(-1), angle[..., None]], dim=-1), -ladj


def _least(dtype: torch.dtype) -> float:
    """The smallest squared radius that is told from zero."""
    return torch.finfo(dtype).tiny * 1e6


def _no_less(below: Tensor, above: Tensor) -> Tensor:
    """1 - h² as (1 - h) (1 + h), positive at the poles too."""
    return (below * above).clamp(min=_least(below.dtype))


@configurable
class SphereRotation(Rotation):
    r"""Turn a sphere by a learned rotation: :math:`y = \exp(A - A^\top)\, x`.

    Areas are kept, so the log-determinant is zero. Both directions cost one product with a matrix. Between recursive
    layers it moves the poles.

    Args:
        features: number of entries of a point.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two entries.

    >>> import torch
    >>> SphereRotation(3)(torch.tensor([0.0, 0.0, 1.0])).tolist()
    [0.0, 0.0, 1.0]
    """

    domain = codomain = Sphere()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 3},)

    def __init__(self, features: int) -> None:
        at_least("SphereRotation", "features", features, 2, REMEDY)
        super().__init__(features)
        self.initialized.fill_(True)  # nothing is to be set from data

    @property
    def data_dependent(self) -> bool:
        return False

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        return None

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, ladj = super()._forward_and_ladj(x, context)
        return unit(y), ladj

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, ladj = super()._inverse_and_ladj(y, context)
        return unit(x), ladj


@configurable
class SphereMoebius(Bijection):
    r"""Draw a sphere away from a point inside of it, by a Möbius transformation.

    .. math:: y = \frac{1 - \|\omega\|^2}{\|x - \omega\|^2}\, (x - \omega) - \omega, \qquad
              \log|\det| = d \log \frac{1 - \|\omega\|^2}{\|x - \omega\|^2}

    It keeps angles between curves, and the inverse has :math:`-\omega` in the place of :math:`\omega`. Densities are
    with respect to the area of the sphere. Both directions cost one norm.

    Args:
        features: number of entries of a point, d + 1.
        context: number of context features, from which a network computes :math:`\omega`.
        hidden: its layer widths.
        radius: largest distance of :math:`\omega` from the middle; less than 1.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two entries, or ``radius`` is not below one.

    References:
        | A Möbius transformation-induced distribution on the torus (Kato and Pewsey, 2015)
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> SphereMoebius(3)(torch.tensor([0.0, 0.0, 1.0])).tolist()
    [0.0, 0.0, 1.0]
    """

    domain = codomain = Sphere()
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {"features": 4, "context": 2, "hidden": [8], "radius": 0.8},
    )

    def __init__(
        self, features: int, *, context: int = 0, hidden: Sequence[int] = (64, 64), radius: float = 0.95
    ) -> None:
        super().__init__()
        at_least("SphereMoebius", "features", features, 2, REMEDY)
        below_one("SphereMoebius", "radius", radius, "where all points but one would coincide")
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.radius = radius
        self.centre = ContextParameters("SphereMoebius", [0.0] * features, context, hidden)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._draw(x, self._centre(context))

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._draw(y, -self._centre(context))

    def _centre(self, context: Tensor | None) -> Tensor:
        raw = self.centre(context)
        return self.radius * raw / (1 + raw.square().sum(dim=-1, keepdim=True)).sqrt()

    def _draw(self, x: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        away = x - centre
        grown = (1 - centre.square().sum(dim=-1)) / away.square().sum(dim=-1)
        return unit(grown[..., None] * away - centre), (x.shape[-1] - 1) * grown.log()


@configurable
class SphereLinear(Bijection):
    r"""Multiply with a triangular matrix and go back to the sphere: :math:`y = L x / \|L x\|`.

    .. math:: \log|\det| = - (d + 1) \log\|L x\|

    with det L = 1. Opposite points stay opposite, so densities that agree at x and -x still do: the image of the
    uniform distribution is the angular central Gaussian. Densities are with respect to the area of the sphere. Both
    directions cost one product with, or one solve by, L.

    Args:
        features: number of entries of a point, d + 1.
        context: number of context features, from which a network computes L.
        hidden: its layer widths.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two entries.

    References:
        | Statistical analysis for the angular central Gaussian distribution on the sphere (Tyler, 1987),
          doi:10.1093/biomet/74.3.579

    >>> import torch
    >>> SphereLinear(3)(torch.tensor([0.0, 0.0, 1.0])).tolist()
    [0.0, 0.0, 1.0]
    """

    domain = codomain = Sphere()
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {"features": 4, "context": 1, "hidden": [8]},
    )

    def __init__(self, features: int, *, context: int = 0, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        at_least("SphereLinear", "features", features, 2, REMEDY)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.entries = ContextParameters("SphereLinear", [0.0] * features**2, context, hidden)

    def _factor(self, context: Tensor | None) -> Tensor:
        """L, with a diagonal whose product is one, for the length of L x does not count; so log|det L| is zero."""
        size = self.in_shape[0]
        raw = self.entries(context).unflatten(-1, (size, size))
        log_diagonal = LOG_LIMIT * torch.tanh(raw.diagonal(dim1=-2, dim2=-1) / LOG_LIMIT)
        log_diagonal = log_diagonal - log_diagonal.mean(dim=-1, keepdim=True)
        return raw.tril(-1) + torch.diag_embed(log_diagonal.exp())

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._project((self._factor(context) @ x[..., None]).squeeze(-1))

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        factor = self._factor(context)
        factor = factor.expand(*y.shape[:-1], *factor.shape[-2:])
        return self._project(torch.linalg.solve_triangular(factor, y[..., None], upper=False).squeeze(-1))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / length, -x.shape[-1] * length.squeeze(-1).log()
