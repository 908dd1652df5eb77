"""Rearrangements of features, or of the entries along one axis of an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.core.config import configurable
from pushforward.core.shapes import EventSize, event_axis, event_shape

__all__ = ["Flip", "Permute"]


@configurable
class Permute(Bijection):
    r"""Reorder the features: :math:`y_j = x_{\mathrm{order}(j)}`, with a log-determinant of zero.

    Args:
        order: which feature goes to each place: a rearrangement of 0 .. features - 1.
        features: the shape of an event of several axes, such as (3, 32, 32); by default a vector of that length.
        axis: the axis of the event whose entries are reordered, such as 0 for channels; by default the last one.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: ``order`` leaves an index out or names one twice, or has not one index for each entry along
            the axis.

    >>> import torch
    >>> Permute([2, 0, 1])(torch.tensor([10.0, 11.0, 12.0])).tolist()
    [12.0, 10.0, 11.0]
    """

    keeps_domain = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"order": [0]},
        {"order": [2, 0, 3, 1]},
        {"order": [2, 0, 1], "features": [3, 2, 2], "axis": 0},
    )
    order: Tensor
    order_back: Tensor

    def __init__(self, order: Sequence[int], *, features: EventSize | None = None, axis: int = -1) -> None:
        super().__init__()
        if sorted(order) != list(range(len(order))) or not order:
            raise ValueError(f"Permute: order must rearrange 0 .. features - 1; got {list(order)}.")
        self.in_shape = self.out_shape = event_shape("Permute", len(order) if features is None else features)
        self.axis = event_axis("Permute", axis, self.in_shape)
        if self.in_shape[self.axis] != len(order):
            size = self.in_shape[self.axis]
            raise ValueError(f"Permute: order must list the {size} entries along axis {axis}; got {len(order)}.")
        self.add_constant("order", list(order), torch.int64)
        self.add_constant("order_back", sorted(range(len(order)), key=order.__getitem__), torch.int64)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x.index_select(self.axis, self.order)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return y.index_select(self.axis, self.order_back)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, context), _zero_ladj(x, len(self.in_shape))

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._inverse(y, context), _zero_ladj(y, len(self.in_shape))


@configurable
class Flip(Bijection):
    r"""Reverse the order of the features: :math:`y_j = x_{D+1-j}`, with a log-determinant of zero.

    Args:
        features: number of features D, or the shape of an event such as (3, 32, 32).
        axis: the axis of the event whose entries are reversed, such as 0 for channels; by default the last one.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    >>> import torch
    >>> Flip(3)(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [3.0, 2.0, 1.0]
    """

    keeps_domain = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 1},
        {"features": 3},
        {"features": [3, 2, 2], "axis": 0},
    )

    def __init__(self, features: EventSize, *, axis: int = -1) -> None:
        super().__init__()
        self.in_shape = self.out_shape = event_shape("Flip", features)
        self.axis = event_axis("Flip", axis, self.in_shape)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x.flip(self.axis)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return y.flip(self.axis)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x.flip(self.axis), _zero_ladj(x, len(self.in_shape))

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward_and_ladj(y, context)


def _zero_ladj(x: Tensor, event_ndim: int) -> Tensor:
    return x.new_zeros(x.shape[: x.ndim - event_ndim])
