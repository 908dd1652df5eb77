"""The affine map of many points: one native call for each pass of training."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.dispatch import Kernel, register, undecorated
from pushforward.core.execution_mode import runs_eagerly
from pushforward.kernels.native_build import NATIVE_TYPES, native_library
from pushforward.kernels.native_operator import NativeOperator
from pushforward.univariate import Affine

__all__ = ["AffineForward"]

SOURCE = Path(__file__).with_name("affine.cpp")
SOURCES = (SOURCE,)


class _Problem(ctypes.Structure):
    # Field order and types must equal struct Problem in affine.cpp.
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "params", "free", "grad_y", "grad_log_slope")),
        *((name, ctypes.c_void_p) for name in ("y", "log_slope", "grad_x", "grad_params", "grad_free")),
        *((name, ctypes.c_int64) for name in ("features", "points", "threads")),
        ("bound", ctypes.c_double),
    )


class _Operator(NativeOperator):
    """Inputs are x (features, n), shifts and scales (2, features, n) and free log-scales (1, features, 1); outputs are
    y and log-slopes, like x. The only option is the bound."""

    def is_available(self, dtype: torch.dtype, device: str) -> bool:
        return device == "cpu" and native_library(*SOURCES) is not None

    def forward(self, inputs: Any, results: Any, options: Any, sizes: Any) -> None:
        self._call("forward", options, inputs, y=results[0], log_slope=results[1])

    def backward(
        self, grad_outputs: Any, inputs: Any, results: Any, grad_inputs: Any, options: Any, sizes: Any
    ) -> None:
        gradients = dict(zip(("grad_x", "grad_params", "grad_free"), grad_inputs, strict=True))
        self._call("backward", options, inputs, grad_y=grad_outputs[0], grad_log_slope=grad_outputs[1], **gradients)

    def _call(self, name: str, options: Sequence[float], inputs: Sequence[Tensor], **others: Tensor) -> None:
        x, params, free = inputs
        tensors = {"x": x, "params": params, "free": free} | others
        problem = _Problem(
            **{key: tensor.data_ptr() for key, tensor in tensors.items()},
            features=x.shape[0],
            points=x.shape[1],
            threads=torch.get_num_threads(),
            bound=options[0],
        )
        library: Any = native_library(*SOURCES)
        library[f"{name}_{NATIVE_TYPES[x.dtype]}"](ctypes.byref(problem))


OPERATOR = _Operator("affine", outputs=2)


@register(Affine.forward_with_free, Affine)
class AffineForward(Kernel):
    """`Affine` of x (features, n). Not in graphs of ``torch.compile``, which does it as well."""

    def supports(self, affine: Affine, x: Tensor, params: Tensor, free: Tensor | None) -> bool:
        return (
            free is not None
            and x.ndim == 2
            and params.shape == (2, *x.shape)
            and free.shape == (1, x.shape[0], 1)
            and runs_eagerly(x)
            and OPERATOR.can_run((x, params, free))
        )

    def run(self, affine: Affine, x: Tensor, params: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        reference = partial(undecorated(Affine.forward_with_free), affine)
        y, log_slope = OPERATOR((x, params, free), (affine.bound,), (), reference)
        return y, log_slope
