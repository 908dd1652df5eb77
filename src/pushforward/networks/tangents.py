"""Products of a network's Jacobian with many vectors at once, and its trace.

They are formulas of their own, not `torch.func` transforms: on small networks these cost twenty times a plain pass, and
what is made of ordinary operations has gradients, compiles and can be mapped by vmap. Networks registered by users go
through ``torch.func.jvp``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.networks.conv import ConvNet
from pushforward.networks.mlp import MLP
from pushforward.networks.trunk import INPUT_LIMIT, trunk

__all__ = ["SMOOTH", "closed_trace", "jacobian_products", "trace_weights"]


def _tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.tanh(x)
    return y, 1 - y.square()


def _silu(x: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.sigmoid(x)
    y = x * s
    return y, s + y * (1 - s)


def _gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return x * below, below + x * torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)


def _elu(x: Tensor) -> tuple[Tensor, Tensor]:
    y = F.elu(x)
    return y, torch.where(x > 0, 1.0, y + 1)


SMOOTH: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "silu": _silu,
    "tanh": _tanh,
    "gelu": _gelu,
    "elu": _elu,
}
"""Activations with a continuous slope: x to (value, slope)."""


@dataclass(frozen=True)
class _Dual:
    """A value and its derivatives along several directions; adding two is all that `trunk` does beside its calls."""

    value: Tensor
    tangents: Tensor

    def __add__(self, other: _Dual) -> _Dual:
        return _Dual(self.value + other.value, self.tangents + other.tangents)


def jacobian_products(network: nn.Module, inputs: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    """(network(inputs), the derivatives of the outputs along each direction).

    Args:
        network: a conditioner.
        inputs: (c + features, n), smaller than ``INPUT_LIMIT`` but for the first c rows, which stay fixed.
        tangents: directions in which the last ``features`` rows move, (features, k, n).

    Returns:
        (outputs, n) and (outputs, k, n).
    """
    # Subclasses may compute something else.
    if type(network) is MLP and network.activation in SMOOTH:
        return _through_dense(network, inputs, tangents)
    if type(network) is ConvNet and network.activation in SMOOTH and network.channels == 1:
        return _through_conv(network, inputs, tangents)
    fixed, moving = inputs[: len(inputs) - len(tangents)], inputs[len(inputs) - len(tangents) :]

    def along(direction: Tensor) -> tuple[Tensor, Tensor]:
        pair: Any = torch.func.jvp(lambda x: network(torch.cat([fixed, x])), (moving,), (direction,))
        return pair[0], pair[1]

    values, slopes = torch.func.vmap(along, in_dims=1, out_dims=(0, 1))(tangents)
    return values[0], slopes


def _through_dense(network: MLP, inputs: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    moving = len(tangents)

    def apply(k: int, h: _Dual) -> _Dual:
        layer = cast(nn.Linear, network.layers[k])
        weight = layer.weight if k else layer.weight[:, -moving:]
        slopes = (weight @ h.tangents.flatten(1)).unflatten(1, h.tangents.shape[1:])
        return _Dual(torch.addmm(layer.bias[:, None], layer.weight, h.value), slopes)

    def act(h: _Dual) -> _Dual:
        value, slope = SMOOTH[network.activation](h.value)
        return _Dual(value, slope[:, None] * h.tangents)

    return _run(network, apply, act, _Dual(inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT), tangents))


def _through_conv(network: ConvNet, inputs: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    convolve: Callable[..., Tensor] = {2: F.conv1d, 3: F.conv2d, 4: F.conv3d}[len(network.in_shape)]
    moving, count = network.in_shape[0], tangents.shape[1]
    # (features, k, n) as (k · n, channels, *spatial), the layout of convolutions.
    grid = tangents.flatten(1).t().reshape(-1, *network.in_shape)

    def apply(k: int, h: _Dual) -> _Dual:
        layer = cast(nn.Conv2d, network.layers[k])
        weight = layer.weight if k else layer.weight[:, -moving:]
        return _Dual(layer(h.value), convolve(h.tangents, weight, padding=layer.padding))

    def act(h: _Dual) -> _Dual:
        value, slope = SMOOTH[network.activation](h.value)
        return _Dual(value, (slope * h.tangents.unflatten(0, (count, -1))).flatten(0, 1))

    start = _Dual(network._grid(inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)), grid)
    value, slopes = _run(network, apply, act, start)
    return value.flatten(1).t(), slopes.flatten(1).t().unflatten(1, (count, -1))


def _run(
    network: MLP | ConvNet, apply: Callable[[int, _Dual], _Dual], act: Callable[[_Dual], _Dual], start: _Dual
) -> tuple[Tensor, Tensor]:
    """A whole network, on values and derivatives at once."""
    recursion = cast(Callable[..., _Dual], trunk)  # written for tensors, of which it asks no more than `_Dual` has
    h = recursion(apply, start, network.num_blocks, network.residual, act, lambda h: h)
    h = apply(len(network.layers) - 1, h)
    return h.value, h.tangents


def trace_weights(network: nn.Module, features: int) -> Tensor | None:
    r"""What `closed_trace` needs of the weights, once for many points; None for networks without such a formula.

    For a perceptron of two hidden layers the trace of the Jacobian is

    .. math:: \operatorname{tr}(W_3 D_2 W_2 D_1 W_1) = d_2^\top \bigl(W_2 \circ (W_1 W_3)^\top\bigr)\, d_1

    with the slopes :math:`d_i` of the activations: as cheap as one more product of a layer, for any number of features.
    With one hidden layer it is :math:`\sum_h d_h (W_1 W_2)_{hh}`.
    """
    if type(network) is not MLP or network.residual or len(network.layers) > 3 or network.activation not in SMOOTH:
        return None
    first, *middle, last = (cast(nn.Linear, layer).weight for layer in network.layers)
    if middle:
        return middle[0] * (first[:, -features:] @ last).t()
    return (first[:, -features:] * last.t()).sum(dim=1)


def closed_trace(network: MLP, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(network(inputs), the trace of its Jacobian at each point), by the formula of `trace_weights`.

    Returns:
        (outputs, n) and (n,).
    """
    h, slopes = inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT), []
    *hidden, last = (cast(nn.Linear, layer) for layer in network.layers)
    for layer in hidden:
        h, slope = SMOOTH[network.activation](torch.addmm(layer.bias[:, None], layer.weight, h))
        slopes.append(slope)
    trace = weights @ slopes[0] if weights.ndim == 1 else ((weights @ slopes[0]) * slopes[1]).sum(dim=0)
    return torch.addmm(last.bias[:, None], last.weight, h), trace
