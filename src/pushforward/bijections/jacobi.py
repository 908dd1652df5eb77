"""Inverses of triangular maps by iteration: many features at once, each from trial values of those before it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.core.numerics import concrete_bool
from pushforward.networks import BlockPass

__all__ = ["jacobi_inverse"]

TOLERANCE = 4.0
"""In units of eps: where no value moves by more, each equation holds to rounding, as after a sequential solve."""
LEAST_ITERATIONS = 8
"""So many are tried, and a quarter of the steps of a block, before the sequential loop is likely to be faster."""


def jacobi_inverse(
    y: Tensor,
    passes: BlockPass,
    invert: Callable[[Tensor, Tensor, int, int], Tensor],
    embed: Callable[[Tensor], Tensor],
    anchor: Tensor,
    block: int,
    group: int = 1,
) -> Tensor | None:
    r"""x with :math:`y_j = \tau(x_j; \theta_j(x_{<j}))` for all j, without gradients, or None.

    Blocks of features are solved one after the other (Gauss–Seidel), the features of a block together (Jacobi):

    .. math:: x_j^{(k + 1)} = \tau^{-1}\bigl(y_j;\ \theta_j(x_{<j}^{(k)})\bigr)

    Whatever the start, the first k groups of a block are exact after k iterations. The iteration ends there, or
    earlier where an iteration moves no value of any point by more than rounding: then every one of the equations holds
    to rounding, which is what the sequential solve reaches too. A block that takes too many iterations ends the attempt
    with None. Trial values that overflow are replaced before the network sees them, so that they spoil nothing.

    Args:
        y: (features, n).
        passes: parameters of blocks of features.
        invert: (y, parameters, start, stop) of a block to its x.
        embed: x (features, n) as the network sees it.
        anchor: a point of the domain in the shape of y, where the iteration starts.
        block: number of features of a block.
        group: how many neighbouring features do not depend on each other.

    References:
        | Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving (Song et al., 2020),
          arXiv:2002.03629
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329
    """
    x = anchor.clone()
    for start in range(0, len(y), block):
        stop = min(start + block, len(y))
        steps = (stop - 1) // group - start // group + 1
        if not _solve_block(x, y[start:stop], passes, invert, embed, anchor, start, stop, steps):
            return None
    # What comes after a value that is not there is not there either, as in a sequential solve.
    return x.masked_fill(x.isnan().cumsum(dim=0) > 0, torch.nan)


def _solve_block(
    x: Tensor,
    y: Tensor,
    passes: BlockPass,
    invert: Callable[[Tensor, Tensor, int, int], Tensor],
    embed: Callable[[Tensor], Tensor],
    anchor: Tensor,
    start: int,
    stop: int,
    steps: int,
) -> bool:
    """Write the features from ``start`` to ``stop`` into x, which take so many steps one after the other; False where
    they take too many iterations."""
    tolerance = TOLERANCE * torch.finfo(y.dtype).eps
    for done in range(1, min(steps, max(LEAST_ITERATIONS, steps // 4)) + 1):
        trial = torch.where(x.isnan(), anchor, x).nan_to_num()
        before, after = x[start:stop], invert(y, passes.params(embed(trial), start, stop), start, stop)
        moved = (after - before).abs() > tolerance * (1 + after.abs())
        changed = moved | (after.isfinite() != before.isfinite()) | (after.isinf() & (after != before))
        x[start:stop] = after
        if done == steps or not concrete_bool(changed.any()):
            return True
    return False
