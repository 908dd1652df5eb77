"""`torch.compile`, with a way on where there is no compiler."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["compiled"]


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function compiled by ``torch.compile(function, **options)`` at its first call.

    Where that fails, mostly because there is no C++ compiler, one `RuntimeWarning` says so and the function runs as it
    is.
    """
    fast = torch.compile(function, **options)
    works = True

    def call(*args: Any) -> Any:
        nonlocal works
        if works:
            try:
                return fast(*args)
            except RuntimeError as error:
                from torch._dynamo.exc import BackendCompilerFailed  # takes longer to import than all of this package

                if not isinstance(error, BackendCompilerFailed):
                    raise
                works = False
                reason = str(getattr(error, "inner_exception", error)).splitlines()[0]
                message = f"compile: not compiled, so slower than it could be: {reason}"
                warnings.warn(message, RuntimeWarning, stacklevel=2)
        return function(*args)

    return call
