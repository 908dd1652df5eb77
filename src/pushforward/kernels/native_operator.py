"""Native functions as operators with gradients: called at once, or as nodes of the graphs of ``torch.compile``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

from pushforward.core.execution_mode import runs_eagerly
from pushforward.core.torch_internals import constant_in_graphs, is_transformed
from pushforward.kernels.native_build import NATIVE_TYPES

__all__ = ["NativeOperator"]

_LIBRARY = Library("pushforward", "DEF")
_CONSTANTS = "float[] options, int[] sizes"

Reference = Callable[..., tuple[Tensor, ...]]


class NativeOperator(ABC):
    """A function of tensors and its gradients, each computed by one native call: on the CPU, and on other devices where
    an operator says so.

    A subclass fills tensors that are allocated for it; all tensors that it receives are contiguous. Non-floating inputs
    get no gradient. ``options`` and ``sizes`` are whatever numbers the native function needs.

    Args:
        name: of the operator, ``pushforward::name`` and ``pushforward::name_backward`` in graphs of torch.
        outputs: how many tensors of `allocate`, the first ones, are the result; the others are saved for gradients.
    """

    def __init__(self, name: str, outputs: int) -> None:
        self.name, self.outputs = name, outputs
        _LIBRARY.define(f"{name}(Tensor[] inputs, {_CONSTANTS}) -> Tensor[]")
        _LIBRARY.define(
            f"{name}_backward(Tensor[] grad_outputs, Tensor[] inputs, Tensor[] results, {_CONSTANTS}) -> Tensor[]"
        )
        _LIBRARY.impl(name, self.compute, "CPU")
        _LIBRARY.impl(f"{name}_backward", self.compute_gradients, "CPU")
        qualified = f"{_LIBRARY.ns}::{name}"
        torch.library.register_fake(
            qualified, lambda inputs, options, sizes: self.allocate(inputs, sizes), lib=_LIBRARY
        )
        torch.library.register_fake(
            f"{qualified}_backward", lambda grad_outputs, inputs, *rest: _allocate_gradients(inputs), lib=_LIBRARY
        )
        torch.library.register_autograd(qualified, self._graph_backward, setup_context=self._graph_setup, lib=_LIBRARY)
        self._node, self._backward_node = (getattr(torch.ops.pushforward, op) for op in (name, f"{name}_backward"))

    @abstractmethod
    def is_available(self, dtype: torch.dtype, device: str) -> bool:
        """Whether it can run for such tensors; a library is compiled now if need be."""

    def allocate(self, inputs: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Allocate outputs, then tensors saved for backward. Here outputs like the first input."""
        return [inputs[0].new_empty(inputs[0].shape) for _ in range(self.outputs)]

    @abstractmethod
    def forward(
        self, inputs: Sequence[Tensor], results: Sequence[Tensor], options: Sequence[float], sizes: Sequence[int]
    ) -> None:
        """Fill ``results``, the tensors of `allocate`."""

    @abstractmethod
    def backward(
        self,
        grad_outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        results: Sequence[Tensor],
        grad_inputs: Sequence[Tensor],
        options: Sequence[float],
        sizes: Sequence[int],
    ) -> None:
        """Fill ``grad_inputs``, one tensor for each floating input."""

    def can_run(self, inputs: Sequence[Tensor]) -> bool:
        """Whether the operator can run on such tensors here and now. In graphs it is a node on the CPU alone: for GPUs
        torch's compiler has a language of its own."""
        first = inputs[0]
        dtype, device = first.dtype, first.device
        if dtype not in NATIVE_TYPES or not (runs_eagerly(first) or (device.type == "cpu" and _builds_a_graph())):
            return False
        if torch.is_autocast_enabled(device.type) or not first.numel():
            return False
        fits = all(t.device == device and t.dtype in (dtype, torch.int64) for t in inputs)
        return fits and _is_available(self, dtype, device.type)

    def __call__(
        self, inputs: Sequence[Tensor], options: Sequence[float], sizes: Sequence[int], reference: Reference
    ) -> list[Tensor]:
        """The outputs, with gradients; to be called where the operator `can_run`.

        ``reference(*inputs)`` computes the same by operations of torch, whose derivatives have derivatives.
        """
        if torch.compiler.is_compiling():
            return list(self._node(inputs, options, sizes)[: self.outputs])
        if not torch.is_grad_enabled():
            return self.compute(inputs, options, sizes)[: self.outputs]
        return list(_Eager.apply(self, reference, options, sizes, *inputs))

    def compute(self, inputs: Sequence[Tensor], options: Sequence[float], sizes: Sequence[int]) -> list[Tensor]:
        """Outputs and tensors saved for backward."""
        inputs = [tensor.contiguous() for tensor in inputs]
        results = self.allocate(inputs, sizes)
        self.forward(inputs, results, options, sizes)
        return results

    def compute_gradients(
        self,
        grad_outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        results: Sequence[Tensor],
        options: Sequence[float],
        sizes: Sequence[int],
    ) -> list[Tensor]:
        """Gradients of the floating inputs."""
        inputs = [tensor.contiguous() for tensor in inputs]
        grad_inputs = _allocate_gradients(inputs)
        grad_outputs = [tensor.contiguous() for tensor in grad_outputs]
        self.backward(grad_outputs, inputs, results, grad_inputs, options, sizes)
        return grad_inputs

    def _graph_setup(self, ctx: Any, inputs: Any, output: Any) -> None:
        tensors, ctx.options, ctx.sizes = inputs
        ctx.count = len(tensors)
        ctx.save_for_backward(*tensors, *output)

    def _graph_backward(self, ctx: Any, grad_outputs: Sequence[Tensor]) -> Any:
        inputs, results = _saved(ctx)
        floating = self._backward_node(grad_outputs[: self.outputs], inputs, results, ctx.options, ctx.sizes)
        # Torch takes an empty list of numbers for one of tensors, whose gradient is an empty list.
        return _in_place(inputs, floating), *(None if numbers else [] for numbers in (ctx.options, ctx.sizes))


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, operator: NativeOperator, reference: Any, options: Any, sizes: Any, *inputs: Tensor) -> Any:
        results = operator.compute(inputs, options, sizes)
        ctx.operator, ctx.reference, ctx.constants, ctx.count = operator, reference, (options, sizes), len(inputs)
        ctx.save_for_backward(*inputs, *results)
        return tuple(results[: operator.outputs])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        inputs, results = _saved(ctx)
        if torch.is_grad_enabled():  # derivatives of this derivative will be asked for
            vjp = torch.func.vjp(lambda *floating: ctx.reference(*_merged(inputs, floating)), *_floating(inputs))[1]
            floating = vjp(grad_outputs)
        else:
            floating = ctx.operator.compute_gradients(grad_outputs, inputs, results, *ctx.constants)
        return None, None, None, None, *_in_place(inputs, floating)


