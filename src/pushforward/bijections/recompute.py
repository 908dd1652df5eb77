"""Backward passes of chains that recompute the activations of each part instead of storing them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pushforward.bijections.sequential import scatter_grads
from pushforward.core.bijection import Bijection, Inverse
from pushforward.core.capabilities import RecomputedPass, SupportsRecompute
from pushforward.core.execution_mode import Execution, current_execution, resume, runs_eagerly
from pushforward.core.torch_internals import is_dropout, version_of

__all__ = ["by_inversion", "by_storing", "recomputes", "step"]


def recomputes(memory: str, x: Tensor) -> bool:
    """Whether activations are recomputed: where gradients are recorded, in eager mode."""
    return memory != "plain" and torch.is_grad_enabled() and runs_eagerly(x)


def step(
    part: Bijection, x: Tensor, context: Tensor | None, inverse: bool, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """One part of a chain, forwards or backwards."""
    hook = part._inverse_and_ladj if inverse else part._forward_and_ladj
    return hook(*part._arguments(x, context, generator))


def by_storing(
    parts: Sequence[Bijection], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, list[Tensor]]:
    """(the image of x, the ladj of each part), storing the input of each part that has parameters; parts without, such
    as permutations, are recomputed with the next one. Gradients are the same bit for bit."""
    ladjs: list[Tensor] = []
    for group in _groups(parts):
        settings = _Replay(group)
        x, *group_ladjs = checkpoint(_steps, settings, group, x, context, inverse, use_reentrant=False)
        ladjs += group_ladjs
    return x, ladjs


class _Replay:
    """The execution settings of a forward pass, for its recomputation in any thread: with the same dropout masks.

    `torch.utils.checkpoint` takes care of torch's global generators; the generator of the scope is set back here.
    """

    def __init__(self, parts: Sequence[Bijection]) -> None:
        self.settings = current_execution()
        generator = self.settings.generator
        self.state = generator.get_state() if generator is not None and any(map(_drops, parts)) else None
        self.forward = True

    def next_pass(self) -> Execution:
        """The settings of the forward pass, in the first call, and then those of its recomputations."""
        generator = self.settings.generator
        if self.forward or generator is None or self.state is None:
            self.forward = False
            return self.settings
        copy = torch.Generator(generator.device)
        copy.set_state(self.state)
        return self.settings._replace(generator=copy)


def _steps(
    replay: _Replay, parts: Sequence[Any], x: Tensor, context: Tensor | None, inverse: bool
) -> tuple[Tensor, ...]:
    """Several parts one after the other: the image, then the ladj of each."""
    ladjs = []
    with resume(replay.next_pass()):
        for part in parts:
            x, ladj = step(part, x, context, inverse)
            ladjs.append(ladj)
    return x, *ladjs


def _groups(parts: Sequence[Bijection]) -> list[list[Bijection]]:
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
    """The output and the log-determinant of each part. Of consecutive parts that one pass inverts only the last output
    is stored: their inputs are recomputed from it, with the rounding errors of the inverse."""
    ladjs: list[Tensor] = []
    for invertible, consecutive in groupby(parts, _inverts_in_one_pass):
        group = list(consecutive)
        if invertible:
            outputs = _Outputs(group, inverse)
            for k, part in enumerate(group):
                x, ladj = _Inverted.apply(outputs, k, x, context, *part.parameters())
                ladjs.append(ladj)
            outputs.start_at(x)
        else:
            x, group_ladjs = by_storing(group, x, context, inverse)
            ladjs += group_ladjs
    return x, ladjs


def _inverts_in_one_pass(part: Bijection) -> bool:
    """Whether one pass gives the input of the part from its output, and no random numbers are drawn."""
    return part.forward_kind == part.inverse_kind == "exact" and not _drops(part) and not _learns_statistics(part)


def _learns_statistics(part: Bijection) -> bool:
    """Whether the forward direction uses statistics of the batch, which its inverse does not know."""
    return any(module.training and getattr(module, "in_training_changes", False) for module in part.modules())


def _drops(part: Bijection) -> bool:
    """Whether the part drops units at random."""
    return any(module.training and (getattr(module, "dropout", 0) or is_dropout(module)) for module in part.modules())


class _Outputs:
    """The outputs of consecutive parts, from the last to the first, each recomputed from the one after it."""

    def __init__(self, parts: Sequence[Any], inverse: bool) -> None:
        self.parts, self.inverse = parts, inverse
        self.settings = current_execution()

    def start_at(self, y: Tensor) -> None:
        """Store the output of the last part."""
        self.end = self.y = y.detach()
        self.version = version_of(y)
        self.at = len(self.parts)  # how many parts lie before ``y``

    def recompute_from_output(self, k: int, context: Tensor | None) -> RecomputedPass:
        """Part k recomputed from its output. Parts are asked for in falling order, once in each backward pass."""
        if version_of(self.end) != self.version:
            raise RuntimeError(
                "Chain: its output was changed in place, but its gradients are computed from it. Copy the output first."
            )
        if self.at <= k:  # another backward pass
            self.y, self.at = self.end, len(self.parts)
        while True:
            self.at -= 1
            part = self.parts[self.at]
            # Gradients of the parts after k may not have been asked for.
            with resume(self.settings), torch.set_grad_enabled(self.at == k):
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
        ctx: Any, outputs: _Outputs, k: int, x: Tensor, context: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.outputs, ctx.k = outputs, k
        ctx.save_for_backward(context)
        return step(outputs.parts[k], x, context, outputs.inverse)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_ladj: Tensor) -> Any:
        (context,) = ctx.saved_tensors
        context = None if context is None else context.detach().requires_grad_(ctx.needs_input_grad[3])
        recomputed = ctx.outputs.recompute_from_output(ctx.k, context)
        others = [context, *ctx.outputs.parts[ctx.k].parameters()]
        needed = [t if t is not None and t.requires_grad else None for t in others]
        pairs = zip(recomputed.outputs, (grad_y, grad_ladj), strict=True)
        outputs, grad_outputs = zip(*((o, g) for o, g in pairs if o.requires_grad), strict=True)  # y depends on x
        leaves = [*recomputed.leaves, *(t for t in needed if t is not None)]
        grads = torch.autograd.grad(outputs, leaves, grad_outputs, allow_unused=True, materialize_grads=False)
        count = len(recomputed.leaves)
        grad_leaves = [
            torch.zeros_like(leaf) if g is None else g for leaf, g in zip(recomputed.leaves, grads, strict=False)
        ]
        return None, None, recomputed.join(*grad_leaves), *scatter_grads(needed, grads[count:])
