"""In what way torch runs the operations at hand."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["runs_directly", "runs_eagerly"]


def runs_eagerly(like: Tensor) -> bool:
    """Whether operations on such tensors compute numbers now, one row like the other: nothing is compiled, exported or
    mapped over rows, and no derivatives travel forwards. Gradients may be recorded."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._functorch.is_legacy_batchedtensor(like):
        return False  # the second kind of mapping is that of ``torch.autograd.grad(..., is_grads_batched=True)``
    return not torch._C._are_functorch_transforms_active() and torch.autograd.forward_ad._current_level < 0


def runs_directly(like: Tensor) -> bool:
    """Whether such operations also record nothing, so that results may go where they are needed next (``out=``)."""
    return not torch.is_grad_enabled() and runs_eagerly(like)
