"""One map of the channels, at every cell of a grid."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from pushforward.bijections.inherited import LikeItsPart, inherit
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import Domain, Real
from pushforward.core.entries import domain_of_each, product

__all__ = ["Pointwise"]


@configurable
class Pointwise(LikeItsPart):
    r"""Apply a map of vectors to the channels of every cell of an event (channels, *spatial).

    .. math:: y_{\cdot, u} = T(x_{\cdot, u}) \quad\text{for every cell } u, \qquad \log|\det| = \sum_u \log|\det
        \nabla T(x_{\cdot, u})|

    With a linear map it is a 1 × 1 convolution. Both directions cost the map at every cell. A context is the same at
    all cells, and data-dependent starts see every cell as a row.

    Args:
        bijection: a map of vectors of channels.
        spatial: the sizes of the spatial axes, such as (32, 32).

    Shape:
        ``x``: (*batch, channels, *spatial), ``y``: (*batch, channels after the map, *spatial), ``context``: that of
        the map, ``ladj``: (*batch,).

    Raises:
        ValueError: ``bijection`` is no map between vectors, or lives on a domain that is not given entry by entry.

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039

    >>> import torch
    >>> from pushforward.bijections import Flip
    >>> Pointwise(Flip(2), (3,))(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).tolist()
    [[4.0, 5.0, 6.0], [1.0, 2.0, 3.0]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bijection": {"type": "LU", "features": 3}, "spatial": [2, 2]},
        {
            "bijection": {
                "type": "Elementwise",
                "univariate": {"type": "Affine"},
                "features": 2,
                "context": 1,
                "hidden": [4],
            },
            "spatial": [3],
        },
    )

    def __init__(self, bijection: Bijection, spatial: tuple[int, ...]) -> None:
        super().__init__()
        if not isinstance(bijection, Bijection) or not len(bijection.in_shape) == len(bijection.out_shape) == 1:
            shapes = f"{bijection.in_shape} to {bijection.out_shape}" if isinstance(bijection, Bijection) else "none"
            raise ValueError(f"Pointwise: bijection must map vectors of channels to such vectors; got shapes {shapes}.")
        for size in spatial:
            at_least("Pointwise", "spatial", size, 1)
        if not spatial:
            raise ValueError("Pointwise: spatial must list at least one size; got none. Use the map itself.")
        if bijection.lifts != "none":
            raise ValueError(f"Pointwise: bijection must not end on a surface; got {type(bijection).__name__}.")
        self.bijection, self.spatial = bijection, tuple(spatial)
        self.in_shape, self.out_shape = ((*shape, *spatial) for shape in (bijection.in_shape, bijection.out_shape))
        self.context_shape = bijection.context_shape
        self.domain = _at_every_cell(bijection.domain, self.in_shape)
        self.codomain = _at_every_cell(bijection.codomain, self.out_shape)
        self.keeps_domain = bijection.keeps_domain
        inherit(self, [bijection])

    def _cells(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(*batch, channels, *spatial) as (*batch, *spatial, channels), and a context for each cell."""
        cells = x.movedim(-1 - len(self.spatial), -1)
        if context is None:
            return cells, None
        shape = self.context_shape or ()
        batch = context.shape[: context.ndim - len(shape)]
        contexts = context.reshape(*batch, *(1,) * len(self.spatial), *shape)
        return cells, contexts.expand(*batch, *self.spatial, *shape)

    def _event(self, cells: Tensor) -> Tensor:
        return cells.movedim(-1, -1 - len(self.spatial))

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None, *draws: Any) -> tuple[Tensor, Tensor]:
        y, ladj = self.bijection._forward_and_ladj(*self._cells(x, context), *draws)
        return self._event(y), ladj.flatten(-len(self.spatial)).sum(dim=-1)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None, *draws: Any) -> tuple[Tensor, Tensor]:
        x, ladj = self.bijection._inverse_and_ladj(*self._cells(y, context), *draws)
        return self._event(x), ladj.flatten(-len(self.spatial)).sum(dim=-1)

    def _forward(self, x: Tensor, context: Tensor | None, *draws: Any) -> Tensor:
        return self._event(self.bijection._forward(*self._cells(x, context), *draws))

    def _inverse(self, y: Tensor, context: Tensor | None, *draws: Any) -> Tensor:
        return self._event(self.bijection._inverse(*self._cells(y, context), *draws))

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        self.bijection._initialize(*self._cells(x, context), inverse=inverse)


def _at_every_cell(domain: Domain, shape: tuple[int, ...]) -> Domain:
    if isinstance(domain, Real):
        return domain
    if domain.event_ndim and not hasattr(domain, "parts"):
        raise ValueError(f"Pointwise: a domain must be given entry by entry; got {domain}.")
    cells = 1
    for size in shape[1:]:
        cells *= size
    return product(tuple(part for part in domain_of_each(domain, shape[0]) for _ in range(cells)), shape)
