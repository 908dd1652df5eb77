"""Backward passes of chains that recompute the activations of each part instead of storing them."""

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
"""What a chain stores for the backward pass: all activations, the input of each part, or only the inputs of those parts
whose input cannot be recomputed from their output in one pass."""


def recomputes(memory: str, x: Tensor) -> bool:
    """Whether activations are recomputed: gradients are recorded, in eager mode."""
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
    """(output, the ladj of each part), storing the input of each part that has parameters; parts without, such as
    permutations, are recomputed together with the next one. Gradients are the same bit for bit."""
    ladjs: list[Tensor] = []
    for group in _with_weights(parts):
        x, *group_ladjs = checkpoint(_steps, group, x, context, inverse, use_reentrant=False)
        ladjs += group_ladjs
    return x, ladjs


def _steps(parts: Sequence[Any], x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, ...]:
    """Several parts one after the other: the output, then the ladj of each."""
    ladjs = []
    for part in parts:
        x, ladj = step(part, x, context, inverse)
        ladjs.append(ladj)
    return x, *ladjs


def _with_weights(parts: Sequence[Bijection]) -> list[list[Bijection]]:
    """Groups in which only the last part has parameters; the last group may have none."""
    groups: list[list[Bijection]] = [[]]
    for k, part in enumerate(parts):
        groups[-1].append(part)
        if next(part.parameters(), None) is not None and k + 1 < len(parts):
            groups.append([])
    return groups


def by_inversion(
    parts: Sequence[Bijection], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """The same, storing only the last output of parts that are inverted in one pass: their inputs are recomputed from
    it, with the rounding errors of the inverse."""
    ladjs: list[Tensor] = []
    for invertible, group in groupby(parts, _inverts_in_one_pass):
        run = list(group)
        if invertible:
            way = _WayBack(run, inverse)
            for k, part in enumerate(run):
                x, ladj = _Inverted.apply(way, k, x, context, *part.parameters())
                ladjs.append(ladj)
            way.start_at(x)
        else:
            x, run_ladjs = by_storing(run, x, context, inverse)
            ladjs += run_ladjs
    return x, ladjs


def _inverts_in_one_pass(part: Bijection) -> bool:
    """Whether one pass recomputes the input of the part from its output, without dropout."""
    drops = any(m.training and (getattr(m, "dropout", 0) or isinstance(m, _DropoutNd)) for m in part.modules())
    return part.forward_kind == part.inverse_kind == "exact" and not drops


class _WayBack:
    """The outputs of a run of parts, from the last to the first, each recomputed from the next one."""

    def __init__(self, parts: Sequence[Any], inverse: bool) -> None:
        self.parts, self.inverse = parts, inverse

    def start_at(self, y: Tensor) -> None:
        """Keep the output of the last part."""
        self.end = self.y = y.detach()
        self.version = y._version
        self.at = len(self.parts)  # how many parts lie before ``y``

    def recompute_from_output(self, k: int, context: Tensor | None) -> RecomputedPass:
        """The pass of part k, recomputed from its output. A backward pass asks for the parts in falling order."""
        if self.end._version != self.version:
            raise RuntimeError(
                "Chain: its output was changed in place, but gradients are recomputed from it. Copy it first."
            )
        if self.at <= k:  # another backward pass
            self.y, self.at = self.end, len(self.parts)
        while True:
            self.at -= 1
            part = self.parts[self.at]
            with torch.set_grad_enabled(self.at == k):  # later parts may need no gradients
                recomputed = _recompute_from_output(part, self.y, context, self.inverse)
            self.y = recomputed.x.detach()
            if self.at == k:
                return recomputed


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
    def backward(ctx: Any, grad_y: Tensor, grad_ladj: Tensor) -> Any:
        (context,) = ctx.saved_tensors
        context = None if context is None else context.detach().requires_grad_(ctx.needs_input_grad[3])
        recomputed = ctx.way.recompute_from_output(ctx.k, context)
        tensors = [context, *ctx.way.parts[ctx.k].parameters()]
        asked = [t if t is not None and t.requires_grad else None for t in tensors]
        pairs = [(o, g) for o, g in zip(recomputed.outputs, (grad_y, grad_ladj), strict=True) if o.requires_grad]
        outputs, grad_outputs = zip(*pairs, strict=True)  # the output at least depends on x
        wanted = [*recomputed.leaves, *(t for t in asked if t is not None)]
        grads = torch.autograd.grad(outputs, wanted, grad_outputs, allow_unused=True, materialize_grads=False)
        leaves = recomputed.leaves
        grad_leaves = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, grads, strict=False)]
        return None, None, recomputed.join(*grad_leaves), *at_places(asked, grads[len(leaves) :])
