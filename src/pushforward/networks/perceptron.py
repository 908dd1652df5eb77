"""The perceptron, plain or with skip connections, masked or not, as one native kernel in both passes of training, where there is a compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core.blas import gemm_address
from pushforward.core.compiled import NATIVE_TYPES, native_library
from pushforward.core.modes import runs_eagerly
from pushforward.networks.trunk import ACTIVATIONS, trunk

__all__ = ["ACTIVATION_HEADER", "NATIVE_ACTIVATIONS", "Linear", "native_perceptron"]

ACTIVATION_HEADER, SOURCE = (Path(__file__).with_name(name) for name in ("activations.h", "perceptron.cpp"))
NATIVE_ACTIVATIONS = ("relu", "silu", "gelu", "elu", "tanh")
"""What kernels know, in the order of its numbers there."""
SLOPE_OF_SUMS = ("silu", "gelu")  # the slopes of the others follow from what comes out


class Linear(NamedTuple):
    """A layer: weight (rows, columns), bias (rows,), the columns that each row reads and the mask, or None twice."""

    weight: Tensor
    bias: Tensor
    ends: Tensor | None = None
    mask: Tensor | None = None


class _Network:
    """A perceptron and the kernel for it."""

    def __init__(
        self, library: ctypes.CDLL, gemm: int, linears: Sequence[Linear], activation: str, active: int, residual: bool
    ) -> None:
        self.library, self.gemm, self.linears = library, gemm, linears
        self.activation, self.active, self.residual = activation, active, residual

    def run(
        self,
        name: str,
        x: Tensor,
        *,
        by_units: Tensor | None = None,
        by_input: Tensor | None = None,
        units: Sequence[Tensor | None],
        sums: Sequence[Tensor | None] | None = None,
        found: Sequence[Tensor] | None = None,
    ) -> None:
        """Run a pass on contiguous tensors; ``found`` holds room for the gradients of all weights and biases."""
        linears, depth = self.linears, len(self.linears)
        rows: list[int] = []  # the structures of the kernel, which hold nothing but addresses and integers
        for k, linear in enumerate(linears):
            of_layer = (linear.weight, linear.bias, linear.ends, None if sums is None else sums[k], units[k])
            by_layer = (None, None) if found is None else found[2 * k : 2 * k + 2]
            rows += [*map(_address, (*of_layer, *by_layer)), *linear.weight.shape, k < self.active, self.skips(k)]
        layers = (ctypes.c_int64 * len(rows))(*rows)
        given = (self.gemm, *map(_address, (x, by_units, by_input)), ctypes.addressof(layers))
        numbers = (depth, x.shape[1], NATIVE_ACTIVATIONS.index(self.activation), torch.get_num_threads())
        problem = (ctypes.c_int64 * (len(given) + len(numbers)))(*given, *numbers)
        self.library[f"{name}_{NATIVE_TYPES[x.dtype]}"](problem)

    def skips(self, k: int) -> bool:
        """Whether the sums of the layer but one before are added to those of layer k."""
        return self.residual and k % 2 == 0 and 0 < k < self.active

    def keeps(self, k: int) -> bool:
        """Whether what goes into the activation of layer k is read once more, by a slope or past it."""
        return k < self.active and (self.activation in SLOPE_OF_SUMS or (self.residual and k % 2 == 0))

    def plainly(self, x: Tensor, *weights: Tensor) -> Tensor:
        """The same by operations whose derivatives have derivatives."""

        def apply(k: int, h: Tensor) -> Tensor:
            weight, mask = weights[2 * k], self.linears[k].mask
            return torch.addmm(weights[2 * k + 1][:, None], weight if mask is None else weight * mask, h)

        depth = (self.active - 1) // 2 if self.residual else self.active
        h = trunk(apply, x, depth, self.residual, ACTIVATIONS[self.activation], lambda h: h)
        return h if self.active == len(self.linears) else apply(self.active, h)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def native_perceptron(
    linears: Sequence[Linear], activation: str, active: int, residual: bool, x: Tensor
) -> Tensor | None:
    """What the last layer gives, (rows, n), for x (columns, n), with gradients; None where the kernel cannot run.

    An activation follows the first ``active`` layers, all or all but the last; with skip connections as in `trunk`.
    """
    if not runs_eagerly(x) or x.dtype not in NATIVE_TYPES or torch.is_autocast_enabled("cpu") or not x.numel():
        return None
    weights = [t for linear in linears for t in (linear.weight, linear.bias)]
    if any(t.dtype != x.dtype or not t.is_cpu or not t.is_contiguous() for t in weights) or not x.is_cpu:
        return None
    gemm = gemm_address(x.dtype)
    library = None if gemm is None else native_library(ACTIVATION_HEADER, SOURCE)
    if gemm is None or library is None:
        return None
    network = _Network(library, gemm, linears, activation, active, residual)
    if torch.is_grad_enabled():
        found: Tensor = _Perceptron.apply(network, x, *weights)
        return found
    out = x.new_empty(len(linears[-1].weight), x.shape[1])
    network.run("forward", x.contiguous(), units=[None] * (len(linears) - 1) + [out])
    return out


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, network: _Network, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.network = network
        units = [x.new_empty(len(linear.weight), x.shape[1]) for linear in network.linears]
        sums = [torch.empty_like(h) if network.keeps(k) else None for k, h in enumerate(units)]
        network.run("forward", x.contiguous(), units=units, sums=sums)
        ctx.save_for_backward(x, *weights, *units, *sums)
        return units[-1]

    @staticmethod
    def backward(ctx: Any, by_units: Tensor) -> Any:
        network: _Network = ctx.network
        depth = len(network.linears)
        x, *others = ctx.saved_tensors
        weights, units, sums = others[: 2 * depth], others[2 * depth : 3 * depth], others[3 * depth :]
        if torch.is_grad_enabled():  # derivatives of this derivative will be asked for
            return None, *torch.func.vjp(network.plainly, x, *weights)[1](by_units)
        found = [torch.empty_like(weight) for weight in weights]
        x = x.contiguous()
        by_input = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        given = {"by_units": by_units.contiguous(), "by_input": by_input, "units": units, "sums": sums}
        network.run("backward", x, **given, found=found)
        return None, by_input, *found
