"""Plots of a mixed-type model: columns of all types, calibration, associations and distances to training rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pushforward.data.schema import Field, Schema
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.calibration import ColumnCalibration, pit_band
from pushforward.evaluate.memorization import Memorization
from pushforward.evaluate.plots import histogram, ramp
from pushforward.evaluate.style import COLORS, FONT, INK, MUTED, WIDTH, legend_above, new_figure, plain, robust_limits

__all__ = ["plot_associations", "plot_columns", "plot_memorization", "plot_pit", "plot_reliability"]

MAX_BARS, MAX_PANELS = 12, 12
SECONDS_PER_DAY = 86_400.0
CALENDAR = (-719_000.0, 2_932_000.0)  # days since 1970 of the years 1 to 9999, all that matplotlib can show
BINS = 20  # of a PIT histogram
FEWEST_PREDICTIONS = 20  # in a bin of a reliability diagram, for it to be shown


def plot_columns(
    schema: Schema, data: Floats, samples: Floats, *, imputed: Floats | None = None, limit: int = MAX_PANELS
) -> Figure:
    """One panel per column, data filled and samples as a line: histograms, or bars of the most frequent categories.

    Args:
        schema: of the columns.
        data: (rows, columns) real rows, NaN where an entry is missing.
        samples: (any number of rows, columns) from the model.
        imputed: share of each column of the data that was filled in, (columns,).
        limit: largest number of columns that are drawn.
    """
    count = min(limit, len(schema.fields))
    figure, axes = _panels(count)
    for j, ax in enumerate(axes[:count]):
        field = schema.fields[j]
        real, drawn = (rows[~np.isnan(rows[:, j]), j] for rows in (data, samples))
        if field.column_type.levels:
            _bars(ax, field, real, drawn)
        elif len(real) and field.form in ("time", "day"):
            _date_histogram(ax, field, real, drawn)
        elif len(real):
            histogram(ax, real, drawn)
        ax.set_xlabel(plain(field.name))
        ax.set_yticks([])
        if imputed is not None and imputed[j]:
            ax.set_title(f"{imputed[j]:.0%} missing, filled in", loc="left", fontsize=FONT - 2.5, color=MUTED, pad=2)
    legend_above(figure, max(axes[:count], key=lambda ax: len(ax.get_legend_handles_labels()[0])))
    _note_first(figure, count, len(schema.fields))
    return figure


def plot_pit(columns: Sequence[ColumnCalibration], *, limit: int = MAX_PANELS) -> Figure:
    """PIT histograms of the ordered columns with 99 % bands; a calibrated column stays within its band.

    Raises:
        ValueError: no column is ordered.
    """
    ordered = [column for column in columns if column.lower is not None]
    if not ordered:
        raise ValueError("plot_pit: no column is ordered. Use plot_reliability for categories.")
    count = min(limit, len(ordered))
    figure, axes = _panels(count, height=1.75)
    edges = np.linspace(0, 1, BINS + 1)
    for column, ax in zip(ordered, axes, strict=False):
        low, high = pit_band(column.rows, BINS)
        heights = column.pit(BINS)
        ax.stairs(heights, edges, color=COLORS["model"], linewidth=1.4, label="real values", baseline=None)
        ax.axhline(1.0, color=MUTED, linewidth=0.8, label="calibrated")
        ax.axhspan(
            low, high, color="#d9dde2", linewidth=0, zorder=0, label="where calibrated columns stay 99 times in 100"
        )
        ax.set_ylim(0, max(1.6, 1.1 * high, min(1.1 * heights.max(), 4)))
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        ax.grid(False)
        ax.set_xlabel(plain(column.name))
    legend_above(figure, axes[0])
    _note_first(figure, count, len(ordered))
    return figure


def plot_reliability(columns: Sequence[ColumnCalibration], *, limit: int = MAX_PANELS) -> Figure:
    """Reliability diagrams: the observed frequency of categories against their predicted probability, which lie on the
    diagonal for a calibrated model. Bars are two standard errors.

    Raises:
        ValueError: no column has categories.
    """
    categorical = [column for column in columns if column.reliability is not None]
    if not categorical:
        raise ValueError("plot_reliability: no column has categories. Use plot_pit for ordered columns.")
    count = min(limit, len(categorical))
    figure, axes = _panels(count, columns=4, height=2.1)
    for column, ax in zip(categorical, axes, strict=False):
        reliability: Any = column.reliability
        shown = reliability.counts >= FEWEST_PREDICTIONS
        predicted, observed, counts = (
            values[shown] for values in (reliability.predicted, reliability.observed, reliability.counts)
        )
        error = 2 * np.sqrt(np.clip(observed * (1 - observed), 1e-4, None) / counts)
        ax.errorbar(predicted, observed, error, color=COLORS["model"], marker="o", markersize=4, linewidth=1.2,
                    elinewidth=1, label="real values")  # fmt: skip
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, label="calibrated")
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.03, 1.03)
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        ax.set_xlabel(plain(column.name, 20))
    figure.supylabel("observed frequency", fontsize=FONT, color=INK)
    legend_above(figure, axes[0])
    _note_first(figure, count, len(categorical))
    return figure


def plot_associations(names: Sequence[str], real: Floats, samples: Floats) -> Figure:
    """Associations of pairs of columns as a matrix: of real rows below the diagonal, of samples above it.

    Args:
        names: of the columns.
        real: (columns, columns), as from `fidelity.associations`.
        samples: (columns, columns), of samples.
    """
    count = len(names)
    shown = np.where(np.tri(count, k=-1, dtype=bool), real, samples)
    shown = np.where(np.eye(count, dtype=bool), np.nan, shown)
    side = float(np.clip(0.42 * count + 2.2, 4.0, 9.4))
    figure, axes = new_figure(width=side, height=0.88 * side)
    ax = axes[0, 0]
    image = ax.imshow(shown, cmap=ramp(COLORS["gaussian"]), vmin=0, vmax=max(0.3, float(np.nanmax([0.0, *shown.flat]))))
    size = FONT - 1 if count <= 20 else 6
    labels = [plain(name, 16) for name in names]
    ax.set_xticks(range(count), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
    ax.set_yticks(range(count), labels, fontsize=size)
    if count <= 16:
        for i, j in zip(*np.nonzero(~np.isnan(shown)), strict=True):
            dark = shown[i, j] > 0.45 * image.norm.vmax
            label = f"{shown[i, j]:.2f}".removeprefix("0")
            ax.text(j, i, label, ha="center", va="center", fontsize=FONT - 2.5, color="white" if dark else INK)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title("below: data, above: samples", loc="left", fontsize=FONT)
    bar = figure.colorbar(image, ax=ax, shrink=0.8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=FONT - 1.5, colors=MUTED)
    return figure


def plot_memorization(result: Memorization) -> Figure:
    """Histograms of the distances to the closest training row, of samples and of held-out rows."""
    figure, axes = new_figure(height=2.9)
    ax = axes[0, 0]
    top = float(np.quantile(np.concatenate([result.samples, result.held_out]), 0.995)) or 1e-3
    edges = np.linspace(0, top, 50)
    for rows, color, label in ((result.held_out, "data", "real rows"), (result.samples, "model", "samples")):
        heights = np.histogram(rows, edges)[0] / len(rows)
        ax.stairs(heights, edges, fill=color == "data", color=COLORS[color], alpha=0.45 if color == "data" else 1.0,
                  linewidth=1.5, label=label)  # fmt: skip
    ax.set_xlabel("distance to the closest training row")
    ax.set_ylabel("share of rows")
    ax.set_xlim(0, top)
    legend_above(figure, ax)
    return figure


def _panels(count: int, *, columns: int = 3, height: float = 2.15) -> tuple[Figure, NDArray[Any]]:
    """A figure with a grid of ``count`` panels, and its axes, (at least count,)."""
    columns = min(columns, max(count, 3))
    rows = math.ceil(count / columns)
    figure, axes = new_figure(rows, columns, width=WIDTH, height=height * rows + 0.55)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, axes.ravel()


def _date_histogram(ax: Axes, field: Field, real: Floats, drawn: Floats) -> None:
    """A histogram over a calendar, of a column in days or in seconds since 1970."""
    unit = SECONDS_PER_DAY if field.form == "time" else 1.0
    real, drawn = (np.clip(values / unit, *CALENDAR) for values in (real, drawn))
    low, high = np.clip(robust_limits(real), *CALENDAR).tolist()
    histogram(ax, real, drawn, limits=(low, high), note=False)
    ax.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=7))
    ax.xaxis.set_major_formatter(ConciseDateFormatter(ax.xaxis.get_major_locator()))


def _bars(ax: Axes, field: Field, real: Floats, drawn: Floats) -> None:
    """The most frequent categories of the data and a bar for all others; ordered categories keep their order."""
    levels = field.column_type.levels
    shares = [
        np.bincount(codes.astype(int).clip(0, levels), minlength=levels + 1) / max(1, len(codes))
        for codes in (real, drawn)
    ]
    order = np.arange(levels) if field.column_type.ordered else np.argsort(-shares[0][:levels], kind="stable")
    kept = order if levels <= MAX_BARS else order[: MAX_BARS - 1]
    heights = [share[kept].tolist() for share in shares]
    labels = [_label(field, int(k)) for k in kept]
    if len(kept) < levels:
        heights = [[*bars, share.sum() - sum(bars)] for bars, share in zip(heights, shares, strict=True)]
        labels.append(f"{levels - len(kept)} others")
    edges = np.arange(len(labels) + 1) - 0.5
    ax.stairs(heights[0], edges, fill=True, color=COLORS["data"], alpha=0.45, label="data")
    ax.stairs(heights[1], edges, color=COLORS["model"], linewidth=1.5, label="samples")
    slant: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(labels) > 2 else {}
    ax.set_xticks(range(len(labels)), labels, fontsize=FONT - 2.5, **slant)
    ax.grid(False, axis="x")


def _label(field: Field, code: int) -> str:
    if field.labels is not None:
        return plain(str(field.labels[code]), 12)
    return plain(str(field.entry(float(code))), 12)


def _note_first(figure: Figure, count: int, total: int) -> None:
    if count < total:
        figure.supxlabel(f"the first {count} of {total} columns", fontsize=FONT, color=MUTED)
