"""Jacobians of maps between spaces whose points have more entries than dimensions, as square matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.domain import Domain
from pushforward.core.spaces import block_diagonal

__all__ = ["between_tangents", "tangents_of_events"]

OFF_THE_SPACE = 1e-5
"""Largest share of a derivative that may leave the tangent space: images move inside of their space."""


def tangents_of_events(domain: Domain, x: Tensor) -> Tensor:
    """The directions in which events can move, (n, entries, dimension), from `Domain.tangents` of their points.

    Args:
        domain: the space of the events, or of the points that make them up.
        x: events, (n, *event shape).
    """
    n, ndim = len(x), domain.event_ndim
    points = x.reshape(n, -1, *x.shape[x.ndim - ndim :]) if ndim else x.reshape(n, -1)
    return block_diagonal(domain.tangents(points).unbind(1))


def between_tangents(jacobian: Tensor, start: tuple[Domain, Tensor], end: tuple[Domain, Tensor]) -> Tensor:
    r"""The matrix of a derivative between tangent spaces, (n, dimension, dimension).

    With bases B of the tangent spaces at x and y it is the M of :math:`J B_x = B_y M`; its determinant is the ratio of
    the measures, which between spaces in Euclidean measure is :math:`\sqrt{\det M^\top M}`, that of Gram matrices.

    Args:
        jacobian: ∂y/∂x, (n, entries of y, entries of x).
        start: the space of x, and x (n, *event shape).
        end: the space of y, and y.

    Raises:
        AssertionError: derivatives leave the space.
    """
    (domain, x), (codomain, y) = start, end
    before = tangents_of_events(domain, x.to(torch.float64))
    after = tangents_of_events(codomain, y.to(torch.float64))
    moves = jacobian @ before
    if after.shape[-1] == after.shape[-2]:
        return torch.linalg.solve(after, moves)
    matrix = torch.linalg.lstsq(after, moves).solution
    outside = (after @ matrix - moves).abs().amax(dim=(-2, -1)) / moves.abs().amax(dim=(-2, -1))
    if not bool((outside < OFF_THE_SPACE + 1e3 * torch.finfo(x.dtype).eps).all()):
        raise AssertionError(f"a share {outside.max().item():.2g} of a derivative leaves the space {codomain}")
    return matrix
