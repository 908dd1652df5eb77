"""Recurrences that are linear in their states, with gradients in as few steps as the states themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

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
    states: Tensor = _Recurrence.apply(kept, new, lag, False)
    return states


class _Recurrence(torch.autograd.Function):
    """`linear_recurrence`, or, backwards, s_j = k_{j + lag} s_{j + lag} + u_j: each is the gradient of the other."""

    generate_vmap_rule = True

    @staticmethod
    def forward(kept: Tensor, new: Tensor, lag: int, backwards: bool) -> Tensor:
        coefficients, inputs = kept.split(lag, dim=1), new.split(lag, dim=1)
        if not backwards:
            states = [inputs[0]]
            for k, u in zip(coefficients[1:], inputs[1:], strict=True):
                states.append(torch.addcmul(u, k, states[-1][:, : u.shape[1]]))
            return torch.cat(states, dim=1)
        states = [inputs[-1]]
        for k, u in zip(coefficients[:0:-1], inputs[-2::-1], strict=True):
            after, short = states[-1], u.shape[1] - k.shape[1]
            if short:  # what stands before the last part, which is shorter, has partly nothing after it
                states.append(torch.cat([torch.addcmul(u[:, :-short], k, after), u[:, -short:]], dim=1))
            else:
                states.append(torch.addcmul(u, k, after))
        return torch.cat(states[::-1], dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, bool], output: Tensor) -> None:
        kept, _, ctx.lag, ctx.backwards = inputs
        ctx.save_for_backward(kept, output)
        ctx.save_for_forward(kept, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        kept, states = ctx.saved_tensors
        along: Tensor = _Recurrence.apply(kept, gradients[0], ctx.lag, not ctx.backwards)
        of_kept = _shifted_product(along, states, ctx.lag, ctx.backwards) if ctx.needs_input_grad[0] else None
        return of_kept, along, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        kept, states = ctx.saved_tensors
        of_kept, of_new = tangents[:2]
        source = torch.zeros_like(states) if of_new is None else of_new
        if of_kept is not None:
            source = source + _others(of_kept, states, ctx.lag, ctx.backwards)
        result: Tensor = _Recurrence.apply(kept, source, ctx.lag, ctx.backwards)
        return result


def _shifted_product(along: Tensor, states: Tensor, lag: int, backwards: bool) -> Tensor:
    """The gradient of the coefficients: that of a state times the state that it came from."""
    late, early = (states, along) if backwards else (along, states)
    return torch.cat([torch.zeros_like(late[:, :lag]), late[:, lag:] * early[:, :-lag]], dim=1)


def _others(of_kept: Tensor, states: Tensor, lag: int, backwards: bool) -> Tensor:
    """The tangent of the coefficients times the states before, or after."""
    nothing = torch.zeros_like(states[:, :lag])
    if backwards:
        return torch.cat([of_kept[:, lag:] * states[:, lag:], nothing], dim=1)
    return torch.cat([nothing, of_kept[:, lag:] * states[:, :-lag]], dim=1)
