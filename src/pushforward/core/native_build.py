"""`torch.compile` and kernels in C++, with a way on where there is no compiler."""

from __future__ import annotations

import ctypes
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


# What kernels are called by the dtypes that they know.
NATIVE_TYPES = {torch.float32: "float", torch.float64: "double"}
HEAD = Path(__file__).with_name("native.h")


@cache
def native_library(*sources: Path) -> ctypes.CDLL | None:
    """The functions of C++ files, joined after `native.h` and compiled as ``torch.compile`` does it: with flags for
    this machine, into a cache where a later process finds them. None, after one `RuntimeWarning`, where that fails."""
    try:
        from torch._inductor.codecache import CppCodeCache  # takes seconds to import

        text = "\n".join(path.read_text(encoding="utf-8") for path in (HEAD, *sources))
        library: ctypes.CDLL = CppCodeCache.load(text, needs_vec_isa=True)
    except Exception as error:  # no compiler, one that fails, no cache to write to, another version of torch
        _warn(error)
        return None
    return library


def _warn(error: BaseException) -> None:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    warnings.warn(f"compile: not compiled, so slower than it could be: {reason}", RuntimeWarning, stacklevel=3)
