"""Maps that change shape, sign or order and nothing else, or apply another map in another order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.inherited import LikeItsPart, inherit
from pushforward.core.bijection import Bijection
from pushforward.core.config import configurable
from pushforward.core.domain import Domain, Interval, Product
from pushforward.core.entries import product
from pushforward.core.shapes import EventSize, event_numbers, event_shape

__all__ = ["Reflect", "Reordered", "Reshape"]


@configurable
class Reshape(Bijection):
    r"""The same entries in another event shape, in row-major order, with a log-determinant of zero.

    Args:
        features: the event shape of x, or its number of features.
        shape: that of y.

    Shape:
        ``x``: (*batch, *features), ``y``: (*batch, *shape), ``ladj``: (*batch,).

    Raises:
        ValueError: the two shapes do not hold the same number of entries.

    >>> import torch
    >>> Reshape(4, (2, 2))(torch.arange(4.0)).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """

    keeps_domain = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 4, "shape": [2, 2]},)

    def __init__(self, features: EventSize, shape: EventSize) -> None:
        super().__init__()
        self.in_shape = event_shape("Reshape", features)
        self.out_shape = event_shape("Reshape", shape, name="shape")
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ValueError(
                f"Reshape: both shapes must hold as many entries; got {self.in_shape} and {self.out_shape}."
            )

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x.reshape(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return y.reshape(*y.shape[: y.ndim - len(self.out_shape)], *self.in_shape)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, context), x.new_zeros(x.shape[: x.ndim - len(self.in_shape)])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._inverse(y, context), y.new_zeros(y.shape[: y.ndim - len(self.out_shape)])


@configurable
class Reflect(Bijection):
    r"""Change the sign of some features: :math:`y_j = s_j x_j`, :math:`s_j = \pm 1`, with a log-determinant of zero.

    Univariate maps increase, so that slopes need no sign and triangular maps are unique. A decreasing map is an
    increasing one after a reflection: a negative scale is `Reflect` followed by an affine map. On an interval the
    reflection is :math:`y_j = \text{low} + \text{high} - x_j`, which takes it to itself.

    Args:
        signs: +1 or -1 for each feature; nested lists for events of several axes.
        interval: ends (low, high) of the interval of all features; by default they are real numbers.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: a sign is another number, or the ends are not in order.

    >>> import torch
    >>> Reflect([1, -1])(torch.tensor([2.0, 3.0])).tolist()
    [2.0, -3.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"signs": [1, -1, -1]},
        {"signs": [[-1, 1]], "interval": [0.0, 1.0]},
    )
    signs: Tensor
    offsets: Tensor

    def __init__(self, signs: Sequence[Any], *, interval: Sequence[float] | None = None) -> None:
        super().__init__()
        numbers = event_numbers("Reflect", "signs", signs)
        if not bool((numbers.abs() == 1).all()):
            raise ValueError(f"Reflect: signs must be 1 or -1 for each feature; got {signs!r}. Scales go to Affine().")
        middle = 0.0
        if interval is not None:
            low, high = interval
            if not -math.inf < low < high < math.inf:
                raise ValueError(f"Reflect: interval must be two finite numbers in order; got {list(interval)}.")
            self.domain = self.codomain = Interval(low, high)
            middle = 0.5 * (low + high)
        self.in_shape = self.out_shape = tuple(numbers.shape)
        self.interval = interval
        self.add_constant("signs", numbers.tolist())
        self.add_constant("offsets", (middle * (1 - numbers)).tolist())

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        y = x * self.signs.to(x.dtype) + self.offsets.to(x.dtype)
        return y if self.interval is None else y.clamp(*self.interval)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self._forward(y, context)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, context), x.new_zeros(x.shape[: x.ndim - len(self.in_shape)])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward_and_ladj(y, context)


@configurable
class Reordered(LikeItsPart):
    r"""A map that sees the features in another order, its results put back in their places: :math:`P^{-1} T P`.

    ``Reordered(Autoregressive(...), order)`` is an autoregressive layer with that order of the features: feature
    order[0] first, then order[1], which depends on it, and so on. Both directions cost what those of the map cost.

    Args:
        bijection: the map T of vectors.
        order: a rearrangement of 0 .. features - 1.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: ``order`` does not rearrange the features, or the map is not one of vectors of that length.

    >>> import torch
    >>> from pushforward.bijections import LU
    >>> Reordered(LU(3), [2, 0, 1])(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 3.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "bijection": {
                "type": "Autoregressive",
                "univariate": {"type": "Affine"},
                "features": 3,
                "context": 1,
                "hidden": [8],
            },
            "order": [2, 0, 1],
        },
        {
            "bijection": {
                "type": "Elementwise",
                "univariate": {"type": "PerFeature", "parts": [{"type": "CircularShift"}, {"type": "Exp"}]},
                "features": 2,
            },
            "order": [1, 0],
        },
    )
    order: Tensor
    order_back: Tensor

    def __init__(self, bijection: Bijection, order: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(bijection, Bijection):
            raise ValueError(f"Reordered: bijection must be a Bijection; got {type(bijection).__name__}.")
        order = list(order)
        if not order or sorted(order) != list(range(len(order))):
            raise ValueError(f"Reordered: order must rearrange 0 .. features - 1; got {order}.")
        if bijection.in_shape != (len(order),) or bijection.out_shape != (len(order),):
            raise ValueError(
                f"Reordered: order names {len(order)} features; the bijection maps events of shape "
                f"{bijection.in_shape} to {bijection.out_shape}."
            )
        self.bijection = bijection
        back = sorted(range(len(order)), key=order.__getitem__)
        self.add_constant("order", order, torch.int64)
        self.add_constant("order_back", back, torch.int64)
        self.in_shape = self.out_shape = (len(order),)
        self.context_shape = bijection.context_shape
        self.domain, self.codomain = _rearranged(bijection.domain, back), _rearranged(bijection.codomain, back)
        inherit(self, [bijection])

    def _forward_and_ladj(self, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        y, ladj = self.bijection._forward_and_ladj(*self._inner(x, *arguments))
        return y.index_select(-1, self.order_back), ladj

    def _inverse_and_ladj(self, y: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        x, ladj = self.bijection._inverse_and_ladj(*self._inner(y, *arguments))
        return x.index_select(-1, self.order_back), ladj

    def _forward(self, x: Tensor, *arguments: Any) -> Tensor:
        return self.bijection._forward(*self._inner(x, *arguments)).index_select(-1, self.order_back)

    def _inverse(self, y: Tensor, *arguments: Any) -> Tensor:
        return self.bijection._inverse(*self._inner(y, *arguments)).index_select(-1, self.order_back)

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        self.bijection._initialize(*self._inner(x, context)[:2], inverse=inverse)

    def _inner(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> tuple[Any, ...]:
        return self.bijection._arguments(x.index_select(-1, self.order), context, generator)


def _rearranged(domain: Domain, back: list[int]) -> Domain:
    """The domain of the features in their places, from that of the reordered ones."""
    return product(tuple(domain.parts[k] for k in back)) if isinstance(domain, Product) else domain
