"""``pushforward report`` for images: what the page shows, gathered from a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pushforward.cli.image_files import shown_like
from pushforward.data.images import Images
from pushforward.data.pixel_arrays import from_pixels, to_pixels
from pushforward.distributions import DiscreteGrid, Flow
from pushforward.estimators import FlowImages
from pushforward.estimators.image_conditions import Classes
from pushforward.evaluate.html import write_report
from pushforward.evaluate.image_grid import grid_of
from pushforward.evaluate.image_sections import ImageFindings, image_sections, nearest
from pushforward.evaluate.images import ImageEvaluation

__all__ = ["write_image_report"]

COLUMNS, DRAWN, PAIRS, COMPLETED = 10, 64, 12, 9
WAYS, AVERAGED, RESTORED = 3, 500, 8
MOST_ROWS = 20


def write_image_report(
    path: str,
    title: str,
    model: FlowImages,
    images: Images,
    train: Images | None,
    *,
    evaluation: ImageEvaluation,
    bits: np.ndarray,
    facts: Mapping[str, Any],
    command: str,
    seed: int,
) -> dict[str, Any]:
    """Write the page, and return its numbers."""
    names: list[str] = []
    if isinstance(model.condition_, Classes):
        classes = model.condition_.names[:MOST_ROWS]
        names = [str(name) for name in classes]
        drawn = model.sample(COLUMNS * len(classes), [c for c in classes for _ in range(COLUMNS)], random_state=seed)
        samples = grid_of(_pixels(drawn), COLUMNS)
    elif images.pictures is not None:
        samples, names = _given_images(model, images, seed)
    else:
        samples = grid_of(_pixels(model.sample(DRAWN, random_state=seed)))
    drawn = samples if images.pictures is None else samples[:, 2:]
    flat = drawn.reshape(-1, *samples.shape[2:])
    chosen = flat[np.random.default_rng(seed).permutation(len(flat))[:PAIRS]]
    others = images if train is None else train
    completions = None
    if isinstance(model.model_, DiscreteGrid) and model.shape_[1] > 1:
        place = seed % len(images)
        first = images.pixels[place]
        top = from_pixels(first[:, : model.shape_[1] // 2], model.layout_)
        y = None if images.pictures is None else images.pictures[[place]]
        rest = _pixels(model.complete(top, COMPLETED, y, random_state=seed))
        completions = np.concatenate([first[None], rest])[None]
    between = means = None
    told = bool(model.label_dropout) or not model.condition_.size
    if isinstance(model.model_, Flow) and told:
        between, means = _in_latent_space(model, images, seed)
    shown = ImageFindings(
        evaluation=evaluation, samples=samples, row_names=names,
        neighbours=(chosen, nearest(chosen, others.pixels)),
        neighbours_of="images judged here" if train is None else "training images", images=images.pixels, bits=bits,
        names=images.names, levels=model.levels, completions=completions, between=between, means=means,
        history=getattr(model, "history_", None),
        facts={"parameters": sum(p.numel() for p in model.model_.parameters()), **facts},
        row_is="one class" if images.pictures is None else "after an image and the one that it is given, one such",
    )  # fmt: skip
    write_report(path, title, image_sections(shown, command))
    return evaluation.to_dict()


def _given_images(model: FlowImages, images: Images, seed: int) -> tuple[np.ndarray, list[str]]:
    """Rows of an image, the image on which it is conditional, and draws given that; and the name of each row."""
    few = images.take(np.random.default_rng(seed).permutation(len(images))[:RESTORED])
    y = np.asarray(few.pictures)
    draws = _pixels(model.sample(COLUMNS * len(y), y.repeat(COLUMNS, axis=0), random_state=seed))
    each = draws.reshape(len(y), COLUMNS, *draws.shape[1:])
    rows = np.concatenate([few.pixels[:, None], shown_like(model, y)[:, None], each], axis=1)
    return rows, list(few.names)


def _in_latent_space(
    model: FlowImages, images: Images, seed: int
) -> tuple[np.ndarray, tuple[list[str], np.ndarray] | None]:
    """Ways between pairs of images (pairs, steps, ...), and names and images at the mean latents of classes."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(images), size=(WAYS, 2), replace=len(images) < 2 * WAYS)
    ends = [from_pixels(images.pixels[pair], model.layout_) for pair in chosen]
    ways = np.stack([_pixels(model.interpolate(a, b, COLUMNS, random_state=seed)) for a, b in ends])
    if images.labels is None:
        return ways, None
    few = replace(images, pictures=None).take(random.permutation(len(images))[:AVERAGED])
    means = list(model.mean_latents(few, random_state=seed).items())[:MOST_ROWS]
    return ways, ([str(name) for name, _ in means], _pixels(np.stack([image for _, image in means])))


def _pixels(images: np.ndarray) -> np.ndarray:
    return to_pixels("samples", images)[0]
