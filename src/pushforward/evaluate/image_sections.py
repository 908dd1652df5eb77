"""The sections of a report on a model of images: pictures, numbers, classes, and the course of the training."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pushforward._version import __version__
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.html import Contents, Fact, HtmlTable, Part, Picture, Section, picture
from pushforward.evaluate.image_grid import grid_of, image_grid, plot_image_grid, png_uri
from pushforward.evaluate.images import BayesClassifier, ImageEvaluation
from pushforward.evaluate.metrics import with_error
from pushforward.evaluate.plots import HistoryLike
from pushforward.evaluate.style import COLORS, legend_above, new_figure

__all__ = ["ImageFindings", "image_sections", "nearest", "plot_class_calibration"]

Pixels = NDArray[np.uint8]

SHOWN = 16
"""Images in a row of the rarest or the most usual ones."""


@dataclass(frozen=True)
class ImageFindings:
    """What a report on a model of images shows.

    Attributes:
        evaluation: bits per dimension beside simple models and codes.
        samples: drawn by the model, (rows, columns, channels, height, width).
        row_names: the class of each row of samples, or what else it is; empty where there are none.
        neighbours: the nearest of the images of ``neighbours_of`` to the first samples: (samples, neighbours).
        neighbours_of: what these are, such as "training images".
        images: that were scored.
        bits: per dimension of each.
        names: of each.
        levels: values of a pixel.
        completions: an image, and completions of its upper half; None where the model has none.
        between: images between two others along an arc of latents; None where the model has none.
        means: names of classes, and the images at their mean latents, likewise.
        history: of the training.
        facts: about the model, by name.
        row_is: what a row of samples is.
    """

    evaluation: ImageEvaluation
    samples: Pixels
    row_names: Sequence[str]
    neighbours: tuple[Pixels, Pixels]
    neighbours_of: str
    images: Pixels
    bits: Floats
    names: Sequence[str]
    levels: int
    completions: Pixels | None
    between: Pixels | None
    means: tuple[Sequence[str], Pixels] | None
    history: HistoryLike | None
    facts: Mapping[str, object]
    row_is: str = "one class"


def image_sections(shown: ImageFindings, command: str = "") -> list[Section]:
    """The sections of the report."""
    sections = [
        _verdict(shown.evaluation, command),
        _samples(shown),
        _likelihood(shown.evaluation),
    ]
    if shown.evaluation.classifier is not None:
        sections.append(_classes(shown.evaluation.classifier))
    sections += [_neighbours(shown), _rarest(shown)]
    if shown.completions is not None:
        caption = "First the image as it is; beside it draws whose upper half is the same, bit for bit."
        sections.append(Section("How does the model complete an image?", [_picture(shown.completions, shown, caption)]))
    if shown.between is not None:
        sections.append(_latents(shown, shown.between))
    if shown.history is not None and shown.history.records:
        sections.append(_training(shown))
    rows = [[name, _text(value)] for name, value in shown.facts.items()]
    return [*sections, Section("The model", [HtmlTable([], rows, words=True)])]


def nearest(samples: Pixels, images: Pixels) -> Pixels:
    """The nearest of some images to each sample (samples, ...), by the squared distance of their pixels.

    >>> images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * 100
    >>> nearest(np.array([[[[90]]]], np.uint8), images).item()
    100
    """
    rows = samples.reshape(len(samples), -1).astype(np.float32)
    best, distance = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), np.inf)
    for start in range(0, len(images), 4096):
        block = images[start : start + 4096].reshape(-1, rows.shape[1]).astype(np.float32)
        squares = (rows**2).sum(axis=1)[:, None] - 2 * rows @ block.T + (block**2).sum(axis=1)
        place = squares.argmin(axis=1)
        closer = squares[np.arange(len(rows)), place] < distance
        best[closer], distance[closer] = start + place[closer], squares[np.arange(len(rows)), place][closer]
    return images[best]


def _picture(grid: Pixels, shown: ImageFindings, caption: str) -> Picture:
    canvas = image_grid(grid, levels=shown.levels)
    return Picture(png_uri(canvas), caption, min(canvas.shape[2], 960))


def _verdict(evaluation: ImageEvaluation, command: str) -> Section:
    model, others = evaluation.model, evaluation.others
    best = min(others, key=lambda name: others[name].bits)
    ahead = others[best].ahead
    kind = "the length of a code" if model.exactness == "exact" else "a bound on it, since pixels are dequantized"
    text = (
        f"An image takes {with_error(model.bits, model.error)} bits per dimension ({kind}): "
        f"{abs(ahead):.3f} {'fewer' if ahead > 0 else 'more'} than by the best of the others, {best}."
    )
    today = dt.date.today()
    about = f"Written on {today.day} {today:%B %Y} by pushforward {__version__}" + (":" if command else ".")
    return Section("Is the model good?", [Fact(text, "good" if ahead > 0 else "problem"), Contents(about, command)])


def _samples(shown: ImageFindings) -> Section:
    caption = "Images drawn by the model" + (f", {shown.row_is} a row." if shown.row_names else ".")
    if shown.row_names:
        figure = plot_image_grid(shown.samples, shown.row_names, levels=shown.levels)
        return Section("What does the model draw?", [picture(figure, caption)])
    return Section("What does the model draw?", [_picture(shown.samples, shown, caption)])


def _likelihood(evaluation: ImageEvaluation) -> Section:
    rows = []
    for name, length in evaluation.rows():
        ahead = "" if math.isnan(length.ahead) else with_error(length.ahead, length.ahead_error)
        rows.append([name, with_error(length.bits, length.error), _kind(length.exactness), ahead])
    caption = f"Bits per dimension, mean over {evaluation.images:,} images ± standard error; lower is better."
    header = ["", "bits per dimension", "which is", "model is ahead by"]
    parts: list[Part] = [HtmlTable(header, rows, caption)]
    if any(name in evaluation.others for name in ("independent pixels", "Gaussian, dequantized")):
        parts.append(
            "Independent pixels have a table of frequencies for each pixel; the Gaussian has a full covariance, and "
            f"pixels are dequantized by uniform noise, so that its number is a bound. Both were fitted to "
            f"{evaluation.note}."
        )
    parts.append(
        "Exact numbers are the lengths of codes. Bounds may be longer than the shortest code of the model, never "
        "shorter; they cannot be told apart from exact ones by their size."
    )
    return Section("How well does the model fit the images?", parts)


def _kind(exactness: str) -> str:
    return exactness if exactness in ("exact", "bound") else "estimate"


def _classes(judge: BayesClassifier) -> Section:
    text = (
        f"By Bayes' rule, p(class | image) ∝ frequency of the class · p(image | class), {judge.accuracy:.1%} ± "
        f"{judge.error:.1%} of the images get their class. Log loss {judge.log_loss:.3f} nats; mean distance between "
        f"probability and share that is right {judge.calibration_error:.3f}."
    )
    caption = "How often the most probable class is right, against its probability; on the line it is calibrated."
    return Section("Does it know the classes?", [Fact(text), picture(plot_class_calibration(judge), caption)])


def plot_class_calibration(judge: BayesClassifier) -> Figure:
    """How often the most probable class of images is right against its probability, with standard errors."""
    figure, axes = new_figure(width=4.6, height=3.6)
    ax = axes[0, 0]
    sure, right, count = (np.array(column) for column in zip(*judge.bins, strict=True))
    ax.plot([0, 1], [0, 1], color=COLORS["other"], linewidth=1, label="calibrated")
    ax.plot(sure, right, "o-", color=COLORS["model"], label="images of one bin")
    error = np.sqrt(np.maximum(right * (1 - right), 0) / count)
    ax.errorbar(sure, right, yerr=error, fmt="none", color=COLORS["model"])
    ax.set_xlabel("probability of the most probable class")
    ax.set_ylabel("share that is right")
    legend_above(figure, ax)
    return figure


def _neighbours(shown: ImageFindings) -> Section:
    samples, images = shown.neighbours
    pairs = np.stack([samples, images])
    caption = f"Above, samples; below each, the nearest of the {shown.neighbours_of} by squared distance of pixels."
    return Section("Are samples copies?", [_picture(pairs, shown, caption)])


def _latents(shown: ImageFindings, between: Pixels) -> Section:
    caption = "The first and the last image of each row are from the data; the others lie between their latents."
    parts: list[Part] = [_picture(between, shown, caption)]
    if shown.means is not None:
        names, images = shown.means
        caption = f"The image at the mean latent of each class: {', '.join(names)}."
        parts.append(_picture(grid_of(images, min(10, len(images))), shown, caption))
    return Section("What lies between images?", parts)


def _rarest(shown: ImageFindings) -> Section:
    order = np.argsort(-shown.bits)
    rare, usual = order[:SHOWN], order[::-1][:SHOWN]
    parts: list[Part] = []
    for what, places in (("rarest, with the most bits", rare), ("most usual, with the fewest bits", usual)):
        listed = ", ".join(f"{shown.names[k]} ({shown.bits[k]:.2f})" for k in places[:4])
        caption = f"The {what}: {listed}{' and others' * (len(places) > 4)}."
        parts.append(_picture(grid_of(shown.images[places], min(8, len(places))), shown, caption))
    parts.append(
        "Few bits do not mean that an image is like those of the training: plain images take few bits under any model."
    )
    return Section("Which images are rare?", parts)


def _training(shown: ImageFindings) -> Section:
    history = shown.history
    records = [] if history is None else list(history.records)
    in_bits = getattr(history, "metric", "log-likelihood") == "log-likelihood"
    numbers = math.log(2) * shown.images[0].size if in_bits else 1.0
    figure, axes = new_figure(height=3.2)
    ax = axes[0, 0]
    minutes = np.array([r.seconds for r in records]) / 60
    train = np.array([np.nan if r.train is None else -r.train / numbers for r in records], dtype=np.float64)
    held = np.array([np.nan if r.validation is None else -r.validation / numbers for r in records], dtype=np.float64)
    ax.plot(minutes, train, "o-", markersize=3, color=COLORS["data"], label="training images")
    if np.isfinite(held).any():
        ax.plot(minutes, held, "o-", markersize=3, color=COLORS["model"], label="validation images")
    both = np.concatenate([train, held])
    low, middle = np.nanmin(both), float(np.nanmedian(both))
    ax.set_ylim(low - 0.1 * (middle - low) - 0.01, low + 6 * (middle - low) + 0.02)
    ax.set_xlabel("minutes of training")
    ax.set_ylabel(f"{'bits per dimension' if in_bits else 'nats per image, with those of its class'}\nlower is better")
    legend_above(figure, ax)
    last = records[-1]
    reason = str(getattr(history, "stopped", "") or "").rstrip(".")
    run = f"{last.step:,} steps in {last.seconds / 60:.1f} minutes"
    given_labels = "" if not shown.row_names else " Here images are scored given their classes."
    caption = f"While both curves fall, longer training helps.{given_labels}"
    return Section("Training", [picture(figure, caption), f"{run}: {reason}." if reason else f"{run}."])


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_text(entry)}" for key, entry in value.items()) or "defaults"
    if isinstance(value, list | tuple):
        return ", ".join(_text(entry) for entry in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
