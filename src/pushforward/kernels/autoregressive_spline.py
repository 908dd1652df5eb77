"""The last product of a masked perceptron and the splines that it conditions: one native call for each pass of
training. The parameters of the splines, the largest tensor of a step by far, are never written to memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.bijections import Autoregressive
from pushforward.bijections.layout import context_features_first, to_batch_first, to_features_first
from pushforward.core.dispatch import Kernel, register, undecorated
from pushforward.core.execution_mode import current_execution
from pushforward.kernels.native_build import NATIVE_TYPES, SPLINE_HEADER, TILE_HEADER, native_library
from pushforward.kernels.native_operator import NativeOperator
from pushforward.kernels.perceptron import hidden_units, mask_columns
from pushforward.kernels.spline import spline_options
from pushforward.networks import MaskedMLP
from pushforward.univariate import RationalQuadratic
from pushforward.univariate.spline import Spline

__all__ = ["SplineConditioner"]

SOURCE = Path(__file__).with_name("autoregressive_spline.cpp")
SOURCES = (TILE_HEADER, SPLINE_HEADER, SOURCE)
INPUTS = ("x", "units", "weight", "bias", "ends")
GRADIENTS = ("grad_x", "grad_units", "grad_weight", "grad_bias")


class _Problem(ctypes.Structure):
    # Field order and types must equal struct Problem in autoregressive_spline.cpp.
    _fields_ = (
        *((name, ctypes.c_void_p) for name in (*INPUTS[:-1], "grad_y", "grad_log_slope", "y", "log_slope")),
        *((name, ctypes.c_void_p) for name in (*GRADIENTS, "ends", "options")),
        *((name, ctypes.c_int64) for name in ("points", "features", "num_units", "num_params", "threads")),
    )


class _Operator(NativeOperator):
    """Inputs are x (features, n), the units (num_units, n), weight and bias of the last layer, whose rows are
    (num_params, features), and how many units each row reads; outputs are y and log-slopes, like x."""

    def is_available(self, dtype: torch.dtype, device: str) -> bool:
        return device == "cpu" and native_library(*SOURCES) is not None

    def forward(self, inputs: Any, results: Any, options: Any, sizes: Any) -> None:
        self._call("forward", options, inputs, y=results[0], log_slope=results[1])

    def backward(
        self, grad_outputs: Any, inputs: Any, results: Any, grad_inputs: Any, options: Any, sizes: Any
    ) -> None:
        gradients = dict(zip(GRADIENTS, grad_inputs, strict=True))
        self._call("backward", options, inputs, grad_y=grad_outputs[0], grad_log_slope=grad_outputs[1], **gradients)

    def _call(self, name: str, options: Sequence[float], inputs: Sequence[Tensor], **others: Tensor) -> None:
        x, units, weight, *_ = inputs
        tensors = dict(zip(INPUTS, inputs, strict=True)) | others
        numbers = (ctypes.c_double * len(options))(*options)
        problem = _Problem(
            options=ctypes.addressof(numbers),
            points=x.shape[1],
            features=x.shape[0],
            num_units=units.shape[0],
            num_params=weight.shape[0] // x.shape[0],
            threads=torch.get_num_threads(),
            **{key: tensor.data_ptr() for key, tensor in tensors.items()},
        )
        library: Any = native_library(*SOURCES)
        library[f"{name}_{NATIVE_TYPES[x.dtype]}"](ctypes.byref(problem))


OPERATOR = _Operator("autoregressive_spline", outputs=2)


@register(Autoregressive._forward_and_slopes, Autoregressive, RationalQuadratic, MaskedMLP)
class SplineConditioner(Kernel):
    """An autoregressive layer of splines, forwards, with gradients."""

    def supports(self, layer: Any, x: Tensor, context: Tensor | None) -> bool:
        # The last layer is multiplied in the dtype of its weights.
        return layer.conditioner.channels == 1 and current_execution().matmul_dtype is None

    def run(self, layer: Any, x: Tensor, context: Tensor | None) -> Any:
        conditioner, spline = layer.conditioner, layer.univariate
        last, columns = conditioner.last, to_features_first(x)
        weights = [last.weight, last.bias, last.ends]
        if not OPERATOR.can_run([columns, *weights, *([] if context is None else [context])]):
            return NotImplemented
        units = hidden_units(conditioner, columns, context_features_first(context))
        y, log_slope = OPERATOR(
            [columns, units, *weights], spline_options(spline), (), partial(_differentiable_reference, spline)
        )
        return to_batch_first(y, x.shape[:-1]), to_batch_first(log_slope, x.shape[:-1])


def _differentiable_reference(
    spline: RationalQuadratic, x: Tensor, units: Tensor, weight: Tensor, bias: Tensor, ends: Tensor
) -> tuple[Tensor, Tensor]:
    """The forward pass in torch operations, for second derivatives."""
    params = torch.addmm(bias[:, None], mask_columns(weight, ends), units)
    y, log_slope = undecorated(Spline.forward)(spline, x, params.unflatten(0, (-1, len(x))))
    return y, log_slope
