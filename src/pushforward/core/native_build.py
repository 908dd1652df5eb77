"""`torch.compile` and kernels in C++, with a way on where there is no compiler."""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["NATIVE_TYPES", "Compilable", "attribute_set", "compiled", "native_library"]


class Compilable(nn.Module):
    """A part that `compile_step` makes faster in place. Copies and pickles of it are not compiled."""

    _native = False
    """Whether its native kernel is to be used where there is one."""

    def compile_step(self, *, backend: Any = "inductor", **options: Any) -> None:
        """Use a native kernel from now on, where there is one and nothing is recorded, or compile a step of a loop.

        Args:
            backend: of ``torch.compile``; with another than ``"inductor"`` there is no native kernel.
            **options: others of ``torch.compile``.
        """
        self._native = backend == "inductor"

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state.pop("_native", None)
        return state


@contextmanager
def attribute_set(module: nn.Module, kind: type[nn.Module], name: str, value: Any) -> Iterator[None]:
    """Inside, all parts of this kind in the module have this value of an attribute; None leaves them as they are."""
    parts = [part for part in module.modules() if isinstance(part, kind)] if value is not None else []
    before = [getattr(part, name) for part in parts]
    for part in parts:
        setattr(part, name, value)
    try:
        yield
    finally:
        for part, own in zip(parts, before, strict=True):
            setattr(part, name, own)


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function compiled by ``torch.compile(function, **options)`` at its first call.

    Where that fails, mostly because there is no C++ compiler, the function runs as it is; see `warn_slower`.
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
                from torch._dynamo.exc import BackendCompilerFailed  # takes longer to import than all of this package

                if not isinstance(error, BackendCompilerFailed):
                    raise
                works = False
                warn_slower(error)
        return function(*args)

    return call


@cache
def _compiler_imports() -> bool:
    """Whether torch's compiler, which makes a folder for what it compiles as it is imported, is there."""
    try:
        importlib.import_module("torch._inductor")  # takes seconds
    except Exception as error:
        warn_slower(error)
        return False
    return True


# What kernels are called by the dtypes that they know.
NATIVE_TYPES = {torch.float32: "float", torch.float64: "double"}
HEAD = Path(__file__).with_name("native.h")


@cache
def native_library(*sources: Path) -> ctypes.CDLL | None:
    """The functions of C++ files, joined after `native.h` and compiled as ``torch.compile`` does it: with flags for
    this machine, into a cache where a later process finds them. None where that fails; see `warn_slower`."""
    with _lock:  # threads that need the same library wait for one compilation
        try:
            from torch._inductor.codecache import CppCodeCache  # takes seconds to import

            text = "\n".join(path.read_text(encoding="utf-8") for path in (HEAD, *sources))
            library: ctypes.CDLL = CppCodeCache.load(text, needs_vec_isa=True)
        except Exception as error:  # no compiler, one that fails, no cache to write to, another version of torch
            warn_slower(error)
            return None
    return library


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
