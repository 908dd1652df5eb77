"""The masked perceptron, plain or with skip connections: one native call for each pass of training."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core.dispatch import Kernel, register
from pushforward.core.execution_mode import current_execution
from pushforward.kernels.blas import gemm_address
from pushforward.kernels.native_build import ACTIVATION_HEADER, NATIVE_TYPES, native_library
from pushforward.kernels.native_operator import NativeOperator
from pushforward.networks import MaskedMLP
from pushforward.networks.trunk import ACTIVATIONS, SLOPE_FROM_OUTPUT, trunk

__all__ = ["NATIVE_ACTIVATIONS", "PerceptronForward", "hidden_units", "mask_columns"]

SOURCE = Path(__file__).with_name("perceptron.cpp")
SOURCES = (ACTIVATION_HEADER, SOURCE)
NATIVE_ACTIVATIONS = ("relu", "silu", "gelu", "elu", "tanh")
"""Activations in the order of their numbers in `activations.h`."""


class _Sizes(NamedTuple):
    """The integers that describe a network to the kernel."""

    num_layers: int  # linear maps
    active: int  # how many of them, the first ones, are followed by an activation
    residual: int
    activation: int
    saves: int  # whether gradients may be asked for

    def skips(self, k: int) -> bool:
        """Whether the sums (pre-activations) of layer k - 2 are added to those of layer k."""
        return bool(self.residual) and k % 2 == 0 and 0 < k < self.active

    def saves_sums(self, k: int) -> bool:
        """Whether the argument of the activation of layer k is read again, by its slope or by a skip connection."""
        needs_sums = NATIVE_ACTIVATIONS[self.activation] not in SLOPE_FROM_OUTPUT
        return k < self.active and (needs_sums or (bool(self.residual) and k % 2 == 0))


class _Operator(NativeOperator):
    """Inputs are x (columns, n), then for each layer its weight (rows, columns), its bias (rows,) and how many columns
    each row reads. Results are the units (activations, (rows, n)) of the last layer and, for gradients, those of the
    others and some sums (pre-activations)."""

    def is_available(self, dtype: torch.dtype, device: str) -> bool:
        return device == "cpu" and gemm_address(dtype) is not None and native_library(*SOURCES) is not None

    def allocate(self, inputs: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        network, x = _Sizes(*sizes), inputs[0]
        shapes = [(len(weight), x.shape[1]) for weight in inputs[1::3]]
        if not network.saves:
            return [x.new_empty(shapes[-1])]
        saved = [shapes[-1], *shapes[:-1], *(shape for k, shape in enumerate(shapes) if network.saves_sums(k))]
        return [x.new_empty(shape) for shape in saved]

    def forward(self, inputs: Any, results: Any, options: Any, sizes: Any) -> None:
        self._call("forward", inputs, results, _Sizes(*sizes))

    def backward(
        self, grad_outputs: Any, inputs: Any, results: Any, grad_inputs: Any, options: Any, sizes: Any
    ) -> None:
        self._call("backward", inputs, results, _Sizes(*sizes), grad_outputs[0], grad_inputs)

    def _call(
        self,
        name: str,
        inputs: Sequence[Tensor],
        results: Sequence[Tensor],
        network: _Sizes,
        grad_output: Tensor | None = None,
        grad_inputs: Sequence[Tensor] = (),
    ) -> None:
        x, num_layers = inputs[0], network.num_layers
        units = [*(results[1:num_layers] if network.saves else [None] * (num_layers - 1)), results[0]]
        sums = iter(results[num_layers:])
        # Field order and types must equal struct Layer and, below, struct Problem in perceptron.cpp, which hold nothing
        # but addresses and integers.
        rows: list[int] = []
        for k in range(num_layers):
            saved = next(sums) if network.saves and network.saves_sums(k) else None
            weight, bias, ends = inputs[3 * k + 1 : 3 * k + 4]
            grad_weights = grad_inputs[2 * k + 1 : 2 * k + 3] if grad_inputs else (None, None)
            tensors = (weight, bias, ends, saved, units[k], *grad_weights)
            rows += [*map(_address, tensors), *weight.shape, k < network.active, network.skips(k)]
        layers = (ctypes.c_int64 * len(rows))(*rows)
        grad_x = grad_inputs[0] if grad_inputs else None
        addresses = (*map(_address, (x, grad_output, grad_x)), ctypes.addressof(layers))
        counts = (num_layers, x.shape[1], network.activation, torch.get_num_threads())
        numbers = (gemm_address(x.dtype) or 0, *addresses, *counts)
        library: Any = native_library(*SOURCES)
        library[f"{name}_{NATIVE_TYPES[x.dtype]}"]((ctypes.c_int64 * len(numbers))(*numbers))


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


OPERATOR = _Operator("perceptron", outputs=1)


@register(MaskedMLP.parallel, MaskedMLP)
class PerceptronForward(Kernel):
    """All layers, with gradients, in the dtype of the weights."""

    def supports(self, network: MaskedMLP, x: Tensor, context: Tensor | None = None) -> bool:
        return _knows(network, x)

    def run(self, network: MaskedMLP, x: Tensor, context: Tensor | None = None) -> Any:
        params = _run(network, [*network.layers, network.last], network.prepare_inputs(x, context))
        return params if params is NotImplemented else network.split_params(params)


def hidden_units(network: MaskedMLP, x: Tensor, context: Tensor | None) -> Tensor:
    """What the last layer reads, (units, n), by the kernel where it can run."""
    inputs = network.prepare_inputs(x, context)
    units = _run(network, list(network.layers), inputs) if _knows(network, x) else NotImplemented
    return network.hidden_units(inputs) if units is NotImplemented else units


def _knows(network: MaskedMLP, x: Tensor) -> bool:
    if x.shape[1] >= 2**31:  # the matrix library counts in 32 bits
        return False
    if network.drops_units or network.activation not in NATIVE_ACTIVATIONS:
        return False
    return current_execution().matmul_dtype is None


def _run(network: MaskedMLP, layers: Sequence[Any], inputs: Tensor) -> Any:
    """What the last of these layers gives; ``NotImplemented`` where the operator cannot run."""
    tensors = [inputs, *(tensor for layer in layers for tensor in (layer.weight, layer.bias, layer.ends))]
    if not OPERATOR.can_run(tensors):
        return NotImplemented
    numbers = int(network.residual), NATIVE_ACTIVATIONS.index(network.activation), int(torch.is_grad_enabled())
    sizes = _Sizes(len(layers), len(network.layers), *numbers)
    return OPERATOR(tensors, (), sizes, partial(_differentiable_reference, sizes))[0]


def mask_columns(weight: Tensor, ends: Tensor) -> Tensor:
    """The weight (rows, columns) with zeros from column ends[r] on in each row r."""
    return weight * (torch.arange(weight.shape[1]) < ends[:, None])


def _differentiable_reference(network: _Sizes, x: Tensor, *tensors: Tensor) -> tuple[Tensor]:
    """The forward pass in torch operations, for second derivatives."""

    def apply(k: int, h: Tensor) -> Tensor:
        weight, bias, ends = tensors[3 * k : 3 * k + 3]
        return torch.addmm(bias[:, None], mask_columns(weight, ends), h)

    num_blocks = (network.active - 1) // 2 if network.residual else network.active
    act = ACTIVATIONS[NATIVE_ACTIVATIONS[network.activation]]
    h = trunk(apply, x, num_blocks, bool(network.residual), act, lambda h: h)
    return (h if network.active == network.num_layers else apply(network.active, h),)
