"""Features put in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable

__all__ = ["Flip", "Permute"]


@configurable
class Permute(Bijection):
    r"""Reorder the features: :math:`y_j = x_{\mathrm{order}(j)}`, with a log-determinant of zero.

    Args:
        order: which feature goes to each place: a rearrangement of 0 .. features - 1.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    >>> import torch
    >>> Permute([2, 0, 1])(torch.tensor([10.0, 11.0, 12.0])).tolist()
    [12.0, 10.0, 11.0]
    """

    keeps_domain = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"order": [0]}, {"order": [2, 0, 3, 1]})
    order: Tensor
    order_back: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        if sorted(order) != list(range(len(order))) or not order:
            raise ValueError(f"Permute: order must rearrange 0 .. features - 1; got {list(order)}.")
        self.in_shape = self.out_shape = (len(order),)
        self.add_constant("order", list(order), torch.int64)
        self.add_constant("order_back", sorted(range(len(order)), key=order.__getitem__), torch.int64)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, self.order), x.new_zeros(x.shape[:-1])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return y.index_select(-1, self.order_back), y.new_zeros(y.shape[:-1])


@configurable
class Flip(Bijection):
    r"""Reverse the order of the features: :math:`y_j = x_{D+1-j}`, with a log-determinant of zero.

    Args:
        features: number of features D.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    >>> import torch
    >>> Flip(3)(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [3.0, 2.0, 1.0]
    """

    keeps_domain = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 1}, {"features": 3})

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("Flip", "features", features, 1)
        self.in_shape = self.out_shape = (features,)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x.flip(-1), x.new_zeros(x.shape[:-1])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward_and_ladj(y, context)
