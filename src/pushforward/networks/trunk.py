"""What all perceptrons share: activations, dropout, and everything between the input and the last linear map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.execution_mode import current_execution
from pushforward.core.torch_internals import uses_forward_mode

__all__ = [
    "ACTIVATIONS",
    "INPUT_LIMIT",
    "IN_PLACE",
    "SLOPE_FROM_OUTPUT",
    "activation_of",
    "blocks_of",
    "dropped",
    "trunk",
]

# A conditioner may be any function of its inputs, so they may be clamped; a huge finite entry of one row then cannot
# overflow inside the network and reach the weight gradients of all rows.
INPUT_LIMIT = 1e6

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "tanh": torch.tanh,
}

IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "silu": lambda h: F.silu(h, inplace=True),
    "gelu": lambda h: h.copy_(F.gelu(h)),
    "elu": lambda h: F.elu(h, inplace=True),
    "tanh": torch.tanh_,
}
"""The functions of `ACTIVATIONS`, overwriting their argument."""

SLOPE_FROM_OUTPUT = ("relu", "elu", "tanh")
"""Activations whose gradients need their output alone, so that they may overwrite their argument."""


def blocks_of(hidden: Sequence[int], residual: bool) -> int:
    """How many blocks `trunk` has: of one linear map each, or with ``residual`` of two, behind a first linear map."""
    return max(1, len(hidden) - 1) if residual else len(hidden)


def trunk(
    apply: Callable[[int, Tensor], Tensor],
    x: Tensor,
    num_blocks: int,
    residual: bool,
    act: Callable[[Tensor], Tensor],
    drop: Callable[[Tensor], Tensor],
) -> Tensor:
    """Everything between the input and the last linear map.

    ``apply(k, h)`` is the k-th linear map; whoever calls decides what it multiplies (all rows, or a slice of them),
    so the parallel and the incremental pass of a masked network share this one recursion.
    """
    if not residual:
        for k in range(num_blocks):
            x = drop(act(apply(k, x)))
        return x
    h = apply(0, x)
    for block in range(num_blocks):
        h = h + apply(2 * block + 2, drop(act(apply(2 * block + 1, act(h)))))
    return act(h)


def activation_of(activation: str, residual: bool) -> Callable[[Tensor], Tensor]:
    """The activation that `trunk` applies: the in-place version if autograd does not need the input of the activation
    and no skip connection reads it."""
    # ``torch.func.linearize`` makes constants of what has no tangent; those must not be overwritten.
    in_place = (
        not residual and not uses_forward_mode() and (activation in SLOPE_FROM_OUTPUT or not torch.is_grad_enabled())
    )
    return IN_PLACE[activation] if in_place and activation in IN_PLACE else ACTIVATIONS[activation]


def dropped(h: Tensor, probability: float) -> Tensor:
    """h with units set to zero at random and the others scaled up, drawn by the generator of the `execution` scope.

    Graphs of `torch.compile` take no generator: there, and without one for this device, torch's global generator draws.
    Seeded alike, both draw the same units.
    """
    generator = None if torch.compiler.is_compiling() else current_execution().generator
    if generator is None or generator.device != h.device:
        return F.dropout(h, probability)
    kept = torch.empty_like(h).bernoulli_(1 - probability, generator=generator)
    return h * kept.div_(1 - probability)
