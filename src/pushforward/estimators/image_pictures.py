"""Images on which models of images are conditioned, such as smaller or noisier ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.data.images import Images
from pushforward.data.pixel_arrays import to_pixels
from pushforward.estimators.image_condition import OWNER, Condition

__all__ = ["Pictures", "pictures_of"]


@dataclass(frozen=True)
class Pictures(Condition):
    """An image, standardised and laid over those of the model, beside a feature that is one where it is told.

    Each pixel of a smaller image is laid over a rectangle of pixels; of a larger one, some pixels are left out.

    Args:
        shape: (channels, height, width) of the images that are given.
        grid: (height, width) of the images of the model.
        mean: of all pixels that were given.
        scale: their standard deviation.
    """

    shape: tuple[int, int, int]
    grid: tuple[int, int]
    mean: float
    scale: float

    @property
    def size(self) -> int:  # type: ignore[override]
        return 1 + self.shape[0] * math.prod(self.grid)

    def encode(self, y: Any, count: int) -> Tensor:
        if y is None:
            return torch.zeros(count, self.size)
        pixels = pictures_of(y, self.shape[0])
        if pixels.shape[1:] not in (self.shape, self._told_shape) or len(pixels) not in (1, count):
            raise ValueError(
                f"{OWNER}: the model is given images of shape {self.shape}, one for all or one for each of {count}; "
                f"got shape {pixels.shape}."
            )
        laid = torch.from_numpy(self.laid(pixels)).flatten(1).float()
        told = torch.cat([torch.ones(len(pixels), 1), laid.sub_(self.mean).div_(self.scale)], dim=1)
        return told if len(told) == count else told.expand(count, -1).clone()

    def laid(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images (n, channels, height, width) as large as the grid."""
        rows, columns = (np.arange(size) * had // size for size, had in zip(self.grid, pixels.shape[2:], strict=True))
        large: NDArray[np.uint8] = pixels[:, :, rows[:, None], columns]
        return large

    def decode(self, context: Tensor | None) -> NDArray[np.uint8] | None:
        if context is None or not context[:, 0].all():
            return None
        laid = (context[:, 1:] * self.scale + self.mean).round().byte().numpy()
        laid = laid.reshape(len(context), self.shape[0], *self.grid)
        # The first pixel of each rectangle; of a larger image there is only what was not left out.
        rows, columns = (
            -(-np.arange(had) * size // had) for size, had in zip(self.grid, self._told_shape[1:], strict=True)
        )
        return np.ascontiguousarray(laid[:, :, rows[:, None], columns])

    @property
    def _told_shape(self) -> tuple[int, int, int]:
        """The shape of what is left of an image that is given."""
        height, width = (min(pair) for pair in zip(self.shape[1:], self.grid, strict=True))
        return self.shape[0], height, width

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "grid": list(self.grid), "mean": self.mean, "scale": self.scale}


def pictures_of(y: Any, channels: int | None = None) -> NDArray[np.uint8]:
    """Images (n, channels, height, width) on which others are conditioned; where the ``channels`` are known, y may be a
    single one."""
    if isinstance(y, Images):
        return y.pixels
    try:
        pixels = np.asarray(y)
    except ValueError:
        raise ValueError(f"{OWNER}: the images in y differ in shape. Resize them to one.") from None
    alone = channels is not None and pixels.ndim == (2 if channels == 1 else 3)
    return to_pixels(f"{OWNER}: y", pixels[None] if alone else pixels)[0]
