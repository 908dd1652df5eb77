"""Both directions of an autoregressive layer in one native kernel, `native.cpp`, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pushforward.core.execution_mode import runs_directly
from pushforward.core.native_build import NATIVE_TYPES, native_library
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
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "ends", "row_starts")),
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
    number = NATIVE_TYPES.get(given.dtype)
    if type(univariate) not in UNIVARIATES or type(conditioner) is not MaskedMLP or number is None or not given.is_cpu:
        return None
    drops = conditioner.dropout > 0 and conditioner.training
    if drops or conditioner.channels > 1 or not runs_directly(given):
        return None
    weights = _weights(conditioner, free)
    if (
        any(t.dtype != given.dtype or not t.is_cpu for t in ([*weights, context] if context is not None else weights))
        or (library := native_library(TILE, ACTIVATION_HEADER, HEADER, SOURCE)) is None
    ):
        return None
    plan = _plan(univariate, conditioner, weights)
    given, context = given.contiguous(), None if context is None else context.contiguous()
    found = torch.empty(given.shape, dtype=given.dtype)
    log_slope = torch.empty(given.shape, dtype=given.dtype) if slope else found
    problem = _Problem.from_buffer_copy(plan.problem)  # one for each call, for other threads may be here, too
    problem.given, problem.found, problem.points = given.data_ptr(), found.data_ptr(), given.shape[1]
    problem.context = 0 if context is None else context.data_ptr()
    problem.log_slope = log_slope.data_ptr() if slope else 0
    problem.threads = torch.get_num_threads()
    library[f"run_{number}"](ctypes.byref(problem))
    return found, log_slope


class _Plan(NamedTuple):
    """What the kernel is told of a layer whatever the points are."""

    like: tuple[Any, ...]  # of what it was made
    problem: _Problem
    alive: list[Any]  # for as long as the kernel reads from it


_PLANS: WeakKeyDictionary[nn.Module, _Plan] = WeakKeyDictionary()


def _weights(conditioner: MaskedMLP, free: Tensor | None) -> list[Tensor]:
    """Those of the hidden layers, of the last layer and of none."""
    linears: list[Any] = [*conditioner.layers, conditioner.last]
    weights = [tensor for linear in linears for tensor in (linear.weight, linear.bias)]
    return weights if free is None else [*weights, free]


def _plan(univariate: Univariate, conditioner: MaskedMLP, weights: list[Tensor]) -> _Plan:
    """The plan made before, if all that it depends on is where it was: addresses are part of it, numbers are not."""
    places = tuple((tensor.data_ptr(), tensor.dtype, tensor.stride()) for tensor in weights)
    options = tuple(UNIVARIATES[type(univariate)](univariate))
    like = (type(univariate), options, places)
    plan = _PLANS.get(conditioner)
    if plan is None or plan.like != like:
        plan = _make_plan(like, univariate, conditioner, [tensor.detach().contiguous() for tensor in weights])
        if all(tensor.is_contiguous() for tensor in weights):  # the plan holds no copies that would grow old
            _PLANS[conditioner] = plan
    return plan


def _make_plan(like: tuple[Any, ...], univariate: Univariate, conditioner: MaskedMLP, weights: list[Tensor]) -> _Plan:
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
    options = like[1]
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
    return _Plan(like, problem, alive)
