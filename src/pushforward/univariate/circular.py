"""Increasing maps of the circle: angles in [-π, π), once around.

π itself is -π. A result that rounding puts outside [-π, π) is set to the nearest angle inside, of whatever dtype.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pushforward.core.checks import at_least, below_one
from pushforward.core.config import configurable
from pushforward.core.domain import Circle
from pushforward.core.execution_mode import needs_derivatives
from pushforward.univariate.base import Iterative, Univariate
from pushforward.univariate.rational_splines import SlopedSpline
from pushforward.univariate.spline_pieces import Piece, RationalQuadraticPiece

__all__ = ["CircularRationalQuadratic", "CircularShift", "Moebius"]

CIRCLE = Circle()


@configurable
class CircularShift(Univariate):
    r"""Turn the circle by an angle: :math:`y = x + \theta` modulo 2π.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> y, log_slope = CircularShift()(torch.tensor([3.0]), torch.tensor([[1.0]]))
    >>> round(y.item(), 4), log_slope.item()
    (-2.2832, 0.0)
    """

    num_params = 1
    domain = codomain = CIRCLE
    smoothness = 99
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._turn(x + params[0]), torch.zeros_like(x)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._turn(y - params[0]), torch.zeros_like(y)

    def _turn(self, angle: Tensor) -> Tensor:
        turns = torch.floor((angle + math.pi) / (2 * math.pi))
        # The sum may round up to a whole turn just below π, where there is none.
        turns = turns.masked_fill((angle >= -math.pi) & (angle < math.pi), 0.0)
        return _on_circle(torch.sub(angle, turns, alpha=2 * math.pi))


@configurable
class CircularRationalQuadratic(SlopedSpline):
    r"""The monotone rational-quadratic spline around the circle, which keeps -π in its place.

    It is `RationalQuadratic` on [-π, π) with one learned slope for both ends, so that densities are continuous around
    the circle. A `CircularShift` before or after it moves the fixed point.

    Args:
        bins: number of bins K; the map has 3K parameters (K widths, K heights, K slopes).
        min_bin: smallest width and height of a bin, as a fraction of the circle; less than 1 / bins.
        min_slope: smallest slope at a knot; less than 1.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> y, log_slope = CircularRationalQuadratic(4)(torch.tensor([1.0]), torch.zeros(12, 1))
    >>> round(y.item(), 4), round(log_slope.item(), 4)
    (1.0, 0.0)
    """

    domain = codomain = CIRCLE
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bins": 3}, {"bins": 4, "min_bin": 0.01, "min_slope": 0.01})

    def __init__(self, bins: int = 8, *, min_bin: float = 1e-3, min_slope: float = 1e-3) -> None:
        # With linear tails the slopes at the ends are learned; here they are one number, and nothing lies beyond.
        super().__init__(bins, bound=math.pi, tails="linear", min_bin=min_bin, min_slope=min_slope)
        self.num_knot_params, self.num_params = bins, 3 * bins

    def _with_ends(self, at_knots: Tensor, value: float) -> Tensor:
        return torch.cat([at_knots, at_knots[:1]])

    def _extend_tails(self, x: Tensor, outside: Tensor, y: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        return _on_circle(y), log_slope

    def _piece(self, width: Tensor, height: Tensor, at_knots: Any, in_bin: Any) -> Piece:
        return RationalQuadraticPiece(width, height, *self._slopes(at_knots))


class MixedTurns(NamedTuple):
    """What Moebius maps make of their parameters; the first axis counts the centres."""

    weights: Tensor
    right: Tensor
    up: Tensor
    turned: Tensor
    """How far each map turns -π, which is turned back."""


@configurable
class Moebius(Iterative):
    r"""A convex combination of Möbius maps of the circle, each of which keeps -π in its place.

    A centre :math:`\omega_k` inside the unit disc draws the circle away from itself. With :math:`z = e^{ix}`,

    .. math:: y = x + 2 \sum_k \rho_k \bigl(\alpha_k(x) - \alpha_k(-\pi)\bigr), \qquad
              \alpha_k(x) = -\arg(1 - \bar\omega_k z), \qquad
              \tau' = \sum_k \rho_k \frac{1 - |\omega_k|^2}{|z - \omega_k|^2}

    The inverse is solved numerically between -π and π. At zero parameters several centres stand around the middle at a
    distance of 0.2 (coinciding ones would learn the same for ever), which moves points by at most 0.04; one centre
    stands in the middle and gives the identity.

    Args:
        centres: number of centres K; the map has 3K parameters (K weights, K places to the right, K up).
        radius: largest distance of a centre from the middle; less than 1.

    Raises:
        ValueError: ``radius`` is not below one.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> y, _ = Moebius(1)(torch.tensor([-3.0, 1.0, 3.0]), torch.tensor([[0.0], [1.0], [0.0]]).expand(3, 3))
    >>> [round(value, 2) for value in y.tolist()]
    [-3.12, 2.52, 3.12]
    """

    domain = codomain = CIRCLE
    smoothness = 99
    around: Tensor
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"centres": 3}, {"centres": 1, "radius": 0.9})

    def __init__(self, centres: int = 8, *, radius: float = 0.99) -> None:
        super().__init__()
        at_least("Moebius", "centres", centres, 1)
        below_one("Moebius", "radius", radius, "where a map of the circle would be flat")
        self.centres, self.radius, self.num_params = centres, radius, 3 * centres
        ratio = min(0.2 / radius, 0.5) if centres > 1 else 0.0
        distance, angles = ratio / math.sqrt(1 - ratio**2), [2 * math.pi * k / centres for k in range(centres)]
        self.add_constant("around", [[distance * f(angle) for angle in angles] for f in (math.cos, math.sin)])

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = super().forward(x, params)
        return _on_circle(y), log_slope

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, log_slope = super().inverse(y, params)
        return _on_circle(x), log_slope

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        return _on_circle(super().inverse_value(y, params))

    def _prepare(self, params: Tensor) -> MixedTurns:
        raw, places = params[: self.centres], params[self.centres :].unflatten(0, (2, self.centres))
        places = places + self.around.reshape(2, -1, *(1,) * (params.ndim - 1))
        right, up = self.radius * places * torch.rsqrt(1 + places.square().sum(dim=0))
        # The dtype's own -π: the map keeps it exactly.
        edge = params.new_full((), -math.pi)
        return MixedTurns(torch.softmax(raw, dim=0), right, up, _turn_of(right, up, edge.cos(), edge.sin()))

    def _evaluate(self, x: Tensor, prepared: MixedTurns) -> tuple[Tensor, Tensor]:
        weights, right, up, turned = prepared
        cos, sin = x.cos(), x.sin()
        y = torch.add(x, (weights * (_turn_of(right, up, cos, sin) - turned)).sum(dim=0), alpha=2)
        distance = (cos - right).square() + (sin - up).square()
        return y, (weights * (1 - right.square() - up.square()) / distance).sum(dim=0).log()

    def _bracket(self, y: Tensor, prepared: MixedTurns) -> tuple[Tensor, Tensor]:
        low = torch.full_like(y, -math.pi)
        return low, torch.where(y > low, -low, low)


def _turn_of(right: Tensor, up: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    r""":math:`-\arg(1 - \bar\omega z)`, between -π/2 and π/2."""
    return torch.atan2(right * sin - up * cos, 1 - right * cos - up * sin)


def _on_circle(angle: Tensor) -> Tensor:
    """The angle, or the nearest one in [-π, π) where rounding went beyond; gradients pass there as well."""
    inside = angle.clamp(-math.pi, math.pi - 2 * torch.finfo(angle.dtype).eps)
    return inside.detach() + (angle - angle.detach()) if needs_derivatives() else inside
