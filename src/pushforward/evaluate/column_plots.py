"""Pictures of a model of mixed columns: columns of all kinds, calibration, and what columns say about each other."""

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
from pushforward.evaluate.memorization import Copies
from pushforward.evaluate.plots import histogram, ramp
from pushforward.evaluate.style import COLORS, FONT, INK, MUTED, new_figure, plain, robust_limits

__all__ = ["plot_associations", "plot_columns", "plot_copies", "plot_pit", "plot_reliability"]

MOST_BARS, MOST_PANELS = 12, 12
DAY = 86_400.0
CALENDAR = (-719_000.0, 2_932_000.0)  # days around 1970 that have a date
BINS = 20


def plot_columns(
    schema: Schema, data: Floats, samples: Floats, *, gaps: Floats | None = None, limit: int = MOST_PANELS
) -> Figure:
    """One panel a column, data filled and samples as a line: histograms, or bars of the most frequent categories.

    Args:
        schema: of the columns.
        data: (rows, columns) real rows, NaN where an entry is missing.
        samples: (any number of rows, columns) of the model.
        gaps: part of each column of the data that was filled in, (columns,).
        limit: only the first so many columns are drawn.
    """
    count = min(limit, len(schema.fields))
    figure, axes = _panels(count)
    for j, ax in enumerate(axes[:count]):
        field, rows, drawn = schema.fields[j], *(own[~np.isnan(own[:, j]), j] for own in (data, samples))
        if field.kind.levels:
            _bars(ax, field, rows, drawn)
        elif len(rows):
            limits = None
            if field.form in ("time", "day"):
                unit = DAY if field.form == "time" else 1.0
                rows, drawn = (np.clip(own / unit, *CALENDAR) for own in (rows, drawn))
                limits = tuple(np.clip(robust_limits(rows), *CALENDAR).tolist())
            histogram(ax, rows, drawn, limits=limits, note=limits is None)
            if limits is not None:
                ax.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=7))
                ax.xaxis.set_major_formatter(ConciseDateFormatter(ax.xaxis.get_major_locator()))
        ax.set_xlabel(plain(field.name))
        ax.set_yticks([])
        if gaps is not None and gaps[j]:
            ax.set_title(f"{gaps[j]:.0%} missing, filled in", loc="left", fontsize=FONT - 2.5, color=MUTED, pad=2)
    handles, labels = max((ax.get_legend_handles_labels() for ax in axes[:count]), key=lambda own: len(own[0]))
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=FONT)
    _say_first(figure, count, len(schema.fields))
    return figure


def plot_pit(columns: Sequence[ColumnCalibration], *, limit: int = MOST_PANELS) -> Figure:
    """Histograms of the probability integral transform of ordered columns; a calibrated one stays within the band."""
    ordered = [own for own in columns if own.lower is not None]
    if not ordered:
        raise ValueError("plot_pit: no column has an order.")
    count = min(limit, len(ordered))
    figure, axes = _panels(count, height=1.75)
    edges = np.linspace(0, 1, BINS + 1)
    for own, ax in zip(ordered, axes, strict=False):
        low, high = pit_band(own.rows, BINS)
        heights = own.pit(BINS)
        ax.axhspan(low, high, color="#d9dde2", linewidth=0, label="where 99 in 100 right models stay")
        ax.axhline(1.0, color=MUTED, linewidth=0.8)
        ax.stairs(heights, edges, fill=True, color=COLORS["model"], alpha=0.35)
        ax.stairs(heights, edges, color=COLORS["model"], linewidth=1.4, label="held-out values")
        ax.set_ylim(0, max(1.6, 1.1 * high, min(1.1 * heights.max(), 4)))
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        ax.grid(False)
        ax.set_xlabel(plain(own.name))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=FONT)
    _say_first(figure, count, len(ordered))
    return figure


def plot_reliability(columns: Sequence[ColumnCalibration], *, limit: int = MOST_PANELS) -> Figure:
    """How often a category was there against the probability that it was given; a calibrated model lies on the
    diagonal. Bars are two standard errors."""
    known = [own for own in columns if own.reliability is not None]
    if not known:
        raise ValueError("plot_reliability: no column has categories.")
    count = min(limit, len(known))
    figure, axes = _panels(count, columns=4, height=2.1)
    for own, ax in zip(known, axes, strict=False):
        found: Any = own.reliability
        some = found.counts >= 20
        error = 2 * np.sqrt(np.clip(found.seen * (1 - found.seen), 1e-4, None) / np.maximum(found.counts, 1))
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        ax.errorbar(found.said[some], found.seen[some], error[some], color=COLORS["model"], marker="o", markersize=4,
                    linewidth=1.2, elinewidth=1)  # fmt: skip
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.03, 1.03)
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        ax.set_xlabel(plain(own.name, 20))
    figure.supylabel("how often it was there", fontsize=FONT, color=INK)
    _say_first(figure, count, len(known))
    return figure


