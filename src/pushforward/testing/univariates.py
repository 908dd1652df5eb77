"""Properties of univariates: functions of ``(univariate, x, params)`` that raise AssertionError where one fails.

x has shape (*s) and lies in the domain, params has (num_params, *s). Where a map is nearly flat, one unit in the last
place of y is many of x, and where it is steep the other way round: properties allow what rounding of x and of y
explains and no more. Angles are compared the short way round.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core.domain import Circle, Domain, Interval
from pushforward.testing.bijections import require
from pushforward.testing.comparison import SHARP, TOLERANCE, close
from pushforward.univariate import Univariate

__all__ = [
    "gradients_are_finite",
    "increasing",
    "inverse_slope",
    "onto",
    "round_trip",
    "shapes",
    "shared_parameters",
    "slope_is_derivative",
    "spread",
    "value_path_is_pair_path",
]

ULPS = 256
"""How many units in the last place one direction may lose."""


def rounding(x: Tensor) -> Tensor:
    """How far rounding may move a number."""
    return ULPS * torch.finfo(x.dtype).eps * (1 + x.abs())


def difference(domain: Domain, a: Tensor, b: Tensor) -> Tensor:
    """a - b, on a circle the short way round."""
    gap = a - b
    return gap - 2 * math.pi * (gap / (2 * math.pi)).round() if isinstance(domain, Circle) else gap


def wrapped(domain: Domain, x: Tensor) -> Tensor:
    """x; on a circle brought back to [-π, π), in an interval moved to its nearest end."""
    if not isinstance(domain, Circle):
        return x.clamp(*domain.ends)
    x = difference(domain, x, torch.zeros_like(x))
    return torch.where(x >= math.pi, -math.pi, x.clamp(min=-math.pi))


def spread(domain: Domain, x: Tensor) -> Tensor:
    """Any real numbers as points of the domain, in the same order: far ones come as near to the end of an interval as
    1 / |x|, or on the open side of a half line as far out."""
    if not isinstance(domain, Interval):
        return wrapped(domain, x)
    low, high = domain.ends
    near, far = 1 / (1 + x.clamp(max=0.0).abs()), 1 + x.clamp(min=0.0)
    if math.isfinite(low) and math.isfinite(high):
        half = 0.5 * (high - low)
        return torch.where(x < 0, low + half * near, high - half / far).clamp(low, high)
    if math.isfinite(low):
        return low + torch.where(x < 0, near, far)
    return high - spread(Interval(0.0, math.inf), -x) if math.isfinite(high) else x


def unspread(domain: Domain, x: Tensor) -> Tensor:
    """The inverse of `spread`, but for circles, whose points stay as they are."""
    if not isinstance(domain, Interval):
        return x
    low, high = domain.ends
    tiny = torch.finfo(x.dtype).tiny
    if math.isfinite(low) and math.isfinite(high):
        half = 0.5 * (high - low)
        below, above = (x - low).clamp(min=tiny) / half, (high - x).clamp(min=tiny) / half
        return torch.where(below < above, 1 - 1 / below, 1 / above - 1)
    if math.isfinite(low):
        size = (x - low).clamp(min=tiny)
        return torch.where(size < 1, 1 - 1 / size, size - 1)
    return -unspread(Interval(0.0, math.inf), high - x) if math.isfinite(high) else x


def shapes(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Value and log-slope have the shape and dtype of x, are finite, and lie in the domain and codomain."""
    y = univariate(x, params)[0]
    for direction, start in ((univariate.forward, x), (univariate.inverse, y)):
        for out in direction(start, params):
            fits = (out.shape, out.dtype) == (x.shape, x.dtype)
            require(fits, f"shape {tuple(out.shape)} and {out.dtype} for x of {tuple(x.shape)} and {x.dtype}")
            require(out.isfinite().all(), "a value is not finite")
    require(univariate.codomain.contains(y).all(), f"a point lies outside the codomain {univariate.codomain}")
    back = univariate.inverse(y, params)[0]
    require(univariate.domain.contains(back).all(), f"the inverse leaves the domain {univariate.domain}")


