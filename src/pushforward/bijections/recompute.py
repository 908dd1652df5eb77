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
            way = _WayBack(run, inverse, context)
            for k, part in enumerate(run):
                x, ladj = _Inverted.apply(way, k, x, context, *part.parameters())
                ladjs.append(ladj)
            way.start_at(x)
        else:
            x, found = by_storing(run, x, context, inverse)
            ladjs += found
    return x, ladjs


def _gives_back(part: Bijection) -> bool:
    """Whether one pass gives the input of the part from its output, and draws nothing at random."""
    drops = any(getattr(own, "dropout", 0) and own.training for own in part.modules())
    return part.forward_kind == part.inverse_kind == "exact" and not drops


class _WayBack:
    """The outputs of a run of parts, from the last to the first, each one found from the one behind it."""

    def __init__(self, parts: Sequence[Any], inverse: bool, context: Tensor | None) -> None:
        self.parts, self.inverse, self.context = parts, inverse, context

    def start_at(self, y: Tensor) -> None:
        """Keep the output of the last part."""
        self.end = self.y = y.detach()
        self.version = y._version
        self.at = len(self.parts)  # how many parts lie before ``y``

    @torch.no_grad()
    def input_of(self, k: int) -> Tensor:
        """What part k was given. Parts are asked for in falling order, once in each backward pass."""
        if self.end._version != self.version:
            raise RuntimeError(
                "Chain: what it gave was changed in place, but its gradients start from it. Copy it first."
            )
        if self.at <= k:  # another backward pass
            self.y, self.at = self.end, len(self.parts)
        while self.at > k:
            self.at -= 1
            part = self.parts[self.at]
            known = self.context if part.context_shape else None
            self.y = (part._forward if self.inverse else part._inverse)(self.y, known)
        return self.y


class _Inverted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, way: _WayBack, k: int, x: Tensor, context: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.way, ctx.k = way, k
        ctx.save_for_backward(context)
        return step(way.parts[k], x, context, way.inverse)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_y: Tensor, by_ladj: Tensor) -> Any:
        way, part, (context,) = ctx.way, ctx.way.parts[ctx.k], ctx.saved_tensors
        x = way.input_of(ctx.k).detach().requires_grad_()
        known = None if context is None else context.detach().requires_grad_(ctx.needs_input_grad[3])
        leaves = [x, known, *part.parameters()]
        with torch.enable_grad():
            outputs = step(part, x, known, way.inverse)
        wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        pairs = [(o, g) for o, g in zip(outputs, (by_y, by_ladj), strict=True) if o.requires_grad]
        own, cotangents = zip(*pairs, strict=True)  # the image at least depends on x
        sent = torch.autograd.grad(own, wanted, cotangents, allow_unused=True)
        asked = [leaf if leaf is not None and leaf.requires_grad else None for leaf in leaves]
        return None, None, *at_places(asked, sent)
