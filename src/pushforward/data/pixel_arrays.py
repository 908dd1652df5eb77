"""Arrays of images in the usual orders of axes, and as (n, channels, height, width)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pushforward.data.image_error import ImageError

__all__ = ["Layout", "from_pixels", "to_pixels"]

Layout = Literal["hw", "hwc", "chw"]
"""The order of the axes of one image, in letters; ``"hw"`` is a gray image without an axis of channels."""


def to_pixels(name: str, images: Any) -> tuple[NDArray[np.uint8], Layout]:
    """Images as (n, channels, height, width) of whole numbers from 0 to 255, and the order of their axes.

    Args:
        name: of the images, for messages.
        images: (n, height, width), or with 1 or 3 channels as the second or last axis.

    Raises:
        ImageError: the array has another shape, no entry, or holds other numbers.

    >>> pixels, layout = to_pixels("x", np.zeros((2, 5, 4, 3), np.uint8))
    >>> pixels.shape, layout
    ((2, 3, 5, 4), 'hwc')
    """
    layout: Layout = "chw"
    if images.ndim == 3:
        images, layout = images[:, None], "hw"
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images, layout = np.moveaxis(images, 3, 1), "hwc"
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ImageError(
            f"{name}: images must have the shape (n, height, width), with 1 or 3 channels as the second or last axis; "
            f"got {images.shape}."
        )
    if 0 in images.shape:
        raise ImageError(f"{name}: there are no pixels in an array of shape {images.shape}.")
    if images.dtype != np.uint8:
        numeric = np.issubdtype(images.dtype, np.number) and not np.iscomplexobj(images)
        if not numeric or not np.array_equal(images, np.clip(np.rint(images), 0, 255)):
            raise ImageError(
                f"{name}: pixels must be whole numbers from 0 to 255; got {images.dtype}. "
                "Multiply fractions by 255 and round them."
            )
    return np.ascontiguousarray(images, dtype=np.uint8), layout


def from_pixels(pixels: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Images (..., channels, height, width) in another order of axes."""
    if layout == "hw":
        return pixels[..., 0, :, :]
    return np.ascontiguousarray(np.moveaxis(pixels, -3, -1)) if layout == "hwc" else pixels
