"""The protocol of an increasing scalar map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from pushforward.core.domain import REAL, Domain

__all__ = ["Univariate"]


class Univariate(nn.Module, ABC):
    r"""An increasing map of one number, :math:`y = \tau(x; \theta)`, applied entry by entry.

    Parameters lead: they have shape ``(num_params, *s)`` for x of shape ``(*s)``, so that softmax, cumsum and the like
    run over the first axis and vectorise over all points. ``params = 0`` is the identity or the closest member.

    The last ``num_free`` of the parameters are free: the layer learns them per feature instead of letting its
    conditioner decide them.
    """

    num_params: int
    num_free: int = 0
    domain: Domain = REAL
    codomain: Domain = REAL
    smoothness: int = 0
    """0: continuous, 1: continuous slope, ...; large for analytic maps."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    config: dict[str, Any]

    @abstractmethod
    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log τ'(x)), each of shape (*s)."""

    @abstractmethod
    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """(x, -log τ'(x)), each of shape (*s)."""

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        """y alone, where the slope costs extra."""
        return self.forward(x, params)[0]

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        """x alone, where the slope costs extra."""
        return self.inverse(y, params)[0]

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in getattr(self, "config", {}).items() if key != "type")
