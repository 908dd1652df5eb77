"""A warning for training loops that forget to start a model from data."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from pushforward.core.numerics import concrete_bool

__all__ = ["warn_if_not_started"]


def warn_if_not_started(model: nn.Module, *, stacklevel: int) -> None:
    """Warn once where learning begins although a part with an ``initialized`` buffer has not seen data.

    Data in raw units then meet a model built for standardised ones, which learns slowly or not at all. Reading the
    buffers may wait for a device, so it happens once for a model, at the first density that records gradients.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return
    waiting = set()
    parts: list[Any] = list(model.modules())
    for part in parts:
        flag = part._buffers.get("initialized")
        if flag is not None and part.training and concrete_bool(flag) is False:
            waiting.add(type(part).__name__)
        if hasattr(part, "_start_checked"):
            part._start_checked = True
    if waiting:
        warnings.warn(
            f"{type(model).__name__}: training begins before its data-dependent parts ({', '.join(sorted(waiting))}) "
            "have seen data. Call initialize(x) with the training data once, before the first step; fit does.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
