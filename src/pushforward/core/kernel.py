"""Native kernels as operations with gradients, at once or as nodes of what ``torch.compile`` builds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

from pushforward.core.execution_mode import runs_eagerly
from pushforward.core.native_build import NATIVE_TYPES

__all__ = ["Kernel"]

_LIBRARY = Library("pushforward", "DEF")
_CONSTANTS = "float[] options, int[] sizes"


class Kernel(ABC):
    """A function of tensors and its gradients, each computed by one native call: on the CPU, and where a kernel says
    so on other devices.

    Subclasses fill given tensors. All tensors that they get are contiguous; what they are given and is not floating
    gets no gradient. ``options`` and ``sizes`` are whatever numbers they need.

    Args:
        name: of the operation, ``pushforward::name`` and ``pushforward::name_backward`` in graphs of torch.
        outputs: how many of the tensors of `room`, the first ones, are the result.
    """

    def __init__(self, name: str, outputs: int) -> None:
        self.name, self.outputs = name, outputs
        _LIBRARY.define(f"{name}(Tensor[] given, {_CONSTANTS}) -> Tensor[]")
        _LIBRARY.define(f"{name}_backward(Tensor[] by, Tensor[] given, Tensor[] found, {_CONSTANTS}) -> Tensor[]")
        _LIBRARY.impl(name, self.find, "CPU")
        _LIBRARY.impl(f"{name}_backward", self.send, "CPU")
        of_graphs = f"{_LIBRARY.ns}::{name}"
        torch.library.register_fake(of_graphs, lambda given, options, sizes: self.room(given, sizes), lib=_LIBRARY)
        torch.library.register_fake(f"{of_graphs}_backward", lambda by, given, *rest: _like(given), lib=_LIBRARY)
        torch.library.register_autograd(of_graphs, self._backward, setup_context=self._setup, lib=_LIBRARY)
        self.operation, self.sending = (getattr(torch.ops.pushforward, own) for own in (name, f"{name}_backward"))

    @abstractmethod
    def ready(self, dtype: torch.dtype, device: str) -> bool:
        """Whether it can run for such tensors; a library is compiled now if need be."""

    def room(self, given: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Empty tensors for what is found: what is returned, and after it what only gradients need. Here outputs like
        the first of what is given."""
        return [given[0].new_empty(given[0].shape) for _ in range(self.outputs)]

    @abstractmethod
    def forward(
        self, given: Sequence[Tensor], found: Sequence[Tensor], options: Sequence[float], sizes: Sequence[int]
    ) -> None:
        """Fill ``found``."""

    @abstractmethod
    def backward(
        self,
        by: Sequence[Tensor],
        given: Sequence[Tensor],
        found: Sequence[Tensor],
        sent: Sequence[Tensor],
        options: Sequence[float],
        sizes: Sequence[int],
    ) -> None:
        """Fill ``sent`` with the gradients of what is floating in ``given``, from those of the outputs."""

    def runs(self, given: Sequence[Tensor]) -> bool:
        """Whether the kernel can run on such tensors here and now. In graphs it is a node on the CPU alone: for GPUs
        torch's compiler has a language of its own."""
        dtype, device = given[0].dtype, given[0].device
        if dtype not in NATIVE_TYPES or not (runs_eagerly(given[0]) or (device.type == "cpu" and _compiles())):
            return False
        if torch.is_autocast_enabled(device.type) or not given[0].numel():
            return False
        fits = all(t.device == device and t.dtype in (dtype, torch.int64) for t in given)
        return fits and _is_ready(self, dtype, device.type)

    def __call__(
        self,
        given: Sequence[Tensor],
        options: Sequence[float],
        sizes: Sequence[int],
        plainly: Callable[..., tuple[Tensor, ...]],
        known: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """What is found, with gradients. ``plainly(*given)`` computes the same by operations of torch, whose
        derivatives have derivatives. To be called where it `runs`.

        ``known`` stands for what is to be found where that need not be computed: there, only gradients are.
        """
        if torch.compiler.is_compiling():
            return list(self.operation(given, options, sizes)[: self.outputs])
        if not torch.is_grad_enabled():
            return list(known or self.find(given, options, sizes))[: self.outputs]
        return list(_Eager.apply(self, plainly, options, sizes, known, *given))

    def find(self, given: Sequence[Tensor], options: Sequence[float], sizes: Sequence[int]) -> list[Tensor]:
        """Outputs and what gradients need besides."""
        given = [tensor.contiguous() for tensor in given]
        found = self.room(given, sizes)
        self.forward(given, found, options, sizes)
        return found

    def send(
        self,
        by: Sequence[Tensor],
        given: Sequence[Tensor],
        found: Sequence[Tensor],
        options: Sequence[float],
        sizes: Sequence[int],
    ) -> list[Tensor]:
        """Gradients of what is floating in ``given``."""
        given = [tensor.contiguous() for tensor in given]
        sent = _like(given)
        self.backward([tensor.contiguous() for tensor in by], given, found, sent, options, sizes)
        return sent

    def _setup(self, ctx: Any, inputs: Any, output: Any) -> None:
        given, ctx.options, ctx.sizes = inputs
        ctx.count = len(given)
        ctx.save_for_backward(*given, *output)

    def _backward(self, ctx: Any, by: Sequence[Tensor]) -> Any:
        given, found = _saved(ctx)
        sent = self.sending(by[: self.outputs], given, found, ctx.options, ctx.sizes)
        # An empty list counts as one of tensors.
        return _in_place(given, sent), *(None if own else [] for own in (ctx.options, ctx.sizes))


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, plainly: Any, options: Any, sizes: Any, known: Any, *given: Tensor) -> Any:
        found = known or kernel.find(given, options, sizes)
        ctx.kernel, ctx.plainly, ctx.constants, ctx.count = kernel, plainly, (options, sizes), len(given)
        ctx.save_for_backward(*given, *found)
        return tuple(found[: kernel.outputs])

    @staticmethod
    def backward(ctx: Any, *by: Tensor) -> Any:
        given, found = _saved(ctx)
        if torch.is_grad_enabled():  # derivatives of this derivative will be asked for
            sent = torch.func.vjp(lambda *floating: ctx.plainly(*_merged(given, floating)), *_floating(given))[1](by)
        else:
            sent = ctx.kernel.send(by, given, found, *ctx.constants)
        return None, None, None, None, None, *_in_place(given, sent)


