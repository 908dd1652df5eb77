"""C++ kernels and `torch.compile`, with a warning instead of an error where there is no compiler."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pushforward.core.torch_internals import compiler_failure, load_cpp

__all__ = ["NATIVE_TYPES", "compiled", "native_library"]


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function compiled by ``torch.compile(function, **options)`` at its first call.

    Where that fails, mostly for lack of a C++ compiler, one `RuntimeWarning` says so and the function runs uncompiled.
    """
    fast = torch.compile(function, **options)
    works = True

    def call(*args: Any) -> Any:
        nonlocal works
        if works:
            try:
                return fast(*args)
            except RuntimeError as error:
                if not isinstance(error, compiler_failure()):
                    raise
                works = False
                _warn(getattr(error, "inner_exception", error))
        return function(*args)

    return call


# The name of each supported dtype in the names of native functions.
NATIVE_TYPES = {torch.float32: "float", torch.float64: "double"}
HEAD = Path(__file__).with_name("native.h")


@cache
def native_library(*sources: Path) -> ctypes.CDLL | None:
    """The functions of C++ files, joined after `native.h` and compiled as ``torch.compile`` does it: with flags for
    this machine, into a cache where a later process finds them. None, after one `RuntimeWarning`, where that fails."""
    try:
        text = "\n".join(path.read_text(encoding="utf-8") for path in (HEAD, *sources))
        return load_cpp(text)
    except Exception as error:  # no compiler, one that fails, no cache to write to, another version of torch
        _warn(error)
        return None


def _warn(error: BaseException) -> None:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    warnings.warn(f"compile: not compiled, so slower than it could be: {reason}", RuntimeWarning, stacklevel=3)
