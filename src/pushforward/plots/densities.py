"""Densities and samples of a model beside data, and whether its distribution functions are uniform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.evaluate import column_plots
from pushforward.evaluate.arrays import Floats, Rows, as_rows, evaluation_mode, sample_in_batches
from pushforward.evaluate.calibration import measure_calibration
from pushforward.evaluate.plots import plot_pairs
from pushforward.evaluate.style import COLORS, color_bar, legend_above, new_figure, robust_limits
from pushforward.plots.plane import draw_density

__all__ = ["plot_density", "plot_pit", "plot_samples"]

POINTS = 1_000
MOST_DOTS = 3_000


def plot_density(
    model: Distribution,
    data: Rows | None = None,
    *,
    context: Tensor | None = None,
    limits: Sequence[float] | None = None,
    samples: int = 4_000,
    seed: int = 0,
) -> Figure:
    """The density of a model of one or two features, exact at each point of the picture, with data on it.

    Args:
        model: of one feature (a curve) or two (a map).
        data: rows that are drawn beside it: a histogram, or points.
        context: of a conditional model, (*context_shape,).
        limits: (low, high), or (low, high, low, high); by default around the data, or around samples.
        samples: number of these.
        seed: of their draw.

    Raises:
        ValueError: the model has more features than two, or limits are not as many as they should be.
    """
    owner = "plot_density"
    features = model.event_shape
    if features not in ((1,), (2,)):
        raise ValueError(f"{owner}: shows one or two features; the model has {tuple(features)}. Try plot_samples.")
    _check_context(owner, model, context)
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
    with evaluation_mode(model):
        mesh = draw_density(ax, model, (ends[0], ends[1], ends[2], ends[3]), context)
    if data is not None:
        ax.plot(*_thinned(rows).T, ".", color=COLORS["data"], markersize=2.5, markeredgewidth=0, alpha=0.6)
    ax.set(xlim=ends[:2], ylim=ends[2:], xlabel="$x_1$", ylabel="$x_2$")
    ax.grid(False)
    color_bar(figure, ax, mesh, "q(x)")
    return figure


def plot_samples(
    model: Distribution,
    data: Rows | None = None,
    *,
    context: Tensor | None = None,
    names: Sequence[str] | None = None,
    samples: int = 2_000,
    seed: int = 0,
) -> Figure:
    """Samples of a model, beside data if there are some: points of two features, else a matrix of all pairs.

    Args:
        model: of a vector of features.
        data: rows to compare with, (rows, features).
        context: of a conditional model, (*context_shape,).
        names: of the features.
        samples: how many are drawn.
        seed: of the draw.

    Raises:
        ValueError: the model is not of a vector, or data and names are not of as many features.
    """
    owner = "plot_samples"
    if len(model.event_shape) != 1:
        raise ValueError(f"{owner}: shows models of a vector of features; got events of {tuple(model.event_shape)}.")
    _check_context(owner, model, context)
    drawn = _drawn(model, samples, context, seed)
    size = drawn.shape[1]
    rows = None if data is None else as_rows(owner, "data", data)
    names = [f"x{k + 1}" for k in range(size)] if names is None else list(names)
    if len(names) != size or (rows is not None and rows.shape[1] != size):
        raise ValueError(f"{owner}: the model has {size} features; names and data must have as many.")
    if size != 2:
        return plot_pairs(drawn if rows is None else rows, drawn, names)
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


def plot_pit(
    model: Distribution, x: Rows, *, context: Rows | None = None, names: Sequence[str] | None = None
) -> Figure:
    """Histograms of the probability integral transform: flat, within the band, where the model is calibrated.

    Args:
        model: whose conditionals are known, such as a triangular flow or a model of a table.
        x: held-out rows, (rows, features).
        context: theirs, for a conditional model.
        names: of the features.

    Raises:
        ValueError: the model has no distribution functions of single features.

    References:
        | Predictive Model Assessment for Count Data (Czado, Gneiting, Held, 2009), for values that repeat
    """
    names = [f"x{k + 1}" for k in range(model.event_shape[0])] if names is None else list(names)
    columns = measure_calibration(model, x, names, context)
    if not columns:
        raise ValueError(
            f"plot_pit: the distribution functions of the features of this {type(model).__name__} are not known. Build "
            "the flow from triangular parts alone, such as pf.flows.maf(depth=1)."
        )
    return column_plots.plot_pit(columns)


def _curve(model: Distribution, rows: Floats | None, limits: tuple[float, float], context: Tensor | None) -> Figure:
    figure, axes = new_figure(width=6.2, height=3.6)
    ax = axes[0, 0]
    places = torch.linspace(*limits, POINTS, dtype=model.dtype)[:, None]
    told = None if model.context_shape is None or context is None else context.expand(POINTS, *context.shape)
    with torch.no_grad(), evaluation_mode(model):
        heights: Floats = model.log_prob(places, told).double().exp().numpy()
    if rows is not None:
        options: dict[str, Any] = {"color": COLORS["data"], "alpha": 0.35, "label": "data"}
        ax.hist(rows[:, 0], bins=60, range=limits, density=True, **options)
    ax.plot(places[:, 0].numpy(), heights, color=COLORS["model"], linewidth=1.8, label="q(x)")
    ax.set(xlim=limits, xlabel="x", ylabel="density")
    ax.set_ylim(0, None)
    legend_above(figure, ax)
    return figure


def _check_context(owner: str, model: Distribution, context: Tensor | None) -> None:
    if model.context_shape is not None and context is None:
        raise ValueError(f"{owner}: the model is conditional. Pass context=, of shape {tuple(model.context_shape)}.")


def _drawn(model: Distribution, count: int, context: Tensor | None, seed: int) -> Floats:
    contexts = None if context is None else context.expand(count, *context.shape)
    drawn: Floats = sample_in_batches(model, count, contexts, seed=seed)
    return drawn.reshape(count, -1)


def _thinned(rows: Floats) -> Floats:
    """So many rows that single points can be told apart."""
    if len(rows) <= MOST_DOTS:
        return rows
    return rows[np.random.default_rng(0).choice(len(rows), MOST_DOTS, replace=False)]
