"""How good a model of images is, in bits per dimension beside simple models and codes, and how good Bayes' rule is."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.core.exactness import Exactness
from pushforward.evaluate.arrays import Floats

__all__ = ["BayesClassifier", "CodeLength", "ImageEvaluation", "encode_png", "evaluate_images", "judge_classes"]

Pixels = NDArray[np.uint8]

FEWEST = 20
"""Images from which simple models are fitted at least."""
MOST_NUMBERS, MOST_FITTED = 4_096, 20_000
"""Numbers of an image up to which a Gaussian is fitted, and images to which it is."""
BINS = 10


@dataclass(frozen=True)
class CodeLength:
    """Bits per dimension of images: their mean and its standard error.

    Attributes:
        bits: mean over the images.
        error: its standard error; NaN of a code of all images in one piece.
        exactness: ``"exact"`` for the length of a code, ``"bound"`` for a bound on one.
        ahead: mean of these bits less those of the model, which is positive where the model is better.
        ahead_error: standard error of that mean.
    """

    bits: float
    error: float
    exactness: Exactness
    ahead: float = math.nan
    ahead_error: float = math.nan


@dataclass(frozen=True)
class BayesClassifier:
    """Classes of images by Bayes' rule, compared with their labels.

    Attributes:
        accuracy: share of the images whose most probable class is theirs.
        error: standard error of that share.
        log_loss: mean of -log p(class | image), in nats.
        calibration_error: mean distance between the probability of the most probable class and how often it is right,
            over ten bins of that probability, weighted by their images.
        bins: (mean probability, share right, images) of each bin with images.
    """

    accuracy: float
    error: float
    log_loss: float
    calibration_error: float
    bins: list[tuple[float, float, int]]


@dataclass(frozen=True)
class ImageEvaluation:
    """The bits per dimension of images under a model, simple models and codes, all lower-is-better.

    Attributes:
        images: how many were scored.
        model: of the model.
        others: of simple models and codes, by name.
        note: what the simple models were fitted to, in words.
        classifier: of Bayes' rule, where there are labels and classes.
        conditional: of the model given the class or the attributes of each image, where there are such.
        condition: which of these, "class" or "attributes".
    """

    images: int
    model: CodeLength
    others: dict[str, CodeLength] = field(default_factory=dict)
    note: str = ""
    classifier: BayesClassifier | None = None
    conditional: CodeLength | None = None
    condition: str = "class"

    def rows(self) -> list[tuple[str, CodeLength]]:
        """What is compared, by name, the model first."""
        beside = [] if self.conditional is None else [(f"given the {self.condition}", self.conditional)]
        return [("this model", self.model), *beside, *self.others.items()]

    def to_dict(self) -> dict[str, Any]:
        """This evaluation as JSON."""
        return asdict(self)


def evaluate_images(
    bits: Floats,
    exactness: Exactness,
    images: Pixels,
    train: Pixels | None = None,
    *,
    conditional: Floats | None = None,
    condition: str = "class",
    levels: int = 256,
) -> ImageEvaluation:
    """The bits per dimension of a model beside those of simple models and of codes of general programs.

    Args:
        bits: of each image under the model, (n,).
        exactness: of these numbers.
        images: (n, channels, height, width), whole numbers.
        train: images to which the simple models are fitted; by default to halves of ``images``, each scored by what was
            fitted to the other.
        conditional: bits of each image under the model given its class or its attributes, (n,).
        condition: which of these, ``"class"`` or ``"attributes"``.
        levels: values of a pixel.
    """
    others: dict[str, CodeLength] = {}
    note = "the training images" if train is not None else "halves of these images, each scored by that of the other"
    for name, fitted, kind in SIMPLE:
        if (scores := _simple(fitted, images, train, levels)) is not None:
            others[name] = _length(scores, kind, bits)
    codes: list[tuple[str, Callable[[Pixels], bytes]]] = [
        ("PNG, each image", encode_png), ("zlib -9, each image", lambda image: zlib.compress(image.tobytes(), 9)),
    ]  # fmt: skip
    for name, code in codes:
        lengths = np.array([8 * len(code(image)) / image.size for image in images])
        others[name] = _length(lengths, "exact", bits)
    together = 8 * len(zlib.compress(images.tobytes(), 9)) / images.size
    others["zlib -9, all at once"] = CodeLength(together, math.nan, "exact", together - float(bits.mean()))
    beside = None if conditional is None else _length(conditional, exactness, bits)
    return ImageEvaluation(len(images), _length(bits, exactness), others, note, conditional=beside, condition=condition)


def judge_classes(probabilities: Floats, truth: NDArray[np.int64]) -> BayesClassifier:
    """Probabilities of classes (n, classes) compared with the numbers of the true ones (n,).

    >>> judge_classes(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])).accuracy
    1.0
    """
    count, chosen = len(truth), probabilities.argmax(axis=1)
    right, sure = chosen == truth, probabilities.max(axis=1)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = [
        (float(sure[place == k].mean()), float(right[place == k].mean()), int((place == k).sum()))
        for k in range(BINS)
        if (place == k).any()
    ]
    accuracy = float(right.mean())
    of_truth = np.maximum(probabilities[np.arange(count), truth], np.finfo(np.float64).tiny)
    return BayesClassifier(
        accuracy,
        math.sqrt(accuracy * (1 - accuracy) / count),
        float(-np.log(of_truth).mean()),
        sum(images * abs(p - share) for p, share, images in bins) / count,
        bins,
    )


def encode_png(image: Pixels) -> bytes:
    """An image (channels, height, width) as the bytes of a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)).save(out, "png", optimize=True)
    return out.getvalue()


