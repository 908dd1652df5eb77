"""The rational-quadratic spline: one kernel for each direction, in C++ on the CPU, in Triton on GPUs of NVIDIA."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.dispatch import Kernel, register, undecorated
from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.kernels.native_build import NATIVE_TYPES, SPLINE_HEADER, native_library
from pushforward.kernels.native_operator import NativeOperator
from pushforward.univariate import RationalQuadratic
from pushforward.univariate.spline import Spline

__all__ = ["SplineForward", "SplineInverse", "SplineInverseValue", "spline_options"]

SOURCE = Path(__file__).with_name("spline.cpp")
SOURCES = (SPLINE_HEADER, SOURCE)


def spline_options(spline: RationalQuadratic) -> tuple[float, ...]:
    """The numbers that describe a spline to `spline.h` and the Triton kernels, which read them in this order."""
    free_width = 1 - spline.bins * spline.min_bin  # what is left of the box if all bins are as small as they may be
    numbers = (spline.bins, spline.tails == "linear", spline.bound, spline.min_slope, spline.slope_offset, free_width)
    return (*map(float, numbers), *spline.least_knots)


class _Problem(ctypes.Structure):
    # Field order and types must equal struct Problem in spline.cpp.
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "params", "grad_y", "grad_log_slope")),
        *((name, ctypes.c_void_p) for name in ("y", "log_slope", "grad_x", "grad_params", "options")),
        *((name, ctypes.c_int64) for name in ("points", "num_params", "threads")),
    )


def _call(name: str, options: Sequence[float], params: Tensor, **tensors: Tensor) -> None:
    """Call a native function that is available. Tensors are contiguous, ``params`` (num_params, *s)."""
    if params.is_cuda:
        from pushforward.kernels.spline_triton import launch  # triton is not installed everywhere

        launch(name, options, params, **tensors)
        return
    library: Any = native_library(*SOURCES)
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


class _Operator(NativeOperator):
    """Inputs are x and the parameters (num_params, *s); outputs are y and log-slopes, like x."""

    def is_available(self, dtype: torch.dtype, device: str) -> bool:
        if device == "cuda":
            return find_spec("triton") is not None
        return device == "cpu" and native_library(*SOURCES) is not None

    def forward(self, inputs: Any, results: Any, options: Any, sizes: Any) -> None:
        x, params = inputs
        _call("forward", options, params, x=x, y=results[0], log_slope=results[1])

    def backward(
        self, grad_outputs: Any, inputs: Any, results: Any, grad_inputs: Any, options: Any, sizes: Any
    ) -> None:
        x, params = inputs
        gradients = dict(zip(("grad_x", "grad_params"), grad_inputs, strict=True))
        _call("backward", options, params, x=x, grad_y=grad_outputs[0], grad_log_slope=grad_outputs[1], **gradients)


OPERATOR = _Operator("rational_quadratic", outputs=2)


def _can_run(x: Tensor, params: Tensor) -> bool:
    if params.shape[1:] != x.shape or (params.is_cuda and params.numel() >= 2**31):  # kernels on GPUs count in 32 bits
        return False
    return OPERATOR.can_run([x, params])


@register(Spline.forward, RationalQuadratic)
class SplineForward(Kernel):
    """(y, log-slope) with gradients, where each point has parameters of its own."""

    def supports(self, spline: RationalQuadratic, x: Tensor, params: Tensor) -> bool:
        return _can_run(x, params)

    def run(self, spline: RationalQuadratic, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        reference = partial(undecorated(Spline.forward), spline)
        y, log_slope = OPERATOR([x, params], spline_options(spline), (), reference)
        return y, log_slope


class _Inverse(Kernel):
    """Without gradients, where each point has parameters of its own."""

    def supports(self, spline: RationalQuadratic, y: Tensor, params: Tensor) -> bool:
        return runs_eagerly_without_grad(y) and _can_run(y, params)

    @staticmethod
    def solve(spline: RationalQuadratic, y: Tensor, params: Tensor, *, slope: bool) -> list[Tensor]:
        """x and, if asked for, minus the log-slope."""
        y, params = y.contiguous(), params.contiguous()
        x = torch.empty_like(y)
        slopes = [torch.empty_like(y)] if slope or y.is_cuda else []
        _call("inverse", spline_options(spline), params, x=y, y=x, **dict(zip(["log_slope"], slopes, strict=False)))
        return [x, *slopes]


@register(Spline.inverse, RationalQuadratic)
class SplineInverse(_Inverse):
    """(x, minus the log-slope)."""

    def run(self, spline: RationalQuadratic, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, log_slope = self.solve(spline, y, params, slope=True)
        return x, log_slope


@register(Spline.inverse_value, RationalQuadratic)
class SplineInverseValue(_Inverse):
    """x alone."""

    def run(self, spline: RationalQuadratic, y: Tensor, params: Tensor) -> Tensor:
        return self.solve(spline, y, params, slope=False)[0]
