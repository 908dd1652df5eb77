"""Linear maps of the channels of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from pushforward.bijections.linear_map import LinearMap
from pushforward.core.bijection import Bijection
from pushforward.core.config import configurable
from pushforward.core.shapes import event_shape

__all__ = ["Convolution1x1"]


@configurable
class Convolution1x1(Bijection):
    r"""An invertible 1 × 1 convolution: one linear map of the channels at every position of an image.

    .. math:: y_{:,p} = W(c)\, x_{:,p} + b(c), \qquad \log|\det| = HW \log|\det W(c)|

    The linear map decides how W is parametrised: `LU`, `PLU`, `QR`, `Householder`, `Orthogonal`, a fixed one, one with
    context, or a `Rotation`, which starts from data. Beside W, which is computed once a call, or once for each context,
    the cost is that of an ordinary 1 × 1 convolution.

    Args:
        linear: a linear map of C features.
        size: the sizes of the axes after the channels, such as (32, 32), or a number for one axis.

    Shape:
        ``x``, ``y``: (*batch, C, *size), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: ``linear`` is no linear map, or a size is not positive.

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039
        | Emerging Convolutions for Generative Normalizing Flows (Hoogeboom et al., 2019), arXiv:1901.11137

    >>> import torch
    >>> from pushforward.bijections import Linear
    >>> swap = Convolution1x1(Linear([[0.0, 1.0], [3.0, 0.0]]), (1, 2))
    >>> swap(torch.tensor([[[1.0, 2.0]], [[5.0, 6.0]]])).tolist()
    [[[5.0, 6.0]], [[3.0, 6.0]]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"linear": {"type": "PLU", "features": 3}, "size": [2, 2]},
        {"linear": {"type": "QR", "features": 2, "context": 1, "hidden": [8]}, "size": 3},
    )

    def __init__(self, linear: LinearMap, size: int | Sequence[int]) -> None:
        super().__init__()
        if not isinstance(linear, LinearMap):
            raise ValueError(
                f"Convolution1x1: linear must be a linear map of the channels; got {type(linear).__name__}. Try "
                "bijections.LU(3)."
            )
        self.linear = linear
        self.in_shape = self.out_shape = (*linear.in_shape, *event_shape("Convolution1x1", size, name="size"))
        self.context_shape = linear.context_shape

    @property
    def dtype(self) -> Any:
        return self.linear.dtype

    @property
    def data_dependent(self) -> bool:
        return self.linear.data_dependent

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        # The values at every position are a sample for the linear map, whose start reads no context.
        self.linear._initialize(self._points(x).flatten(0, -2), None, inverse=inverse)

    def _points(self, x: Tensor) -> Tensor:
        """(*batch, positions, channels)."""
        return x.flatten(1 - len(self.in_shape)).mT

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._at_positions(x, context, inverse=False)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._at_positions(y, context, inverse=True)

    def _at_positions(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        size = self.in_shape[1:]
        y, ladj = self.linear.at_points(self._points(x), context, inverse=inverse)
        return y.mT.unflatten(-1, size), math.prod(size) * ladj
