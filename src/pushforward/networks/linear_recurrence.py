"""Recurrences that are linear in their states, with gradients in as few steps as the states themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly

__all__ = ["linear_recurrence"]


def linear_recurrence(kept: Tensor, new: Tensor, lag: int) -> Tensor:
    r"""The states of :math:`s_j = k_j \odot s_{j - \Delta} + u_j`, which are zero before the first.

    The gradient of a recurrence is one from the last state to the first, so that training takes a product for each
    :math:`\Delta` states and one for all, where automatic differentiation records several for each.

    Args:
        kept: k, (units, length, n).
        new: u, of the same shape.
        lag: Δ, at least 1.

    >>> linear_recurrence(torch.full((1, 4, 1), 0.5), torch.ones(1, 4, 1), lag=1).flatten()
    tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    if not runs_eagerly(new):  # compilers, vmap and forward mode take the plain operations
        return _forwards(kept, new, lag)
    states: Tensor = _Recurrence.apply(kept, new, lag, False)
    return states


class _Recurrence(torch.autograd.Function):
    """`linear_recurrence`, or, backwards, s_j = k_{j + lag} s_{j + lag} + u_j: each is the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, kept: Tensor, new: Tensor, lag: int, backwards: bool) -> Tensor:
        states = (_backwards if backwards else _forwards)(kept, new, lag)
        ctx.lag, ctx.backwards = lag, backwards
        ctx.save_for_backward(kept, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        kept, states = ctx.saved_tensors
        along: Tensor = _Recurrence.apply(kept, gradients[0], ctx.lag, not ctx.backwards)
        of_kept = None
        if ctx.needs_input_grad[0]:  # the gradient of a state times the state that it came from
            late, early = (states, along) if ctx.backwards else (along, states)
            product = late[:, ctx.lag :] * early[:, : -ctx.lag]
            of_kept = torch.cat([torch.zeros_like(late[:, : ctx.lag]), product], dim=1)
        return of_kept, along, None, None


def _forwards(kept: Tensor, new: Tensor, lag: int) -> Tensor:
    coefficients, inputs = kept.split(lag, dim=1), new.split(lag, dim=1)
    states = [inputs[0]]
    for k, u in zip(coefficients[1:], inputs[1:], strict=True):
        states.append(torch.addcmul(u, k, states[-1][:, : u.shape[1]]))
    return torch.cat(states, dim=1)


def _backwards(kept: Tensor, new: Tensor, lag: int) -> Tensor:
    coefficients, inputs = kept.split(lag, dim=1), new.split(lag, dim=1)
    states = [inputs[-1]]
    for k, u in zip(coefficients[:0:-1], inputs[-2::-1], strict=True):
        after, short = states[-1], u.shape[1] - k.shape[1]
        if short:  # what stands before the last part, which is shorter, has partly nothing after it
            states.append(torch.cat([torch.addcmul(u[:, :-short], k, after), u[:, -short:]], dim=1))
        else:
            states.append(torch.addcmul(u, k, after))
    return torch.cat(states[::-1], dim=1)
