"""The inverse of x + g(x) for a contraction g: accelerated fixed-point iteration, and gradients of its solution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pushforward.core.numerics import concrete_bool
from pushforward.core.torch_internals import is_legacy_batched
from pushforward.networks.lipschitz import Linearization, LipschitzNetwork

__all__ = ["attach_solution_gradients", "solve_contraction"]

MEMORY = 5
"""Directions that the acceleration remembers."""

ACCURACY = 0.1
"""Of a solution that counts, in units of √eps relative to the size of y: 3 × 10⁻⁵ in float32, 1.5 × 10⁻⁹ in float64.
It is a limit on a certified bound; errors are mostly far smaller."""

MOST_STEPS = 5000

State = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""x, its residual, the next trial, whether that is a plain step, whether the row is done, the memory."""


@torch.no_grad()
def solve_contraction(g: Callable[[Tensor], Tensor], y: Tensor, coefficient: float) -> Tensor:
    r"""x with x + g(x) = y, row by row, without gradients; NaN where the search does not converge.

    Anderson's mixing: the next point is where a linear model of the residual :math:`F(x) = y - x - g(x)`, fitted to the
    last few steps, is smallest. A step that reduces the residual by less than the factor L, which a plain step
    :math:`x + F(x)` is sure to do, is followed by a plain step from the best point. So the residual falls by L in any
    two steps at least. A row ends at rounding, or where a plain step does not help any more.

    An answer counts by a certificate: :math:`\|x - x^*\| \le \|F(x)\| / (1 - L)`. The largest number of steps follows
    from L and the dtype; each costs one g.

    Args:
        g: maps (n, features) row by row, with Lipschitz constant at most L.
        y: (n, features).
        coefficient: L, below 1.

    References:
        | Iterative Procedures for Nonlinear Integral Equations (Anderson, 1965), doi:10.1145/321296.321305
        | Invertible Residual Networks (Behrmann et al., 2018), arXiv:1811.00995
    """
    y = y.detach()
    features, eps = y.shape[-1], torch.finfo(y.dtype).eps
    limit = min(MOST_STEPS, 10 + math.ceil(2 * math.log(eps) / math.log(coefficient)))
    unit = features**0.5 * (1 + y.abs().amax(dim=-1, keepdim=True))

    def advance(
        x: Tensor, residual: Tensor, trial: Tensor, plain: Tensor, done: Tensor, moves: Tensor, changes: Tensor
    ) -> State:
        new = y - trial - g(trial)
        size, new_size = _norm(residual), _norm(new)
        moves, changes = _remember(moves, changes, trial - x, new - residual, 8 * eps * (size + new_size))
        good, better = new_size <= coefficient * size, (new_size < size) & ~done
        done = done | (plain & ~better)
        x, residual = torch.where(better, trial, x), torch.where(better, new, residual)
        done = done | (torch.where(better, new_size, size) <= eps * unit)
        mixed = residual - ((changes * residual).sum(dim=-1, keepdim=True) * (moves + changes)).sum(dim=0)
        return x, residual, x + torch.where(good, mixed, residual), ~good, done, moves, changes

    start = -g(y)
    nothing = y.new_zeros(min(MEMORY, features), *y.shape)
    plain = torch.ones_like(unit, dtype=torch.bool)
    state = advance(y.clone(), start, y + start, plain, ~plain, nothing, nothing.clone())
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
    x, residual = state[:2]
    return torch.where(_norm(residual) <= (1 - coefficient) * ACCURACY * eps**0.5 * unit, x, torch.nan)


def _remember(moves: Tensor, changes: Tensor, move: Tensor, change: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The memory (slots, n, features) with a new pair in the place of the oldest. Changes of the residual are kept
    orthonormal, each beside the move that makes it; one within the noise, or in the span of the others, becomes zero.
    """
    moves, changes = moves[1:], changes[1:]
    before = _norm(change)
    for _ in range(2):  # once more, or rounding leaves a part in the span of the others
        parts = (changes * change).sum(dim=-1, keepdim=True)
        change, move = change - (parts * changes).sum(dim=0), move - (parts * moves).sum(dim=0)
    size = _norm(change)
    usable = (size > noise) & (size > 1e-3 * before)
    scale = torch.where(usable, 1 / torch.where(usable, size, 1.0), 0.0)
    return torch.cat([moves, (scale * move)[None]]), torch.cat([changes, (scale * change)[None]])


def attach_solution_gradients(
    network: LipschitzNetwork, layers: Any, y: Tensor, x: Tensor, coefficient: float, *, dense: bool
) -> Tensor:
    r"""Attach gradients to the solution x of x + g(x) = y, which was computed without.

    Adds :math:`(I + \nabla g)^{-1} (y - x - g(x))`, whose value is set to zero but whose derivative is that of the
    implicit function theorem.

    Args:
        network: g.
        layers: what it computes with, as from `LipschitzNetwork.prepare`.
        y: (n, features).
        x: the solution, (n, features).
        coefficient: Lipschitz constant of g.
        dense: solve with the matrix, twice, so that derivatives up to the third order are correct. Otherwise gradients
            are solved for by iteration, without the matrix, and have no derivatives themselves.
    """
    x = x.detach()
    for _ in range(2 if dense else 1):
        value, point = network.linearize(x, layers)
        gap = y - x - value
        # The gap counts as zero: what rounding left of it would enter the derivatives, times those of the matrix.
        gap = gap - gap.detach()
        if dense:
            matrix = identity_plus_jacobian(network, point)
            x = x + torch.linalg.solve(matrix, gap[..., None])[..., 0]
        else:
            slopes = tuple(slope.detach() for slope in point.slopes)
            weights = tuple(weight.detach() for weight in point.weights)
            x = x + _ImplicitStep.apply(gap, network, Linearization(weights, slopes), coefficient)
    return x


def identity_plus_jacobian(network: LipschitzNetwork, point: Linearization) -> Tensor:
    """I + ∇g at n points, (n, features, features); one product with each unit vector, all at once."""
    slopes = point.slopes[0].flatten(2)
    eye = torch.eye(slopes.shape[-1], dtype=slopes.dtype, device=slopes.device)
    return eye + network.jvp(point, eye[None]).mT


class _ImplicitStep(torch.autograd.Function):
    """Zero, with the gradient u that solves u + Jᵀ u = v for the incoming gradient v: a contraction again."""

    @staticmethod
    def forward(ctx: Any, gap: Tensor, network: LipschitzNetwork, point: Linearization, coefficient: float) -> Tensor:
        ctx.network, ctx.coefficient, ctx.count = network, coefficient, len(point.weights)
        ctx.save_for_backward(*point.weights, *point.slopes)
        return torch.zeros_like(gap)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        weights, slopes = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        point = Linearization(weights, slopes)
        if is_legacy_batched(grad):  # many gradients at once, as for a Jacobian: rows cannot stop one by one
            inverse = torch.linalg.inv(identity_plus_jacobian(ctx.network, point))
            return (grad[:, :, None] * inverse).sum(dim=1), None, None, None

        def pull(u: Tensor) -> Tensor:
            product: Tensor = ctx.network.vjp(point, u[:, None])[:, 0]
            return product

        # The iteration stops at a residual relative to 1 + |v|: gradients of any size are solved for in units of one.
        size = grad.abs().amax(dim=-1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        return size * solve_contraction(pull, grad / size, ctx.coefficient), None, None, None


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)
