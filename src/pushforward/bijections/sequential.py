"""Gradients of the inverse of a triangular map by back substitution, instead of through D solved equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pushforward.core.execution_mode import Execution, current_execution, resume
from pushforward.core.torch_internals import is_transformed, uses_forward_mode

__all__ = ["SequentiallyInvertible", "scatter_grads", "sequential_inverse", "uses_custom_backward"]


class SequentiallyInvertible(Protocol):
    """A triangular map y = S(x) that `sequential_inverse` inverts. Tensors are (features, n), the context (context, n)
    or None."""

    def _solve(self, y: Tensor, context: Tensor | None) -> Tensor:
        """x with S(x) = y, one feature at a time. With gradients on, autograd records the whole loop; within
        `sequential_inverse`, gradients are off."""

    def _back_substitute(
        self, x: Tensor, context: Tensor | None, grad_x: Tensor
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        r"""Gradients of the inverse at its solution, from the last feature to the first.

        Args:
            x: the solution.
            context: as in `_solve`.
            grad_x: the gradient with respect to x.

        Returns:
            :math:`J^{-\top}` grad_x, which is the gradient with respect to y, and pairs (tensor computed from the
            map's parameters and the context, its gradient if that with respect to S(x) is :math:`J^{-\top}` grad_x).
            The parameters and the context of the inverse receive the negative of what these pairs give.
        """


def sequential_inverse(layer: SequentiallyInvertible, y: Tensor, context: Tensor | None) -> Tensor:
    r"""x = S⁻¹(y), solved one feature at a time, with gradients by back substitution.

    Let :math:`J = \nabla S(x)` at the solution and grad_x the incoming gradient. By the implicit function theorem the
    gradient with respect to y is :math:`J^{-\top}` grad_x, and weights and context receive the vector-Jacobian product
    of S with minus that. J is lower triangular, so the last feature comes first; the conditioner supplies each row of
    :math:`J^\top` times the part that is complete. The D × D Jacobian is never stored.

    Second derivatives come from autograd through the feature-by-feature solve. Under no_grad, `torch.compile` (which
    traces the loop itself) and forward-mode differentiation this is a plain call of ``_solve``.
    """
    if not uses_custom_backward():
        return layer._solve(y, context)
    names, weights = zip(*cast(nn.Module, layer).named_parameters(), strict=True)
    return _SequentialInverse.apply(_Call(layer, current_execution()), names, y, context, *weights)


def uses_custom_backward() -> bool:
    """Whether `sequential_inverse` is recorded here as one custom autograd function."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling() and not uses_forward_mode()


class _Call(nn.Module):
    """Methods of a layer, so that `functional_call` runs them with the weights of the forward pass, under the execution
    settings of the forward pass."""

    def __init__(self, layer: Any, settings: Execution) -> None:
        super().__init__()
        self.layer, self.settings = layer, settings

    def forward(self, method: str, *args: Any) -> Any:
        with resume(self.settings):
            return getattr(self.layer, method)(*args)


def _call(layer: _Call, names: Sequence[str], weights: Sequence[Tensor], method: str, *args: Any) -> Any:
    parameters = {f"layer.{name}": weight for name, weight in zip(names, weights, strict=True)}
    return functional_call(layer, parameters, (method, *args))


class _SequentialInverse(torch.autograd.Function):
    @staticmethod
    def forward(layer: Any, names: Any, y: Tensor, context: Tensor | None, *weights: Tensor) -> Tensor:
        return _call(layer, names, weights, "_solve", y, context)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.layer, ctx.names, y, context, *weights = inputs
        ctx.save_for_backward(output, y, context, *weights)

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor) -> Any:
        x, y, context, *weights = ctx.saved_tensors
        inputs = [y, context, *weights]
        needed = [t if need else None for t, need in zip(inputs, ctx.needs_input_grad[2:], strict=True)]
        # `torch.func` does not see the detached tensors of the custom backward, and a second derivative needs a graph:
        # differentiate through the feature loop instead.
        if torch.is_grad_enabled() or is_transformed():
            leaves = [t for t in needed if t is not None]

            def solve(*leaves: Tensor) -> Tensor:
                replaced = scatter_grads(needed, leaves)
                y, context, *weights = (t if leaf is None else leaf for t, leaf in zip(inputs, replaced, strict=True))
                return _call(ctx.layer, ctx.names, weights, "_solve", y, context)

            return None, None, *scatter_grads(needed, torch.func.vjp(solve, *leaves)[1](grad_x))
        # Clamp huge x: a product of two such entries would overflow to inf, and inf × 0 = NaN in one row would enter
        # the weight gradients of all rows.
        limit = torch.finfo(x.dtype).max ** 0.5
        x = x.clamp(-limit, limit)
        with torch.enable_grad():
            needed = [None if t is None else t.detach().requires_grad_() for t in needed]
            context_leaf = context if needed[1] is None else needed[1]
            weight_leaves = [w if leaf is None else leaf for w, leaf in zip(weights, needed[2:], strict=True)]
            arguments = (
                x,
                context_leaf,
                -grad_x,
            )  # all that follows is linear in the gradient: one change of sign for all
            minus_grad_y, pairs = _call(ctx.layer, ctx.names, weight_leaves, "_back_substitute", *arguments)
        leaves = [t for t in needed[1:] if t is not None]
        pairs = [(output, grad_output) for output, grad_output in pairs if output.requires_grad]
        grads: Any = ()
        if leaves and pairs:
            outputs, grad_outputs = zip(*pairs, strict=True)
            grads = torch.autograd.grad(outputs, leaves, grad_outputs, allow_unused=True)
        return None, None, -minus_grad_y, *scatter_grads(needed[1:], grads)

    @staticmethod
    def vmap(info: Any, in_dims: Any, layer: Any, names: Any, y: Tensor, context: Any, *weights: Tensor) -> Any:
        """The mapped axis joins the batch; mapped weights (ensembles) go through the plain solve."""
        _, _, y_dim, context_dim, *weight_dims = in_dims
        if any(dim is not None for dim in weight_dims):
            dims = (y_dim, context_dim, *weight_dims)

            def plain(y: Tensor, context: Tensor | None, *weights: Tensor) -> Tensor:
                return _call(layer, names, weights, "_solve", y, context)

            return torch.vmap(plain, in_dims=dims, randomness=info.randomness)(y, context, *weights), 0
        y = _fold_vmap_axis(y, y_dim, info.batch_size)
        context = None if context is None else _fold_vmap_axis(context, context_dim, info.batch_size)
        x = _SequentialInverse.apply(layer, names, y, context, *weights)
        return x.unflatten(1, (-1, info.batch_size)), 2


def _fold_vmap_axis(columns: Tensor, dim: int | None, size: int) -> Tensor:
    """(rows, n) with one more axis at ``dim``, or none, as (rows, n · size)."""
    wide = columns[..., None].expand(*columns.shape, size) if dim is None else columns.movedim(dim, -1)
    return wide.flatten(1)


def scatter_grads(needed: Sequence[Tensor | None], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """``grads``, in order, at the places of ``needed`` that are not None; None elsewhere."""
    rest = iter(grads)
    return [None if t is None else next(rest, None) for t in needed]
