"""Symmetric logarithmic axes for columns with heavy tails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.style import robust_limits

__all__ = ["SYMMETRIC_LOG", "SymmetricLog", "limits_and_scale"]

SYMMETRIC_LOG = "symmetric log axis"
"""What such an axis is called in plots."""
HEAVY = 30
"""Interquartile ranges that a plot has to span for an axis to be logarithmic; 4 are enough for a Gaussian."""
CLOSEST = 0.16  # of the length of the axis, between two ticks


@dataclass(frozen=True)
class SymmetricLog:
    r"""A scale that is linear near a centre and logarithmic far from it, on both sides.

    .. math:: t = \operatorname{arsinh}((x - centre) / width)

    Attributes:
        centre: where the scale is linear.
        width: up to which distance from the centre it is about linear.
    """

    centre: float
    width: float

    def forward(self, x: Any) -> Any:
        """Positions on the axis."""
        return np.arcsinh((np.asarray(x, dtype=np.float64) - self.centre) / self.width)

    def inverse(self, t: Any) -> Any:
        """The values at positions on the axis."""
        return self.centre + self.width * np.sinh(np.asarray(t, dtype=np.float64))

    def edges(self, low: float, high: float, count: int) -> Floats:
        """Edges of bins that are equally wide on the axis, (count + 1,)."""
        edges: Floats = self.inverse(np.linspace(self.forward(low), self.forward(high), count + 1))
        return edges

    def ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        """The centre and powers of ten away from it, as many as do not stand too close, and how they are called: by
        their distance from the centre, if that is not zero."""
        ends = self.forward(low), self.forward(high)
        farthest = max(high - self.centre, self.centre - low, self.width)
        powers = range(math.floor(math.log10(farthest)), math.floor(math.log10(self.width)) - 1, -1)
        distances = [0.0, *(sign * 10.0**power for power in powers for sign in (-1, 1))]
        kept: dict[float, str] = {}
        for distance in distances:
            place = self.forward(self.centre + distance)
            near = any(abs(place - self.forward(other)) < CLOSEST * (ends[1] - ends[0]) for other in kept)
            if ends[0] <= place <= ends[1] and not near:
                sign = "+" if self.centre and distance else ""
                label = f"{distance:{sign}g}" if distance or not self.centre else f"{self.centre:g}"
                kept[self.centre + distance] = label.replace("-", "−")
        return sorted(kept.items())

    def apply(self, ax: Axes, which: str, low: float, high: float) -> None:
        """Give the ``"x"`` or the ``"y"`` axis this scale, with ticks between two values."""
        (ax.set_xscale if which == "x" else ax.set_yscale)("function", functions=(self.forward, self.inverse))
        axis, ticks = (ax.xaxis if which == "x" else ax.yaxis), self.ticks(low, high)
        axis.set_major_locator(FixedLocator([place for place, _ in ticks]))
        axis.set_major_formatter(FixedFormatter([label for _, label in ticks]))
        axis.set_minor_locator(NullLocator())


def limits_and_scale(
    values: Floats, *, tail: float = 0.001, pad: float = 0.05
) -> tuple[tuple[float, float], SymmetricLog | None]:
    """The limits of an axis, as `style.robust_limits` gives them, and a symmetric logarithmic scale for values (rows,)
    of which a linear one would squeeze most into a line; otherwise None.

    >>> limits_and_scale(np.linspace(-3, 3, 101))[1] is None
    True
    >>> (low, high), scale = limits_and_scale(np.tan(np.pi * (np.linspace(0.001, 0.999, 999) - 0.5)))
    >>> [label for _, label in scale.ticks(low, high)]
    ['−100', '−10', '0', '10', '100']
    """
    limits = robust_limits(values, tail=tail, pad=pad)
    values = values[np.isfinite(values)]
    if not len(values):
        return limits, None
    first, median, third = (float(v) for v in np.quantile(values, [0.25, 0.5, 0.75]))
    width = third - first
    if not limits[1] - limits[0] > HEAVY * width > 1e-6 * abs(median):
        return limits, None
    digits = max(1, 1 + round(math.log10(abs(median) / width))) if median else 1
    scale = SymmetricLog(0.0 if abs(median) <= 2 * width else float(f"{median:.{digits}g}"), width)
    low, high = (float(end) for end in scale.forward(np.quantile(values, [tail, 1 - tail])))
    margin = pad * (high - low)
    return (float(scale.inverse(low - margin)), float(scale.inverse(high + margin))), scale
