"""The last product of a masked perceptron and its splines as one native kernel, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.bijections.native import TILE
from pushforward.core.compiled import NATIVE_TYPES, native_library
from pushforward.core.modes import runs_eagerly
from pushforward.networks.masked import MaskedMLP
from pushforward.univariate.base import Univariate
from pushforward.univariate.spline_kinds import RationalQuadratic
from pushforward.univariate.spline_native import HEADER

__all__ = ["native_conditional"]

SOURCE = Path(__file__).with_name("conditional.cpp")
READ = ("x", "units", "weight", "bias")  # what the kernel reads, in the order of the arguments


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in (*READ, "by_y", "by_log_slope")),
        *((name, ctypes.c_void_p) for name in ("y", "log_slope", "by_x")),
        *((name, ctypes.c_void_p) for name in ("by_units", "by_weight", "by_bias", "ends", "options")),
        *((name, ctypes.c_int64) for name in ("points", "features", "num_units", "num_params", "threads")),
    )


def native_conditional(
    univariate: Univariate, conditioner: Any, x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """(y, log-slopes), both (features, n), of x (features, n), with gradients; None where the kernel does not know one
    of the parts, or cannot run here. Context is (context, n) or None."""
    if type(univariate) is not RationalQuadratic or type(conditioner) is not MaskedMLP or conditioner.channels > 1:
        return None
    last: Any = conditioner.last
    given = [x, last.weight, last.bias, *([] if context is None else [context])]
    if x.dtype not in NATIVE_TYPES or any(t.dtype != x.dtype or not t.is_cpu for t in given) or not runs_eagerly(x):
        return None
    if torch.is_autocast_enabled("cpu") or (library := native_library(TILE, HEADER, SOURCE)) is None:
        return None
    units = conditioner.units(x, context)
    run = partial(_run, library, univariate, last.in_starts[1 : len(x) + 1])
    plainly = partial(_plainly, univariate, last.mask)
    found: tuple[Tensor, Tensor] = _Conditional.apply(run, plainly, x, units, last.weight, last.bias)
    return found


def _run(
    library: ctypes.CDLL, spline: RationalQuadratic, ends: list[int], name: str, tensors: dict[str, Tensor]
) -> None:
    x, numbers = tensors["x"], spline.native_options()
    options, starts = (ctypes.c_double * len(numbers))(*numbers), (ctypes.c_int64 * len(ends))(*ends)
    problem = _Problem(
        ends=ctypes.addressof(starts),
        options=ctypes.addressof(options),
        points=x.shape[1],
        features=x.shape[0],
        num_units=tensors["units"].shape[0],
        num_params=spline.num_params,
        threads=torch.get_num_threads(),
        **{key: tensor.data_ptr() for key, tensor in tensors.items()},
    )
    library[f"{name}_{NATIVE_TYPES[x.dtype]}"](ctypes.byref(problem))


class _Conditional(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Callable[..., None], plainly: Callable[..., Any], *given: Tensor
    ) -> tuple[Tensor, Tensor]:
        read = {name: tensor.contiguous() for name, tensor in zip(READ, given, strict=True)}
        y, log_slope = (torch.empty_like(read["x"]) for _ in range(2))
        run("forward", {**read, "y": y, "log_slope": log_slope})
        ctx.run, ctx.plainly = run, plainly
        ctx.save_for_backward(*given)
        return y, log_slope

    @staticmethod
    def backward(ctx: Any, by_y: Tensor, by_log_slope: Tensor) -> Any:
        given = ctx.saved_tensors
        if torch.is_grad_enabled():  # derivatives of this derivative will be asked for
            return None, None, *torch.func.vjp(ctx.plainly, *given)[1]((by_y, by_log_slope))
        read = {name: tensor.contiguous() for name, tensor in zip(READ, given, strict=True)}
        found = {f"by_{name}": torch.empty_like(tensor) for name, tensor in read.items()}
        ctx.run("backward", {**read, "by_y": by_y.contiguous(), "by_log_slope": by_log_slope.contiguous(), **found})
        return None, None, *found.values()


def _plainly(
    spline: RationalQuadratic, mask: Tensor, x: Tensor, units: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The same by operations whose derivatives have derivatives."""
    params = torch.addmm(bias[:, None], weight * mask, units)
    return spline.plainly(x, params.unflatten(0, (-1, len(x))))
