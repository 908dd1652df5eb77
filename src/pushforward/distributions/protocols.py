"""What autoregressive distributions need of the distributions that they are made of, or stand for."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.domain import Domain

__all__ = ["Noise", "RosenblattTransform"]


class Noise(Protocol):
    """Independent features, as `distributions.Independent` has them; hooks take checked tensors and no context."""

    event_shape: tuple[int, ...]
    support: Domain

    @property
    def dtype(self) -> torch.dtype | None: ...

    def columns(self, start: int, stop: int) -> Noise:
        """The distribution of the features from start to stop."""

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor: ...

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor: ...


class RosenblattTransform(Protocol):
    """Distributions whose conditional distribution functions are exact, feature by feature."""

    def marginal(self, features: int) -> Distribution: ...

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...

    def icdf(self, u: Tensor, context: Tensor | None = None) -> Tensor: ...
