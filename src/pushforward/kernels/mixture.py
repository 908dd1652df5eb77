"""Inverses of mixtures: the roots of many values with the same parameters, in one native call."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pushforward.core.dispatch import Kernel, register
from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.core.numerics import CLOSE, POLISH
from pushforward.kernels.native_build import NATIVE_TYPES, native_library
from pushforward.univariate import GaussianMixtureCDF, LogisticMixtureCDF
from pushforward.univariate.base import Iterative
from pushforward.univariate.mixture import LEAST, Components, MixtureCDF

__all__ = ["MixtureRoot"]

SOURCE = Path(__file__).with_name("mixture.cpp")
SOURCES = (SOURCE,)


class _Problem(ctypes.Structure):
    # Field order and types must equal struct Problem in mixture.cpp.
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("y", "weight", "location", "steepness", "rate", "low", "high", "x")),
        *((name, ctypes.c_int64) for name in ("points", "features", "components", "threads", "steps")),
        *((name, ctypes.c_double) for name in ("unit", "reach", "least", "close")),
    )


@register(Iterative._root, (GaussianMixtureCDF, LogisticMixtureCDF))
class MixtureRoot(Kernel):
    """Newton's method from a table of the map, for y (*s, n) whose n points share their parameters.

    ``NotImplemented`` where one of the values is not reached: then the search with safeguards finds all of them.
    """

    def supports(self, mixture: MixtureCDF, params: Tensor, y: Tensor, prepared: Components) -> bool:
        shared = (*y.shape[:-1], 1)
        return (
            mixture._many(params, y)
            and runs_eagerly_without_grad(y)
            and y.is_cpu
            and y.dtype in NATIVE_TYPES
            and all(t.is_cpu and t.shape[-len(shared) :] == shared for t in prepared)
            and native_library(*SOURCES) is not None
        )

    def run(self, mixture: MixtureCDF, params: Tensor, y: Tensor, prepared: Components) -> Any:
        plain = mixture._plain(prepared)
        density = mixture._plain_density(torch.zeros_like(plain.log_rate), plain.log_rate)  # of components, at v = 0
        low, high = mixture._bracket(torch.stack(y.aminmax(dim=-1), dim=-1), prepared)
        x = torch.empty_like(y, memory_format=torch.contiguous_format)
        # In a list, so that they stay alive for as long as the kernel reads from them.
        inputs = (y, plain.weight, plain.location, plain.steepness, density, low[..., :1], high[..., 1:])
        tensors = [tensor.detach().contiguous() for tensor in inputs]
        library: Any = native_library(*SOURCES)
        solve = library[f"{mixture.reference}_{NATIVE_TYPES[y.dtype]}"]
        solve.restype = ctypes.c_int64
        problem = _Problem(
            *(tensor.data_ptr() for tensor in (*tensors, x)),
            points=y.shape[-1],
            features=x[..., 0].numel(),
            components=len(plain.weight),
            threads=torch.get_num_threads(),
            steps=POLISH,
            unit=mixture.unit,
            reach=mixture._reach(torch.finfo(y.dtype).tiny ** 0.75),
            least=LEAST,
            close=CLOSE * torch.finfo(y.dtype).eps ** 0.5,
        )
        missed = solve(ctypes.byref(problem))
        return NotImplemented if missed else x
