"""Images and models of images as files of the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pushforward.cli.common import say
from pushforward.cli.outputs import check_output, remember
from pushforward.core.files import atomic_path
from pushforward.data.image_labels import ImageAttributes
from pushforward.data.image_pairs import with_given
from pushforward.data.images import Images, read_images
from pushforward.data.writing import STANDARD_OUTPUT
from pushforward.estimators import FlowImages
from pushforward.estimators.image_conditions import Attributes, Classes, Pictures
from pushforward.evaluate.images import ImageEvaluation, encode_png, evaluate_images, judge_classes

__all__ = [
    "check_images_output",
    "judged",
    "labels_of",
    "load_images_model",
    "read_judged",
    "refuse_given",
    "refuse_sizes",
    "shown_like",
    "tell_if_long",
    "write_images",
    "write_picture",
]

Told = NDArray[np.int64] | ImageAttributes | NDArray[np.uint8] | None
ARRAYS = (".npy", ".npz")
MANY = 5_000
"""Scores, beyond which it is said that they take their time."""


def load_images_model(path: str) -> FlowImages:
    """The model of images in a file, which shows how far its answers are."""
    return FlowImages.load(path).set_params(verbose=True)


def read_judged(
    model: FlowImages, path: str, labels: str | None, limit: int | None, pictures: str | None = None
) -> Images:
    """Images that fit the model; with a limit so many, drawn at random, the same each time."""
    images = read_images(path, labels)
    refuse_sizes(model, images, path)
    if pictures is not None:
        refuse_given(model, pictures)
        images = with_given(images, path, pictures)
    if limit is None or limit >= len(images):
        return images
    chosen = np.sort(np.random.default_rng(0).permutation(len(images))[:limit])
    return images.take(chosen)


def refuse_given(model: FlowImages, path: str) -> None:
    """Refuse images that a model was not fitted to be given."""
    if not isinstance(model.condition_, Pictures):
        raise ValueError(f"--given-images: {path} is for models that were fitted with this option. Leave it out.")


def shown_like(model: FlowImages, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images that a model is given as it sees them, in the size, channels and levels of its own images."""
    condition = model.condition_
    if not isinstance(condition, Pictures):
        raise TypeError("the model is given no images")
    laid = condition.laid(pictures)
    if laid.shape[1] > model.shape_[0]:
        laid = np.rint(laid.mean(axis=1, keepdims=True)).astype(np.uint8)
    if laid.max() >= model.levels:
        laid = np.rint(laid * ((model.levels - 1) / 255)).astype(np.uint8)
    return np.broadcast_to(laid, (len(laid), *model.shape_))


def refuse_sizes(model: FlowImages, images: Images, path: str) -> None:
    """Refuse images of another size, or with more levels, than those of the model."""
    if images.shape != model.shape_:
        (c, h, w), (channels, height, width) = images.shape, model.shape_
        raise ValueError(
            f"{path}: the images have {h} × {w} pixels{' in colour' * (c == 3)}, and the model is of {height} × {width}"
            f"{' in colour' * (channels == 3)}. Resize or convert them."
        )
    if (highest := int(images.pixels.max())) >= model.levels:
        raise ValueError(f"{path}: the model is of pixels 0 .. {model.levels - 1}, and the images hold {highest}.")


def labels_of(model: FlowImages, images: Images, typed: str | None) -> Told:
    """The numbers of the classes of images in the model, their attributes, or the images that they are given; None
    where there are none.

    Raises:
        ValueError: a label is none of the model's classes, or the file of labels that was ``typed`` holds what the
            model was not fitted to.
    """
    condition = model.condition_
    if typed is not None and not isinstance(condition, Classes if images.attributes is None else Attributes):
        fitted = {Classes: "classes", Attributes: "attributes"}.get(type(condition))
        has = "attributes" if images.labels is None else "classes"
        raise ValueError(
            f"--labels: {typed} holds {has}, and the model was fitted "
            f"{'without labels' if fitted is None else f'to {fitted}'}. Leave --labels out, or name another file."
        )
    if isinstance(condition, Attributes):
        return images.attributes
    if isinstance(condition, Pictures):
        return images.pictures
    if images.labels is None or not isinstance(condition, Classes):
        return None
    places = np.array([condition.place(name) for name in images.classes])
    numbers: NDArray[np.int64] = places[images.labels]
    return numbers


