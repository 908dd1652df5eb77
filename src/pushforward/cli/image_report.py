"""``pushforward report`` for images: what the page shows, gathered from a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
WAYS, AVERAGED = 3, 500
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
    else:
        samples = grid_of(_pixels(model.sample(DRAWN, random_state=seed)))
    flat = samples.reshape(-1, *samples.shape[2:])
    chosen = flat[np.random.default_rng(seed).permutation(len(flat))[:PAIRS]]
    others = images if train is None else train
    completions = None
    if isinstance(model.model_, DiscreteGrid) and model.shape_[1] > 1:
        first = images.pixels[seed % len(images)]
        top = from_pixels(first[:, : model.shape_[1] // 2], model.layout_)
        rest = _pixels(model.complete(top, COMPLETED, random_state=seed))
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
    )  # fmt: skip
    write_report(path, title, image_sections(shown, command))
    return evaluation.to_dict()


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
    few = images.take(random.permutation(len(images))[:AVERAGED])
    means = list(model.mean_latents(few, random_state=seed).items())[:MOST_ROWS]
    return ways, ([str(name) for name, _ in means], _pixels(np.stack([image for _, image in means])))


def _pixels(images: np.ndarray) -> np.ndarray:
    return to_pixels("samples", images)[0]
