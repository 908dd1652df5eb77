"""Velocity fields of continuous flows: a network of a point, the time and a context."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from pushforward.core.checks import at_least, one_of
from pushforward.core.constants import HasConstants
from pushforward.networks.conditioner import DENSE, Conditioner
from pushforward.networks.conv import CONV
from pushforward.networks.mlp import MLP
from pushforward.networks.tangents import SMOOTH, closed_trace, jacobian_products, trace_weights
from pushforward.networks.trunk import INPUT_LIMIT

__all__ = ["VelocityNetwork"]

MODERATE = 16.0
"""Up to this size the context is read as it is."""


class VelocityNetwork(HasConstants):
    r"""A velocity :math:`v(t, x, c)`, at first zero everywhere, with its divergence.

    The time enters as :math:`t, \cos(\pi j t), \sin(\pi j t)` for j = 1, ..., ``frequencies``. Points with an entry of
    more than a million have velocity zero: there nothing was learned, and nothing can overflow. Beyond ±16 the context
    is compressed to the growth of its logarithm: no solver could follow velocities of a million.

    Args:
        owner: the class in whose name arguments are refused.
        shape: the event shape.
        context: number of context features.
        hidden: widths of the hidden layers; for convolutions their channels.
        conditioner: its registered name, a dense one or a convolution.
        activation: one with a continuous slope, for the divergence must not jump.
        frequencies: of the time embedding.

    Shape:
        ``x``: (features, n), ``context``: (context, n), velocities: (features, n); the time is a number or (n,).

    Raises:
        ValueError: an option has no such value.
    """

    frequencies: Tensor

    def __init__(
        self,
        owner: str,
        shape: tuple[int, ...],
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "silu",
        frequencies: int = 4,
    ) -> None:
        super().__init__()
        at_least(owner, "context", context, 0)
        at_least(owner, "frequencies", frequencies, 0)
        one_of(owner, "conditioner", conditioner, (*DENSE, *CONV))
        if activation not in SMOOTH:
            raise ValueError(
                f"{owner}: activation must be one of {', '.join(map(repr, SMOOTH))}; got {activation!r}. The "
                "log-determinant integrates the slope of the network, which must not jump."
            )
        self.features, extra = math.prod(shape), 1 + 2 * frequencies + context
        options = {"hidden": hidden, "activation": activation}
        if conditioner in DENSE:
            network = DENSE[conditioner](extra + self.features, self.features, **options)
        else:
            network = CONV[conditioner](shape, shape[0], context=extra, **options)
        if not isinstance(network, Conditioner):
            raise ValueError(
                f"{owner}: conditioner {conditioner!r} must be a networks.Conditioner; got {type(network).__name__}. "
                "Subclass it and write its abstract methods."
            )
        self.network = network
        self.add_constant("frequencies", [math.pi * (j + 1) for j in range(frequencies)])

    @property
    def has_closed_trace(self) -> bool:
        """Whether the exact divergence costs as much as one more layer, whatever the number of features."""
        return trace_weights(self.network, self.features) is not None

    def forward(self, time: float | Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The velocity at each point."""
        inputs, inside = self._inputs(time, x, context)
        return torch.where(inside, self.network(inputs), 0.0)

    def divergence(self) -> Callable[..., tuple[Tensor, Tensor]]:
        """A function of (time, x, context) to the velocities and their divergence, (features, n) and (n,).

        What it needs of the weights alone is computed once.
        """
        weights = trace_weights(self.network, self.features)

        def both(time: float | Tensor, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            inputs, inside = self._inputs(time, x, context)
            if weights is not None:
                velocity, trace = closed_trace(cast(MLP, self.network), inputs, weights)
            else:
                basis = torch.eye(self.features, dtype=x.dtype, device=x.device)
                basis = basis[..., None].expand(-1, -1, x.shape[-1])
                velocity, slopes = jacobian_products(self.network, inputs, basis)
                trace = slopes.diagonal(dim1=0, dim2=1).sum(dim=-1)
            return torch.where(inside, velocity, 0.0), torch.where(inside, trace, 0.0)

        return both

    def projections(self, probes: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
        r"""A function of (time, x, context) to the velocities and :math:`e^\top (\partial v / \partial x)\, e`.

        Args:
            probes: the vectors e, (features, k, n).
        """

        def both(time: float | Tensor, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            inputs, inside = self._inputs(time, x, context)
            velocity, slopes = jacobian_products(self.network, inputs, probes)
            products = (probes * slopes).sum(dim=0)  # (k, n)
            return torch.where(inside, velocity, 0.0), torch.where(inside, products, 0.0)

        return both

    def _inputs(self, time: float | Tensor, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(what the network reads, which points are not too far out to be read)."""
        inside = (x.abs() <= INPUT_LIMIT).all(dim=0)
        at = time[None] if isinstance(time, Tensor) else x.new_full((1, 1), time)
        waves = self.frequencies[:, None] * at
        embedded = torch.cat([at, waves.cos(), waves.sin()]).expand(-1, x.shape[-1])
        parts = [embedded] if context is None else [embedded, _compressed(context)]
        return torch.cat([*parts, torch.where(inside, x, 0.0)]), inside


def _compressed(context: Tensor) -> Tensor:
    """The context, where it is moderate, and an increasing function of it of logarithmic growth beyond."""
    size = context.abs().clamp(MODERATE, INPUT_LIMIT)
    return context.clamp(-MODERATE, MODERATE) + context.sign() * MODERATE * (size / MODERATE).log()
