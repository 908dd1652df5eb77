"""The user's own increasing functions as maps, with a numeric inverse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain, Interval
from pushforward.core.numerics import concrete_bool, solve_between
from pushforward.univariate.base import Iterative

__all__ = ["FUNCTIONS", "Monotone", "register_monotone"]

Function = Callable[[Tensor, Tensor], Tensor]
F = TypeVar("F", bound=Function)

GROWTH = 8.0  # of a bracket, from one step to the next
EXPANSIONS = 40  # steps of a bracket: up to 10^36


@dataclass(frozen=True)
class _Registered:
    function: Function
    num_params: int
    log_slope: Function | None
    inverse: Function | None
    low: float
    high: float
    image: tuple[float, float]
    smoothness: int


FUNCTIONS: dict[str, _Registered] = {}
"""Increasing functions by name; see `register_monotone`."""


def register_monotone(
    name: str,
    *,
    num_params: int = 0,
    log_slope: Function | None = None,
    inverse: Function | None = None,
    domain: tuple[float, float] = (-math.inf, math.inf),
    image: tuple[float, float] = (-math.inf, math.inf),
    smoothness: int = 1,
) -> Callable[[F], F]:
    """Register an increasing function under a name, as a decorator: ``Monotone(name)`` is then a univariate.

    Saved models hold the name alone, so that loading them needs the module that registers it. A function of the same
    module and name takes the place of the earlier one, as when a cell of a notebook runs again.

    Args:
        name: a new name.
        num_params: how many parameters the function takes.
        log_slope: ``log_slope(x, params)``, the log of the derivative. By default automatic differentiation computes
            it, with the digits that the derivative has.
        inverse: ``inverse(y, params)``, where there is a formula. By default a bracketed search finds it, and gives NaN
            where there is no root.
        domain: ends of the interval on which the function is defined.
        image: ends of the interval that it takes the domain onto.
        smoothness: 0 if the slope jumps somewhere, 1 if it is continuous.

    Returns:
        A decorator for ``function(x, params)``: x of any shape (*s), params (num_params, *s) or with sizes of one that
        broadcast; made of differentiable operations of torch, entry by entry, and increasing in x for all params.

    Raises:
        ValueError: the name is taken by another module, or an argument is out of its range.

    >>> @register_monotone("cube_plus_line")
    ... def cube_plus_line(x, params):
    ...     return x**3 + x
    >>> y, log_slope = Monotone("cube_plus_line")(torch.tensor([2.0]), torch.empty(0, 1))
    >>> y.item(), round(log_slope.exp().item(), 4)
    (10.0, 13.0)
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"register_monotone: name must be a string; got {name!r}.")
    at_least("register_monotone", "num_params", num_params, 0)
    for ends in (domain, image):
        if not ends[0] < ends[1]:
            raise ValueError(f"register_monotone: the ends of an interval must be in order; got {ends}.")

    def register(function: F) -> F:
        taken = FUNCTIONS.get(name)
        if taken is not None and taken.function.__module__ != function.__module__:
            raise ValueError(f"register_monotone: the name {name!r} is taken by {taken.function.__module__}.")
        FUNCTIONS[name] = _Registered(function, num_params, log_slope, inverse, *domain, image, smoothness)
        return function

    return register


