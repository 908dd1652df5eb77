"""Images side by side, as one picture."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pushforward.evaluate.images import encode_png
from pushforward.evaluate.style import FONT, new_figure, plain

__all__ = ["grid_of", "image_grid", "plot_image_grid", "png_uri"]

CELL = 56
"""Pixels of a cell at least, for which small images are enlarged."""


def image_grid(images: NDArray[np.uint8], *, levels: int = 256, gap: int | None = None) -> NDArray[np.uint8]:
    """Images (rows, columns, channels, height, width) as one (channels, height, width), on white, small ones enlarged.

    >>> image_grid(np.zeros((2, 3, 1, 28, 28), np.uint8)).shape
    (1, 124, 184)
    """
    rows, columns, channels, height, width = images.shape
    scale = max(1, CELL // max(height, width))
    bright = np.rint(images.astype(np.float64) * (255 / (levels - 1))).clip(0, 255).astype(np.uint8)
    large = bright.repeat(scale, axis=3).repeat(scale, axis=4)
    height, width, gap = height * scale, width * scale, 4 if gap is None else gap
    canvas = np.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 255, np.uint8)
    for i in range(rows):
        for j in range(columns):
            top, left = gap + i * (height + gap), gap + j * (width + gap)
            canvas[:, top : top + height, left : left + width] = large[i, j]
    return canvas


def grid_of(images: NDArray[np.uint8], columns: int | None = None, *, blank: int = 255) -> NDArray[np.uint8]:
    """Images (n, channels, height, width) as (rows, columns, channels, height, width), about as many columns as rows,
    the last row filled up by blank ones."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    missing = -len(images) % columns
    filled = np.concatenate([images, np.full((missing, *images.shape[1:]), blank, images.dtype)])
    return filled.reshape(-1, columns, *images.shape[1:])


def png_uri(image: NDArray[np.uint8]) -> str:
    """An image (channels, height, width) in a ``data:`` URI, which an HTML page can contain."""
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode("ascii")


def plot_image_grid(images: NDArray[np.uint8], names: Sequence[str], *, levels: int = 256) -> Figure:
    """Images (rows, columns, channels, height, width) with a name left of each row."""
    canvas = image_grid(images, levels=levels)
    (channels, height, width), rows = canvas.shape, len(images)
    inches = min(8.0, max(3.0, width / 90))
    figure, axes = new_figure(width=inches, height=inches * height / width)
    ax = axes[0, 0]
    ax.imshow(canvas[0] if channels == 1 else np.moveaxis(canvas, 0, 2), cmap="gray", vmin=0, vmax=255)
    ax.set_yticks([(k + 0.5) * height / rows for k in range(rows)], [plain(name) for name in names])
    ax.tick_params(axis="y", length=0, labelsize=FONT + 1)
    ax.set_xticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure
