"""The rational-quadratic spline in one native kernel for each direction, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.compiled import NATIVE_TYPES, native_library

__all__ = ["HEADER", "native_curve", "native_inverse"]

HEADER = Path(__file__).with_name("spline.h")
SOURCE = Path(__file__).with_name("spline_native.cpp")

Options = Sequence[float]


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "params", "by_y", "by_log_slope")),
        *((name, ctypes.c_void_p) for name in ("y", "log_slope", "by_x", "by_params", "options")),
        *((name, ctypes.c_int64) for name in ("points", "num_params", "threads")),
    )


def _run(name: str, options: Options, params: Tensor, **tensors: Tensor) -> bool:
    """Run one of the kernels; False where there is none. Tensors are contiguous, ``params`` (num_params, *s)."""
    kind = NATIVE_TYPES.get(params.dtype)
    library = native_library(HEADER, SOURCE) if kind is not None else None
    if library is None:
        return False
    numbers = (ctypes.c_double * len(options))(*options)
    problem = _Problem(
        params=params.data_ptr(),
        options=ctypes.addressof(numbers),
        points=params[0].numel(),
        num_params=len(params),
        threads=torch.get_num_threads(),
        **{key: tensor.data_ptr() for key, tensor in tensors.items()},
    )
    library[f"{name}_{kind}"](ctypes.byref(problem))
    return True


def fits(x: Tensor, params: Tensor) -> bool:
    """Whether each point has parameters of its own, in the memory of the CPU."""
    return x.is_cpu and params.is_cpu and params.shape[1:] == x.shape and params.dtype == x.dtype


def native_inverse(options: Options, y: Tensor, params: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None] | None:
    """(x, minus the log-slope or None) without gradients; None where the kernel cannot run."""
    if not fits(y, params):
        return None
    y, params = y.detach().contiguous(), params.detach().contiguous()
    x, log_slope = torch.empty_like(y), torch.empty_like(y) if slope else None
    out = {"y": x} if log_slope is None else {"y": x, "log_slope": log_slope}
    return (x, log_slope) if _run("inverse", options, params, x=y, **out) else None


def native_curve(spline: Any, options: Options, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor] | None:
    """(y, log-slope) with gradients; None where the kernel cannot run. ``spline`` gives derivatives of derivatives."""
    if not fits(x, params) or params.dtype not in NATIVE_TYPES or native_library(HEADER, SOURCE) is None:
        return None
    found: tuple[Tensor, Tensor] = _Curve.apply(spline, options, x, params)
    return found


class _Curve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spline: Any, options: Options, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        ctx.spline, ctx.options = spline, options
        ctx.save_for_backward(x, params)  # the inputs themselves: derivatives of derivatives go back to them
        x, params = x.contiguous(), params.contiguous()
        y, log_slope = torch.empty_like(x), torch.empty_like(x)
        _run("forward", options, params, x=x, y=y, log_slope=log_slope)
        return y, log_slope

    @staticmethod
    def backward(ctx: Any, by_y: Tensor, by_log_slope: Tensor) -> Any:
        x, params = ctx.saved_tensors
        if torch.is_grad_enabled():  # derivatives of this derivative will be asked for
            sent = torch.func.vjp(ctx.spline.plainly, x, params)[1]((by_y, by_log_slope))
            return None, None, *sent
        x, params = x.contiguous(), params.contiguous()
        by_x, by_params = torch.empty_like(x), torch.empty_like(params)
        by_y, by_log_slope = by_y.contiguous(), by_log_slope.contiguous()
        _run(
            "backward", ctx.options, params,
            x=x, by_y=by_y, by_log_slope=by_log_slope, by_x=by_x, by_params=by_params,
        )  # fmt: skip
        return None, None, by_x, by_params
