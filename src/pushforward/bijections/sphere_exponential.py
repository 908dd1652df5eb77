"""Exponential-map flows of spheres: every point moves along the gradient of a potential."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pushforward.bijections.sphere import REMEDY, unit
from pushforward.core.bijection import Bijection, Kind
from pushforward.core.checks import at_least, below_one
from pushforward.core.config import configurable
from pushforward.core.domain import Sphere
from pushforward.core.execution_mode import needs_derivatives
from pushforward.core.numerics import concrete_bool
from pushforward.networks.context_parameters import ContextParameters

__all__ = ["SphereExponential"]

STEPS = 25
SHARES = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
"""Of a step that are tried where a whole one does not help."""
LOG_SHARPNESS = 4.0  # largest size of log β


class Potential(NamedTuple):
    """What a potential is made of; the last axis but one counts the components."""

    weights: Tensor
    """α, (*batch, components)."""
    sharpness: Tensor
    """β, (*batch, components)."""
    centres: Tensor
    """μ, unit vectors (*batch, components, features)."""


@configurable
class SphereExponential(Bijection):
    r"""Move every point along a great circle, in the direction and by the length of the gradient of a potential.

    .. math:: y = \exp_x \nabla \varphi(x), \qquad
              \varphi(x) = \sum_k \frac{\alpha_k}{\beta_k} e^{\beta_k (\mu_k^\top x - 1)}, \qquad
              \alpha_k > 0, \quad \sum_k \alpha_k < 1, \quad \beta_k > 0, \quad \|\mu_k\| = 1

    Points gather around the centres :math:`\mu_k`. The bound on the weights makes the potential c-convex, so that the
    map is invertible. The log-determinant is exact: that of the derivative between the tangent spaces,
    :math:`\log|\det (DT\, P_x + y x^\top)|`. Densities are with respect to the area of the sphere. The forward
    direction costs one determinant of a matrix of d + 1 rows; the inverse minimises
    :math:`\varphi(x) + \tfrac12 d(x, y)^2` by Newton's method, some six times that cost; a point where this does not
    converge is NaN.

    Args:
        features: number of entries of a point, d + 1.
        components: number K of centres.
        context: number of context features, from which a network computes weights, sharpnesses and centres.
        hidden: its layer widths.
        odd: whether every centre has an opposite one of the same weight and sharpness. Opposite points then stay
            opposite, as flows of rotations need (`Rotations`).
        strength: upper bound of the sum of the weights; less than 1.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: a size is too small, or ``strength`` is not below one.

    References:
        | A Jacobian inequality for gradient maps on the sphere and its application to directional statistics
          (Sei, 2013), arXiv:0906.0874
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> x = torch.tensor([0.0, 0.0, 1.0])
    >>> round(SphereExponential(3)(x).norm().item(), 5)
    1.0
    """

    domain = codomain = Sphere()
    inverse_kind: Kind = "iterative"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "components": 2},
        {"features": 4, "components": 3, "odd": True, "context": 1, "hidden": [8], "strength": 0.8},
    )

    def __init__(
        self,
        features: int,
        components: int = 8,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        odd: bool = False,
        strength: float = 0.95,
    ) -> None:
        super().__init__()
        at_least("SphereExponential", "features", features, 2, REMEDY)
        at_least("SphereExponential", "components", components, 1)
        below_one("SphereExponential", "strength", strength, "beyond which points may collide")
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.components, self.odd, self.strength = components, odd, strength
        # Centres all over the sphere, whose gradients nearly cancel: the same in every model of these sizes.
        random = torch.Generator().manual_seed(components)
        centres = torch.randn(components, features, dtype=torch.float64, generator=random, device="cpu")
        start = [-math.log(components)] * components + [0.0] * components
        start += unit(centres).flatten().tolist()
        self.potential = ContextParameters("SphereExponential", start, context, hidden)

    def _potential(self, context: Tensor | None) -> Potential:
        count = self.components
        raw = self.potential(context)
        logits, log_sharpness, centres = raw.split([count, count, count * self.in_shape[0]], dim=-1)
        # One more logit, of zero, is for the weight that is not used.
        weights = torch.softmax(torch.cat([logits, torch.zeros_like(logits[..., :1])], dim=-1), dim=-1)
        sharpness = torch.exp(LOG_SHARPNESS * torch.tanh(log_sharpness / LOG_SHARPNESS))
        centres = centres.unflatten(-1, (count, -1))
        length = (centres.square().sum(dim=-1, keepdim=True) + torch.finfo(raw.dtype).tiny * 1e6).sqrt()
        return Potential(self.strength * weights[..., :-1], sharpness, centres / length)

    def _slopes(self, x: Tensor, potential: Potential) -> tuple[Tensor, Tensor, Tensor]:
        """φ, (*batch,), and the first and the second derivative of each component along its centre, (*batch, K)."""
        weights, sharpness, centres = potential
        along = (centres @ x[..., None]).squeeze(-1)
        near = weights * torch.exp(sharpness * (along - 1))
        if not self.odd:
            return (near / sharpness).sum(dim=-1), near, sharpness * near
        near = 0.5 * near
        far = 0.5 * weights * torch.exp(-sharpness * (along + 1))
        return ((near + far) / sharpness).sum(dim=-1), near - far, sharpness * (near + far)

    def _value(self, x: Tensor, potential: Potential) -> tuple[Tensor, Tensor]:
        """(y, the gradient of φ along the sphere)."""
        _, slopes, _ = self._slopes(x, potential)
        gradient = (slopes[..., None, :] @ potential.centres).squeeze(-2)
        tangent = gradient - (gradient * x).sum(dim=-1, keepdim=True) * x
        cos, sinc, _ = _trigonometry(tangent.square().sum(dim=-1, keepdim=True))
        return unit(cos * x + sinc * tangent), tangent

    def _derivative(self, x: Tensor, potential: Potential) -> tuple[Tensor, Tensor]:
        """(y, the matrix that takes tangents at x to their images and x to y)."""
        _, slopes, bends = self._slopes(x, potential)
        centres = potential.centres
        gradient = (slopes[..., None, :] @ centres).squeeze(-2)
        hessian = centres.transpose(-1, -2) @ (bends[..., :, None] * centres)
        height = (gradient * x).sum(dim=-1, keepdim=True)
        tangent = gradient - height * x
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        row = gradient + (hessian @ x[..., None]).squeeze(-1)  # the derivative of the height
        of_tangent = hessian - height[..., None] * eye - x[..., :, None] * row[..., None, :]
        square = tangent.square().sum(dim=-1, keepdim=True)
        cos, sinc, dsinc = _trigonometry(square)
        of_square = 2 * (tangent[..., None, :] @ of_tangent).squeeze(-2)
        turned = -0.5 * sinc * x + dsinc * tangent  # the derivative of cos · x + sinc · tangent in the square
        y = cos * x + sinc * tangent
        whole = cos[..., None] * eye + sinc[..., None] * of_tangent + turned[..., :, None] * of_square[..., None, :]
        along = y - (whole @ x[..., None]).squeeze(-1)
        return unit(y), whole + along[..., :, None] * x[..., None, :]

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._value(x, self._potential(context))[0]

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, matrix = self._derivative(x, self._potential(context))
        return y, torch.linalg.slogdet(matrix)[1]

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self._solved(y, self._potential(context))[0]

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        potential = self._potential(context)
        x, solved = self._solved(y, potential)
        ladj = -torch.linalg.slogdet(self._derivative(torch.where(solved, x, y), potential)[1])[1]
        return x, torch.where(solved[..., 0], ladj, torch.nan)

    def _solved(self, y: Tensor, potential: Potential) -> tuple[Tensor, Tensor]:
        """(x with T(x) = y, NaN where the search failed; where it did not, (*batch, 1))."""
        with torch.no_grad():
            x, solved = self._search(y.detach(), Potential(*(part.detach() for part in potential)))
        x = torch.where(solved, x, y.detach())
        if needs_derivatives():
            for _ in range(2):  # derivatives of the first and second order, by implicit differentiation
                image, matrix = self._derivative(x, potential)
                gap = torch.where(solved, y - image, 0.0)
                x = unit(x + _along(x, torch.linalg.solve_ex(matrix, (gap - gap.detach())[..., None])[0].squeeze(-1)))
        return torch.where(solved, x, torch.nan), solved

    def _search(self, y: Tensor, potential: Potential) -> tuple[Tensor, Tensor]:
        """The x that minimises φ(x) + d(x, y)² / 2, whose gradient vanishes where y = T(x); and whether it solves."""
        eps = torch.finfo(y.dtype).eps
        x = unit(2 * y - self._value(y, potential)[0])
        image, tangent = self._value(x, potential)
        miss = (image - y).norm(dim=-1, keepdim=True)
        shares = torch.tensor(SHARES, dtype=y.dtype, device=y.device).reshape(-1, *(1,) * y.ndim)
        for _ in range(STEPS):
            done = miss <= 4 * eps
            if concrete_bool(done.all()):
                break
            _, matrix = self._derivative(x, potential)
            newton = _along(x, torch.linalg.solve_ex(matrix, (y - image)[..., None])[0].squeeze(-1))
            whole = unit(x + newton)
            new_image, new_tangent = self._value(whole, potential)
            new_miss = (new_image - y).norm(dim=-1, keepdim=True)
            # Where the step does not bring the image nearer, go down the function that is to be minimised.
            fall = _toward(x, y) - tangent
            trials = unit(x + torch.cat([shares * newton, shares * fall]))
            heights = torch.where(trials.isfinite().all(-1), self._height(trials, y, potential), torch.inf)
            best = heights.argmin(dim=0, keepdim=True)[..., None].expand(1, *x.shape)
            slow = unit(trials.gather(0, best)[0])
            slow_image, slow_tangent = self._value(slow, potential)
            slow_miss = (slow_image - y).norm(dim=-1, keepdim=True)
            better = new_miss <= 0.7 * miss
            ended = done | (~better & (miss <= 1e3 * eps))
            x, image, tangent, miss = (
                torch.where(ended, old, torch.where(better, new, other))
                for old, new, other in (
                    (x, whole, slow),
                    (image, new_image, slow_image),
                    (tangent, new_tangent, slow_tangent),
                    (miss, new_miss, slow_miss),
                )
            )
        return x, miss <= 1e3 * eps

    def _height(self, x: Tensor, y: Tensor, potential: Potential) -> Tensor:
        return self._slopes(x, potential)[0] + 0.5 * _distance(x, y).square().squeeze(-1)


def _along(x: Tensor, step: Tensor) -> Tensor:
    """The part of a step that is tangent to the sphere at x."""
    return step - (step * x).sum(dim=-1, keepdim=True) * x


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """The angle between x and y, with all digits at both ends."""
    return 2 * torch.atan2((x - y).norm(dim=-1, keepdim=True), (x + y).norm(dim=-1, keepdim=True))


def _toward(x: Tensor, y: Tensor) -> Tensor:
    """The tangent at x that leads to y, as long as the way."""
    tangent = _along(x, y)
    length = tangent.norm(dim=-1, keepdim=True)
    return tangent * torch.where(length > 0, _distance(x, y) / length, 1.0)


def _trigonometry(square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """cos r, sin r / r and the derivative of the latter in r², for r² ≥ 0, smooth at zero."""
    near = square < 0.1
    small, large = torch.where(near, square, 0.0), torch.where(near, 1.0, square)
    r = large.sqrt()
    sinc = torch.where(near, _series(small, 1), r.sin() / r)
    cos = torch.where(near, _series(small, 0), r.cos())
    slope = torch.where(near, _slope_series(small), (r.cos() - r.sin() / r) / (2 * large))
    return cos, sinc, slope


def _series(square: Tensor, first: int) -> Tensor:
    """Σ (-r²)^n / (2 n + first)!: the cosine for 0, sin r / r for 1."""
    total = torch.zeros_like(square)
    for n in range(9, -1, -1):
        total = total * -square + 1 / math.factorial(2 * n + first)
    return total


def _slope_series(square: Tensor) -> Tensor:
    """The derivative of Σ (-s)^n / (2 n + 1)! in s."""
    total = torch.zeros_like(square)
    for n in range(9, 0, -1):
        total = total * -square + n / math.factorial(2 * n + 1)
    return -total
