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
from pushforward.bijections.layout import context_features_first, to_batch_first, to_features_first
from pushforward.core.dispatch import Kernel, register
from pushforward.core.execution_mode import current_execution, runs_eagerly_without_grad
from pushforward.kernels.native_build import (
    ACTIVATION_HEADER,
    NATIVE_TYPES,
    SPLINE_HEADER,
    TILE_HEADER,
    native_library,
)
from pushforward.kernels.perceptron import NATIVE_ACTIVATIONS
from pushforward.kernels.spline import spline_options
from pushforward.networks import MaskedMLP
from pushforward.networks.trunk import INPUT_LIMIT
from pushforward.univariate import Affine, RationalQuadratic, Shift, Univariate

__all__ = ["UNIVARIATES", "LayerForward", "LayerInverse", "LayerInverseAndSlopes"]

SOURCE = Path(__file__).with_name("autoregressive.cpp")
SOURCES = (TILE_HEADER, ACTIVATION_HEADER, SPLINE_HEADER, SOURCE)

UNIVARIATES: dict[type[Univariate], Callable[[Any], Sequence[float]]] = {
    Shift: lambda shift: (),
    Affine: lambda affine: (affine.bound,),
    RationalQuadratic: spline_options,
}
"""The univariate maps that the kernel knows, with their options, in the order of their numbers in `by_univariate` of
autoregressive.cpp. A new one needs a struct and a line there."""


class _Layer(ctypes.Structure):
    # Field order and types must equal struct Layer in autoregressive.cpp, and those of `_Problem` struct Problem.
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "ends", "row_starts")),
        ("columns", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("source", "context", "free", "target", "log_slope", "layers")),
        ("options", ctypes.c_void_p),
        *(
            (name, ctypes.c_int64)
            for name in ("points", "features", "num_context", "num_hidden", "num_params", "num_free")
        ),
        *((name, ctypes.c_int64) for name in ("residual", "activation", "univariate", "threads")),
        ("limit", ctypes.c_double),
    )


class _LayerKernel(Kernel):
    """What the directions share. Where the library cannot be built, or a tensor has another dtype or device than x,
    the answer is ``NotImplemented``."""

    def supports(self, layer: Autoregressive, x: Tensor, context: Tensor | None) -> bool:
        conditioner: Any = layer.conditioner
        return bool(
            runs_eagerly_without_grad(x)
            and x.is_cpu
            and x.dtype in NATIVE_TYPES
            and conditioner.channels == 1
            and conditioner.activation in NATIVE_ACTIVATIONS
            and not conditioner.drops_units
            and not torch.is_autocast_enabled("cpu")
        )

    @staticmethod
    def call(layer: Autoregressive, columns: Tensor, context: Tensor | None, *, inverse: bool) -> Any:
        """(y, log-slopes) from x, or (x, None) from y for the inverse, all (features, n); context is (context, n) or
        None. In C++ the direction is the inverse if the address of the log-slopes is null."""
        cached, dtype = _cached_problem(layer.univariate, layer.conditioner, layer.free), columns.dtype
        if (
            cached.dtype != dtype
            or (context is not None and not (context.dtype == dtype and context.is_cpu))
            or (library := native_library(*SOURCES)) is None
        ):
            return NotImplemented
        columns, context = columns.contiguous(), None if context is None else context.contiguous()
        target = torch.empty(columns.shape, dtype=dtype)
        log_slope = None if inverse else torch.empty(columns.shape, dtype=dtype)
        problem = _Problem.from_buffer_copy(cached.problem)  # one for each call, since threads share the cached one
        problem.source, problem.target, problem.points = columns.data_ptr(), target.data_ptr(), columns.shape[1]
        problem.context = 0 if context is None else context.data_ptr()
        problem.log_slope = 0 if log_slope is None else log_slope.data_ptr()
        problem.threads = torch.get_num_threads()
        library[f"run_{NATIVE_TYPES[dtype]}"](ctypes.byref(problem))
        return target, log_slope


@register(Autoregressive._forward_and_slopes, Autoregressive, tuple(UNIVARIATES), MaskedMLP)
class LayerForward(_LayerKernel):
    """(y, log-slopes) from x (*batch, features)."""

    def supports(self, layer: Autoregressive, x: Tensor, context: Tensor | None) -> bool:
        return super().supports(layer, x, context) and current_execution().matmul_dtype is None

    def run(self, layer: Autoregressive, x: Tensor, context: Tensor | None) -> Any:
        results, batch = (
            self.call(layer, to_features_first(x), context_features_first(context), inverse=False),
            x.shape[:-1],
        )
        if results is NotImplemented:
            return results
        return to_batch_first(results[0], batch), to_batch_first(results[1], batch)


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


class _CachedProblem(NamedTuple):
    """The fields of the problem that depend on the layer, not on the points.

    They hold addresses of weights, not values: training in place keeps them valid, a moved weight makes new ones.
    """

    key: tuple[Any, ...]  # addresses, options and types from which it was made
    dtype: torch.dtype | None  # None where weights differ in dtype, or are not on the CPU
    problem: _Problem
    alive: list[Any]  # for as long as the kernel reads from it


_CACHE: WeakKeyDictionary[nn.Module, _CachedProblem] = WeakKeyDictionary()


def _weights(conditioner: MaskedMLP, free: Tensor | None) -> list[Tensor]:
    """Weights and biases of the hidden layers and the last one, then the free parameters, if there are any."""
    linears: list[Any] = [*conditioner.layers, conditioner.last]
    weights = [tensor for linear in linears for tensor in (linear.weight, linear.bias)]
    return weights if free is None else [*weights, free]


def _cached_problem(univariate: Univariate, conditioner: Any, free: Tensor | None) -> _CachedProblem:
    """The one made before, if weights are where they were and nothing else that it depends on has changed."""
    weights = _weights(conditioner, free)
    places = tuple([(tensor.data_ptr(), tensor.dtype, tensor.stride()) for tensor in weights])
    options = tuple(UNIVARIATES[type(univariate)](univariate))
    key = (type(univariate), options, places)
    cached = _CACHE.get(conditioner)
    if cached is None or cached.key != key:
        cached = _make_problem(key, univariate, conditioner, [tensor.detach().contiguous() for tensor in weights])
        if all(tensor.is_contiguous() for tensor in weights):  # it holds no copies that would become stale
            _CACHE[conditioner] = cached
    return cached


def _make_problem(
    key: tuple[Any, ...], univariate: Univariate, conditioner: MaskedMLP, weights: list[Tensor]
) -> _CachedProblem:
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
        num_hidden=len(layers) - 1,
        num_params=conditioner.num_params,
        num_free=univariate.num_free,
        residual=conditioner.residual,
        activation=NATIVE_ACTIVATIONS.index(conditioner.activation),
        univariate=list(UNIVARIATES).index(type(univariate)),
        limit=INPUT_LIMIT,
    )
    dtypes = {weight.dtype if weight.is_cpu else None for weight in weights}
    return _CachedProblem(key, dtypes.pop() if len(dtypes) == 1 else None, problem, alive)