def relative_miss(univariate: Univariate, x: Tensor, y: Tensor, params: Tensor) -> Tensor:
    """How far y is from the image of x, in units of what rounding allows: at most 1 is right.

    A y within its own rounding of the images of two points within rounding of x is right: that holds however flat or
    steep the map is, and beside edges.
    """
    low, high = (wrapped(univariate.domain, x + sign * rounding(x)) for sign in (-1, 1))
    bottom, top = univariate(low, params)[0], univariate(high, params)[0]
    above, below = difference(univariate.codomain, y, top), difference(univariate.codomain, bottom, y)
    return torch.maximum(above, below) / rounding(y)


def round_trip(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """x and inverse(forward(x)) have the same image."""
    y = univariate(x, params)[0]
    miss = relative_miss(univariate, univariate.inverse(y, params)[0], y, params)
    require((miss <= 1).all(), f"inverse(forward(x)) misses by {miss.max():.3g} times what rounding allows")


def onto(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Every y of the codomain is reached, not only images of points that were tried."""
    domain = univariate.domain
    y = spread(univariate.codomain, unspread(domain, x))
    x = univariate.inverse(y, params)[0]
    require(x.isfinite().all(), "a point of the codomain is not reached")
    reached = x.abs() < torch.finfo(x.dtype).max ** 0.5  # some inverses grow until they leave the dtype
    if isinstance(domain, Interval):  # others come so near to an end that only the end itself is left
        reached &= (x > domain.low) & (x < domain.high)
    miss = relative_miss(univariate, torch.where(reached, x, domain.anchor(x)), y, params)[reached]
    require((miss <= 1).all(), f"forward(inverse(y)) misses y by {miss.max() if miss.numel() else 0:.3g} roundings")


def inverse_slope(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """The log-slope of the inverse is minus that of the forward direction at the point that the inverse returns.

    Or at one that rounding cannot tell from it: beside an edge, or where the slope changes quickly.
    """
    y = univariate(x, params)[0]
    back, back_slope = univariate.inverse(y, params)
    near = [univariate(wrapped(univariate.domain, back + k * rounding(back)), params)[1] for k in (-1, 0, 1)]
    low, high = torch.stack(near).amin(dim=0), torch.stack(near).amax(dim=0)
    allowed = TOLERANCE[x.dtype] * (1 + back_slope.abs())
    off = torch.maximum(low + back_slope, -back_slope - high) / allowed
    require((off <= 1).all(), f"log-slope of the inverse: off by {off.max():.3g} times the tolerance")


def slope_is_derivative(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """The log-slope is the log of the derivative by automatic differentiation, in both directions."""
    y = univariate(x, params)[0].detach()
    for name, direction, start in (("forward", univariate.forward, x), ("inverse", univariate.inverse, y)):
        start = start.detach().requires_grad_()
        value, log_slope = direction(start, params)
        (slope,) = torch.autograd.grad(value.sum(), start)
        expected = log_slope.detach().exp()
        # Automatic differentiation sums terms of the size of a mean slope.
        mean = (1 + value.detach().abs()) / (1 + start.detach().abs())
        allowed = TOLERANCE[x.dtype] * expected + ULPS * torch.finfo(x.dtype).eps * mean
        # Where rounding of the start alone moves the value by its own size, no derivative can be told; beyond the root
        # of the largest number torch's derivatives of asinh and the like overflow.
        determined = rounding(start.detach()) * expected <= 1 + value.detach().abs()
        determined &= start.detach().abs() <= torch.finfo(x.dtype).max ** 0.5
        off = ((slope - expected).abs() / allowed)[determined]
        worst = off.max() if off.numel() else 0
        require((off <= 1).all(), f"log-slope of the {name} direction: off by {worst:.3g} times the tolerance")


def gradients_are_finite(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Value and log-slope have finite gradients in x and in every parameter, in both directions."""
    y = univariate(x, params)[0].detach()
    for name, direction, start in (("forward", univariate.forward, x), ("inverse", univariate.inverse, y)):
        leaves = start.detach().requires_grad_(), params.detach().requires_grad_()
        value, log_slope = direction(*leaves)
        gradients = torch.autograd.grad(value.sum() + log_slope.sum(), leaves, allow_unused=True)
        for name_of, leaf, gradient in zip(("x", "params"), leaves, gradients, strict=True):
            if not leaf.numel():  # of a map without parameters
                continue
            if gradient is None:
                raise AssertionError(f"{name}: {name_of} gets no gradient")
            require(gradient.isfinite().all(), f"{name}: the gradient in {name_of} is not finite")


def value_path_is_pair_path(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """``value`` is the first half of ``forward``, ``inverse_value`` that of ``inverse``; with gradients or without."""
    y = univariate(x, params)[0]
    back = univariate.inverse(y, params)[0]
    for recording in (True, False):
        with torch.set_grad_enabled(recording):
            close(univariate.value(x, params), y, "value against forward", SHARP)
            close(univariate.inverse_value(y, params), back, "inverse_value against inverse", SHARP)


def shared_parameters(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Parameters that all points share may be given once, (num_params, 1), in both directions."""
    once = params[..., :1]
    every = once.expand(-1, *x.shape)
    y = univariate(x, every)[0]
    for name, start in (("forward", x), ("inverse", y)):
        direction = getattr(univariate, name)
        for what, one, all_ in zip(("value", "slope"), direction(start, once), direction(start, every), strict=True):
            require(one.shape == x.shape, f"{name}: {what} has shape {tuple(one.shape)}, x has {tuple(x.shape)}")
            close(one, all_, f"{name} with shared parameters, {what}", SHARP)


def increasing(univariate: Univariate, x: Tensor, params: Tensor, points: int = 256) -> None:
    """Larger x gives larger y; on a circle, one turn of x makes one turn of y.

    x is (n,), params (num_params, m): each column is a map, evaluated at all of x and on a grid.
    """
    domain = univariate.domain
    ends = -math.pi, math.pi
    if not isinstance(domain, Circle):
        span, reals = 1.5 * getattr(univariate, "bound", 5.0), unspread(domain, x)
        ends = max(min(-1.0, float(reals.min())), -span), min(max(1.0, float(reals.max())), span)
    grid = spread(domain, torch.linspace(*ends, points + 1, dtype=x.dtype)[:-1])
    places = torch.cat([x, grid]).sort().values[:, None].expand(-1, params.shape[-1])
    with torch.no_grad():
        y, log_slope = univariate(places, params[:, None].expand(-1, *places.shape))
    gap, rise = places.diff(dim=0), y.diff(dim=0)
    steep = torch.maximum(log_slope[1:], log_slope[:-1])
    allowed = rounding(torch.maximum(y[1:].abs(), y[:-1].abs())) + rounding(places[1:]) * steep.exp()
    if isinstance(domain, Circle):
        seam = 2 * math.pi
        # A fall may be the crossing of the seam, which happens once.
        rise = torch.where(rise < -allowed, rise + seam, rise)
        closing = y[0] - y[-1]
        turns = (rise.sum(dim=0) + torch.where(closing < -allowed[0], closing + seam, closing)) / seam
        require((turns.round() == 1).all(), f"one turn of x makes {turns[turns.round() != 1].tolist()} turns of y")
    require((rise >= -allowed).all(), f"y falls by {float(-rise.min()):.3g} where x rises")
    expected = gap * torch.minimum(log_slope[1:], log_slope[:-1]).exp()
    require((rise > 0)[expected > allowed].all(), "y is constant where x rises")
