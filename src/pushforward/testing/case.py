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

SEED = 5
"""Of what maps draw that draw random numbers."""


def seeded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a bijection or distribution that draws the same random numbers in every call."""
    return lambda *arguments: function(*arguments, generator=torch.Generator().manual_seed(SEED))


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
    draws: bool
    """Whether this direction draws random numbers: then only calls with equal shapes draw the same."""
    estimates: bool
    """Whether it draws ladj as well, or ladj alone."""
    discrete: bool
    """Whether the values lie in a set of single points, so that they carry no gradients to the inputs."""


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
        return seeded(self.bijection.forward_and_ladj)(self.x, self.context)

    @cached_property
    def y(self) -> Tensor:
        """The image of x, without gradients."""
        return self.forward[0].detach()

    @cached_property
    def inverse(self) -> Pair:
        """(x, ladj) at y."""
        return seeded(self.bijection.inverse_and_ladj)(self.y, self.context)

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Forward at x, inverse at y. Every call of a function draws from the same seed."""
        b = self.bijection
        ends = [domain.measure == "counting" for domain in (b.codomain, b.domain)]
        forward, inverse = seeded(b.forward_and_ladj), seeded(b.inverse_and_ladj)
        drawn = self.drawn
        return (
            Direction("forward", forward, seeded(b.forward), self.x, self.forward, *drawn[0], ends[0]),
            Direction("inverse", inverse, seeded(b.inverse), self.y, self.inverse, *drawn[1], ends[1]),
        )

    @cached_property
    def drawn(self) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
        """Of each direction, whether it draws random numbers for its values, and whether it does with ladj."""
        if not self.bijection.stochastic:
            return (False, False), (False, False)
        b = self.bijection

        def draws(function: Callable[..., Any], start: Tensor) -> bool:
            random = torch.Generator().manual_seed(SEED)
            before = random.get_state()
            function(start, self.context, generator=random)
            return not torch.equal(before, random.get_state())

        return (
            (draws(b.forward, self.x), draws(b.forward_and_ladj, self.x)),
            (draws(b.inverse, self.y), draws(b.inverse_and_ladj, self.y)),
        )

    @cached_property
    def jacobian(self) -> Tensor:
        """∂y/∂x by automatic differentiation, (n, outputs, inputs)."""
        return jacobian(lambda t: seeded(self.bijection.forward)(t, self.context), self.x)

    def rows(self, count: int) -> tuple[Tensor, Tensor | None]:
        """The first points and contexts."""
        return self.x[:count], None if self.context is None else self.context[:count]