def plot_associations(names: Sequence[str], real: Floats, drawn: Floats) -> Figure:
    """How much columns say about each other: real rows below the diagonal, drawn rows above it."""
    count = len(names)
    shown = np.where(np.tri(count, k=-1, dtype=bool), real, drawn)
    shown = np.where(np.eye(count, dtype=bool), np.nan, shown)
    side = float(np.clip(0.42 * count + 2.2, 4.0, 9.4))
    figure, axes = new_figure(width=side, height=0.88 * side)
    ax = axes[0, 0]
    image = ax.imshow(shown, cmap=ramp(COLORS["gaussian"]), vmin=0, vmax=max(0.3, float(np.nanmax([0.0, *shown.flat]))))
    small = FONT - 1 if count <= 20 else 6
    labels = [plain(name, 16) for name in names]
    ax.set_xticks(range(count), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=small)
    ax.set_yticks(range(count), labels, fontsize=small)
    if count <= 16:
        for i, j in zip(*np.nonzero(~np.isnan(shown)), strict=True):
            dark = shown[i, j] > 0.45 * image.norm.vmax
            word = f"{shown[i, j]:.2f}".removeprefix("0")
            ax.text(j, i, word, ha="center", va="center", fontsize=FONT - 2.5, color="white" if dark else INK)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title("below: real rows, above: drawn rows", loc="left", fontsize=FONT)
    bar = figure.colorbar(image, ax=ax, shrink=0.8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=FONT - 1.5, colors=MUTED)
    return figure


def plot_copies(found: Copies) -> Figure:
    """Distances to the nearest row that was learned from: of drawn rows, and of real rows that were not."""
    figure, axes = new_figure(height=2.9)
    ax = axes[0, 0]
    top = float(np.quantile(np.concatenate([found.drawn, found.real]), 0.995)) or 1e-3
    edges = np.linspace(0, top, 50)
    for rows, color, label in ((found.real, "data", "new real rows"), (found.drawn, "model", "drawn rows")):
        heights = np.histogram(rows, edges)[0] / len(rows)
        ax.stairs(heights, edges, fill=color == "data", color=COLORS[color], alpha=0.45 if color == "data" else 1.0,
                  linewidth=1.5, label=label)  # fmt: skip
    ax.set_xlabel("distance to the nearest training row")
    ax.set_ylabel("share of rows")
    ax.set_xlim(0, top)
    ax.legend(fontsize=FONT - 1, frameon=False)
    return figure


def _panels(count: int, *, columns: int = 3, height: float = 2.15) -> tuple[Figure, NDArray[Any]]:
    """A grid of so many panels."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    width = min((9.4 if columns <= 3 else 9.8) / (columns if columns > 2 else 3), 3.1) * columns + 0.4
    figure, axes = new_figure(rows, columns, width=width, height=height * rows + 0.55)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, axes.ravel()


def _bars(ax: Axes, field: Field, rows: Floats, drawn: Floats) -> None:
    """The most frequent categories of the real rows, the others as one; categories with an order keep it."""
    levels = field.kind.levels
    shares = [np.bincount(own.astype(int).clip(0, levels), minlength=levels + 1) / max(1, len(own))
              for own in (rows, drawn)]  # fmt: skip
    order = np.arange(levels) if field.kind.ordered else np.argsort(-shares[0][:levels], kind="stable")
    kept = order if levels <= MOST_BARS else order[: MOST_BARS - 1]
    heights = [own[kept].tolist() for own in shares]
    labels = [_label(field, int(k)) for k in kept]
    if len(kept) < levels:
        heights = [[*own, whole.sum() - sum(own)] for own, whole in zip(heights, shares, strict=True)]
        labels.append(f"{levels - len(kept)} others")
    at = np.arange(len(labels) + 1) - 0.5
    ax.stairs(heights[0], at, fill=True, color=COLORS["data"], alpha=0.45, label="data")
    ax.stairs(heights[1], at, color=COLORS["model"], linewidth=1.5, label="samples")
    slant: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(labels) > 2 else {}
    ax.set_xticks(range(len(labels)), labels, fontsize=FONT - 2.5, **slant)
    ax.grid(False, axis="x")


def _label(field: Field, code: int) -> str:
    if field.labels is not None:
        return plain(str(field.labels[code]), 12)
    return plain(str(field.entry(float(code))), 12)


def _say_first(figure: Figure, count: int, whole: int) -> None:
    if count < whole:
        figure.supxlabel(f"the first {count} of {whole} columns", fontsize=FONT, color=MUTED)