def _length(bits: Floats, exactness: Exactness, model: Floats | None = None) -> CodeLength:
    mean, error = _mean(bits)
    return CodeLength(mean, error, exactness, *(() if model is None else _mean(bits - model)))


def _mean(values: Floats) -> tuple[float, float]:
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return float(values.mean()), error


# --- simple models: functions of (images fitted to, images scored, levels)


def _simple(
    score: Callable[[Pixels, Pixels, int], Floats | None], images: Pixels, train: Pixels | None, levels: int
) -> Floats | None:
    """The bits of each image under a simple model; None where there is too little to fit it to."""
    if train is not None:
        return score(train, images, levels) if len(train) >= FEWEST else None
    if len(images) < 2 * FEWEST:
        return None
    order = np.random.default_rng(0).permutation(len(images))
    halves, bits = np.array_split(order, 2), np.empty(len(images))
    for fitted, scored in (halves, halves[::-1]):
        part = score(images[fitted], images[scored], levels)
        if part is None:
            return None
        bits[scored] = part
    return bits


def _independent_pixels(train: Pixels, images: Pixels, levels: int) -> Floats:
    """A table of frequencies for each pixel, one half added to each count."""
    places = train.reshape(len(train), -1)
    counts = np.stack([np.bincount(column, minlength=levels) for column in places.T]) + 0.5
    log_probs = np.log2(counts / counts.sum(axis=1, keepdims=True))
    scores: Floats = -log_probs[np.arange(places.shape[1]), images.reshape(len(images), -1)].mean(axis=1)
    return scores


def _gaussian(train: Pixels, images: Pixels, levels: int) -> Floats | None:
    r"""A Gaussian of pixels plus uniform noise: its covariance is that of the pixels plus a twelfth of the unit matrix.

    The expectation over the noise has a closed form: with the mean of x + u at x + 1/2 it is the log-density there,
    less half of the trace of the precision divided by twelve. It is a bound on the log-probability of x.
    """
    from sklearn.covariance import ledoit_wolf

    places, seen = (part.reshape(len(part), -1).astype(np.float64) for part in (train[:MOST_FITTED], images))
    numbers = places.shape[1]
    if numbers > MOST_NUMBERS:
        return None
    covariance = ledoit_wolf(places)[0] + np.eye(numbers) / 12
    factor = np.linalg.cholesky(covariance)
    inverse = np.linalg.inv(factor)
    whitened = (seen - places.mean(axis=0)) @ inverse.T
    squares = (whitened**2).sum(axis=1) + (inverse**2).sum() / 12
    nats = 0.5 * squares + np.log(np.diag(factor)).sum() + 0.5 * numbers * math.log(2 * math.pi)
    bits: Floats = nats / (numbers * math.log(2))
    return bits


SIMPLE: tuple[tuple[str, Callable[[Pixels, Pixels, int], Floats | None], Exactness], ...] = (
    ("independent pixels", _independent_pixels, "exact"),
    ("Gaussian, dequantized", _gaussian, "bound"),
)
