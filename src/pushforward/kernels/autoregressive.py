"""Both directions of an autoregressive layer with a masked perceptron, without gradients: one native call each."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pushforward.bijections import Autoregressive
from pushforward.bijections.layout import context_columns, from_columns, to_columns
from pushforward.core.dispatch import Kernel, register
from pushforward.core.execution_mode import current_execution, runs_directly
from pushforward.kernels.native_build import NATIVE_TYPES, native_library
from pushforward.kernels.perceptron import ACTIVATION_HEADER, NATIVE_ACTIVATIONS
from pushforward.kernels.spline import SPLINE_HEADER, spline_options
from pushforward.networks import MaskedMLP
from pushforward.networks.trunk import INPUT_LIMIT
from pushforward.univariate import Affine, RationalQuadratic, Shift, Univariate

__all__ = ["TILE", "UNIVARIATES", "LayerForward", "LayerInverse", "LayerInverseAndSlopes"]

TILE, SOURCE = (Path(__file__).with_name(name) for name in ("tile.h", "autoregressive.cpp"))

UNIVARIATES: dict[type[Univariate], Callable[[Any], Sequence[float]]] = {
    Shift: lambda shift: (),
    Affine: lambda affine: (affine.bound,),
    RationalQuadratic: spline_options,
}
"""The univariates that the kernel knows, in the order of their numbers there, with their options."""


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "ends", "row_starts")),
        ("columns", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("inputs", "context", "free", "outputs", "log_slope", "layers")),
        ("options", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("points", "features", "num_context", "depth", "num_params", "num_free")),
        *((name, ctypes.c_int64) for name in ("residual", "activation", "univariate", "threads")),
        ("limit", ctypes.c_double),
    )


class _LayerKernel(Kernel):
    """What the directions share. Where the library cannot be built, or a tensor has another dtype or device than x,
    the answer is ``NotImplemented``."""

    def supports(self, layer: Autoregressive, x: Tensor, context: Tensor | None) -> bool:
        conditioner: Any = layer.conditioner
        return bool(
            runs_directly(x)
            and x.is_cpu
            and x.dtype in NATIVE_TYPES
            and conditioner.channels == 1
            and not conditioner.drops_units
        )

    @staticmethod
    def call(layer: Autoregressive, columns: Tensor, context: Tensor | None, *, inverse: bool) -> Any:
        """(x, x) from y for the inverse, otherwise (y, log-slopes) from x, all (features, n); context is (context, n)
        or None."""
        plan, dtype = _plan(layer.univariate, layer.conditioner, layer.free), columns.dtype
        if (
            plan.dtype != dtype
            or (context is not None and not (context.dtype == dtype and context.is_cpu))
            or (library := native_library(TILE, ACTIVATION_HEADER, SPLINE_HEADER, SOURCE)) is None
        ):
            return NotImplemented
        columns, context = columns.contiguous(), None if context is None else context.contiguous()
        outputs = torch.empty(columns.shape, dtype=dtype)
        log_slope = outputs if inverse else torch.empty(columns.shape, dtype=dtype)
        problem = _Problem.from_buffer_copy(plan.problem)  # one for each call, since threads share plans
        problem.inputs, problem.outputs, problem.points = columns.data_ptr(), outputs.data_ptr(), columns.shape[1]
        problem.context = 0 if context is None else context.data_ptr()
        problem.log_slope = 0 if inverse else log_slope.data_ptr()
        problem.threads = torch.get_num_threads()
        library[f"run_{NATIVE_TYPES[dtype]}"](ctypes.byref(problem))
        return outputs, log_slope


@register(Autoregressive._forward_and_slopes, Autoregressive, tuple(UNIVARIATES), MaskedMLP)
class LayerForward(_LayerKernel):
    """(y, log-slopes) from x (*batch, features)."""

    def supports(self, layer: Autoregressive, x: Tensor, context: Tensor | None) -> bool:
        return super().supports(layer, x, context) and current_execution().matmul_dtype is None

    def run(self, layer: Autoregressive, x: Tensor, context: Tensor | None) -> Any:
        results, batch = self.call(layer, to_columns(x), context_columns(context), inverse=False), x.shape[:-1]
        if results is NotImplemented:
            return results
        return from_columns(results[0], batch), from_columns(results[1], batch)


@register(Autoregressive._solve, Autoregressive, tuple(UNIVARIATES), MaskedMLP)
class LayerInverse(_LayerKernel):
    """x from y, both (features, n)."""

    def run(self, layer: Autoregressive, y: Tensor, context: Tensor | None) -> Any:
        results = self.call(layer, y, context, inverse=True)
        return results if results is NotImplemented else results[0]


@register(Autoregressive._inverse_and_slopes, Autoregressive, tuple(UNIVARIATES), MaskedMLP)
class LayerInverseAndSlopes(_LayerKernel):
    """The inverse, then the slopes of a parallel pass, in place of slopes feature by feature."""

    def supports(self, layer: Autoregressive, y: Tensor, context: Tensor | None) -> bool:
        # Slopes feature by feature come from products in the dtype of the weights, those of a parallel pass need not.
        return super().supports(layer, y, context) and current_execution().matmul_dtype is None

    def run(self, layer: Autoregressive, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = layer._inverse(y, context)
        return x, -layer._forward_and_slopes(x, context)[1]


class _Plan(NamedTuple):
    """Everything that the kernel is told of a layer, whatever the points are."""

    key: tuple[Any, ...]  # everything that it depends on
    dtype: torch.dtype | None  # None where weights differ in dtype, or are not on the CPU
    problem: _Problem
    alive: list[Any]  # for as long as the kernel reads from it


_PLANS: WeakKeyDictionary[nn.Module, _Plan] = WeakKeyDictionary()


def _weights(conditioner: MaskedMLP, free: Tensor | None) -> list[Tensor]:
    """Weights and biases of the hidden layers and the last one, then the free parameters, if there are any."""
    linears: list[Any] = [*conditioner.layers, conditioner.last]
    weights = [tensor for linear in linears for tensor in (linear.weight, linear.bias)]
    return weights if free is None else [*weights, free]


def _plan(univariate: Univariate, conditioner: Any, free: Tensor | None) -> _Plan:
    """The plan made before, if all that it depends on is where it was: addresses are part of it, numbers are not."""
    weights = _weights(conditioner, free)
    places = tuple([(tensor.data_ptr(), tensor.dtype, tensor.stride()) for tensor in weights])
    options = tuple(UNIVARIATES[type(univariate)](univariate))
    key = (type(univariate), options, places)
    plan = _PLANS.get(conditioner)
    if plan is None or plan.key != key:
        plan = _make_plan(key, univariate, conditioner, [tensor.detach().contiguous() for tensor in weights])
        if all(tensor.is_contiguous() for tensor in weights):  # the plan holds no copies that would become stale
            _PLANS[conditioner] = plan
    return plan


def _make_plan(key: tuple[Any, ...], univariate: Univariate, conditioner: MaskedMLP, weights: list[Tensor]) -> _Plan:
    linears: list[Any] = [*conditioner.layers, conditioner.last]
    alive: list[Any] = [*weights]

    def keep(values: Any) -> int:
        alive.append(values)
        return ctypes.addressof(values)

    def integers(values: Sequence[int]) -> int:
        return keep((ctypes.c_int64 * len(values))(*values))

    layers = [
        _Layer(
            weight=weight.data_ptr(),
            bias=bias.data_ptr(),
            ends=integers(linear.ends.tolist()),
            row_starts=integers(linear.out_starts),
            columns=weight.shape[1],
        )
        for linear, weight, bias in zip(linears, weights[0::2], weights[1::2], strict=False)
    ]
    options = key[1]
    problem = _Problem(
        free=weights[-1].data_ptr() if univariate.num_free else None,
        layers=keep((_Layer * len(layers))(*layers)),
        options=keep((ctypes.c_double * len(options))(*options)),
        features=conditioner.features,
        num_context=conditioner.context,
        depth=len(layers) - 1,
        num_params=conditioner.num_params,
        num_free=univariate.num_free,
        residual=conditioner.residual,
        activation=NATIVE_ACTIVATIONS.index(conditioner.activation),
        univariate=list(UNIVARIATES).index(type(univariate)),
        limit=INPUT_LIMIT,
    )
    dtypes = {weight.dtype if weight.is_cpu else None for weight in weights}
    return _Plan(key, dtypes.pop() if len(dtypes) == 1 else None, problem, alive)
