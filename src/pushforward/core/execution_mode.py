"""In what way torch runs the operations at hand, and the generator that they draw from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

__all__ = ["current_generator", "execution", "repeated_draws", "runs_directly", "runs_eagerly"]


class _Settings(threading.local):
    generator: torch.Generator | None = None


_SETTINGS = _Settings()


def current_generator() -> torch.Generator | None:
    """The generator of the innermost `execution` scope of this thread."""
    return _SETTINGS.generator


@contextmanager
def execution(*, generator: torch.Generator | None = None) -> Iterator[None]:
    """Inside, in this thread, our own networks draw from this generator; None leaves the generator as it is."""
    before = _SETTINGS.generator
    _SETTINGS.generator = before if generator is None else generator
    try:
        yield
    finally:
        _SETTINGS.generator = before


def repeated_draws() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for a pass and for its recomputation, which draws the same numbers: the ``context_fn`` of
    `torch.utils.checkpoint.checkpoint`."""
    generator = current_generator()
    return nullcontext(), nullcontext() if generator is None else _from_state(generator.device, generator.get_state())


@contextmanager
def _from_state(device: torch.device, state: Tensor) -> Iterator[None]:
    generator = torch.Generator(device)
    generator.set_state(state)
    with execution(generator=generator):
        yield


def runs_eagerly(like: Tensor) -> bool:
    """Whether operations on such tensors compute numbers now, one row like the other: nothing is compiled, exported or
    mapped over rows, and no derivatives travel forwards. Gradients may be recorded."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._functorch.is_legacy_batchedtensor(like):
        return False  # the second kind of mapping is that of ``torch.autograd.grad(..., is_grads_batched=True)``
    return not torch._C._are_functorch_transforms_active() and torch.autograd.forward_ad._current_level < 0


def runs_directly(like: Tensor) -> bool:
    """Whether such operations also record nothing, so that results may go where they are needed next (``out=``)."""
    return not torch.is_grad_enabled() and runs_eagerly(like)
