"""A map of the whole space into the unit ball."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import Ball

__all__ = ["RadialSquash"]


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


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last axis, without intermediate overflow, with gradient zero at the origin."""
    largest = x.abs().amax(dim=-1, keepdim=True).detach()
    unit = torch.where(largest > 0, largest, 1.0)
    squared = (x / unit).square().sum(dim=-1)
    safe = torch.where(squared > 0, squared, 1.0)
    return unit.squeeze(-1) * torch.where(squared > 0, safe.sqrt(), 0.0)
