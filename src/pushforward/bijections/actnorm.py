"""Scales and shifts of channels that start from data."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import TriangularMap
from pushforward.core.config import configurable
from pushforward.core.shapes import EventSize, event_axis, event_shape

__all__ = ["ActNorm"]


@configurable
class ActNorm(TriangularMap):
    r"""A learned scale and shift of each channel, started so that the channels of the data are standardised.

    .. math:: y = \exp(s)\, x + b, \qquad \log|\det| = HW \sum_c s_c

    It starts as the identity; `initialize` sets s and b once, so that the values of each channel have mean zero and
    variance one over the sample and all positions. If the sample holds outputs of `forward`, the inverse map gives
    these means and variances. From then on s and b are learned, unlike the statistics of `Standardize`. Both directions
    cost one pass.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        axis: the axis of the event that the channels lie along; by default the first.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: a size is not positive, or the event has no such axis.

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039

    >>> import torch
    >>> part = ActNorm(1)
    >>> part.initialize(torch.tensor([[1.0], [5.0]]))
    >>> part(torch.tensor([[1.0], [5.0]])).tolist()
    [[-1.0], [1.0]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2},
        {"features": [2, 2, 3]},
        {"features": [2, 3], "axis": -1},
    )
    initialized: Tensor

    def __init__(self, features: EventSize, *, axis: int = 0) -> None:
        super().__init__()
        self.in_shape = self.out_shape = event_shape("ActNorm", features)
        self.axis = event_axis("ActNorm", axis, self.in_shape)
        channels = self.in_shape[self.axis]
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))

    @property
    def data_dependent(self) -> bool:
        return True

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if bool(self.initialized):
            return
        values = x.movedim(self.axis, -1).flatten(0, -2).to(torch.float64)  # (n, channels)
        mean = values.mean(dim=0)
        scale = (values - mean).square().mean(dim=0).sqrt()
        # A constant channel keeps the scale one.
        scale = torch.where(scale > 0, scale, 1.0)
        self.log_scale.copy_(scale.log() if inverse else -scale.log())
        self.shift.copy_(mean if inverse else -mean / scale)
        self.initialized.fill_(True)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._along_axis(self.log_scale), self._along_axis(self.shift)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale.expand(x.shape)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._along_axis(self.log_scale), self._along_axis(self.shift)
        return (y - shift) * torch.exp(-log_scale), -log_scale.expand(y.shape)

    def _along_axis(self, numbers: Tensor) -> Tensor:
        """Numbers of channels in a shape that broadcasts against events."""
        return numbers.reshape(-1, *(1,) * (-self.axis - 1))
