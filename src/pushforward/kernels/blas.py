"""The matrix product of the library that torch was built with, for kernels that multiply blocks."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch

__all__ = ["gemm_address"]


@cache
def gemm_address(dtype: torch.dtype) -> int | None:
    """Where ``sgemm`` or ``dgemm``, of the Fortran interface of BLAS, begins in memory; None where torch hides it."""
    name = {torch.float32: "sgemm_", torch.float64: "dgemm_"}.get(dtype)
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            function = getattr(ctypes.CDLL(str(path)), str(name))
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None
