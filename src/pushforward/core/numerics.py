"""Roots of increasing functions, entry by entry, by a fixed number of safeguarded steps; implicit gradients.

There is no loop whose length depends on data, so a solve is one graph under compile, vmap and export.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["invert_increasing", "solve_increasing", "through_root"]

Curve = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x to (value, log-slope), entry by entry."""

# Newton's method needs 6 to 8 steps once near; the others are bisections on the way there (steep staircases).
STEPS = {torch.float64: 48, torch.float32: 30}
TOLERANCE = 4.0  # in units of eps: a step this small ends the search


def solve_increasing(curve: Curve, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    r"""x in [low, high] with curve(x) = y, without gradients; NaN where the search does not converge.

    Newton's method inside a shrinking bracket: a step that leaves the bracket, or that does not halve the one before
    it, is replaced by a bisection. The number of steps depends on the dtype alone.

    Args:
        curve: an increasing function with its log-slope.
        y: the values to reach, shape (*s).
        low: where the curve is known to be at most y, shape (*s).
        high: where it is known to be at least y; equal to ``low`` where the answer is known already.

    References:
        | Numerical Recipes, 3rd ed., §9.4: Newton's method with a safeguard (Press et al., 2007)
    """
    tolerance = TOLERANCE * torch.finfo(y.dtype).eps
    with torch.no_grad():
        x = low + 0.5 * (high - low)
        last = high - low
        done = last <= tolerance * x.abs()
        for _ in range(STEPS.get(y.dtype, STEPS[torch.float32])):
            value, log_slope = curve(x)
            gap = value - y
            low, high = torch.where(gap <= 0, x, low), torch.where(gap >= 0, x, high)
            step = gap * torch.exp(-log_slope)
            newton = x - step
            # `~(a <= b)`: NaN counts as leaving.
            bisect = ~((newton >= low) & (newton <= high) & (2 * step.abs() <= last))
            new = torch.where(bisect, low + 0.5 * (high - low), newton)
            last = (new - x).abs()
            x = torch.where(done, x, new)
            done = done | (last <= tolerance * (1 + x.abs()))
        return torch.where(done & gap.isfinite(), x, torch.nan)


def invert_increasing(curve: Curve, y: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """(x, -log-slope at x) with curve(x) = y, differentiable in y and in whatever the curve depends on."""
    x = through_root(curve, y, solve_increasing(curve, y, low, high))
    return x, -curve(x)[1]


def through_root(curve: Curve, y: Tensor, x: Tensor) -> Tensor:
    r"""The root x of curve(x) = y, found without gradients, with the gradients that it has.

    Two Newton steps of size zero put them there. The first makes first derivatives those of the implicit function
    theorem, :math:`dx = (dy - \partial_\theta f\, d\theta) / f'`, the second makes derivatives right up to the third
    order.
    """
    if torch.is_grad_enabled():
        for _ in range(2):
            value, log_slope = curve(x)
            step = (y - value) * torch.exp(-log_slope)
            x = x + (step - step.detach())
    return x
