"""Chains whose gradients recompute what they need part by part, instead of keeping it from the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pushforward.bijections.sequential import at_places
from pushforward.core.bijection import Bijection
from pushforward.core.modes import runs_eagerly

__all__ = ["MEMORY", "by_inversion", "by_storing", "recomputes"]

MEMORY = ("plain", "checkpoint", "invert")
"""What a chain keeps for its gradients: everything, the input of each part, or the input of those parts alone that do
not give it back in one pass."""


def recomputes(memory: str, x: Tensor) -> bool:
    """Whether gradients are recorded here in a way that can be put off."""
    return memory != "plain" and torch.is_grad_enabled() and runs_eagerly(x)


def step(part: Any, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
    """One part of a chain, in the direction of travel."""
    known = context if part.context_shape else None
    both: tuple[Tensor, Tensor] = (part._inverse_and_ladj if inverse else part._forward_and_ladj)(x, known)
    return both


def by_storing(
    parts: Sequence[Bijection], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """(the image of x, the ladj of each part), keeping the input of each part: gradients are the same bit for bit."""
    ladjs = []
    for part in parts:
        x, ladj = checkpoint(step, part, x, context, inverse, use_reentrant=False)
        ladjs.append(ladj)
    return x, ladjs


def by_inversion(
    parts: Sequence[Bijection], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """The same, keeping the last output alone where all parts are inverted in one pass: their inputs come back from it,
    with the rounding errors of the way back."""
    ladjs: list[Tensor] = []
    for gives_back, group in groupby(parts, _gives_back):
        run = list(group)
        if gives_back:
            weights = [p for part in run for p in part.parameters()]
            x, *found = _Inverted.apply(run, inverse, x, context, *weights)
        else:
            x, found = by_storing(run, x, context, inverse)
        ladjs += found
    return x, ladjs


def _gives_back(part: Bijection) -> bool:
    """Whether one pass gives the input of the part from its output, and draws nothing at random."""
    drops = any(getattr(own, "dropout", 0) and own.training for own in part.modules())
    return part.forward_kind == part.inverse_kind == "exact" and not drops


class _Inverted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, parts: Sequence[Bijection], inverse: bool, x: Tensor, context: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.parts, ctx.inverse = parts, inverse
        ladjs = []
        for part in parts:
            x, ladj = step(part, x, context, inverse)
            ladjs.append(ladj)
        ctx.save_for_backward(x, context)
        return x, *ladjs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_y: Tensor, *by_ladjs: Tensor) -> Any:
        y, context = ctx.saved_tensors
        by_context = torch.zeros_like(context) if ctx.needs_input_grad[3] else None
        grads: list[list[Tensor | None]] = []
        for part, by_ladj in zip(reversed(ctx.parts), reversed(by_ladjs), strict=True):
            known = context if part.context_shape else None
            x = (part._forward if ctx.inverse else part._inverse)(y, known).detach().requires_grad_()
            known = None if context is None else context.detach().requires_grad_(by_context is not None)
            weights = [w if w.requires_grad else None for w in part.parameters()]
            with torch.enable_grad():
                outputs = step(part, x, known, ctx.inverse)
            wanted = [x, *(w for w in weights if w is not None), *([known] if by_context is not None else [])]
            pairs = [(o, g) for o, g in zip(outputs, (by_y, by_ladj), strict=True) if o.requires_grad]
            outputs, cotangents = zip(*pairs, strict=True)  # the image at least depends on x
            sent = list(torch.autograd.grad(outputs, wanted, cotangents, allow_unused=True))
            if by_context is not None and (g := sent.pop()) is not None:
                by_context = by_context + g
            by_y, *rest = sent
            grads.append(at_places(weights, rest))
            y = x.detach()
        flat = [g for own in reversed(grads) for g in own]
        return None, None, by_y, by_context, *flat