def _saved(ctx: Any) -> tuple[list[Tensor], list[Tensor]]:
    """(what was given, what was found); asked for once, for to recompute it (`torch.utils.checkpoint`) happens once."""
    saved = list(ctx.saved_tensors)
    return saved[: ctx.count], saved[ctx.count :]


def _like(given: Sequence[Tensor]) -> list[Tensor]:
    """Room for the gradients of what is floating."""
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in _floating(given)]


def _floating(given: Sequence[Tensor]) -> list[Tensor]:
    return [tensor for tensor in given if tensor.is_floating_point()]


def _merged(given: Sequence[Tensor], floating: Sequence[Tensor]) -> list[Tensor]:
    """``given`` with others in the place of what is floating."""
    rest = iter(floating)
    return [next(rest) if tensor.is_floating_point() else tensor for tensor in given]


def _in_place(given: Sequence[Tensor], sent: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients where what they belong to stands."""
    rest = iter(sent)
    return [next(rest) if tensor.is_floating_point() else None for tensor in given]


def _compiles() -> bool:
    """Whether torch builds a graph to run in this process, outside of any mapping over rows."""
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    return not torch._C._are_functorch_transforms_active()


def _is_ready(kernel: Kernel, dtype: torch.dtype, device: str) -> bool:
    return kernel.ready(dtype, device)


# Graphs take its answer as a constant. This is all that `torch.compiler.assume_constant_result` does, but for an import
# of the whole compiler, which takes longer than all else that a flow needs.
vars(_is_ready)["_dynamo_marked_constant"] = True
