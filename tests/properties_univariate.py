"""Properties of univariates: functions of ``(univariate, x, params)`` that raise AssertionError where broken.

x has shape (*s) and lies in the domain, params has (num_params, *s). Where a map is nearly flat one unit in the last
place of y is many of x, and where it is steep the other way round: properties allow what rounding of x and of y
explains and no more. Angles are compared the short way round.
"""

import math
from collections.abc import Callable

import torch
from properties import SHARP, TOLERANCE, close
from torch import Tensor

from pushforward.core.domain import Circle, Domain
from pushforward.univariate import Univariate

Pair = tuple[Tensor, Tensor]

ULPS = 256  # how many units in the last place one direction may lose


def digits(x: Tensor) -> Tensor:
    """How far rounding may move a number."""
    return ULPS * torch.finfo(x.dtype).eps * (1 + x.abs())


def apart(domain: Domain, a: Tensor, b: Tensor) -> Tensor:
    """a - b, around a circle the short way."""
    gap = a - b
    return gap - 2 * math.pi * (gap / (2 * math.pi)).round() if isinstance(domain, Circle) else gap


def inside(domain: Domain, x: Tensor) -> Tensor:
    """x, where it left the circle from the other end."""
    if not isinstance(domain, Circle):
        return x
    x = apart(domain, x, torch.zeros_like(x))
    return torch.where(x >= math.pi, -math.pi, x.clamp(min=-math.pi))


