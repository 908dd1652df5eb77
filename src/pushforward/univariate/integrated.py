"""The integral of a positive network, read at the nodes of a quadrature."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.univariate.polynomial import Shaped, Squares, cosines, series, squares

__all__ = ["IntegratedNetwork"]


@configurable
class IntegratedNetwork(Shaped):
    r"""An increasing map whose slope is a positive network, integrated by Clenshaw-Curtis on [-bound, bound].

    .. math:: y = \theta_0 + b\, e^{s}\, G(x / b), \qquad
        G'(t) = (1 - \epsilon) \frac{r_1(t)^2 + r_2(t)^2}{\tfrac12 \int_{-1}^{1} r_1^2 + r_2^2} + \epsilon, \qquad
        r_i(t) = [i = 1] + h \cdot \bigl(V_i \sin(\omega t + U h + p) + q_i\bigr)

    The network's weights :math:`\omega, U, V, p, q` are learned once for all features; the embedding h, given by the
    conditioner, steers it point by point, and h = 0 is the identity. Two squares, because one alone would have to
    pass through zero to change its sign. Sines are entire functions: the quadrature converges faster than any power.

    The network is read at ``nodes`` Chebyshev points, whatever x is, and :math:`r_i` is replaced by the polynomial
    through these values. Its square is integrated exactly, so value and slope agree to rounding and the map increases
    even where the nodes are too few; where they resolve the network (:math:`|\omega|` up to nodes / 3), the polynomial
    is the network to ten digits. As nodes do not depend on x, the numeric inverse never evaluates the network again.

    Args:
        embedding: length of h; the map has embedding + 2 parameters.
        units: number of sines.
        nodes: number of points at which the network is read.
        bound: half-width b of the box; straight beyond.
        min_slope: least slope :math:`\epsilon` of the shape, as a part of its mean slope.

    Raises:
        ValueError: ``embedding`` or ``units`` is below one, or ``nodes`` below three.

    References:
        | Unconstrained Monotonic Neural Networks (Wehenkel and Louppe, 2019), arXiv:1908.05164
        | A method for numerical integration on an automatic computer (Clenshaw and Curtis, 1960)

    >>> import torch
    >>> y, log_slope = IntegratedNetwork(3)(torch.tensor([1.0]), torch.zeros(5, 1))
    >>> round(y.item(), 4), abs(round(log_slope.item(), 4))
    (1.0, 0.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"embedding": 2, "units": 4, "nodes": 16},
        {"embedding": 3, "units": 6, "nodes": 20, "bound": 3.0, "min_slope": 0.01},
    )

    def __init__(
        self, embedding: int = 8, units: int = 16, *, nodes: int = 32, bound: float = 5.0, min_slope: float = 1e-3
    ) -> None:
        super().__init__()
        at_least("IntegratedNetwork", "embedding", embedding, 1)
        at_least("IntegratedNetwork", "units", units, 1)
        at_least("IntegratedNetwork", "nodes", nodes, 3)
        self.embedding, self.units, self.nodes = embedding, units, nodes
        self._place("IntegratedNetwork", embedding, bound, min_slope)
        self.inner = nn.Linear(1 + embedding, units)  # of t and h
        self.outer = nn.Linear(units, 2 * embedding)
        with torch.no_grad():  # frequencies from a gentle bend to half of what the nodes resolve, phases all round
            self.inner.weight[:, 0].copy_(torch.linspace(1.0, max(1.0, nodes / 6), units))
            self.inner.bias.uniform_(-math.pi, math.pi)

    @property
    def point_width(self) -> int:
        return self.num_params + 4 * (self.units + self.nodes)

    def _prepare_shape(self, params: Tensor) -> Squares:
        t = cosines(self.nodes, 2, self.nodes - 1, params)[:, 1]
        angle = t[:, None] * self.inner.weight[:, 0]  # (nodes, units)
        phase = torch.tensordot(self.inner.weight[:, 1:], params, 1)  # (units, *s)
        phase = phase + self.inner.bias.reshape(-1, *(1,) * (params.ndim - 1))
        outer = self.outer.weight.unflatten(0, (2, self.embedding))  # (2, embedding, units)
        height = torch.tensordot(outer.transpose(1, 2), params, 1)  # (2, units, *s)
        # sin(ωt + φ) = sin ωt cos φ + cos ωt sin φ: no sine is taken per node and point.
        waves = torch.cat([height * phase.cos(), height * phase.sin()], dim=1).transpose(0, 1)  # (2 units, 2, *s)
        values = torch.tensordot(torch.cat([angle.sin(), angle.cos()], dim=1), waves, 1)  # (nodes, 2, *s)
        level = torch.tensordot(self.outer.bias.unflatten(0, (2, self.embedding)), params, 1)  # (2, *s)
        one = torch.tensor([1.0, 0.0], dtype=params.dtype, device=params.device).reshape(2, *(1,) * (params.ndim - 1))
        return squares(series(values + (level + one)), self.min_slope)

    def _shape(self, t: Tensor, shape: Any) -> tuple[Tensor, Tensor]:
        return shape(t)
