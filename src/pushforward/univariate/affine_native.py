"""The affine map of many points in one native kernel for each pass of training, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.compiled import NATIVE_TYPES, native_library

__all__ = ["native_affine"]

SOURCE = Path(__file__).with_name("affine_native.cpp")
Plainly = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "shift", "scale", "free", "by_y", "by_log_slope")),
        *((name, ctypes.c_void_p) for name in ("y", "log_slope", "by_x", "by_shift", "by_scale", "by_free")),
        *((name, ctypes.c_int64) for name in ("features", "points", "threads")),
        ("bound", ctypes.c_double),
    )


def native_affine(
    plainly: Plainly, bound: float, x: Tensor, params: Tensor, free: Tensor
) -> tuple[Tensor, Tensor] | None:
    """(y, log-slope) with gradients, for x (features, n), params (2, features, n) and free (1, features, 1); None where
    the kernel cannot run. ``plainly`` gives derivatives of derivatives."""
    given = (x, params, free)
    if x.dtype not in NATIVE_TYPES or any(t.dtype != x.dtype or not t.is_cpu for t in given):
        return None
    if params.shape != (2, *x.shape) or native_library(SOURCE) is None:
        return None
    found: tuple[Tensor, Tensor] = _Affine.apply(plainly, bound, *given)
    return found


def _run(name: str, bound: float, x: Tensor, params: Tensor, free: Tensor, **tensors: Tensor) -> None:
    shift, scale = params
    tensors |= {"x": x, "shift": shift, "scale": scale, "free": free}
    problem = _Problem(
        **{key: tensor.data_ptr() for key, tensor in tensors.items()},
        features=x.shape[0],
        points=x.shape[1],
        threads=torch.get_num_threads(),
        bound=bound,
    )
    library: Any = native_library(SOURCE)
    library[f"{name}_{NATIVE_TYPES[x.dtype]}"](ctypes.byref(problem))


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plainly: Plainly, bound: float, *given: Tensor) -> tuple[Tensor, Tensor]:
        ctx.plainly, ctx.bound = plainly, bound
        ctx.save_for_backward(*given)
        x, params, free = (tensor.contiguous() for tensor in given)
        y, log_slope = torch.empty_like(x), torch.empty_like(x)
        _run("forward", bound, x, params, free, y=y, log_slope=log_slope)
        return y, log_slope

    @staticmethod
    def backward(ctx: Any, by_y: Tensor, by_log_slope: Tensor) -> Any:
        given = ctx.saved_tensors
        if torch.is_grad_enabled():  # derivatives of this derivative will be asked for
            return None, None, *torch.func.vjp(ctx.plainly, *given)[1]((by_y, by_log_slope))
        x, params, free = (tensor.contiguous() for tensor in given)
        by_x, by_params, by_free = (torch.empty_like(tensor) for tensor in (x, params, free))
        by_y, by_log_slope = by_y.contiguous(), by_log_slope.contiguous()
        by_shift, by_scale = by_params
        _run(
            "backward", ctx.bound, x, params, free,
            by_y=by_y, by_log_slope=by_log_slope,
            by_x=by_x, by_shift=by_shift, by_scale=by_scale, by_free=by_free,
        )  # fmt: skip
        return None, None, by_x, by_params, by_free
