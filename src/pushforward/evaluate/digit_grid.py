"""A grid of greyscale images, one class per row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pushforward.evaluate.arrays import Rows
from pushforward.evaluate.style import FONT, new_figure, robust_limits

__all__ = ["plot_digit_grid"]


def plot_digit_grid(samples: Rows, *, labels: Sequence[str] | None = None, side: int | None = None) -> Figure:
    """Greyscale images in a grid, one class per row.

    Args:
        samples: (count², pixels) or (rows, columns, height, width), ordered row by row.
        labels: the class of each row of the grid; its number by default.
        side: height and width of an image in pixels; by default the square root of the number of pixels.

    Raises:
        ValueError: the images or their number are not square, where this is needed.
    """
    array = np.asarray(samples, dtype=np.float64)
    if array.ndim == 2:
        count = math.isqrt(len(array))
        side = side or math.isqrt(array.shape[1])
        if count * count != len(array) or side * side != array.shape[1]:
            raise ValueError(
                f"plot_digit_grid: needs a square number of square images; got shape {array.shape}. "
                "Give (rows, columns, height, width) for anything else."
            )
        array = array.reshape(count, count, side, side)
    if array.ndim != 4:
        raise ValueError(f"plot_digit_grid: samples must have 2 or 4 axes; got shape {array.shape}.")
    rows, columns, height, width = array.shape
    names = labels if labels is not None else [str(i) for i in range(rows)]
    gap = max(1, height // 8)
    low, high = robust_limits(array.ravel(), tail=0.01, pad=0.0)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap), np.nan)
    for i in range(rows):
        for j in range(columns):
            top, left = gap + i * (height + gap), gap + j * (width + gap)
            canvas[top : top + height, left : left + width] = array[i, j]
    figure, axes = new_figure(width=6.2, height=6.2 * canvas.shape[0] / canvas.shape[1])
    ax = axes[0, 0]
    ax.imshow(canvas, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
    ax.set_yticks([gap + i * (height + gap) + (height - 1) / 2 for i in range(rows)], list(names))
    ax.tick_params(axis="y", length=0, labelsize=FONT + 1)
    ax.set_xticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_ylabel("class")
    return figure
