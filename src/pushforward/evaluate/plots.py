"""Plots of a fit: learning curves, columns and pairs of columns, held-out log-densities.

Every function returns a matplotlib ``Figure`` without a window; `style.save_figure` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from pushforward.evaluate.arrays import Floats, Rows, as_rows
from pushforward.evaluate.axis_scales import SYMMETRIC_LOG, SymmetricLog, limits_and_scale
from pushforward.evaluate.metrics import TITLES, Evaluation, signed
from pushforward.evaluate.style import COLORS, FONT, INK, MUTED, legend_above, new_figure, plain

__all__ = [
    "HistoryLike",
    "histogram",
    "plot_learning_curves",
    "plot_log_densities",
    "plot_pairs",
    "ramp",
]


class HistoryLike(Protocol):
    """The part of the history returned by `fit` that `plot_learning_curves` reads."""

    @property
    def records(self) -> Sequence[Any]: ...
    @property
    def best_step(self) -> int | None: ...


def plot_learning_curves(history: HistoryLike) -> Figure:
    """Mean log-likelihood, or whatever else was learned, of training and validation rows against the step; the step
    whose weights were kept is marked.

    Raises:
        ValueError: the history has no record.
    """
    records = list(history.records)
    metric, unit = getattr(history, "metric", "log-likelihood"), getattr(history, "unit", "nats")
    sign = 1.0 if getattr(history, "greater_is_better", True) else -1.0
    if not records:
        raise ValueError("plot_learning_curves: the history holds no record; train for at least one step.")
    steps = np.array([record.step for record in records], dtype=np.float64)
    train = np.array([_number(record.train) for record in records])
    validation = np.array([_number(record.validation) for record in records])
    figure, axes = new_figure(height=3.6)
    ax = axes[0, 0]
    markers = {"marker": "o", "markersize": 3} if len(records) < 12 else {}
    if np.isfinite(train).any():
        ax.plot(steps, train, color=COLORS["data"], linewidth=1.2, alpha=0.85, label="training rows", **markers)
    if np.isfinite(validation).any():
        ax.plot(steps, validation, color=COLORS["model"], linewidth=1.8, label="validation rows", **markers)
        is_best = steps == history.best_step
        best = int(np.flatnonzero(is_best)[0]) if is_best.any() else int(np.nanargmax(sign * validation))
        label = f"kept: step {steps[best]:,.0f}, {signed(validation[best], 2)} {unit}".rstrip()
        ax.plot(steps[best], validation[best], "o", color=COLORS["highlight"], markeredgecolor=INK, label=label)
    shown = np.concatenate([train, validation])
    shown = shown[np.isfinite(shown)]
    if shown.size:
        # The first steps are often hundreds of nats below the rest and would flatten the rest of the curve.
        shown = sign * shown
        top, middle = shown.max(), float(np.median(shown))
        low = max(shown.min(), top - 6 * max(top - middle, 1e-3))
        ends = low - 0.05 * (top - low + 1e-9), top + 0.08 * (top - low + 1e-9)
        ax.set_ylim(sorted(sign * end for end in ends))
    ax.set_xlabel("training step")
    per_row = f" ({unit} per row)" if unit else ""
    ax.set_ylabel(f"{metric}{per_row}\n{'higher' if sign > 0 else 'lower'} is better")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    legend_above(figure, ax)
    return figure


def plot_pairs(data: Rows, samples: Rows, names: Sequence[str], *, limit: int = 5, max_points: int = 20_000) -> Figure:
    """A matrix of all pairs of columns: data below the diagonal, samples above it, histograms of both on it.

    Good samples mirror the data, with axes swapped.

    Args:
        data: (rows, columns), at least two columns.
        samples: (any number of rows, columns) from the model.
        names: of the columns.
        limit: largest number of columns that are drawn.
        max_points: largest number of rows of either; as many rows of both are drawn, so that colours compare.
    """
    real, drawn = _checked("plot_pairs", data, samples, names)
    if len(names) < 2:
        raise ValueError("plot_pairs: needs at least two columns; got one. Use plot_columns.")
    points = min(len(real), len(drawn), max_points)
    real, drawn = _thinned(real, points), _thinned(drawn, points)
    count = min(limit, len(names))
    side = {2: 2.6, 3: 2.2, 4: 1.9}.get(count, 1.7)
    figure, axes = new_figure(count, count, width=side * count + 0.5, height=side * count + 0.7)
    axis = [limits_and_scale(real[:, i], tail=0.002) for i in range(count)]
    limits, scales = [entry[0] for entry in axis], [entry[1] for entry in axis]
    maps = {kind: ramp(COLORS[kind]) for kind in ("data", "model")}
    bins = 24 if points < 4_000 else 48
    edges = [_edges(real[:, i], *limits[i], bins, scales[i]) for i in range(count)]
    for i in range(count):
        for j in range(count):
            ax = axes[i, j]
            if i == j:
                histogram(ax, real[:, i], drawn[:, i], limits=limits[i], scale=scales[i], note=False)
                ax.set_yticks([], minor=False)
                ax.set_yticks([], minor=True)
            else:
                rows, kind = (real, "data") if i > j else (drawn, "model")
                _density_map(ax, rows[:, j], rows[:, i], edges[j], edges[i], maps[kind], COLORS[kind], points)
                _set_scale(ax, "y", scales[i], limits[i])
            _set_scale(ax, "x", scales[j], limits[j])
            ax.grid(False)
            if i < count - 1:
                ax.tick_params(labelbottom=False)
            if j > 0 or i == j == 0:
                ax.tick_params(labelleft=False)
            if i == count - 1:
                ax.set_xlabel(_named(names[j], scales[j]))
            if j == 0:
                ax.set_ylabel(_named(names[i], scales[i]))
    legend_above(figure, axes[0, 0])
    if count < len(names):
        figure.supxlabel(f"the first {count} of {len(names)} columns", fontsize=FONT, color=MUTED)
    return figure


def plot_log_densities(evaluation: Evaluation) -> Figure:
    """Histograms of the held-out log-densities of the model and of the baselines, with their means as dashed lines.

    Raises:
        ValueError: no row has a finite log-density.
    """
    figure, axes = new_figure(height=3.5)
    ax = axes[0, 0]
    finite = {name: rows[np.isfinite(rows)] for name, rows in evaluation.log_densities.items()}
    finite = {name: rows for name, rows in finite.items() if len(rows)}
    if not finite:
        raise ValueError("plot_log_densities: no row has a finite log-density, so there is nothing to plot.")
    ends = [np.quantile(rows, [0.02, 0.999]) for rows in finite.values()]
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    model_low, model_high = np.quantile(next(iter(finite.values())), [0.005, 0.999])
    low = max(low, float(model_low - 2 * (model_high - model_low)))  # a poor baseline may leave the plot
    margin = 0.03 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, 90)
    beyond = []
    for name, rows in finite.items():
        color = COLORS.get(name, COLORS["other"])
        title = TITLES.get(name, name)
        label = f"{title}: mean {signed(float(rows.mean()), 2)}"
        counts = np.histogram(rows, edges)[0] / len(rows) / np.diff(edges)
        if name == "model":
            ax.stairs(counts, edges, fill=True, color=color, alpha=0.28)
        ax.stairs(counts, edges, color=color, linewidth=1.6, label=label)
        ax.axvline(float(rows.mean()), color=color, linestyle=(0, (4, 3)), linewidth=1.2)
        count = len(evaluation.log_densities[name]) - int(((rows >= edges[0]) & (rows <= edges[-1])).sum())
        if count:
            beyond.append(f"{title} {100 * count / evaluation.rows:.2g}%")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel("log-density of a row (nats); further right is better")
    ax.set_ylabel("share of rows per nat")
    if beyond:
        ax.set_title(f"rows outside the plot: {', '.join(beyond)}", loc="right", fontsize=FONT - 2, color=MUTED)
    legend_above(figure, ax, 2)
    return figure


def histogram(
    ax: Axes,
    real: Floats,
    drawn: Floats,
    *,
    limits: tuple[float, float] | None = None,
    scale: SymmetricLog | None = None,
    note: bool = True,
) -> None:
    """Histograms of one column: data filled, samples as a line.

    Args:
        ax: the axes to draw into.
        real: (rows,) values of the data.
        drawn: (any number of rows,) values of the samples.
        limits: of the axis; by default all but the outermost 0.1 % of the data on either side, on a symmetric
            logarithmic scale where this leaves most of them in a line.
        scale: of the axis, where the limits are given; heights are then shares of rows per length of the axis.
        note: whether to note a logarithmic axis and the share of the samples outside.
    """
    notes = []
    if limits is None:
        limits, scale = limits_and_scale(real)
    low, high = limits
    edges = _edges(real, low, high, 60, scale)
    lengths = np.diff(edges if scale is None else scale.forward(edges))
    widths = np.maximum(lengths, 1e-280)  # whose inverse does not overflow
    heights = [np.histogram(rows, edges)[0] / max(1, len(rows)) / widths for rows in (real, drawn)]
    filled = heights[0][heights[0] > 0]
    if filled.size and filled.max() > 60 * np.median(filled):  # a spike would flatten all the rest
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.5 * filled.min())
        ax.yaxis.set_minor_locator(NullLocator())
        floor = 1e-3 * filled.min()  # an empty bin goes below the axes instead of interrupting the line
        heights = [np.maximum(height, floor) for height in heights]
        notes.append("log scale" if scale is None else "log height")
    else:
        floor = 0.0
    ax.stairs(heights[0], edges, baseline=floor, fill=True, color=COLORS["data"], alpha=0.45, label="data")
    ax.stairs(heights[1], edges, baseline=floor, color=COLORS["model"], linewidth=1.5, label="samples")
    _set_scale(ax, "x", scale, (low, high), ticks=5)
    if scale is not None:
        notes.insert(0, SYMMETRIC_LOG)
    outside = float(((drawn < low) | (drawn > high) | ~np.isfinite(drawn)).mean())
    expected = float(((real < low) | (real > high)).mean())
    if outside > max(0.01, 3 * expected):
        notes.append(f"{100 * outside:.1f}% of samples outside")
    if note and notes:
        ax.set_title(", ".join(notes), loc="right", fontsize=FONT - 2.5, color=MUTED, pad=2)


def _set_scale(
    ax: Axes, which: Literal["x", "y"], scale: SymmetricLog | None, limits: tuple[float, float], ticks: int = 4
) -> None:
    """The limits of an axis, and its scale."""
    if scale is None:
        ax.locator_params(axis=which, nbins=ticks)
    else:
        scale.apply(ax, which, *limits)
    (ax.set_xlim if which == "x" else ax.set_ylim)(limits)


def _named(name: str, scale: SymmetricLog | None) -> str:
    return plain(name, 18) if scale is None else f"{plain(name, 18)}\n({SYMMETRIC_LOG})"


def _edges(values: Floats, low: float, high: float, count: int, scale: SymmetricLog | None = None) -> Floats:
    """Edges of bins; those of integers have integer widths and are centred on integers, to avoid aliasing."""
    if scale is not None:
        return scale.edges(low, high, count)
    inside = values[(values >= low) & (values <= high)]
    if inside.size and (inside == np.round(inside)).all() and high - low >= 2:
        step = max(1, math.ceil((high - low) / count))
        start = math.floor(low) - 0.5
        return np.arange(start, high + step, step, dtype=np.float64)
    return np.linspace(low, high, count + 1)


def _density_map(
    ax: Axes, x: Floats, y: Floats, x_edges: Floats, y_edges: Floats, ramp: Any, color: str, points: int
) -> None:
    """A scatter plot of few points; for many a 2-D histogram on one logarithmic scale for data and samples."""
    if points <= 1_500:
        ax.plot(x, y, ".", color=color, markersize=4, alpha=0.5, markeredgewidth=0, rasterized=True)
        return
    counts = np.histogram2d(x, y, (x_edges, y_edges))[0].T
    top = points / 40
    shown = np.where(counts > 0, counts, np.nan)
    ax.pcolormesh(x_edges, y_edges, shown, cmap=ramp, norm=LogNorm(0.7, top, clip=True), rasterized=True)


def ramp(color: str) -> LinearSegmentedColormap:
    """A colour map from a light tint to a dark shade of one colour."""
    return LinearSegmentedColormap.from_list(color, ["#eef1f4", color, "#111111"])


def _checked(owner: str, data: Rows, samples: Rows, names: Sequence[str]) -> tuple[Floats, Floats]:
    real, drawn = as_rows(owner, "data", data), as_rows(owner, "samples", samples)
    if not real.shape[1] == drawn.shape[1] == len(names):
        raise ValueError(
            f"{owner}: data, samples and names must have equal numbers of columns; got {real.shape[1]}, "
            f"{drawn.shape[1]} and {len(names)}."
        )
    return real, drawn


def _thinned(rows: Floats, count: int) -> Floats:
    """``count`` rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