def _saved(ctx: Any) -> tuple[list[Tensor], list[Tensor]]:
    """(inputs, results). Each access unpacks anew, and `torch.utils.checkpoint` allows one: so read them together."""
    saved = list(ctx.saved_tensors)
    return saved[: ctx.count], saved[ctx.count :]


def _allocate_gradients(inputs: Sequence[Tensor]) -> list[Tensor]:
    """A tensor for the gradient of each floating input."""
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in _floating(inputs)]


def _floating(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [tensor for tensor in inputs if tensor.is_floating_point()]


def _merged(inputs: Sequence[Tensor], floating: Sequence[Tensor]) -> list[Tensor]:
    """The inputs with others in place of the floating ones."""
    rest = iter(floating)
    return [next(rest) if tensor.is_floating_point() else tensor for tensor in inputs]


def _in_place(inputs: Sequence[Tensor], floating: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient of each input: None for those that are not floating."""
    rest = iter(floating)
    return [next(rest) if tensor.is_floating_point() else None for tensor in inputs]


def _builds_a_graph() -> bool:
    """Whether torch builds a graph to run in this process, outside of any transform such as vmap."""
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    return not is_transformed()


@constant_in_graphs
def _is_available(operator: NativeOperator, dtype: torch.dtype, device: str) -> bool:
    return operator.is_available(dtype, device)
