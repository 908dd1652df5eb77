"""Inverses of mixtures in one native kernel, `mixture_native.cpp`, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pushforward.core.native_build import NATIVE_TYPES, native_library
from pushforward.core.numerics import CLOSE, POLISH

__all__ = ["native_roots"]

SOURCE = Path(__file__).with_name("mixture_native.cpp")


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("y", "weight", "location", "steepness", "rate", "low", "high", "x")),
        *((name, ctypes.c_int64) for name in ("points", "features", "components", "threads", "steps")),
        *((name, ctypes.c_double) for name in ("unit", "reach", "least", "close")),
    )


def native_roots(
    law: str,
    y: Tensor,
    components: Sequence[Tensor],
    ends: Sequence[Tensor],
    *,
    unit: float,
    reach: float,
    least: float,
) -> Tensor | None:
    """The roots of many values with the same parameters; None if one is not reached, or the kernel cannot run here.

    Args:
        law: of a component, ``"gaussian"`` or ``"logistic"``.
        y: the values to reach, (*s, n).
        components: weights, locations, reciprocal widths in units and weighted densities at v = 0, each
            (components, *s, 1).
        ends: where the least and the largest y of each row are reached, each (*s, 1).
        unit: what distances are measured in, as a part of the width.
        reach: distance, in units, from which on tails count as zero.
        least: the smallest tail that plain numbers are good for.
    """
    kind = NATIVE_TYPES.get(y.dtype)
    expected = (*y.shape[:-1], 1)
    if kind is None or any(t.shape[-len(expected) :] != expected or not t.is_cpu for t in (y[..., :1], *components)):
        return None
    if (library := native_library(SOURCE)) is None:
        return None
    x = torch.empty_like(y, memory_format=torch.contiguous_format)
    # In a list, so that they stay alive for as long as the kernel reads from them.
    tensors = [t.detach().contiguous() for t in (y, *components, *ends)]
    solve = library[f"{law}_{kind}"]
    solve.restype = ctypes.c_int64
    missed = solve(
        ctypes.byref(
            _Problem(
                *(t.data_ptr() for t in (*tensors, x)),
                points=y.shape[-1],
                features=x[..., 0].numel(),
                components=len(components[0]),
                threads=torch.get_num_threads(),
                steps=POLISH,
                unit=unit,
                reach=reach,
                least=least,
                close=CLOSE * torch.finfo(y.dtype).eps ** 0.5,
            )
        )
    )
    return None if missed else x
