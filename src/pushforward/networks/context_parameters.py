"""Parameters of a whole layer: learned numbers, or the outputs of a network that reads the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.core.constants import HasConstants
from pushforward.core.shared_options import share_options
from pushforward.networks.conditioner import DENSE

__all__ = ["ContextNetwork", "ContextParameters"]


class ContextNetwork(TypedDict, total=False):
    """Options of maps whose parameters a network of the context may change."""

    context: int
    hidden: Sequence[int]
    conditioner: str
    activation: str
    dropout: float


DEFAULTS: ContextNetwork = {
    "context": 0,
    "hidden": (64, 64),
    "conditioner": "plain",
    "activation": "relu",
    "dropout": 0.0,
}
DOCUMENTATION = {
    "context": "number of context features.",
    "hidden": "layer widths of the network that reads the context.",
    "conditioner": 'its registered name, such as ``"plain"`` or ``"residual"``.',
    "activation": "its activation.",
    "dropout": "its dropout probability.",
}
share_options(ContextNetwork, defaults=DEFAULTS, documentation=DOCUMENTATION)


class ContextParameters(HasConstants):
    """``count`` numbers, the same for all points, or for every context others; they begin at ``start``.

    Args:
        owner: whose name messages carry.
        start: initial values.
        context: number of context features; 0: the numbers are learned themselves.
        hidden: layer widths of the network that reads the context.
    """

    start: Tensor

    def __init__(
        self,
        owner: str,
        start: Sequence[float],
        context: int,
        hidden: Sequence[int],
    ) -> None:
        super().__init__()
        at_least(owner, "context", context, 0)
        self.add_constant("start", list(start))
        self.shift = None if context else nn.Parameter(torch.zeros(len(start)))
        self.network = DENSE["plain"](context, len(start), hidden=hidden) if context else None

    def forward(self, context: Tensor | None) -> Tensor:
        """(count,) without context, (*batch, count) for a context (*batch, context)."""
        if self.network is None or context is None:
            return self.start if self.shift is None else self.start + self.shift
        moved: Tensor = self.network(context.reshape(-1, context.shape[-1]).t())
        return self.start + moved.t().reshape(*context.shape[:-1], len(moved))
