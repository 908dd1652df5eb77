"""Which inputs a cell of a grid reads: those in a window around it, before it or on all sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["cells_around", "cells_before", "grid_sizes"]


def grid_sizes(owner: str, features: int, shape: Sequence[int] | None) -> tuple[int, int, int]:
    """Height, width and values in a cell."""
    sizes: tuple[Any, ...] = (features,) if shape is None else tuple(shape)
    if not 1 <= len(sizes) <= 3 or any(type(size) is not int or size < 1 for size in sizes):
        raise ValueError(f"{owner}: shape must be (width,), (height, width) or (height, width, values); got {shape}.")
    height, width, values = {1: (1, *sizes, 1), 2: (*sizes, 1), 3: sizes}[len(sizes)]
    if height * width * values != features:
        raise ValueError(f"{owner}: shape must have as many values as there are features, {features}; got {shape}.")
    return height, width, values


def cells_before(height: int, width: int, values: int, channels: int, above: int, beside: int) -> list[list[int]]:
    """The inputs that each cell reads, (inputs, cells): of the cells in its window, then the first values of its own.
    Outside of the grid is the row after all inputs."""
    above, beside = min(above, height - 1), min(beside, width - 1)
    offsets = [(-up, side) for up in range(above, 0, -1) for side in range(-beside, beside + 1)]
    offsets += [(0, -back) for back in range(beside, 0, -1)]
    numbers, outside = values * channels, height * width * values * channels
    rows: list[list[int]] = []
    for down, side in offsets:
        for number in range(numbers):
            row = []
            for i in range(height):
                for j in range(width):
                    inside = i + down >= 0 and 0 <= j + side < width
                    row.append(((i + down) * width + j + side) * numbers + number if inside else outside)
            rows.append(row)
    for number in range(numbers - channels):
        rows.append([cell * numbers + number for cell in range(height * width)])
    return rows


def cells_around(height: int, width: int, planes: int, above: int, beside: int) -> list[list[int]]:
    """The numbers of an image (planes, height, width) in a window around each cell, (inputs, cells). Outside of the
    grid is the row after all numbers."""
    above, beside = min(above, height - 1), min(beside, width - 1)
    offsets = [(down, side) for down in range(-above, above + 1) for side in range(-beside, beside + 1)]
    places = [(i, j) for i in range(height) for j in range(width)]

    def number(plane: int, i: int, j: int) -> int:
        inside = 0 <= i < height and 0 <= j < width
        return (plane * height + i) * width + j if inside else planes * height * width

    return [[number(p, i + down, j + side) for i, j in places] for p in range(planes) for down, side in offsets]
