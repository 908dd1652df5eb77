"""How operations are executed: what torch does with them now, and the settings of the innermost `execution` scope."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.core.checks import one_of
from pushforward.core.torch_internals import is_legacy_batched, is_transformed, uses_forward_mode

__all__ = [
    "MATMUL_DTYPES",
    "MEMORY",
    "Execution",
    "current_execution",
    "execution",
    "needs_derivatives",
    "resume",
    "runs_eagerly",
    "runs_eagerly_without_grad",
]

MATMUL_DTYPES: dict[str, torch.dtype] = {"bf16": torch.bfloat16}

MEMORY = ("plain", "checkpoint", "invert")
"""What a chain keeps for its gradients: everything, the input of each part, or only the inputs of those parts that one
inverse pass cannot recover."""


class Execution(NamedTuple):
    """Settings under which operations are computed. They belong to a thread, not to modules."""

    kernels: bool = False
    """Whether registered kernels may run in place of the definitions; see `core.dispatch`."""
    matmul_dtype: str | None = None
    """One of ``MATMUL_DTYPES`` for the matrix products of conditioners; None for the dtype of their weights."""
    memory: str | None = None
    """One of ``MEMORY`` for every chain; None for what each chain was built with."""
    generator: torch.Generator | None = None
    """Draws the random numbers of dropout in eager mode; None for torch's global generator."""


class _Current(threading.local):
    # An attribute of each thread's instance, not of the class: `torch.compile` guards on the instance's own dict.
    def __init__(self) -> None:
        self.settings = Execution()


_CURRENT = _Current()


class _Scope:
    """A context in which the given settings hold, in this thread alone. It may be entered once."""

    def __init__(self, settings: Execution) -> None:
        self.settings = settings

    def __enter__(self) -> None:
        self.outer = _CURRENT.settings
        _CURRENT.settings = self.settings

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _CURRENT.settings = self.outer


def current_execution() -> Execution:
    """The settings that hold here, in this thread."""
    return _CURRENT.settings


def execution(
    *,
    kernels: bool | None = None,
    matmul_dtype: str | None = None,
    memory: str | None = None,
    generator: torch.Generator | None = None,
) -> _Scope:
    """A scope with these settings, for this thread; None leaves a setting as it is outside.

    Nothing is written to modules, so threads that share a flow do not disturb each other. Backward passes that compute
    something again do so under the settings of their forward pass, whichever thread they run in. `torch.compile`
    traces through a scope and compiles once for each set of settings.

    Args:
        kernels: whether registered kernels may run.
        matmul_dtype: ``"bf16"`` for matrix products of conditioners in bfloat16.
        memory: ``"plain"``, ``"checkpoint"`` or ``"invert"``, as in `bijections.Chain`.
        generator: of dropout masks; in compiled graphs, where torch takes none, its global generator draws them.

    Raises:
        ValueError: a setting has no such value.

    >>> with execution(kernels=True):
    ...     current_execution().kernels
    True
    """
    if matmul_dtype is not None:
        one_of("execution", "matmul_dtype", matmul_dtype, tuple(MATMUL_DTYPES))
    if memory is not None:
        one_of("execution", "memory", memory, MEMORY)
    outer = _CURRENT.settings
    return _Scope(
        Execution(
            outer.kernels if kernels is None else kernels,
            outer.matmul_dtype if matmul_dtype is None else matmul_dtype,
            outer.memory if memory is None else memory,
            outer.generator if generator is None else generator,
        )
    )


def resume(settings: Execution) -> _Scope:
    """A scope with exactly these settings, such as those of the forward pass in its backward pass."""
    return _Scope(settings)


def needs_derivatives() -> bool:
    """Whether gradients are recorded or forward-mode derivatives computed, which ``torch.no_grad`` does not stop."""
    return torch.is_grad_enabled() or uses_forward_mode()


def runs_eagerly(like: Tensor) -> bool:
    """Whether operations on such tensors compute numbers now: nothing is compiled, exported, traced or mapped by vmap,
    and no forward-mode derivatives are computed. Gradients may be recorded."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or is_legacy_batched(like):
        return False
    return not is_transformed() and not uses_forward_mode()


def runs_eagerly_without_grad(like: Tensor) -> bool:
    """Whether such operations compute numbers now and record no gradients: results may be written to ``out=``."""
    return not torch.is_grad_enabled() and runs_eagerly(like)
