"""A scale, of either sign, and a shift for each feature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.parametric import ParametricMap
from pushforward.core.capabilities import SupportsSlopes
from pushforward.core.config import configurable
from pushforward.core.shapes import EventSize, event_numbers, event_shape, sum_event
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["Diagonal"]


@configurable
class Diagonal(ParametricMap, SupportsSlopes):
    r"""A scale and a shift of each feature, with fixed signs.

    .. math:: y_j = \sigma_j \exp(s_j)\, x_j + b_j, \qquad \sigma_j \in \{-1, 1\}

    It starts at :math:`y_j = \sigma_j x_j`. Both directions cost one pass. With context a network adds to s, at most 3
    in size, and to b.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        signs: 1 or -1 for each feature, nested lists for events of several axes; by default all are 1. A map with
            negative scales is no increasing one, so flows with it have no conditionals (`Flow.given`).
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: a size is not positive, ``signs`` are other numbers or have another shape, or an option of the
            network is out of its range.

    >>> import torch
    >>> Diagonal(2, signs=[1, -1])(torch.tensor([3.0, 4.0])).tolist()
    [3.0, -4.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "signs": [1, -1, -1]},
        {
            "features": [2, 3],
            "context": 2,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )
    signs: Tensor

    def __init__(
        self,
        features: EventSize,
        *,
        signs: Sequence[Any] | None = None,
        **network: Unpack[ContextNetwork],
    ) -> None:
        super().__init__()
        self.in_shape = self.out_shape = event_shape("Diagonal", features)
        numbers = (
            torch.ones(self.in_shape, device="cpu") if signs is None else event_numbers("Diagonal", "signs", signs)
        )
        if numbers.shape != self.in_shape or not bool((numbers.abs() == 1).all()):
            raise ValueError(f"Diagonal: signs must be 1 or -1 for each entry of {self.in_shape}; got {signs}.")
        self.is_triangular = bool((numbers > 0).all())
        self.add_constant("signs", numbers.tolist())
        self.log_scale = nn.Parameter(torch.zeros(self.in_shape))
        self.shift = nn.Parameter(torch.zeros(self.in_shape))
        self._read_context(2 * math.prod(self.in_shape), **network)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._with_changes(context, self.log_scale, self.shift, logs=(0,))
        return torch.addcmul(shift, x, self.signs * log_scale.exp()), log_scale.expand(x.shape)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._with_changes(context, self.log_scale, self.shift, logs=(0,))
        return (y - shift) * (self.signs * torch.exp(-log_scale)), -log_scale.expand(y.shape)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slopes = self._forward_and_slopes(x, context)
        return y, sum_event(log_slopes, len(self.in_shape))

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slopes = self._inverse_and_slopes(y, context)
        return x, sum_event(log_slopes, len(self.in_shape))
