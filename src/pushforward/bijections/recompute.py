"""Chains whose gradients recompute what they need part by part, instead of keeping it from the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from pushforward.bijections.sequential import at_places
from pushforward.core.bijection import Bijection, Inverse
from pushforward.core.capabilities import RecomputedPass, SupportsRecompute
from pushforward.core.execution_mode import runs_eagerly

__all__ = ["MEMORY", "by_inversion", "by_storing", "recomputes"]

MEMORY = ("plain", "checkpoint", "invert")
"""What a chain keeps for its gradients: everything, the input of each part, or the input of those parts alone that do
not give it back in one pass."""


def recomputes(memory: str, x: Tensor) -> bool:
    """Whether gradients are recorded here in a way that can be put off."""
    return memory != "plain" and torch.is_grad_enabled() and runs_eagerly(x)


def step(
    part: Bijection, x: Tensor, context: Tensor | None, inverse: bool, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """One part of a chain, in the direction of travel."""
    hook = part._inverse_and_ladj if inverse else part._forward_and_ladj
    return hook(*part._arguments(x, context, generator))


def by_storing(
    parts: Sequence[Bijection], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """(the image of x, the ladj of each part), keeping the input of each part that has weights; those without, such as
    permutations, are computed again with the next one. Gradients are the same bit for bit."""
    ladjs: list[Tensor] = []
    for group in _with_weights(parts):
        x, *found = checkpoint(_steps, group, x, context, inverse, use_reentrant=False)
        ladjs += found
    return x, ladjs


def _steps(parts: Sequence[Any], x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, ...]:
    """Several parts one after the other: the image, then the ladj of each."""
    ladjs = []
    for part in parts:
        x, ladj = step(part, x, context, inverse)
        ladjs.append(ladj)
    return x, *ladjs


def _with_weights(parts: Sequence[Bijection]) -> list[list[Bijection]]:
    """Runs of parts, each with weights in its last part alone; the last run may end without."""
    groups: list[list[Bijection]] = [[]]
    for k, part in enumerate(parts):
        groups[-1].append(part)
        if next(part.parameters(), None) is not None and k + 1 < len(parts):
            groups.append([])
    return groups


def by_inversion(
    parts: Sequence[Bijection], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """The same, keeping the last output alone where all parts are inverted in one pass: their inputs come back from it,
    with the rounding errors of the way back."""
    ladjs: list[Tensor] = []
    for gives_back, group in groupby(parts, _gives_back):
        run = list(group)
        if gives_back:
            way = _WayBack(run, inverse)
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
    drops = any(own.training and (getattr(own, "dropout", 0) or isinstance(own, _DropoutNd)) for own in part.modules())
    return part.forward_kind == part.inverse_kind == "exact" and not drops


class _WayBack:
    """The outputs of a run of parts, from the last to the first, each one found from the one behind it."""

    def __init__(self, parts: Sequence[Any], inverse: bool) -> None:
        self.parts, self.inverse = parts, inverse

    def start_at(self, y: Tensor) -> None:
        """Keep the output of the last part."""
        self.end = self.y = y.detach()
        self.version = y._version
        self.at = len(self.parts)  # how many parts lie before ``y``

    def recompute_from_output(self, k: int, context: Tensor | None) -> RecomputedPass:
        """Part k once more, from its output. Parts are asked for in falling order, once in each backward pass."""
        if self.end._version != self.version:
            raise RuntimeError(
                "Chain: what it gave was changed in place, but its gradients start from it. Copy it first."
            )
        if self.at <= k:  # another backward pass
            self.y, self.at = self.end, len(self.parts)
        while True:
            self.at -= 1
            part = self.parts[self.at]
            with torch.set_grad_enabled(self.at == k):  # parts behind it may not have been asked for
                found = _recompute_from_output(part, self.y, context, self.inverse)
            self.y = found.x.detach()
            if self.at == k:
                return found


def _recompute_from_output(part: Bijection, y: Tensor, context: Tensor | None, inverse: bool) -> RecomputedPass:
    """A pass of the part (of its inverse if ``inverse``) recomputed from its output y, with autograd."""
    if isinstance(part, Inverse):
        return _recompute_from_output(part.bijection, y, context, not inverse)
    context = None if part.context_shape is None else context
    if isinstance(part, SupportsRecompute):
        return part._recompute_from_output(y, context, inverse=inverse)
    with torch.no_grad():
        x = (part._forward if inverse else part._inverse)(y, context)
    x = x.detach().requires_grad_()
    outputs = (part._inverse_and_ladj if inverse else part._forward_and_ladj)(x, context)
    return RecomputedPass(x, outputs, (x,), lambda grad_x: grad_x)


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
        (context,) = ctx.saved_tensors
        known = None if context is None else context.detach().requires_grad_(ctx.needs_input_grad[3])
        found = ctx.way.recompute_from_output(ctx.k, known)
        others = [known, *ctx.way.parts[ctx.k].parameters()]
        asked = [t if t is not None and t.requires_grad else None for t in others]
        pairs = [(o, g) for o, g in zip(found.outputs, (by_y, by_ladj), strict=True) if o.requires_grad]
        own, cotangents = zip(*pairs, strict=True)  # the image at least depends on x
        wanted = [*found.leaves, *(t for t in asked if t is not None)]
        sent = torch.autograd.grad(own, wanted, cotangents, allow_unused=True, materialize_grads=False)
        count = len(found.leaves)
        by_leaves = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(found.leaves, sent, strict=False)]
        return None, None, found.join(*by_leaves), *at_places(asked, sent[count:])
