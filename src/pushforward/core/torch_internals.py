"""Every private name of torch that this library uses, so that a new release of torch is checked in one place.

Modules of torch's compiler take longer to import than all else that a flow needs; they are imported where they are
used.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions.transforms import _InverseTransform
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "PRIVATE_NAMES",
    "TorchDispatchMode",
    "buffers_of",
    "compiler_failure",
    "constant_in_graphs",
    "foreach_lerp_",
    "import_compiler",
    "invert_transform",
    "is_dropout",
    "is_legacy_batched",
    "is_transformed",
    "load_cpp",
    "parameters_of",
    "scan_layers",
    "standard_gamma",
    "submodules_of",
    "unsaved_buffers",
    "uses_forward_mode",
    "version_of",
]

PRIVATE_NAMES = (
    "torch._C._are_functorch_transforms_active",
    "torch._C._functorch.is_legacy_batchedtensor",
    "torch._dynamo.exc.BackendCompilerFailed",
    "torch._foreach_lerp_",
    "torch._higher_order_ops.scan.scan",
    "torch._inductor.compile_fx",
    "torch._inductor.codecache.CppCodeCache.load",
    "torch._standard_gamma",
    "torch.Tensor._version",
    "torch.autograd.forward_ad._current_level",
    "torch.distributions.transforms.Transform._inv_call",
    "torch.distributions.transforms._InverseTransform",
    "torch.nn.modules.dropout._DropoutNd",
    "torch.utils._python_dispatch.TorchDispatchMode",
)
"""All of them, for a test that looks each one up in the installed torch."""

Function = TypeVar("Function", bound=Callable[..., Any])

foreach_lerp_ = torch._foreach_lerp_
standard_gamma = torch._standard_gamma


def is_transformed() -> bool:
    """Whether a transform of `torch.func` (vmap, grad, jvp, ...) is at work."""
    return torch._C._are_functorch_transforms_active()


def is_legacy_batched(x: Tensor) -> bool:
    """Whether x is mapped over by ``torch.autograd.grad(..., is_grads_batched=True)``."""
    return torch._C._functorch.is_legacy_batchedtensor(x)


def uses_forward_mode() -> bool:
    """Whether forward-mode automatic differentiation is on."""
    return torch.autograd.forward_ad._current_level >= 0


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The module's own parameters by name, in a dict that may be written to; None for those left out."""
    return module._parameters


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """The module's own buffers by name, in a dict that may be written to; None for those left out."""
    return module._buffers


def submodules_of(module: nn.Module) -> dict[str, nn.Module | None]:
    """The module's children by name: faster than attributes of modules, which Python looks for elsewhere first."""
    return module._modules


def unsaved_buffers(module: nn.Module) -> set[str]:
    """The names of the module's own buffers that its ``state_dict`` leaves out."""
    return module._non_persistent_buffers_set


def version_of(x: Tensor) -> int:
    """How often the tensor has been changed in place."""
    version: int = x._version
    return version


def is_dropout(module: nn.Module) -> bool:
    """Whether the module is one of torch's dropout layers."""
    return isinstance(module, _DropoutNd)


def constant_in_graphs(function: Function) -> Function:
    """Let `torch.compile` call the function while it traces, and take its answer as a constant.

    This is what `torch.compiler.assume_constant_result` does, without its import of the whole compiler.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function


def invert_transform(transform: Any, y: Tensor) -> Tensor:
    """x with transform(x) = y, for a transform of ``torch.distributions``, without the object that its ``inv`` makes,
    which the compiler cannot trace."""
    if hasattr(transform, "parts"):  # a composition
        for part in reversed(transform.parts):
            y = invert_transform(part, y)
        return y
    x: Tensor = transform.inv(y) if isinstance(transform, _InverseTransform) else transform._inv_call(y)
    return x


def compiler_failure() -> type[RuntimeError]:
    """The error that `torch.compile` raises where a backend fails, for instance for lack of a C++ compiler."""
    from torch._dynamo.exc import BackendCompilerFailed

    return BackendCompilerFailed


def import_compiler() -> None:
    """Import the compiler behind `torch.compile`, which takes seconds and may fail."""
    importlib.import_module("torch._inductor.compile_fx")


def load_cpp(source: str) -> ctypes.CDLL:
    """C++ source compiled as ``torch.compile`` does it: with flags for this machine, into torch's cache on disk."""
    from torch._inductor.codecache import CppCodeCache

    library: ctypes.CDLL = CppCodeCache.load(source, needs_vec_isa=True)
    return library


def scan_layers(body: Callable[..., Any], carry: Tensor, layers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A loop over layers that is one node of a graph under compile and export.

    Args:
        body: (carry, tensors of one layer) to (the next carry, an output).
        carry: what the first layer takes.
        layers: tensors of all layers, stacked along a first axis.

    Returns:
        The last carry, and the outputs stacked along a first axis.
    """
    from torch._higher_order_ops.scan import scan

    last, outputs = scan(body, carry, layers)
    return last, outputs
