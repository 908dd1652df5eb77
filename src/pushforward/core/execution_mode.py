"""In what way torch runs the operations at hand."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["has_forward_derivatives", "is_transformed", "needs_derivatives", "runs_directly", "runs_eagerly"]


def is_transformed() -> bool:
    """Whether a transform of ``torch.func`` (vmap, vjp, jvp and what is made of them) is at work."""
    return bool(torch._C._are_functorch_transforms_active())


def has_forward_derivatives() -> bool:
    """Whether derivatives travel forwards, as in ``torch.func.jvp`` and ``jacfwd``; gradients need not be recorded."""
    return torch.autograd.forward_ad._current_level >= 0


def needs_derivatives() -> bool:
    """Whether gradients are recorded or derivatives travel forwards, which ``torch.no_grad`` does not stop."""
    return torch.is_grad_enabled() or has_forward_derivatives()


def runs_eagerly(like: Tensor) -> bool:
    """Whether operations on such tensors compute numbers now, one row like the other: nothing is compiled, exported or
    mapped over rows, and no derivatives travel forwards. Gradients may be recorded."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._functorch.is_legacy_batchedtensor(like):
        return False  # the second kind of mapping is that of ``torch.autograd.grad(..., is_grads_batched=True)``
    return not is_transformed() and not has_forward_derivatives()


def runs_directly(like: Tensor) -> bool:
    """Whether such operations also record nothing, so that results may go where they are needed next (``out=``)."""
    return not torch.is_grad_enabled() and runs_eagerly(like)
