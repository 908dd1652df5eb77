"""The rational-quadratic spline in one kernel for each direction: in C++ on the CPU, in Triton on GPUs of NVIDIA."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_directly
from pushforward.core.kernel import Kernel
from pushforward.core.native_build import NATIVE_TYPES, native_library

__all__ = ["HEADER", "native_curve", "native_inverse"]

HEADER = Path(__file__).with_name("spline.h")
SOURCE = Path(__file__).with_name("spline_native.cpp")

Options = Sequence[float]
Plainly = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "params", "by_y", "by_log_slope")),
        *((name, ctypes.c_void_p) for name in ("y", "log_slope", "by_x", "by_params", "options")),
        *((name, ctypes.c_int64) for name in ("points", "num_params", "threads")),
    )


def _run(name: str, options: Options, params: Tensor, **tensors: Tensor) -> None:
    """Run one of the kernels, where it is ready. Tensors are contiguous, ``params`` (num_params, *s)."""
    if params.is_cuda:
        from pushforward.univariate.spline_triton import launch  # not everywhere

        launch(name, options, params, **tensors)
        return
    library: Any = native_library(HEADER, SOURCE)
    numbers = (ctypes.c_double * len(options))(*options)
    problem = _Problem(
        params=params.data_ptr(),
        options=ctypes.addressof(numbers),
        points=params[0].numel(),
        num_params=len(params),
        threads=torch.get_num_threads(),
        **{key: tensor.data_ptr() for key, tensor in tensors.items()},
    )
    library[f"{name}_{NATIVE_TYPES[params.dtype]}"](ctypes.byref(problem))


class _Curve(Kernel):
    """Given are x and the parameters (num_params, *s); found are y and the log-slopes, as x."""

    def ready(self, dtype: torch.dtype, device: str) -> bool:
        if device == "cuda":
            return find_spec("triton") is not None
        return device == "cpu" and native_library(HEADER, SOURCE) is not None

    def forward(self, given: Any, found: Any, options: Any, sizes: Any) -> None:
        x, params = given
        _run("forward", options, params, x=x, y=found[0], log_slope=found[1])

    def backward(self, by: Any, given: Any, found: Any, sent: Any, options: Any, sizes: Any) -> None:
        x, params = given
        _run("backward", options, params, x=x, by_y=by[0], by_log_slope=by[1], by_x=sent[0], by_params=sent[1])


KERNEL = _Curve("rational_quadratic", outputs=2)


def _is_too_large(params: Tensor) -> bool:
    """Whether kernels on a GPU, which count in 32 bits, cannot reach all parameters."""
    return params.is_cuda and params.numel() >= 2**31


def native_curve(
    plainly: Plainly, options: Options, x: Tensor, params: Tensor, known: Tensor | None = None
) -> tuple[Tensor, Tensor] | None:
    """(y, log-slope) with gradients; None where the kernel cannot run. ``plainly`` gives derivatives of derivatives.
    Where y is known and the gradients alone are wanted, it stands for both."""
    if params.shape[1:] != x.shape or _is_too_large(params) or not KERNEL.runs([x, params]):
        return None
    y, log_slope = KERNEL([x, params], options, (), plainly, None if known is None else (known, known.clone()))
    return y, log_slope


def native_inverse(options: Options, y: Tensor, params: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None] | None:
    """(x, minus the log-slope or None) without gradients; None where the kernel cannot run."""
    if params.shape[1:] != y.shape or _is_too_large(params) or not runs_directly(y) or not KERNEL.runs([y, params]):
        return None
    y, params = y.contiguous(), params.contiguous()
    out = {"y": torch.empty_like(y)} | ({"log_slope": torch.empty_like(y)} if slope or y.is_cuda else {})
    _run("inverse", options, params, x=y, **out)
    return out["y"], out.get("log_slope")
