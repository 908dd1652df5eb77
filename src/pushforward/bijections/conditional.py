"""The last product of a masked perceptron and its splines as one native kernel, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.bijections.native import TILE
from pushforward.core.kernel import Kernel
from pushforward.core.native_build import NATIVE_TYPES, native_library
from pushforward.networks.masked import MaskedMLP
from pushforward.networks.perceptron import mask_columns
from pushforward.univariate.base import Univariate
from pushforward.univariate.spline_kinds import RationalQuadratic
from pushforward.univariate.spline_native import HEADER

__all__ = ["native_conditional"]

SOURCE = Path(__file__).with_name("conditional.cpp")
GIVEN = ("x", "units", "weight", "bias", "ends")
SENT = ("by_x", "by_units", "by_weight", "by_bias")


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in (*GIVEN[:-1], "by_y", "by_log_slope", "y", "log_slope", *SENT)),
        *((name, ctypes.c_void_p) for name in ("ends", "options")),
        *((name, ctypes.c_int64) for name in ("points", "features", "num_units", "num_params", "threads")),
    )


class _Conditional(Kernel):
    """Given are x (features, n), the units (num_units, n), weight and bias of the last layer, whose rows are
    (num_params, features), and how many units each row reads; found are y and the log-slopes, as x."""

    def ready(self, dtype: torch.dtype, device: str) -> bool:
        return device == "cpu" and native_library(TILE, HEADER, SOURCE) is not None

    def forward(self, given: Any, found: Any, options: Any, sizes: Any) -> None:
        self._run("forward", options, given, y=found[0], log_slope=found[1])

    def backward(self, by: Any, given: Any, found: Any, sent: Any, options: Any, sizes: Any) -> None:
        named = dict(zip(SENT, sent, strict=True))
        self._run("backward", options, given, by_y=by[0], by_log_slope=by[1], **named)

    def _run(self, name: str, options: Sequence[float], given: Sequence[Tensor], **others: Tensor) -> None:
        x, units, weight, *_ = given
        tensors = dict(zip(GIVEN, given, strict=True)) | others
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
        library: Any = native_library(TILE, HEADER, SOURCE)
        library[f"{name}_{NATIVE_TYPES[x.dtype]}"](ctypes.byref(problem))


KERNEL = _Conditional("conditional", outputs=2)


def native_conditional(
    univariate: Univariate, conditioner: Any, x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """(y, log-slopes), both (features, n), of x (features, n), with gradients; None where the kernel does not know one
    of the parts, or cannot run here. Context is (context, n) or None."""
    if type(univariate) is not RationalQuadratic or type(conditioner) is not MaskedMLP or conditioner.channels > 1:
        return None
    if conditioner.products is not None:  # the last one is not to be multiplied in full either
        return None
    last: Any = conditioner.last
    if not KERNEL.runs([x, last.weight, last.bias, last.ends, *([] if context is None else [context])]):
        return None
    given = [x, conditioner.units(x, context), last.weight, last.bias, last.ends]
    y, log_slope = KERNEL(given, univariate.native_options(), (), partial(_plainly, univariate))
    return y, log_slope


def _plainly(
    spline: RationalQuadratic, x: Tensor, units: Tensor, weight: Tensor, bias: Tensor, ends: Tensor
) -> tuple[Tensor, Tensor]:
    """The same by operations whose derivatives have derivatives."""
    params = torch.addmm(bias[:, None], mask_columns(weight, ends), units)
    return spline.plainly(x, params.unflatten(0, (-1, len(x))))
