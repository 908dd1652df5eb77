"""Space to channels: blocks of cells become channels, as they are or as averages and differences."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.shapes import EventSize, event_shape

__all__ = ["Haar", "Squeeze", "blocks_first", "blocks_last", "check_blocks"]


def check_blocks(owner: str, shape: tuple[int, ...], name: str, size: int) -> None:
    """Refuse an event that is no (channels, *spatial), or whose spatial axes blocks of this size do not divide."""
    at_least(owner, name, size, 2)
    if not 2 <= len(shape) <= 4:
        raise ValueError(
            f"{owner}: events must have the axes (channels, *spatial) with one to three spatial ones; got shape "
            f"{shape}."
        )
    if any(axis % size for axis in shape[1:]):
        raise ValueError(
            f"{owner}: {name}={size} must divide the spatial sizes of events of shape {shape}. Pad the data, or choose "
            "another size."
        )


def blocks_last(x: Tensor, shape: tuple[int, ...], size: int) -> Tensor:
    """(*batch, channels, *spatial) as (*batch, channels, *spatial / size, cells of a block), in row-major order."""
    spatial = shape[1:]
    batch = tuple(x.shape[: x.ndim - len(shape)])
    cut = x.reshape(*batch, shape[0], *(part for axis in spatial for part in (axis // size, size)))
    first, ndim = len(batch) + 1, len(spatial)
    order = [*range(first), *range(first, first + 2 * ndim, 2), *range(first + 1, first + 2 * ndim, 2)]
    return cut.permute(order).flatten(-ndim)


def blocks_first(blocks: Tensor, shape: tuple[int, ...], size: int) -> Tensor:
    """The inverse of `blocks_last`; ``shape`` is that of the event with its cells in place."""
    ndim = len(shape) - 1
    batch = tuple(blocks.shape[: blocks.ndim - len(shape) - 1])
    cut = blocks.unflatten(-1, (size,) * ndim)
    first = len(batch) + 1
    order = [*range(first), *(axis for k in range(ndim) for axis in (first + k, first + ndim + k))]
    return cut.permute(order).reshape(*batch, *shape)


class _SpaceToChannels(Bijection):
    """Blocks of cells as channels; the log-determinant is zero."""

    def _set_shapes(self, features: EventSize, name: str, size: int) -> None:
        owner = type(self).__name__
        self.in_shape = event_shape(owner, features)
        check_blocks(owner, self.in_shape, name, size)
        self.size, self.cells = size, size ** (len(self.in_shape) - 1)
        self.coarse = tuple(axis // size for axis in self.in_shape[1:])
        self.out_shape = (self.in_shape[0] * self.cells, *self.coarse)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, context), _zero(x, self.in_shape)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._inverse(y, context), _zero(y, self.out_shape)


@configurable
class Squeeze(_SpaceToChannels):
    r"""Blocks of cells become channels: (C, H, W) to (C f², H / f, W / f). A rearrangement: :math:`\log|\det| = 0`.

    The channels of one input channel stay together, in row-major order of the cells of a block. Both directions cost
    one copy.

    Args:
        features: the shape (channels, *spatial) of an event, with one to three spatial axes.
        factor: the size f of a block along each spatial axis; it must divide their sizes.

    Shape:
        ``x``: (*batch, channels, *spatial), ``y``: (*batch, channels · fᵈ, *spatial / f) with d spatial axes,
        ``ladj``: (*batch,).

    Raises:
        ValueError: the event is no such shape, or ``factor`` does not divide it.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803

    >>> import torch
    >>> Squeeze([1, 2, 2])(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).flatten().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    keeps_domain = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": [2, 4, 2]},
        {"features": [1, 6], "factor": 3},
    )

    def __init__(self, features: EventSize, factor: int = 2) -> None:
        super().__init__()
        self._set_shapes(features, "factor", factor)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        ndim = len(self.coarse)
        return blocks_last(x, self.in_shape, self.size).movedim(-1, -1 - ndim).flatten(-2 - ndim, -1 - ndim)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        ndim = len(self.coarse)
        blocks = y.unflatten(-1 - ndim, (self.in_shape[0], self.cells)).movedim(-1 - ndim, -1)
        return blocks_first(blocks, self.in_shape, self.size)


@configurable
class Haar(_SpaceToChannels):
    r"""One level of the orthonormal Haar wavelet transform: (C, H, W) to (4 C, H / 2, W / 2).

    .. math:: y = (A \otimes A)\, x \quad\text{for each block of } 2 \times 2 \text{ cells}, \qquad
        A = \tfrac{1}{\sqrt 2} \begin{pmatrix} 1 & 1 \\ 1 & -1 \end{pmatrix}

    An orthogonal map, so :math:`\log|\det| = 0` and white noise stays white noise. The first C channels are the
    averages (times 2), then come the differences along each spatial axis and along both, C channels of each: a split
    that keeps the first channels keeps a small image. Both directions cost one small product per cell.

    Args:
        features: the shape (channels, *spatial) of an event, with one to three spatial axes of even sizes.

    Shape:
        ``x``: (*batch, channels, *spatial), ``y``: (*batch, channels · 2ᵈ, *spatial / 2) with d spatial axes,
        ``ladj``: (*batch,).

    Raises:
        ValueError: the event is no such shape, or a spatial size is odd.

    References:
        | Zur Theorie der orthogonalen Funktionensysteme (Haar, 1910), doi:10.1007/BF01456326
        | Wavelet Flow: Fast Training of High Resolution Normalizing Flows (Yu et al., 2020), arXiv:2010.13821

    >>> import torch
    >>> Haar([1, 2, 2])(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).flatten().tolist()
    [5.0, -1.0, -2.0, 0.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": [2, 4, 2]}, {"features": [1, 4]})
    matrix: Tensor

    def __init__(self, features: EventSize) -> None:
        super().__init__()
        self._set_shapes(features, "block", 2)
        matrix = [[1.0]]
        for _ in self.coarse:
            matrix = [[sign * a for sign in signs for a in row] for signs in ((1, 1), (1, -1)) for row in matrix]
        scale = math.sqrt(self.cells)
        self.add_constant("matrix", [[a / scale for a in row] for row in matrix])

    @property
    def dtype(self) -> torch.dtype | None:
        return self.matrix.dtype

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        ndim = len(self.coarse)
        bands = blocks_last(x, self.in_shape, self.size) @ self.matrix  # symmetric
        return bands.movedim(-1, -2 - ndim).flatten(-2 - ndim, -1 - ndim)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        ndim = len(self.coarse)
        bands = y.unflatten(-1 - ndim, (self.cells, self.in_shape[0])).movedim(-2 - ndim, -1)
        return blocks_first(bands @ self.matrix, self.in_shape, self.size)


def _zero(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.new_zeros(x.shape[: x.ndim - len(shape)])
