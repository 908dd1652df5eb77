"""Maps whose parameters are learned numbers, which a network of the context may change."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import make_conditioner, to_batch_first, to_features_first
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.shared_options import shared_defaults
from pushforward.networks import DENSE, Conditioner
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["ParametricMap", "bounded"]

BOUND = 3.0
"""Largest change of a log-scale by the context: without a bound, contexts far out would make scales overflow."""


def bounded(change: Tensor) -> Tensor:
    """A change of a log-scale that a network gives, at most `BOUND` in size."""
    return BOUND * torch.tanh(change / BOUND)


class ParametricMap(Bijection, ABC):
    r"""A map with parameters :math:`\theta(c) = \theta_0 + N(c)`, the same for all points where there is no context.

    The network N begins with zeros, so a conditional map begins as the unconditional one.
    """

    conditioner: Conditioner | None

    def _read_context(self, num_params: int, **network: Unpack[ContextNetwork]) -> None:
        """Build the network of the context, if there is one."""
        owner = type(self).__name__
        options = shared_defaults(ContextNetwork, network)
        context, conditioner = options.pop("context"), options.pop("conditioner")
        at_least(owner, "context", context, 0)
        self.conditioner = None
        if context:
            self.context_shape = (context,)
            self.conditioner = make_conditioner(owner, DENSE, conditioner, context, num_params, **options)

    def _changes(self, context: Tensor | None) -> Tensor | None:
        """What the context adds to the parameters, (*batch, num_params); None without context."""
        if self.conditioner is None or context is None:
            return None
        return to_batch_first(self.conditioner(to_features_first(context)), context.shape[:-1])

    def _with_changes(
        self, context: Tensor | None, *parameters: nn.Parameter, logs: Sequence[int] = ()
    ) -> list[Tensor]:
        """The parameters, of shape (*s), with what the context adds to them: (*batch, *s).

        Args:
            context: (*batch, context), or None.
            parameters: all that the network changes, in the order of its outputs.
            logs: places of log-scales among them, whose changes are bounded.
        """
        changes = self._changes(context)
        if changes is None:
            return list(parameters)
        parts = changes.split([parameter.numel() for parameter in parameters], dim=-1)
        return [
            parameter + (bounded(part) if k in logs else part).reshape(*part.shape[:-1], *parameter.shape)
            for k, (parameter, part) in enumerate(zip(parameters, parts, strict=True))
        ]
