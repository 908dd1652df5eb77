"""The affine map of many points in one native kernel for each pass of training, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly
from pushforward.core.kernel import Kernel
from pushforward.core.native_build import NATIVE_TYPES, native_library

__all__ = ["native_affine"]

SOURCE = Path(__file__).with_name("affine_native.cpp")
Plainly = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "params", "free", "by_y", "by_log_slope")),
        *((name, ctypes.c_void_p) for name in ("y", "log_slope", "by_x", "by_params", "by_free")),
        *((name, ctypes.c_int64) for name in ("features", "points", "threads")),
        ("bound", ctypes.c_double),
    )


class _Affine(Kernel):
    """Given are x (features, n), shifts and scales (2, features, n) and the free scales (1, features, 1); found are y
    and the log-slopes, as x. The only option is the bound."""

    def ready(self, dtype: torch.dtype, device: str) -> bool:
        return device == "cpu" and native_library(SOURCE) is not None

    def forward(self, given: Any, found: Any, options: Any, sizes: Any) -> None:
        self._run("forward", options, given, y=found[0], log_slope=found[1])

    def backward(self, by: Any, given: Any, found: Any, sent: Any, options: Any, sizes: Any) -> None:
        by_x, by_params, by_free = sent
        named = {"by_x": by_x, "by_params": by_params, "by_free": by_free}
        self._run("backward", options, given, by_y=by[0], by_log_slope=by[1], **named)

    def _run(self, name: str, options: Sequence[float], given: Sequence[Tensor], **others: Tensor) -> None:
        x, params, free = given
        tensors = {"x": x, "params": params, "free": free} | others
        problem = _Problem(
            **{key: tensor.data_ptr() for key, tensor in tensors.items()},
            features=x.shape[0],
            points=x.shape[1],
            threads=torch.get_num_threads(),
            bound=options[0],
        )
        library: Any = native_library(SOURCE)
        library[f"{name}_{NATIVE_TYPES[x.dtype]}"](ctypes.byref(problem))


KERNEL = _Affine("affine", outputs=2)


def native_affine(
    plainly: Plainly, bound: float, x: Tensor, params: Tensor, free: Tensor
) -> tuple[Tensor, Tensor] | None:
    """(y, log-slope) with gradients, for x (features, n), params (2, features, n) and free (1, features, 1); None where
    the kernel cannot run, and inside ``torch.compile``, which does as well. ``plainly`` is as `Kernel` takes it."""
    given = (x, params, free)
    if params.shape != (2, *x.shape) or not runs_eagerly(x) or not KERNEL.runs(given):
        return None
    y, log_slope = KERNEL(given, (bound,), (), plainly)
    return y, log_slope
