"""C++ kernels and `torch.compile`, with a warning instead of an error where there is no compiler."""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pushforward.core.torch_internals import compiler_failure, import_compiler, load_cpp

__all__ = [
    "ACTIVATION_HEADER",
    "NATIVE_TYPES",
    "SPLINE_HEADER",
    "TILE_HEADER",
    "compiled",
    "native_library",
    "warn_slower",
]


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function compiled by ``torch.compile(function, **options)`` at its first call.

    Where that fails, mostly for lack of a C++ compiler, the function runs uncompiled; see `warn_slower`.
    """
    if not _compiler_imports():
        return function
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
                warn_slower(error)
        return function(*args)

    return call


@cache
def _compiler_imports() -> bool:
    """Whether torch's compiler can be imported; it makes a folder for what it compiles as it is."""
    try:
        import_compiler()
    except Exception as error:  # no folder to write to, another version of torch
        warn_slower(error)
        return False
    return True


# The name of each supported dtype in the names of native functions.
NATIVE_TYPES = {torch.float32: "float", torch.float64: "double"}
HEAD, TILE_HEADER, ACTIVATION_HEADER, SPLINE_HEADER = (
    Path(__file__).with_name(f"{name}.h") for name in ("native", "tile", "activations", "spline")
)
"""The headers of the kernels, in the order in which they are joined: the C++ files have no ``#include`` of them."""


@cache
def native_library(*sources: Path) -> ctypes.CDLL | None:
    """The functions of C++ files, joined after `native.h` and compiled as ``torch.compile`` does it: with flags for
    this machine, into a cache where a later process finds them. None where that fails; see `warn_slower`."""
    with _lock:  # threads that need the same library wait for one compilation
        try:
            return load_cpp("\n".join(path.read_text(encoding="utf-8") for path in (HEAD, *sources)))
        except Exception as error:  # no compiler, one that fails, no cache to write to, another version of torch
            warn_slower(error)
            return None


def warn_slower(error: BaseException) -> None:
    """Say once per process, by a `RuntimeWarning`, that nothing is compiled: why, what is slower and what to do."""
    global _warned
    if _warned:
        return
    _warned = True
    while (inner := getattr(error, "inner_exception", None)) is not None:  # torch wraps what its compiler raises
        error = inner
    lines = str(error).splitlines() or [type(error).__name__]
    match type(error).__name__:
        case "InvalidCxxCompiler":
            reason = f"no C++ compiler was found (looked for {os.environ.get('CXX', 'g++')})"
            remedy = (
                "Install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; conda: conda install gxx; "
                "macOS: xcode-select --install) or name one in the environment variable CXX"
            )
        case "CppCompileError":
            line = next((line for line in lines if "error:" in line), lines[-1])
            reason = f"the C++ compiler failed ({line.strip()})"
            remedy = "Install what it misses, or name another compiler in the environment variable CXX"
        case _ if isinstance(error, OSError):
            reason = f"the cache of compiled code cannot be used ({lines[0]})"
            remedy = "Set TORCHINDUCTOR_CACHE_DIR to a folder where files can be written and libraries loaded"
        case _:
            reason, remedy = lines[0], "Install the version of torch that this package was tested with"
    warnings.warn(
        f"compiled kernels are off: {reason}. Training and sampling give the same results, but take several times "
        f"longer. {remedy}.",
        RuntimeWarning,
        stacklevel=3,
    )


_warned = False
_lock = threading.Lock()


def _renew_lock() -> None:
    """A child process must not wait for a thread that only its parent has."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
