"""Compile all C++ kernels now, instead of each at its first use: ``python -m pushforward.kernels``.

For images of containers, and for folders that cannot be written to later. Ends with status 1 where one does not
compile; everything then still works, only slower.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

from pushforward.kernels.native_build import native_library

__all__ = ["compile_kernel", "kernel_names", "main"]


def kernel_names() -> list[str]:
    """The modules with C++ of their own, those that take longest first."""
    sources = sorted(Path(__file__).parent.glob("*.cpp"), key=lambda path: -path.stat().st_size)
    return [path.stem for path in sources]


def compile_kernel(name: str) -> bool:
    """Compile the library of one module into the cache; whether that worked."""
    return native_library(*import_module(f"pushforward.kernels.{name}").SOURCES) is not None


def main() -> int:
    """Compile all of them, one process for each core, and say so."""
    names = kernel_names()
    workers = min(len(names), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = dict(zip(names, pool.map(compile_kernel, names), strict=True))
    for name, works in results.items():
        print(f"{name}: {'compiled' if works else 'not compiled'}")
    return 0 if all(results.values()) else 1
