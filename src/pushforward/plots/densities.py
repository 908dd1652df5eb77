"""Densities and samples of a model beside data, and whether its distribution functions are uniform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.core.distribution import Distribution
from pushforward.distributions import Continuous
from pushforward.evaluate import column_plots
from pushforward.evaluate.abilities import KnowsColumns
from pushforward.evaluate.arrays import Floats, as_rows, sample_in_batches
from pushforward.evaluate.calibration import measure_calibration
from pushforward.evaluate.plots import histogram, plot_pairs
from pushforward.evaluate.style import COLORS, color_bar, legend_above, new_figure, plain, robust_limits
from pushforward.plots.arguments import as_floats, context_of, drawable
from pushforward.plots.plane import draw_density

__all__ = ["plot_density", "plot_pit", "plot_samples"]

POINTS = 1_000
BINS = 60
MOST_DOTS = 3_000
MOST_COLUMNS = 5


def plot_density(
    model: Distribution,
    data: Any = None,
    *,
    context: Any = None,
    limits: Sequence[float] | None = None,
    samples: int = 4_000,
    seed: int = 0,
) -> Figure:
    """The density of a model of one or two real features, exact at each point of the picture, with data on it.

    Args:
        model: of one feature (a curve) or two (a map).
        data: rows that are drawn beside it, an array or a data frame: as a histogram, or as points.
        context: of a conditional model, (*context_shape,).
        limits: (low, high), or (low, high, low, high); by default around the data, or around samples.
        samples: number of these.
        seed: of their draw.

    Raises:
        ValueError: the model has more features than two or one that is not real, a conditional one has no context, or
            data or limits do not fit.
    """
    owner = "plot_density"
    features = model.event_shape
    if features not in ((1,), (2,)):
        raise ValueError(f"{owner}: shows one or two features; the model has {tuple(features)}. Try plot_samples.")
    if isinstance(model, KnowsColumns) and not all(
        isinstance(model.column_type(j), Continuous) for j in range(features[0])
    ):
        raise ValueError(f"{owner}: shows densities of real numbers, and a column holds others. Use plot_samples.")
    at_least(owner, "samples", samples, 1)
    context = context_of(owner, model, context)
    rows = _drawn(model, samples, context, seed) if data is None else as_rows(owner, "data", data)
    if rows.shape[1] != features[0]:
        raise ValueError(f"{owner}: data must have {features[0]} columns; got {rows.shape[1]}.")
    ends = [end for k in range(features[0]) for end in robust_limits(rows[:, k], tail=0.002, pad=0.12)]
    if limits is not None:
        ends = [float(end) for end in limits]
        if len(ends) != 2 * features[0] or any(a >= b for a, b in zip(ends[::2], ends[1::2], strict=True)):
            raise ValueError(f"{owner}: limits must be {features[0]} times a lower and a higher number; got {limits}.")
    if features == (1,):
        return _curve(model, rows if data is not None else None, (ends[0], ends[1]), context)
    figure, axes = new_figure(width=6.2, height=5.2)
    ax = axes[0, 0]
    with drawable(model) as model:
        mesh = draw_density(ax, model, (ends[0], ends[1], ends[2], ends[3]), context)
    if data is not None:
        ax.plot(*_thinned(rows).T, ".", color=COLORS["data"], markersize=2.5, markeredgewidth=0, alpha=0.6)
    ax.set(xlim=ends[:2], ylim=ends[2:], xlabel="$x_1$", ylabel="$x_2$")
    ax.grid(False)
    color_bar(figure, ax, mesh, "q(x)")
    return figure


def plot_samples(
    model: Distribution,
    data: Any = None,
    *,
    context: Any = None,
    names: Sequence[str] | None = None,
    samples: int = 2_000,
    seed: int = 0,
) -> Figure:
    """Samples of a model, beside data if there are some.

    One feature is drawn as histograms, two as points, more as a matrix of all pairs of the first five: samples above
    the diagonal, data below it.

    Args:
        model: of a vector of features.
        data: rows to compare with, (rows, features), an array or a data frame.
        context: of a conditional model, (*context_shape,).
        names: of the features.
        samples: how many are drawn.
        seed: of the draw.

    Raises:
        ValueError: the model is not of a vector, data or names are not of as many features, or a conditional model has
            no context.
    """
    owner = "plot_samples"
    if len(model.event_shape) != 1:
        raise ValueError(f"{owner}: shows models of a vector of features; got events of {tuple(model.event_shape)}.")
    at_least(owner, "samples", samples, 1)
    rows = None if data is None else as_rows(owner, "data", data)
    (size,) = model.event_shape
    names = [f"x{k + 1}" for k in range(size)] if names is None else [plain(name) for name in names]
    if len(names) != size or (rows is not None and rows.shape[1] != size):
        raise ValueError(f"{owner}: the model has {size} features; names and data must have as many.")
    drawn = _drawn(model, samples, context_of(owner, model, context), seed)
    if size == 1:
        figure, axes = new_figure(width=6.2, height=3.6)
        _histograms(axes[0, 0], rows, drawn, 0)
        axes[0, 0].set(xlabel=names[0], ylabel="density")
        legend_above(figure, axes[0, 0])
        return figure
    if size > 2:
        return _matrix(drawn, names) if rows is None else plot_pairs(rows, drawn, names, limit=MOST_COLUMNS)
    sides = [("samples of the model", drawn, COLORS["model"])]
    if rows is not None:
        sides.insert(0, ("data", rows, COLORS["data"]))
    figure, axes = new_figure(1, len(sides), width=4.6 * len(sides), height=4.4, sharex=True, sharey=True)
    limits = [robust_limits(sides[0][1][:, k], tail=0.002, pad=0.1) for k in (0, 1)]
    for ax, (title, points, color) in zip(axes[0], sides, strict=True):
        ax.plot(*_thinned(points).T, ".", color=color, markersize=3, markeredgewidth=0, alpha=0.6)
        ax.set(title=title, xlim=limits[0], ylim=limits[1], xlabel=names[0])
    axes[0, 0].set_ylabel(names[1])
    return figure


def plot_pit(model: Distribution, x: Any, *, context: Any = None, names: Sequence[str] | None = None) -> Figure:
    """Histograms of the probability integral transform: flat, within the band, where the model is calibrated.

    Args:
        model: whose conditionals are known, such as a triangular flow or a model of a table.
        x: held-out rows, (rows, features), an array or a data frame.
        context: theirs, (rows, *context_shape), for a conditional model.
        names: of the features.

    Raises:
        ValueError: the model has no distribution functions of single features, names are not as many as features, or no
            feature of the rows is there and ordered.

    References:
        | Predictive Model Assessment for Count Data (Czado, Gneiting, Held, 2009), for values that repeat
    """
    owner = "plot_pit"
    rows = as_rows(owner, "x", x)
    (size,) = model.event_shape
    names = [f"x{k + 1}" for k in range(size)] if names is None else list(names)
    if not len(names) == size == rows.shape[1]:
        raise ValueError(f"{owner}: the model has {size} features; names and x must have as many.")
    if np.isnan(rows).all():
        raise ValueError(f"{owner}: x holds no number.")
    contexts = None if context is None else as_rows(owner, "context", context)
    columns = measure_calibration(model, rows, names, contexts)
    if not columns and not isinstance(model, KnowsColumns):
        raise ValueError(
            f"{owner}: the distribution functions of the features of this {type(model).__name__} are not known. Build "
            "the flow from triangular parts alone, such as pf.flows.maf(depth=1)."
        )
    ordered = [column for column in columns if column.upper is not None]
    if not ordered:
        raise ValueError(f"{owner}: no column is ordered; categories have no distribution function.")
    return column_plots.plot_pit(ordered)


def _curve(model: Distribution, rows: Floats | None, limits: tuple[float, float], context: Tensor | None) -> Figure:
    figure, axes = new_figure(width=6.2, height=3.6)
    ax = axes[0, 0]
    with drawable(model) as model:
        places = torch.linspace(*limits, POINTS, dtype=model.dtype)[:, None]
        heights = as_floats(model.log_prob(places, context).exp())
    if rows is not None:  # a share of all rows, those outside of the picture included
        edges = np.linspace(*limits, BINS + 1)
        counts = np.histogram(rows[:, 0], edges)[0] / (len(rows) * np.diff(edges))
        ax.stairs(counts, edges, fill=True, color=COLORS["data"], alpha=0.35, label="data")
    ax.plot(places[:, 0].numpy(), heights, color=COLORS["model"], linewidth=1.8, label="q(x)")
    ax.set(xlim=limits, xlabel="x", ylabel="density")
    ax.set_ylim(0, None)
    legend_above(figure, ax)
    return figure


def _matrix(drawn: Floats, names: Sequence[str]) -> Figure:
    """All pairs of the features of samples."""
    count = min(MOST_COLUMNS, len(names))
    figure, axes = new_figure(count, count, width=2.0 * count, height=2.0 * count)
    points, limits = _thinned(drawn), [robust_limits(drawn[:, k], tail=0.002) for k in range(count)]
    for (i, j), ax in np.ndenumerate(axes):
        if i == j:
            _histograms(ax, None, drawn, i)
            ax.set_yticks([])
        else:
            ax.plot(points[:, j], points[:, i], ".", color=COLORS["model"], markersize=2, markeredgewidth=0, alpha=0.5)
            ax.set_ylim(limits[i])
        ax.set_xlim(limits[j])
        if i == count - 1:
            ax.set_xlabel(names[j])
        if j == 0:
            ax.set_ylabel(names[i])
    return figure


def _histograms(ax: Any, rows: Floats | None, drawn: Floats, k: int) -> None:
    """Of one feature of samples, and of data if there are some."""
    if rows is not None:
        histogram(ax, rows[:, k], drawn[:, k])
        return
    low, high = robust_limits(drawn[:, k], tail=0.002)
    edges = np.linspace(low, high, BINS + 1)
    heights = np.histogram(drawn[:, k], edges)[0] / (len(drawn) * np.diff(edges))
    ax.stairs(heights, edges, color=COLORS["model"], linewidth=1.5, label="samples")


def _drawn(model: Distribution, count: int, context: Tensor | None, seed: int) -> Floats:
    contexts = None if context is None else context.expand(count, *context.shape)
    rows: Floats = sample_in_batches(model, count, contexts, seed=seed)
    return rows.reshape(count, -1)


def _thinned(rows: Floats) -> Floats:
    """So many rows that single points can be told apart."""
    if len(rows) <= MOST_DOTS:
        return rows
    return rows[np.random.default_rng(0).choice(len(rows), MOST_DOTS, replace=False)]
