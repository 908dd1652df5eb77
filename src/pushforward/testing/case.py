"""A bijection with points to map: what several properties compare is computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.testing.comparison import jacobian

__all__ = ["Case", "Direction", "seeded"]

Pair = tuple[Tensor, Tensor]

DRAWS = 11
"""The seed from which maps that draw random numbers take them, anew in every call."""


def seeded(bijection: Bijection, method: str) -> Callable[..., Any]:
    """A public method of a bijection. Of one that draws random numbers, with the same seed in every call: calls with
    equal shapes then draw the same numbers."""
    function: Callable[..., Any] = getattr(bijection, method)
    if not bijection.stochastic:
        return function
    return lambda *arguments: function(*arguments, generator=torch.Generator().manual_seed(DRAWS))


class Direction(NamedTuple):
    """One direction of a bijection at the points of a case."""

    name: str
    """``"forward"`` or ``"inverse"``."""
    function: Callable[..., Pair]
    """Points and context to (values, ladj)."""
    value: Callable[..., Tensor]
    """Points and context to values alone."""
    start: Tensor
    """The points, (n, *event)."""
    pair: Pair
    """Values and ladj there, with gradients."""


@dataclass(frozen=True)
class Case:
    """A bijection, points of its domain and a context; both directions are computed once.

    Args:
        bijection: what a property is checked of.
        x: (n, *in_shape), with n at least 6.
        context: (n, *context_shape), where the bijection takes one.
    """

    bijection: Bijection
    x: Tensor
    context: Tensor | None = None

    @cached_property
    def forward(self) -> Pair:
        """(y, ladj) at x."""
        pair: Pair = seeded(self.bijection, "forward_and_ladj")(self.x, self.context)
        return pair

    @cached_property
    def y(self) -> Tensor:
        """The image of x, without gradients."""
        return self.forward[0].detach()

    @cached_property
    def inverse(self) -> Pair:
        """(x, ladj) at y."""
        pair: Pair = seeded(self.bijection, "inverse_and_ladj")(self.y, self.context)
        return pair

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Forward at x, inverse at y."""
        b = self.bijection
        return (
            Direction("forward", seeded(b, "forward_and_ladj"), seeded(b, "forward"), self.x, self.forward),
            Direction("inverse", seeded(b, "inverse_and_ladj"), seeded(b, "inverse"), self.y, self.inverse),
        )

    @cached_property
    def jacobian(self) -> Tensor:
        """∂y/∂x by automatic differentiation, (n, outputs, inputs)."""
        return jacobian(lambda t: seeded(self.bijection, "forward")(t, self.context), self.x)

    def rows(self, count: int) -> tuple[Tensor, Tensor | None]:
        """The first points and contexts."""
        return self.x[:count], None if self.context is None else self.context[:count]
