"""What all perceptrons share: activations, and everything between the input and the last linear map."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.execution_mode import has_forward_derivatives

__all__ = ["ACTIVATIONS", "IN_PLACE", "SLOPE_FROM_OUTPUT", "activation_of", "trunk"]

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
"""The same, overwriting what they are applied to."""

SLOPE_FROM_OUTPUT = ("relu", "elu", "tanh")
"""Those whose gradients need nothing that is overwritten."""


def trunk(
    apply: Callable[[int, Tensor], Tensor],
    x: Tensor,
    depth: int,
    residual: bool,
    act: Callable[[Tensor], Tensor],
    drop: Callable[[Tensor], Tensor],
) -> Tensor:
    """Everything between the input and the last linear map.

    ``apply(k, h)`` is the k-th linear map; whoever calls decides what it multiplies (all rows, or a slice of them),
    so the parallel and the incremental pass of a masked network share this one recursion.
    """
    if not residual:
        for k in range(depth):
            x = drop(act(apply(k, x)))
        return x
    h = apply(0, x)
    for block in range(depth):
        h = h + apply(2 * block + 2, drop(act(apply(2 * block + 1, act(h)))))
    return act(h)


def activation_of(activation: str, residual: bool) -> Callable[[Tensor], Tensor]:
    """What `trunk` applies: in place where derivatives allow it and nobody else reads the product, as skip connections
    do."""
    # ``torch.func.linearize`` makes constants of what has no tangent; those must not be overwritten.
    in_place = (
        not residual
        and not has_forward_derivatives()
        and (activation in SLOPE_FROM_OUTPUT or not torch.is_grad_enabled())
    )
    return IN_PLACE[activation] if in_place and activation in IN_PLACE else ACTIVATIONS[activation]
