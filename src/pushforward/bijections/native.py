"""Both directions of an autoregressive layer in one native kernel, `native.cpp`, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.compiled import NATIVE_TYPES, native_library
from pushforward.core.modes import runs_directly
from pushforward.networks.masked import MaskedMLP
from pushforward.networks.mlp import INPUT_LIMIT
from pushforward.networks.perceptron import ACTIVATION_HEADER, NATIVE_ACTIVATIONS
from pushforward.univariate.base import Univariate
from pushforward.univariate.elementary import Affine, Shift
from pushforward.univariate.spline_kinds import RationalQuadratic
from pushforward.univariate.spline_native import HEADER

__all__ = ["native_forward", "native_solve"]

TILE, SOURCE = (Path(__file__).with_name(name) for name in ("tile.h", "native.cpp"))

# In the order of their numbers in the kernel, with their options: exact types, for a subclass may compute something
# else.
UNIVARIATES: dict[type[Univariate], Callable[[Any], Sequence[float]]] = {
    Shift: lambda own: (),
    Affine: lambda own: (own.bound,),
    RationalQuadratic: RationalQuadratic.native_options,
}


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "row_starts", "column_ends")),
        ("columns", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("given", "context", "free", "found", "log_slope", "layers", "options")),
        *((name, ctypes.c_int64) for name in ("points", "features", "num_context", "depth", "num_params", "num_free")),
        *((name, ctypes.c_int64) for name in ("residual", "activation", "univariate", "threads")),
        ("limit", ctypes.c_double),
    )


def native_solve(
    univariate: Univariate, conditioner: nn.Module, free: Tensor | None, y: Tensor, context: Tensor | None
) -> Tensor | None:
    """x (features, n) from y (features, n), to rounding what `Autoregressive` finds feature by feature; None where the
    kernel does not know one of the parts, or cannot run here.

    Nothing may be recorded, mapped or compiled; context is (context, n) or None, ``free`` (num_free, features) or None.
    """
    found = _run(univariate, conditioner, free, y, context, slope=False)
    return None if found is None else found[0]


def native_forward(
    univariate: Univariate, conditioner: nn.Module, free: Tensor | None, x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """(y, log-slopes) from x, all (features, n); None as for `native_solve`."""
    return _run(univariate, conditioner, free, x, context, slope=True)


def _run(
    univariate: Univariate,
    conditioner: nn.Module,
    free: Tensor | None,
    given: Tensor,
    context: Tensor | None,
    *,
    slope: bool,
) -> tuple[Tensor, Tensor] | None:
    """(what the kernel finds, log-slopes if asked for)."""
    kind, number = type(univariate), NATIVE_TYPES.get(given.dtype)
    if kind not in UNIVARIATES or type(conditioner) is not MaskedMLP or number is None or not given.is_cpu:
        return None
    drops = conditioner.dropout > 0 and conditioner.training
    if drops or conditioner.channels > 1 or not runs_directly(given):
        return None
    linears: list[Any] = [*conditioner.layers, conditioner.last]
    weights = chain.from_iterable((linear.weight, linear.bias) for linear in linears)
    others = [*weights, *(t for t in (context, free) if t is not None)]
    if (
        any(t.dtype != given.dtype or not t.is_cpu for t in others)
        or (library := native_library(TILE, ACTIVATION_HEADER, HEADER, SOURCE)) is None
    ):
        return None

    alive: list[Any] = []  # for as long as the kernel reads from it

    def address(tensor: Tensor | None) -> int | None:
        if tensor is None:
            return None
        alive.append(tensor.detach().contiguous())
        return alive[-1].data_ptr()

    def integers(values: Sequence[int]) -> int:
        alive.append((ctypes.c_int64 * len(values))(*values))
        return ctypes.addressof(alive[-1])

    layers = (_Layer * len(linears))(
        *(
            _Layer(
                weight=address(linear.weight),
                bias=address(linear.bias),
                row_starts=integers(linear.out_starts),
                column_ends=integers(linear.in_starts[1:]),
                columns=linear.weight.shape[1],
            )
            for linear in linears
        )
    )
    values = UNIVARIATES[kind](univariate)
    options = (ctypes.c_double * len(values))(*values)
    found, log_slope = (torch.empty(given.shape, dtype=given.dtype) for _ in range(2))
    problem = _Problem(
        given=address(given),
        context=address(context),
        free=address(free),
        found=found.data_ptr(),
        log_slope=log_slope.data_ptr() if slope else None,
        layers=ctypes.addressof(layers),
        options=ctypes.addressof(options),
        points=given.shape[1],
        features=conditioner.features,
        num_context=conditioner.context,
        depth=len(linears) - 1,
        num_params=conditioner.num_params,
        num_free=univariate.num_free,
        residual=conditioner.residual,
        activation=NATIVE_ACTIVATIONS.index(conditioner.activation),
        univariate=list(UNIVARIATES).index(kind),
        threads=torch.get_num_threads(),
        limit=INPUT_LIMIT,
    )
    library[f"run_{number}"](ctypes.byref(problem))
    return found, log_slope
