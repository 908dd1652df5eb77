"""Roots of increasing functions, entry by entry, by a fixed number of safeguarded steps; implicit gradients.

The number of steps never depends on data where that matters: a solve is one graph under compile, vmap and export.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward.core.execution_mode import needs_derivatives

__all__ = [
    "attach_root_gradients",
    "by_table",
    "concrete_bool",
    "invert_increasing",
    "quartiles",
    "solve_between",
    "solve_increasing",
]

Curve = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x to (value, log-slope), entry by entry."""

CurveOf = Callable[[Tensor, Any], tuple[Tensor, Tensor]]
"""The same of x and whatever else it depends on."""

# Over a million random steep cases (staircases of sigmoids, polynomials of degree 40, noise of many terms) the mean is
# 6 and the largest number 43 in float64, 5 and 35 in float32.
STEPS = {torch.float64: 56, torch.float32: 40}
TOLERANCE = 4.0  # in units of eps: what x and y are known to at best
CLOSE = 0.1  # in units of √eps: a Newton step this small leaves an error below the tolerance, being quadratic
POLISH = 3  # plain Newton steps from a good guess, before a search with safeguards
NODES = 128  # of a table of a curve


def solve_increasing(curve: Curve, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    r"""x in [low, high] with curve(x) = y, without gradients; NaN where the search does not converge.

    Newton's method inside a shrinking bracket: a step that would leave the bracket goes to its end, and one that does
    not halve the step before it is replaced by a bisection. The search ends where a step is so small that the next
    one would be rounding, where the value is y to rounding, or where the bracket has closed. An answer counts only if
    it solves the equation: a bracket without a root gives NaN. The largest number of steps depends on the dtype alone.

    Under compile and export the loop is one node of the graph; the tensors that the curve closes over may then not
    share memory: `solve_between` sees to that.

    Args:
        curve: an increasing function with its log-slope.
        y: the values to reach, shape (*s).
        low: where the curve is known to be at most y, shape (*s).
        high: where it is known to be at least y; equal to ``low`` where the answer is known already.

    References:
        | Numerical Recipes, 3rd ed., §9.4: Newton's method with a safeguard (Press et al., 2007)
    """
    eps = torch.finfo(y.dtype).eps
    tolerance, root = TOLERANCE * eps, eps**0.5
    limit = STEPS.get(y.dtype, STEPS[torch.float32])
    y = y.detach()

    def advance(x: Tensor, low: Tensor, high: Tensor, last: Tensor, done: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        value, log_slope = curve(x)
        gap, unit = value - y, 1 + x.abs()
        below = gap <= 0
        low, high = torch.where(below, x, low), torch.where(below, high, x)
        half = 0.5 * (high - low)
        step = gap / log_slope.exp()
        newton = (x - step).clamp(low, high)
        move = (newton - x).abs()
        close = move <= CLOSE * root * unit
        # Where the value is y to rounding but the slope is next to nothing, x stays: a step would be noise.
        ended = (gap.abs() <= tolerance * y_unit) | (half <= tolerance * unit)
        good = close | (2 * move <= last)  # false for NaN, which bisects
        new, last = torch.where(good, newton, low + half), torch.where(good, move, half)
        x = torch.where(done | (ended & ~close), x, new)
        return x, low, high, last, done | close | ended, gap, step

    with torch.no_grad():
        y_unit = 1 + y.abs()
        last = high - low
        x = low + 0.5 * last
        state = advance(x, low, high, last, last <= tolerance * x.abs())
        if torch.compiler.is_compiling():
            count = torch.ones((), dtype=torch.int64, device=y.device)
            *state, _ = torch.while_loop(
                lambda *loop: (loop[-1] < limit) & ~loop[4].all(),
                lambda *loop: (*advance(*loop[:-1]), loop[-1] + 1),
                (*state, count),
            )
        else:
            for _ in range(1, limit):
                if concrete_bool(state[4].all()):
                    break
                state = advance(*state)
        x, _, _, _, done, gap, step = state
        solved = (step.abs() <= root * (1 + x.abs())) | (gap.abs() <= root * y_unit)
        return torch.where(done & solved, x, torch.nan)


def unshared(tree: Any) -> Any:
    """``tree``, tensors in nested tuples and lists, under compile and export as copies that share no memory."""
    if isinstance(tree, Tensor):
        return tree.detach().clone() if torch.compiler.is_compiling() else tree
    if isinstance(tree, tuple | list):
        parts = [unshared(part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def concrete_bool(flag: Tensor) -> bool | None:
    """The truth of one flag where it can be read: in eager code that no transform maps over rows. None elsewhere."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    try:
        return bool(flag)
    except RuntimeError:  # mapped by vmap, where it has no single answer
        return None


@torch.no_grad()
def solve_between(curve: CurveOf, bracket: CurveOf, y: Tensor, params: Any, start: Tensor | None = None) -> Tensor:
    """x with curve(x, params) = y between the two points of bracket(y, params), without gradients; see
    `solve_increasing`. If Newton's method from ``start`` converges for all entries in a few steps, that is all."""
    if start is not None and (root := newton(lambda x: curve(x, params), y, start)) is not None:
        return root
    apart = unshared(params)
    return solve_increasing(lambda x: curve(x, apart), y, *bracket(y, params))


def newton(curve: Curve, y: Tensor, x: Tensor) -> Tensor | None:
    """The roots that plain Newton steps from x reach; None where some is not reached, or not known to be."""
    root = torch.finfo(y.dtype).eps ** 0.5
    for _ in range(POLISH):
        value, log_slope = curve(x)
        move = (value - y) / log_slope.exp()
        close = (move.abs() <= CLOSE * root * (1 + x.abs())).all()
        x = x - move
        if concrete_bool(close):
            return x
    return None


@torch.no_grad()
def by_table(curve: Curve, bracket: Curve, y: Tensor) -> Tensor:
    """Guesses of the roots of many values of the same curve: where the inverse cubics of a table reach them.

    Args:
        curve: the same all along the last axis.
        bracket: values to two points around their roots.
        y: the values to reach, shape (*s, n).
    """
    low, high = bracket(torch.stack(y.aminmax(dim=-1), dim=-1))
    first, run = low[..., :1], (high[..., 1:] - low[..., :1]) / (NODES - 1)
    x = torch.addcmul(first, run, torch.arange(NODES, dtype=y.dtype, device=y.device))
    value, log_slope = curve(x)
    rise, slope = value.diff(dim=-1), torch.exp(-log_slope)
    left, right = rise * slope[..., :-1], rise * slope[..., 1:]  # of the inverse, times the width of its bin
    table = x[..., :-1], value[..., :-1], rise, left, 3 * run - 2 * left - right, left + right - 2 * run
    index = torch.searchsorted(value, y.contiguous()).clamp(1, NODES - 1) - 1
    x, value, rise, left, square, cube = (column.gather(-1, index) for column in table)
    t = (y - value) / rise
    return x + t * (left + t * (square + t * cube))


def invert_increasing(
    curve: CurveOf, find: Callable[[Tensor, Any], Tensor], y: Tensor, params: Any
) -> tuple[Tensor, Tensor]:
    """(x, -log-slope at x) with curve(x, params) = y, differentiable in y and ``params``.

    Args:
        curve: x and ``params`` to an increasing function of x and its log-slope.
        find: y and ``params`` to x, without gradients, such as `solve_between` does.
        y: the values to reach, shape (*s).
        params: what the curve depends on, tensors in nested tuples and lists.
    """
    root = find(y, params)
    if not needs_derivatives():
        return root, -curve(root, params)[1]
    root = root.detach()  # the search has no derivatives, forward ones included
    ok = root.isfinite()
    # A row without a root goes through the formulas at zero and becomes NaN only at the end, by `where`: its NaN would
    # reach the gradients of weights that all rows share.
    target = torch.where(ok, y, curve(torch.zeros_like(y), params)[0].detach())
    x = attach_root_gradients(lambda x: curve(x, params), target, torch.where(ok, root, 0.0))
    return torch.where(ok, x, torch.nan), torch.where(ok, -curve(x, params)[1], torch.nan)


def attach_root_gradients(curve: Curve, y: Tensor, x: Tensor) -> Tensor:
    r"""Attach gradients to the root x of curve(x) = y, which was computed without.

    Each of two Newton steps adds :math:`(y - f(x)) / f'(x)`, whose value is set to zero but whose derivative is that of
    the implicit function theorem, :math:`dx = (dy - \partial_\theta f\, d\theta) / f'`. The second step makes
    derivatives up to the third order correct.
    """
    if needs_derivatives():
        x = x.detach()
        steepest = 0.5 * math.log(torch.finfo(y.dtype).max)  # of the inverse, which on a plateau would overflow
        for _ in range(2):
            value, log_slope = curve(x)
            gap = y - value
            # The gap counts as zero: what rounding left of it would enter the derivatives, times that of the slope.
            x = x + (gap - gap.detach()) * torch.exp((-log_slope).clamp(max=steepest))
    return x


def quartiles(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lower quartile, median and upper quartile along the first axis: values that occur."""
    ordered, last = x.sort(dim=0).values, len(x) - 1
    low, middle, high = (ordered[round(p * last)] for p in (0.25, 0.5, 0.75))
    return low, middle, high
