"""The Knothe-Rosenblatt map of a density in the plane, by exact integrals of its bilinear interpolation on a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.layout import to_batch_first, to_features_first
from pushforward.core.bijection import TriangularMap
from pushforward.core.checks import at_least, finite_numbers
from pushforward.core.config import configurable
from pushforward.core.domain import Interval, Product
from pushforward.core.special import ndtr, normal_point

__all__ = ["GridRosenblatt"]

LOG_2PI = math.log(2 * math.pi)
LEAST = 1e-30  # smallest density relative to its maximum, representable in float32


@configurable
class GridRosenblatt(TriangularMap):
    r"""The triangular map from standard normals to a density given by its values on a grid over a rectangle.

    Between the nodes the density is bilinear. Its marginal in the first feature and its conditionals in the second are
    then piecewise linear, and their distribution functions piecewise quadratic:

    .. math:: z_1 = \Phi^{-1}\bigl(F(x_1)\bigr), \qquad z_2 = \Phi^{-1}\bigl(F(x_2 \mid x_1)\bigr)

    Both directions are closed formulas, exact for the interpolated density, and cost one row of the grid per point.
    Each tail is integrated from its own side; a point on the edge of the rectangle gets a very large z.

    Args:
        values: the density at the nodes, up to a factor: one row for each node of the first feature, with one positive
            number for each node of the second.
        low: the lower ends of the rectangle, where the first row and the first column lie.
        high: the upper ends, where the last ones lie.

    Shape:
        ``z``, ``x``: (*batch, 2), ``ladj``: (*batch,).

    Raises:
        ValueError: the table is not a rectangle of positive numbers, or the ends are not in order.

    >>> import torch
    >>> flat = GridRosenblatt([[1.0, 1.0], [1.0, 1.0]], [0.0, 0.0], [4.0, 2.0])
    >>> flat(torch.zeros(2)).tolist()
    [2.0, 1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "values": [[0.5, 1.0, 0.2, 1.0], [1.0, 2.0, 0.5, 0.3], [0.4, 0.1, 1.5, 0.6]],
            "low": [-1.0, 0.0],
            "high": [2.0, 1.5],
        },
    )
    table: Tensor

    def __init__(self, values: Sequence[Sequence[float]], low: Sequence[float], high: Sequence[float]) -> None:
        super().__init__()
        self.in_shape = self.out_shape = (2,)
        rows = [finite_numbers("GridRosenblatt", "values", row) for row in values]
        if len(rows) < 2 or len(rows[0]) < 2 or any(len(row) != len(rows[0]) for row in rows):
            raise ValueError(
                "GridRosenblatt: values must be a table of two or more rows and columns, all rows equally long; got "
                f"rows of lengths {[len(row) for row in rows]}."
            )
        if min(map(min, rows)) <= 0:
            raise ValueError("GridRosenblatt: values must be positive; where a density is zero there is no map.")
        self.low = tuple(finite_numbers("GridRosenblatt", "low", low))
        self.high = tuple(finite_numbers("GridRosenblatt", "high", high))
        if len(self.low) != 2 or len(self.high) != 2 or any(a >= b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"GridRosenblatt: low must lie below high, in two features; got {low} and {high}.")
        self.codomain = Product(tuple(Interval(a, b) for a, b in zip(self.low, self.high, strict=True)))
        largest = max(map(max, rows))
        self.add_constant("table", [[value / largest for value in row] for row in rows])

    @classmethod
    def from_density(
        cls,
        log_density: Callable[[Tensor], Tensor],
        low: Sequence[float],
        high: Sequence[float],
        points: int = 201,
    ) -> GridRosenblatt:
        """The map of a density given as a function, up to a constant factor.

        Args:
            log_density: from points (n, 2) in float64 to log-densities (n,); below 10⁻³⁰ of the largest one they are
                raised to that.
            low: the lower ends of the rectangle; the density outside is neglected.
            high: its upper ends.
            points: nodes along each feature; the error of the density falls with the square of their distance.

        Raises:
            ValueError: the function returns another shape, NaN or infinity.
        """
        at_least("GridRosenblatt", "points", points, 2)
        nodes = [torch.linspace(a, b, points, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
        logs = log_density(torch.cartesian_prod(*nodes)).detach()
        if logs.shape != (points**2,) or bool((logs.isnan() | (logs == torch.inf)).any()):
            raise ValueError(
                f"GridRosenblatt: log_density must give one number, not NaN or inf, for each of {points**2} points; "
                f"got shape {tuple(logs.shape)}."
            )
        values = torch.exp(logs - logs.max()).clamp(min=LEAST).reshape(points, points)
        return cls(values.tolist(), low, high)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        first, second = to_features_first(x).unbind()
        at, first_slope = _quantile(first, self._marginal())
        along, second_slope = _quantile(second, self._section(at))
        scales = [(b - a) / (n - 1) for a, b, n in zip(self.low, self.high, self.table.shape, strict=True)]
        places = zip((at, along), self.low, self.high, scales, strict=True)
        y = [(low + scale * place).clamp(low, high) for place, low, high, scale in places]
        log_slopes = [s + math.log(scale) for s, scale in zip((first_slope, second_slope), scales, strict=True)]
        return to_batch_first(torch.stack(y), x.shape[:-1]), to_batch_first(torch.stack(log_slopes), x.shape[:-1])

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        scales = [(n - 1) / (b - a) for a, b, n in zip(self.low, self.high, self.table.shape, strict=True)]
        columns = zip(to_features_first(y).unbind(), self.low, scales, self.table.shape, strict=True)
        at, along = (((column - low) * scale).clamp(0, n - 1) for column, low, scale, n in columns)
        first, first_slope = _score(at, self._marginal())
        second, second_slope = _score(along, self._section(at))
        log_slopes = [s + math.log(scale) for s, scale in zip((first_slope, second_slope), scales, strict=True)]
        x = torch.stack([first, second])
        return to_batch_first(x, y.shape[:-1]), to_batch_first(torch.stack(log_slopes), y.shape[:-1])

    def _marginal(self) -> Tensor:
        """The density of the first feature at its nodes, up to a factor, (rows, 1)."""
        return _masses(self.table.t()).sum(dim=0)[:, None]

    def _section(self, at: Tensor) -> Tensor:
        """The density along the second feature, up to a factor, where the first is ``at``: (columns, n)."""
        index = _cell(at, self.table.shape[0])
        return torch.lerp(self.table[index].t(), self.table[index + 1].t(), at - index)


def _masses(density: Tensor) -> Tensor:
    """The mass of each cell under a piecewise linear density with values (nodes, *s) at distance one."""
    return 0.5 * (density[1:] + density[:-1])


def _cell(place: Tensor, nodes: int) -> Tensor:
    return place.detach().floor().long().clamp(0, nodes - 2)


def _normalised(density: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The density, and the mass below and above each node, each (nodes, n)."""
    density = density.expand(-1, n)
    density = density / _masses(density).sum(dim=0)
    masses, none = _masses(density), torch.zeros_like(density[:1])
    return density, torch.cat([none, masses.cumsum(dim=0)]), torch.cat([masses.flip(0).cumsum(dim=0).flip(0), none])


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(0, index[None]).squeeze(0)


def _score(place: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """z with Φ(z) = F(place), for places 0 .. nodes - 1 between the nodes, and the log of dz / d(place)."""
    density, below, above = _normalised(density, place.shape[0])
    index = _cell(place, density.shape[0])
    t, left, right = place - index, _at(density, index), _at(density, index + 1)
    lower = _at(below, index) + t * torch.lerp(left, right, 0.5 * t)
    upper = _at(above, index + 1) + (1 - t) * torch.lerp(right, left, 0.5 * (1 - t))
    log_tail = torch.minimum(lower, upper).clamp(min=torch.finfo(place.dtype).tiny).log()
    size = normal_point(log_tail, torch.zeros_like(log_tail))
    log_slope = torch.lerp(left, right, t).log() + 0.5 * (size.square() + LOG_2PI)
    return torch.where(upper < lower, size, -size), log_slope


def _quantile(z: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `_score`: the place, and the log of d(place) / dz."""
    density, below, above = _normalised(density, z.shape[0])
    tail, upper = ndtr(-z.abs()), z > 0
    passed = (upper & (above[1:-1] > tail)) | (~upper & (below[1:-1] <= tail))  # no choice of booleans in ONNX runtimes
    index = passed.sum(dim=0)
    left, right = _at(density, index), _at(density, index + 1)
    near, far = torch.where(upper, right, left), torch.where(upper, left, right)
    rest = tail - torch.where(upper, _at(above, index + 1), _at(below, index))
    # near t + (far - near) t² / 2 = rest, solved without subtracting close numbers; the root ends at far² at t = 1.
    root = (near.square() + 2 * (far - near) * rest).clamp(min=torch.finfo(z.dtype).tiny).sqrt()
    t = (2 * rest / (near + root)).clamp(0, 1)
    log_slope = -0.5 * (z.square() + LOG_2PI) - torch.lerp(near, far, t).log()
    return index + torch.where(upper, 1 - t, t), log_slope