def shapes(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Value and log-slope have the shape and dtype of x, in both directions, and are finite; both images are right."""
    y = univariate(x, params)[0]
    for direction, start in ((univariate.forward, x), (univariate.inverse, y)):
        for out in direction(start, params):
            assert (out.shape, out.dtype) == (x.shape, x.dtype), f"{tuple(out.shape)} {out.dtype} is not as x"
            assert bool(out.isfinite().all()), "a value is not finite"
    assert bool(univariate.codomain.contains(y).all()), "a point left the stated codomain"
    back = univariate.inverse(y, params)[0]
    assert bool(univariate.domain.contains(back).all()), "the inverse left the stated domain"


def miss(univariate: Univariate, x: Tensor, y: Tensor, params: Tensor) -> Tensor:
    """How far y is from the image of x, in units of what rounding allows: at most 1 is right.

    A y within its own rounding of the images of two points within rounding of x is right: that holds however flat or
    steep the map is, and beside edges.
    """
    low, high = (inside(univariate.domain, x + sign * digits(x)) for sign in (-1, 1))
    bottom, top = univariate(low, params)[0], univariate(high, params)[0]
    above, below = apart(univariate.codomain, y, top), apart(univariate.codomain, bottom, y)
    return torch.maximum(above, below) / digits(y)


def round_trip(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """There and back: x and what the inverse finds have the same image."""
    y = univariate(x, params)[0]
    worst = miss(univariate, univariate.inverse(y, params)[0], y, params).max()
    assert worst <= 1, f"inverse(forward(x)) misses by {worst:.3g} times what rounding allows"


def onto(univariate: Univariate, y: Tensor, params: Tensor) -> None:
    """Every y is reached, not only images of points that were tried: domain and codomain of these maps are the same."""
    x = univariate.inverse(y, params)[0]
    assert bool(x.isfinite().all()), "a point of the codomain is not reached"
    reached = x.abs() < torch.finfo(x.dtype).max ** 0.5  # some inverses grow until they leave the dtype
    missed = miss(univariate, torch.where(reached, x, univariate.domain.anchor(x)), y, params)[reached]
    assert bool((missed <= 1).all()), f"forward(inverse(y)) misses y by {missed.max():.3g} times what rounding allows"


def inverse_slope(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """The inverse's log-slope is minus the forward's at the point that it finds.

    Or at one that rounding cannot tell from it: beside an edge, or where the slope changes quickly.
    """
    y = univariate(x, params)[0]
    back, back_slope = univariate.inverse(y, params)
    near = [univariate(inside(univariate.domain, back + k * digits(back)), params)[1] for k in (-1, 0, 1)]
    low, high = torch.stack(near).amin(dim=0), torch.stack(near).amax(dim=0)
    room = TOLERANCE[x.dtype] * (1 + back_slope.abs())
    off = torch.maximum(low + back_slope, -back_slope - high) / room
    assert bool((off <= 1).all()), f"log-slope of the inverse: off by {off.max():.3g} times what rounding allows"


def slope_is_derivative(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """The log-slope is the log of the derivative that autodiff finds, in both directions."""
    y = univariate(x, params)[0].detach()
    for name, direction, start in (("forward", univariate.forward, x), ("inverse", univariate.inverse, y)):
        start = start.detach().requires_grad_()
        value, log_slope = direction(start, params)
        (slope,) = torch.autograd.grad(value.sum(), start)
        expected = log_slope.detach().exp()
        # Autodiff sums terms of the size of a mean slope.
        mean = (1 + value.detach().abs()) / (1 + start.detach().abs())
        room = TOLERANCE[x.dtype] * expected + ULPS * torch.finfo(x.dtype).eps * mean
        # Where rounding of the start alone moves the value by its own size, nothing is known there.
        told = digits(start.detach()) * expected <= 1 + value.detach().abs()
        off = ((slope - expected).abs() / room)[told]
        assert bool((off <= 1).all()), (
            f"log-slope of the {name} direction: off by {off.max():.3g} times what is allowed"
        )


def gradients_are_finite(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Value and log-slope have finite gradients in x and in every parameter, in both directions."""
    y = univariate(x, params)[0].detach()
    for name, direction, start in (("forward", univariate.forward, x), ("inverse", univariate.inverse, y)):
        start, known = start.detach().requires_grad_(), params.detach().requires_grad_()
        value, log_slope = direction(start, known)
        (value.sum() + log_slope.sum()).backward()
        for leaf, grad in (("x", start.grad), ("params", known.grad)):
            assert grad is not None, f"{name}: {leaf} gets no gradient"
            assert bool(grad.isfinite().all()), f"{name}: the gradient in {leaf} is not finite"


def value_path_is_pair_path(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """``value`` is the first half of ``forward``, ``inverse_value`` that of ``inverse``; recording gradients or not."""
    y = univariate(x, params)[0]
    back = univariate.inverse(y, params)[0]
    for recording in (True, False):
        with torch.set_grad_enabled(recording):
            close(univariate.value(x, params), y, "value against forward", SHARP)
            close(univariate.inverse_value(y, params), back, "inverse_value against inverse", SHARP)


def shared_parameters(univariate: Univariate, x: Tensor, params: Tensor) -> None:
    """Parameters that all points share may be given once, in both directions."""
    once = params[..., :1]
    every = once.expand(-1, *x.shape)
    y = univariate(x, every)[0]
    for name, start in (("forward", x), ("inverse", y)):
        direction = getattr(univariate, name)
        for what, one, all_ in zip(("value", "slope"), direction(start, once), direction(start, every), strict=True):
            assert one.shape == x.shape, f"{name}: {what} has shape {tuple(one.shape)}"
            close(one, all_, f"{name} with shared parameters, {what}", SHARP)


def increasing(univariate: Univariate, x: Tensor, params: Tensor, points: int = 256) -> None:
    """Larger x gives larger y; around a circle, once around makes once around.

    x is (n,), params (num_params, n): each column makes a map, followed over all of x and a grid.
    """
    domain = univariate.domain
    ends = -math.pi, math.pi
    if not isinstance(domain, Circle):
        ends = min(-1.0, x.min().item()), max(1.0, x.max().item())
        span = 1.5 * getattr(univariate, "bound", 5.0)
        ends = max(ends[0], -span), min(ends[1], span)
    grid = torch.linspace(*ends, points + 1, dtype=x.dtype)[:-1]
    places = torch.cat([x, grid]).sort().values[:, None].expand(-1, params.shape[-1])
    y, log_slope = univariate(places, params[:, None].expand(-1, *places.shape))
    gap, rise = places.diff(dim=0), y.diff(dim=0)
    steep = torch.maximum(log_slope[1:], log_slope[:-1])
    room = digits(torch.maximum(y[1:].abs(), y[:-1].abs())) + digits(places[1:]) * steep.exp()
    if isinstance(domain, Circle):
        seam = 2 * math.pi
        # A fall may be the way on across the seam, which is crossed once.
        rise = torch.where(rise < -room, rise + seam, rise)
        closing = y[0] - y[-1]
        turns = (rise.sum(dim=0) + torch.where(closing <= 0, closing + seam, closing)) / seam
        assert bool((turns.round() == 1).all()), f"once around makes {turns.tolist()} times around"
    assert bool((rise >= -room).all()), "y falls where x rises"
    expected = gap * torch.minimum(log_slope[1:], log_slope[:-1]).exp()
    assert bool((rise > 0)[expected > room].all()), "y stands still where x rises"


def continuous(univariate: Univariate, params: Tensor) -> None:
    """The value and, where smoothness ≥ 1, the log-slope have no jump: what changes across a small interval vanishes
    with it.

    params is (num_params, m): m maps. Each of 512 intervals is halved until it is a few units in the last place wide,
    keeping the half across which more changes.
    """
    eps = torch.finfo(params.dtype).eps
    circle = isinstance(univariate.domain, Circle)
    reach = math.pi if circle else min(1.6 * getattr(univariate, "bound", 5.0), getattr(univariate, "reach", math.inf))
    ends = torch.linspace(-reach, reach, 513, dtype=params.dtype)[:, None].expand(-1, params.shape[1])

    def curves(x: Tensor) -> tuple[Tensor, Tensor]:
        return univariate(inside(univariate.domain, x), params[:, None].expand(-1, *x.shape))

    def zoom(change: Callable[[Pair, Pair], Tensor]) -> tuple[Tensor, Pair, Pair, list[Tensor]]:
        """The width of the last intervals, what holds at their ends, and the change across them from step to step."""
        low, high = ends[:-1], ends[1:]
        left, right, changes = curves(low), curves(high), []
        for _ in range(int(math.log2(1 / (256 * 16 * eps)))):
            middle = low + 0.5 * (high - low)
            here = curves(middle)
            down = change(left, here) > change(here, right)
            low, high = torch.where(down, low, middle), torch.where(down, middle, high)
            left, right = pick(down, left, here), pick(down, here, right)
            changes.append(change(left, right))
        return high - low, left, right, changes

    def pick(which: Tensor, a: Pair, b: Pair) -> Pair:
        return torch.where(which, a[0], b[0]), torch.where(which, a[1], b[1])

    width, left, right, changes = zoom(lambda a, b: apart(univariate.codomain, a[0], b[0]).abs())
    room = digits(left[0]) + (2 * width + digits(ends[1:])) * torch.maximum(left[1], right[1]).exp()
    assert bool((changes[-1] <= room).all()), f"the value jumps by {changes[-1][changes[-1] > room].max():.3g}"
    if univariate.smoothness >= 1:
        changes = zoom(lambda a, b: (a[1] - b[1]).abs())[-1]
        # What three halvings leave as it was is a jump, if it is more than rounding.
        jump = torch.where(changes[-1] > changes[-4] / 4, changes[-1], 0.0).max()
        assert jump <= eps**0.25, f"the log-slope jumps by {jump:.3g}"
