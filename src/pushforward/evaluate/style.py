"""The common style of all figures, and figures as data URIs. No global setting of matplotlib is changed."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pushforward.evaluate.arrays import Floats

__all__ = [
    "COLORS",
    "INK",
    "MUTED",
    "WIDTH",
    "color_bar",
    "figure_to_png_uri",
    "figure_to_svg_uri",
    "legend_above",
    "new_figure",
    "robust_limits",
    "save_figure",
    "tidy",
]

# Distinguishable with every common form of colour blindness (Okabe and Ito, 2008).
COLORS = {
    "data": "#0072B2",
    "model": "#D55E00",
    "gaussian": "#009E73",
    "gmm": "#8F4A82",
    "independent": "#56B4E9",
    "tree": "#8F4A82",
    "other": "#009E73",
    "highlight": "#E69F00",
}
INK, MUTED, GRID = "#222222", "#5f6368", "#e6e6e6"
FONT = 9.5
WIDTH = 9.4  # inches, of the text of a page
DPI = 150


def new_figure(
    rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float = 3.6, **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """A white figure without a window, and its axes as an array (rows, columns) in the common style."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        tidy(ax)
    return figure, axes


def tidy(ax: Axes, *, grid: bool = True) -> None:
    """Put axes into the common style: no frame at the top and right, a faint grid behind the data."""
    ax.set_facecolor("white")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#9a9a9a")
    ax.tick_params(colors=MUTED, labelsize=FONT - 1.5, length=3)
    ax.set_axisbelow(True)
    ax.grid(grid, color=GRID, linewidth=0.7)
    for text in (ax.xaxis.label, ax.yaxis.label):
        text.set_color(INK)
        text.set_fontsize(FONT)
    ax.title.set_color(INK)
    ax.title.set_fontsize(FONT + 1)


def legend_above(figure: Figure, ax: Axes, columns: int = 3) -> None:
    """The legend of these axes above the figure, where it covers nothing."""
    handles, labels = ax.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside upper center", ncols=min(columns, len(labels)), frameon=False, fontsize=FONT
    )
    for text in legend.get_texts():
        text.set_color(INK)


def color_bar(figure: Figure, ax: Axes, drawn: Any, name: str) -> None:
    """The scale of the colours of what was drawn, beside these axes."""
    bar: Any = figure.colorbar(drawn, ax=ax, shrink=0.72, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=FONT - 2, colors=MUTED, length=2)
    bar.set_label(name, fontsize=FONT, color=INK)


def plain(text: str, limit: int = 28) -> str:
    """Text of the user as a label: dollar signs do not start formulas, and long names are truncated."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "�" for c in short).replace("$", r"\$")


def robust_limits(values: Sequence[Floats] | Floats, *, tail: float = 0.001, pad: float = 0.05) -> tuple[float, float]:
    """Axis limits that show all but the outermost share ``tail`` on either side, of the first array if there are
    several.

    >>> low, high = robust_limits(np.r_[np.linspace(0.0, 1.0, 10_000), 1e9])
    >>> -0.1 < low < 0.0 and 1.0 < high < 1.1
    True
    """
    first = values[0] if isinstance(values, list | tuple) else values
    finite = np.asarray(first)[np.isfinite(first)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(finite, [tail, 1 - tail]))
    if not low < high:
        low, high = float(finite.min()), float(finite.max())
    # Limits of values that hardly vary relative to their size would round to the same number.
    smallest = 1e-9 * max(abs(low), abs(high), 1e-300)
    margin = max(pad * (high - low), smallest) if high > low else max(0.5 * abs(low), 0.5)
    return low - margin, high + margin


def save_figure(figure: Figure, target: Any, *, kind: str = "png", dpi: int = DPI) -> None:
    """Write a figure as PNG or SVG: equal figures give equal bytes, and SVG text is drawn as paths."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "pushforward", "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the tables of a report show the name
        figure.savefig(target, format=kind, dpi=dpi, metadata=metadata)


def figure_to_png_uri(figure: Figure, *, dpi: int | None = None) -> str:
    """The figure as a PNG in a ``data:`` URI, which an HTML page can contain."""
    return "data:image/png;base64," + _encoded(figure, "png", DPI if dpi is None else dpi)


def figure_to_svg_uri(figure: Figure, *, dpi: int | None = None) -> str:
    """The figure as an SVG in a ``data:`` URI: sharp at every size, but large for many points."""
    return "data:image/svg+xml;base64," + _encoded(figure, "svg", DPI if dpi is None else dpi)


def _encoded(figure: Figure, kind: str, dpi: int) -> str:
    buffer = io.BytesIO()
    save_figure(figure, buffer, kind=kind, dpi=dpi)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
