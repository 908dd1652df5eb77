"""`torch.compile` and kernels in C++, with a way on where there is no compiler."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

__all__ = ["compiled", "native_library"]


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
                _warn(getattr(error, "inner_exception", error))
        return function(*args)

    return call


@cache
def native_library(source: Path) -> ctypes.CDLL | None:
    """The functions of one C++ file, compiled as ``torch.compile`` compiles its own: with its flags for this machine,
    into its cache, where a later process finds them. None, after one `RuntimeWarning`, where that fails."""
    try:
        from torch._inductor.codecache import CppCodeCache  # takes seconds to import

        library: ctypes.CDLL = CppCodeCache.load(source.read_text(encoding="utf-8"), needs_vec_isa=True)
    except Exception as error:  # no compiler, one that fails, no cache to write to, another version of torch
        _warn(error)
        return None
    return library


def _warn(error: BaseException) -> None:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    warnings.warn(f"compile: not compiled, so slower than it could be: {reason}", RuntimeWarning, stacklevel=3)
