"""Maps that move points along the lines through a centre."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.parametric import ParametricMap
from pushforward.bijections.triangular import rectified
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import Ball
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["Radial", "RadialSquash"]


@configurable
class RadialSquash(Bijection):
    r"""Map the whole space to the open unit ball: :math:`y = x / (1 + \|x\|)`.

    Along the radius the slope is :math:`(1 + r)^{-2}`, across it :math:`(1 + r)^{-1}`, so in any dimension D

    .. math:: \log|\det| = -(D + 1) \log(1 + \|x\|), \qquad x = y / (1 - \|y\|).

    Both directions cost one norm.

    Args:
        features: number of features D.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature.

    >>> import torch
    >>> RadialSquash(2)(torch.tensor([3.0, 4.0])).tolist()
    [0.5, 0.6666666865348816]
    """

    codomain = Ball(1.0)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 1}, {"features": 3})

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("RadialSquash", "features", features, 1)
        self.in_shape = self.out_shape = (features,)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        radius = _norm(x)
        # For large r, r / (1 + r) rounds to one; the bound keeps the image inside the open ball.
        edge = 1 - 2 * torch.finfo(x.dtype).eps
        scale = torch.minimum(1 / (1 + radius), edge / radius.clamp(min=1.0))
        return x * scale[..., None], -(x.shape[-1] + 1) * radius.log1p()

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        gap = 1 - _norm(y)
        # Outside the ball there is no preimage; x is kept finite there, and `Distribution` returns -inf.
        gap = gap.clamp(min=torch.finfo(y.dtype).eps / 4)
        return y / gap[..., None], -(y.shape[-1] + 1) * gap.log()


@configurable
class Radial(ParametricMap):
    r"""Push points away from a centre, or pull them to it: the radial flow.

    .. math:: y = x + \beta\, \frac{x - x_0}{\alpha + r}, \qquad r = \|x - x_0\|, \qquad
        \beta = \alpha\, (g(\theta) - 1) > -\alpha

    A positive function g with g(0) = 1 makes the map invertible for all parameters. With :math:`t = \alpha / (\alpha +
    r)` the slope across the radius is :math:`1 + (g - 1) t` and along it :math:`1 + (g - 1) t^2`, so

    .. math:: \log|\det| = (D - 1) \log\bigl(1 + (g - 1) t\bigr) + \log\bigl(1 + (g - 1) t^2\bigr).

    It starts at the identity and at a random centre. The inverse solves a quadratic equation for r, in closed form;
    both directions cost one norm. `RadialSquash` maps the whole space into a ball instead.

    Args:
        features: number of features D.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature, or an option of the network is out of its range.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015), arXiv:1505.05770

    >>> import torch
    >>> part = Radial(2)
    >>> with torch.no_grad():
    ...     _ = part.centre.zero_(), part.strength.fill_(9.0)
    >>> x = torch.tensor([3.0, 4.0])
    >>> bool(part(x).norm() > 6), torch.allclose(part.inverse(part(x)), x)
    (True, True)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {
            "features": 2,
            "context": 1,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )

    def __init__(self, features: int, **network: Unpack[ContextNetwork]) -> None:
        super().__init__()
        at_least("Radial", "features", features, 1)
        self.in_shape = self.out_shape = (features,)
        # Maps of one flow must not all start at the same centre: their gradients would be the same.
        self.centre = nn.Parameter(torch.randn(features))
        self.log_width = nn.Parameter(torch.zeros(1))
        self.strength = nn.Parameter(torch.zeros(1))
        self._read_context(sum(numbers.numel() for numbers in self.parameters()), **network)

    def _numbers(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The centre, (*batch, features), α and g, (*batch,); without context there are no batch axes."""
        centre, log_width, strength = self._with_changes(context, self.centre, self.log_width, self.strength, logs=(1,))
        return centre, log_width.exp().squeeze(-1), rectified(strength).squeeze(-1)

    def _scale_and_ladj(self, r: Tensor, width: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The slope across the radius, and the log-determinant."""
        t, rest = width / (width + r), r / (width + r)
        scale = rest + g * t  # sums of positive terms
        return scale, (self.in_shape[0] - 1) * scale.log() + torch.log(rest * (1 + t) + g * t.square())

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        centre, width, g = self._numbers(context)
        scale, ladj = self._scale_and_ladj(_norm(x - centre), width, g)
        return centre + (x - centre) * scale[..., None], ladj

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        centre, width, g = self._numbers(context)
        distance = _norm(y - centre)
        # r² + (α g - |y - x₀|) r - α |y - x₀| = 0, in units in which no square overflows.
        unit = torch.maximum(distance, width * (1 + g)).detach()
        product = (width / unit) * (distance / unit)
        b = (width * g - distance) / unit
        total = torch.where(b > 0, b, -b) + torch.sqrt(b.square() + 4 * product)
        r = unit * torch.where(b > 0, 2 * product / total, 0.5 * total)  # without cancellation for both signs of b
        scale, ladj = self._scale_and_ladj(r, width, g)
        return centre + (y - centre) / scale[..., None], -ladj


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last axis, without intermediate overflow, with gradient zero at the origin."""
    largest = x.abs().amax(dim=-1, keepdim=True).detach()
    unit = torch.where(largest > 0, largest, 1.0)
    squared = (x / unit).square().sum(dim=-1)
    safe = torch.where(squared > 0, squared, 1.0)
    return unit.squeeze(-1) * torch.where(squared > 0, safe.sqrt(), 0.0)