@configurable
class Monotone(Iterative):
    r"""An increasing function that `register_monotone` has registered, with its slope and its inverse.

    The slope is computed by forward-mode automatic differentiation, in one pass with the value. The inverse is the root
    of :math:`\tau(x; \theta) = y`, found inside a bracket that grows until it holds the root; gradients are those of
    the implicit function theorem. A y that the function does not reach on its domain, or
    only beyond :math:`\pm 10^{36}`, gives NaN for that point alone.

    Args:
        function: the name.

    Raises:
        ValueError: no function is registered under that name.

    References:
        | Latent Normalizing Flows for Discrete Sequences (Ziegler and Rush, 2019), arXiv:1901.10548: the function
          ``"nonlinear_squared"``, with five parameters

    >>> import torch
    >>> bump = Monotone("nonlinear_squared")
    >>> bump(torch.tensor([0.5]), torch.zeros(5, 1))[0].item()
    0.5
    """

    reach = GROWTH**EXPANSIONS
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"function": "nonlinear_squared"},)

    def __init__(self, function: str) -> None:
        super().__init__()
        registered = FUNCTIONS.get(function) if isinstance(function, str) else None
        if registered is None:
            names = ", ".join(map(repr, sorted(FUNCTIONS)))
            raise ValueError(
                f"Monotone: no increasing function is registered as {function!r}; there are {names}. Import the module "
                "that registers it by univariate.register_monotone."
            )
        self.registered = registered
        self.num_params, self.smoothness = registered.num_params, registered.smoothness
        self.domain, self.codomain = _interval(registered.low, registered.high), _interval(*registered.image)
        if registered.inverse is not None:
            self.inverse_kind = "exact"

    def _prepare(self, params: Tensor) -> Any:
        return params

    def _evaluate(self, x: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        registered, function = self.registered, self.registered.function
        if registered.log_slope is not None:
            return function(x, prepared), registered.log_slope(x, prepared)
        x = x.contiguous()  # what is expanded cannot carry a derivative of its own
        y, slope = cast(
            tuple[Tensor, Tensor], torch.func.jvp(lambda x: function(x, prepared), (x,), (torch.ones_like(x),))
        )
        return y, slope.log()

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        return self.registered.function(x, params)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        if self.registered.inverse is None:
            return super().inverse(y, params)
        x = self.registered.inverse(y, params)
        return x, -self._evaluate(x, params)[1]

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        if self.registered.inverse is None:
            return super().inverse_value(y, params)
        return self.registered.inverse(y, params)

    def _many(self, params: Tensor, y: Tensor) -> bool:
        return False  # a table would read the function far out, where nothing is known about it

    def _solve(self, y: Tensor, prepared: Any, start: Tensor | None = None) -> Tensor:
        low, high = self.registered.low, self.registered.high
        if math.isfinite(low) == math.isfinite(high):
            return super()._solve(y, prepared, start)
        # On a half line the logarithm t of the distance from its end is searched: near the end x has its digits.
        sign, end = (1, low) if math.isfinite(low) else (-1, high)
        longest = math.log(torch.finfo(y.dtype).max) - 1

        def place(t: Tensor) -> Tensor:
            return end + sign * torch.exp((sign * t).clamp(max=longest))

        def curve(t: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
            value, log_slope = self._evaluate(place(t), prepared)
            return value, log_slope + sign * t

        def bracket(y: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
            return _bracket(lambda t: self.registered.function(place(t), prepared), y)

        return place(solve_between(curve, bracket, y, prepared))

    @torch.no_grad()
    def _bracket(self, y: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        """The ends of a bounded domain; else two points that move outwards until the function is below and above y."""
        low, high = self.registered.low, self.registered.high
        if math.isfinite(low) and math.isfinite(high):
            return torch.full_like(y, low), torch.full_like(y, high)
        return _bracket(lambda x: self.registered.function(x, prepared), y)


@torch.no_grad()
def _bracket(function: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
    """Two points around the root, from ±1 outwards by `GROWTH` until the function is below and above y."""
    low, high = torch.full_like(y, -1.0), torch.full_like(y, 1.0)
    for _ in range(EXPANSIONS):
        short_low, short_high = function(low) > y, function(high) < y
        if concrete_bool((short_low | short_high).any()) is False:
            break
        # The end that is passed over lies on the other side of the root: the bracket stays as narrow as it can.
        new_low = torch.where(short_low, low * GROWTH, torch.where(short_high, high, low))
        high = torch.where(short_high, high * GROWTH, torch.where(short_low, low, high))
        low = new_low
    return low, high


def _interval(low: float, high: float) -> Domain:
    return REAL if low == -math.inf and high == math.inf else Interval(low, high)


@register_monotone("nonlinear_squared", num_params=5, smoothness=99)
def nonlinear_squared(x: Tensor, params: Tensor) -> Tensor:
    r"""A line with a bump: :math:`a x + b + \frac{8 \sqrt 3}{9} \frac{a}{d} \frac{\tanh c}{1 + (d x + g)^2}`, whose
    slope is least 1 - tanh|c| of a: it increases for all parameters, and zero ones give the identity."""
    log_a, b, c, log_d, g = params.unbind()
    a, d = (3 * torch.tanh(log_a / 3)).exp(), (3 * torch.tanh(log_d / 3)).exp()
    size = 0.95 * 8 * math.sqrt(3) / 9 * a / d * torch.tanh(c)
    place = (d * x + g).clamp(-1e15, 1e15)
    return a * x + b + size / (1 + place.square())