def tell_if_long(model: FlowImages, images: int, remedy: str = "") -> None:
    """Say what is computed, where it takes a while."""
    classes = model.condition_.size if isinstance(model.condition_, Classes) else 1
    if images * classes > MANY:
        say(f"Scoring {images:,} images{f' under each of {classes} classes' * (classes > 1)}{remedy}.")


def judged(
    model: FlowImages,
    pixels: NDArray[np.uint8],
    truth: Told,
    train: NDArray[np.uint8] | None,
) -> tuple[ImageEvaluation, NDArray[np.float64]]:
    """The evaluation of a model on images, with that of Bayes' rule where there are the numbers of their classes; and
    the bits per dimension of each image."""
    tell_if_long(model, len(pixels), "; --limit takes fewer")
    unit = -math.log(2) * math.prod(model.shape_)
    if truth is not None and truth.ndim > 1:
        given_all = model.bits_per_dim(pixels, truth)
        bits = model.bits_per_dim(pixels) if model.label_dropout else given_all
        return evaluate_images(
            bits,
            model.exactness,
            pixels,
            train,
            levels=model.levels,
            conditional=given_all,
            condition="attributes" if isinstance(truth, ImageAttributes) else "other images",
        ), bits
    scores = model.score_by_class(pixels)
    told = None
    if truth is not None and scores.by_class is not None:
        told = scores.by_class[np.arange(len(truth)), truth] / unit
    bits = scores.total / unit
    evaluation = evaluate_images(bits, model.exactness, pixels, train, levels=model.levels, conditional=told)
    if scores.probabilities is not None and truth is not None:
        evaluation = replace(evaluation, classifier=judge_classes(scores.probabilities, np.asarray(truth)))
    return evaluation, bits


def check_images_output(out: str, *inputs: str | None, force: bool) -> None:
    """Refuse a name of images that is neither of an array nor of a folder, and a folder that holds something.

    Raises:
        ValueError, OSError: with a remedy.
    """
    suffix, folder = Path(out).suffix.lower(), Path(out)
    if out == STANDARD_OUTPUT:
        raise ValueError("--out: images are not written to standard output. Name a folder, a .npy or a .npz file.")
    if suffix in ARRAYS:
        check_output(out, *inputs, force=force)
    elif folder.is_dir():
        if any(folder.iterdir()) and not force:
            raise ValueError(f"--out: the folder {out} is not empty. Choose another name, or write into it by --force.")
    elif suffix:
        raise ValueError(
            f"--out: images are written to a folder, which has no suffix, a .npy or a .npz file; got {out}. For one "
            "picture of all use --grid."
        )
    else:
        check_output(out, *inputs, force=False)  # that is no file


def write_picture(path: str, canvas: NDArray[np.uint8]) -> None:
    """Write one picture (channels, height, width) as PNG, and remember the file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_png(canvas))
    remember(path)


def write_images(out: str, pixels: NDArray[np.uint8], classes: Sequence[Any] | None, levels: int) -> None:
    """Write images (n, channels, height, width) as an array with a suffix of one, else as a folder of PNG files, in
    sub-folders by class where there are classes, as `read_images` reads them."""
    suffix, folder = Path(out).suffix.lower(), Path(out)
    if suffix in ARRAYS:
        with atomic_path(out) as temporary, temporary.open("wb") as file:
            if suffix == ".npy":
                np.save(_WrittenByPython(file), pixels)
            else:
                arrays = {"images": pixels}
                if classes is not None:
                    arrays["labels"] = np.array([str(name) for name in classes])
                np.savez_compressed(file, allow_pickle=False, **arrays)
        remember(out)
        return
    scale = 255 / (levels - 1)
    for k, image in enumerate(pixels):
        place = folder if classes is None else folder / _folder_name(classes[k])
        place.mkdir(parents=True, exist_ok=True)
        bright = np.rint(image * scale).astype(np.uint8) if levels < 256 else image
        (place / f"{k:05d}.png").write_bytes(encode_png(bright))


class _WrittenByPython:
    """A file that numpy cannot write by itself: it does not notice a full disk."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def _folder_name(name: Any) -> str:
    """The name of a class as that of a folder."""
    return re.sub(r"[^\w.-]", "_", str(name)).strip(".") or "_"
