"""The masked perceptron, plain or with skip connections, as one native kernel in both passes of training."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core.blas import gemm_address
from pushforward.core.kernel import Kernel
from pushforward.core.native_build import NATIVE_TYPES, native_library
from pushforward.networks.trunk import ACTIVATIONS, SLOPE_FROM_OUTPUT, trunk

__all__ = ["ACTIVATION_HEADER", "NATIVE_ACTIVATIONS", "mask_columns", "native_perceptron"]

ACTIVATION_HEADER, SOURCE = (Path(__file__).with_name(name) for name in ("activations.h", "perceptron.cpp"))
NATIVE_ACTIVATIONS = ("relu", "silu", "gelu", "elu", "tanh")
"""What kernels know, in the order of its numbers there."""


class _Sizes(NamedTuple):
    """What the kernel is told of a network."""

    depth: int
    active: int  # how many of its layers, the first ones, end in an activation
    residual: int
    activation: int
    keeps: int  # whether gradients may be asked for

    def skips(self, k: int) -> bool:
        """Whether the sums of the layer but one before are added to those of layer k."""
        return bool(self.residual) and k % 2 == 0 and 0 < k < self.active

    def keeps_sums(self, k: int) -> bool:
        """Whether what goes into the activation of layer k is read once more, by a slope or past it."""
        needs_sums = NATIVE_ACTIVATIONS[self.activation] not in SLOPE_FROM_OUTPUT
        return k < self.active and (needs_sums or (bool(self.residual) and k % 2 == 0))


class _Perceptron(Kernel):
    """Given are x (columns, n), then weight (rows, columns), bias (rows,) and how many columns each row reads of each
    layer. Found are the units (rows, n) of the last layer and, for gradients, those of the others and some sums."""

    def ready(self, dtype: torch.dtype, device: str) -> bool:
        return (
            device == "cpu"
            and gemm_address(dtype) is not None
            and native_library(ACTIVATION_HEADER, SOURCE) is not None
        )

    def room(self, given: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        own, x = _Sizes(*sizes), given[0]
        shapes = [(len(weight), x.shape[1]) for weight in given[1::3]]
        if not own.keeps:
            return [x.new_empty(shapes[-1])]
        kept = [shapes[-1], *shapes[:-1], *(shape for k, shape in enumerate(shapes) if own.keeps_sums(k))]
        return [x.new_empty(shape) for shape in kept]

    def forward(self, given: Any, found: Any, options: Any, sizes: Any) -> None:
        self._run("forward", given, found, _Sizes(*sizes))

    def backward(self, by: Any, given: Any, found: Any, sent: Any, options: Any, sizes: Any) -> None:
        self._run("backward", given, found, _Sizes(*sizes), by[0], sent)

    def _run(
        self,
        name: str,
        given: Sequence[Tensor],
        found: Sequence[Tensor],
        own: _Sizes,
        by: Tensor | None = None,
        sent: Sequence[Tensor] = (),
    ) -> None:
        x, depth = given[0], own.depth
        units = [*(found[1:depth] if own.keeps else [None] * (depth - 1)), found[0]]
        sums = iter(found[depth:])
        rows: list[int] = []  # the structures of the kernel, which hold nothing but addresses and integers
        for k in range(depth):
            kept = next(sums) if own.keeps and own.keeps_sums(k) else None
            weight, bias, ends = given[3 * k + 1 : 3 * k + 4]
            by_weights = sent[2 * k + 1 : 2 * k + 3] if sent else (None, None)
            tensors = (weight, bias, ends, kept, units[k], *by_weights)
            rows += [*map(_address, tensors), *weight.shape, k < own.active, own.skips(k)]
        layers = (ctypes.c_int64 * len(rows))(*rows)
        addresses = (*map(_address, (x, by, sent[0] if sent else None)), ctypes.addressof(layers))
        numbers = (gemm_address(x.dtype) or 0, *addresses, depth, x.shape[1], own.activation, torch.get_num_threads())
        library: Any = native_library(ACTIVATION_HEADER, SOURCE)
        library[f"{name}_{NATIVE_TYPES[x.dtype]}"]((ctypes.c_int64 * len(numbers))(*numbers))


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


KERNEL = _Perceptron("perceptron", outputs=1)


def native_perceptron(layers: Sequence[Any], activation: str, active: int, residual: bool, x: Tensor) -> Tensor | None:
    """What the last layer gives, (rows, n), for x (columns, n), with gradients; None where the kernel cannot run.

    Layers are `MaskedLinear`. An activation follows the first ``active`` of them, all or all but the last; with skip
    connections as in `trunk`.
    """
    given = [x, *(tensor for layer in layers for tensor in (layer.weight, layer.bias, layer.ends))]
    if activation not in NATIVE_ACTIVATIONS or x.shape[1] >= 2**31 or not KERNEL.runs(given):  # BLAS counts in 32 bits
        return None
    numbers = active, int(residual), NATIVE_ACTIVATIONS.index(activation), int(torch.is_grad_enabled())
    sizes = _Sizes(len(layers), *numbers)
    return KERNEL(given, (), sizes, partial(_plainly, sizes))[0]


def mask_columns(weight: Tensor, ends: Tensor) -> Tensor:
    """The weight (rows, columns) with zeros from column ends[r] on in each row r."""
    return weight * (torch.arange(weight.shape[1]) < ends[:, None])


def _plainly(own: _Sizes, x: Tensor, *others: Tensor) -> tuple[Tensor]:
    """The same by operations whose derivatives have derivatives."""

    def apply(k: int, h: Tensor) -> Tensor:
        weight, bias, ends = others[3 * k : 3 * k + 3]
        return torch.addmm(bias[:, None], mask_columns(weight, ends), h)

    depth = (own.active - 1) // 2 if own.residual else own.active
    h = trunk(apply, x, depth, bool(own.residual), ACTIVATIONS[NATIVE_ACTIVATIONS[own.activation]], lambda h: h)
    return (h if own.active == own.depth else apply(own.active, h),)
