"""Gradients of the inverse of a triangular map by one reverse sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pushforward.core.execution_mode import Execution, current_execution, resume
from pushforward.core.torch_internals import is_transformed, uses_forward_mode

__all__ = ["at_places", "sequential_inverse", "sweeps"]


def sequential_inverse(layer: nn.Module, y: Tensor, context: Tensor | None) -> Tensor:
    r"""x = S⁻¹(y), solved one feature at a time, with gradients by one sweep from the last feature to the first.

    With :math:`J = \nabla S(x)` and the cotangent v of x, :math:`g = -J^{-\top} v` is that which S sends to weights and
    context, and -g the cotangent of y. J is lower triangular, so g comes by back substitution, whose products with
    rows of :math:`J^\top` the conditioner gives block by block: no D × D Jacobian is stored.

    ``layer._solve(y, context)`` gives x; ``layer._sweep(x, context, -v)`` gives g and pairs (output, cotangent) whose
    graphs reach weights and context. Columns are (features, n), context (context, n) or None. Where no gradients are
    recorded, in a compiled graph, which sees through the solve, and where derivatives travel forwards, there is no
    sweep.

    Where derivatives of derivatives are asked for, they come from autodiff through the feature-by-feature solve.
    """
    if not sweeps():
        return cast(Any, layer)._solve(y, context)
    names, weights = zip(*layer.named_parameters(), strict=True)
    return _SequentialInverse.apply(_Call(layer, current_execution()), names, y, context, *weights)


def sweeps() -> bool:
    """Whether `sequential_inverse` records its gradients here."""
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
    def backward(ctx: Any, v: Tensor) -> Any:
        x, y, context, *weights = ctx.saved_tensors
        inputs = [y, context, *weights]
        wanted = [t if need else None for t, need in zip(inputs, ctx.needs_input_grad[2:], strict=True)]
        # Derivatives of this derivative may be asked for; the leaves of the sweep are none for ``torch.func``.
        if torch.is_grad_enabled() or is_transformed():
            leaves = [t for t in wanted if t is not None]

            def again(*leaves: Tensor) -> Tensor:
                replaced = at_places(wanted, leaves)
                y, context, *weights = (t if leaf is None else leaf for t, leaf in zip(inputs, replaced, strict=True))
                return _call(ctx.layer, ctx.names, weights, "_solve", y, context)

            return None, None, *at_places(wanted, torch.func.vjp(again, *leaves)[1](v))
        # Further out, derivatives in the weights overflow, and 0 × inf would reach what all rows share.
        limit = torch.finfo(x.dtype).max ** 0.5
        x = x.clamp(-limit, limit)
        with torch.enable_grad():
            wanted = [None if t is None else t.detach().requires_grad_() for t in wanted]
            context_leaf = context if wanted[1] is None else wanted[1]
            weight_leaves = [w if leaf is None else leaf for w, leaf in zip(weights, wanted[2:], strict=True)]
            g, pairs = _call(ctx.layer, ctx.names, weight_leaves, "_sweep", x, context_leaf, -v)
        leaves = [t for t in wanted[1:] if t is not None]
        pairs = [(output, cotangent) for output, cotangent in pairs if output.requires_grad]
        grads: Any = ()
        if leaves and pairs:
            outputs, cotangents = zip(*pairs, strict=True)
            grads = torch.autograd.grad(outputs, leaves, cotangents, allow_unused=True)
        return None, None, -g, *at_places(wanted[1:], grads)

    @staticmethod
    def vmap(info: Any, in_dims: Any, layer: Any, names: Any, y: Tensor, context: Any, *weights: Tensor) -> Any:
        """The mapped axis joins the batch; mapped weights (ensembles) go through the plain solve."""
        _, _, y_dim, context_dim, *weight_dims = in_dims
        if any(dim is not None for dim in weight_dims):
            dims = (y_dim, context_dim, *weight_dims)

            def plain(y: Tensor, context: Tensor | None, *weights: Tensor) -> Tensor:
                return _call(layer, names, weights, "_solve", y, context)

            return torch.vmap(plain, in_dims=dims, randomness=info.randomness)(y, context, *weights), 0
        y = _joined(y, y_dim, info.batch_size)
        context = None if context is None else _joined(context, context_dim, info.batch_size)
        x = _SequentialInverse.apply(layer, names, y, context, *weights)
        return x.unflatten(1, (-1, info.batch_size)), 2


def _joined(columns: Tensor, dim: int | None, size: int) -> Tensor:
    """(rows, n) with one more axis at ``dim``, or none, as (rows, n · size)."""
    wide = columns[..., None].expand(*columns.shape, size) if dim is None else columns.movedim(dim, -1)
    return wide.flatten(1)


def at_places(wanted: Sequence[Tensor | None], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients at the places of what was wanted, None elsewhere."""
    rest = iter(grads)
    return [None if t is None else next(rest, None) for t in wanted]
