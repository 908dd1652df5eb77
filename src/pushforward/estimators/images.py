"""`FlowImages`: the distribution of images of whole numbers, perhaps given a class, attributes or other images."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.allocator import keep_memory_of_steps
from pushforward.core.checks import at_least, not_negative, one_of, positive
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness
from pushforward.core.random_state import seeded
from pushforward.data.image_labels import ImageAttributes
from pushforward.data.images import Images, read_images
from pushforward.data.pixel_arrays import Layout, to_pixels
from pushforward.estimators.image_conditions import Classes, Pictures, condition_from_json, learn_condition
from pushforward.estimators.image_latents import ImageLatents
from pushforward.estimators.image_schedule import image_schedule
from pushforward.estimators.parameters import TrainedEstimator, seed_of
from pushforward.flows import IMAGE_FLOWS
from pushforward.io import load, read_header, save
from pushforward.train import History, HybridLikelihood, Loss, Started, fit, with_labels_dropped

__all__ = ["FlowImages", "PreparedImages"]

MOST_HELD = 500
"""Images held out for validation at most: more would cost time and hardly say more."""


class PreparedImages(NamedTuple):
    """Images as they are about to be learned from, for a function that is called then.

    Attributes:
        model: the estimator, whose classes and shape are known.
        train: the training images (n, channels, height, width).
        validation: those that are held out, or None.
        labels: the number of the class of each of these, their attributes, or the images that they are given.
    """

    model: FlowImages
    train: NDArray[np.uint8]
    validation: NDArray[np.uint8] | None
    labels: NDArray[np.int64] | ImageAttributes | NDArray[np.uint8] | None


@dataclass(kw_only=True, eq=False, repr=False)
class FlowImages(ImageLatents, DensityMixin, TrainedEstimator):
    r"""The distribution of images whose pixels are whole numbers, perhaps given a class, attributes or another image.

    ``model="pixels"``, the default, is a probability of each pixel given those before it: its numbers are **exact**,
    the lengths of codes, and it completes images whose first rows are there. The flows among
    `pushforward.flows.IMAGE_FLOWS` (``"tarflow"``, ``"window_flow"``, ``"glow"``, ...) see dequantized pixels: their
    numbers are lower **bounds** on log-probabilities, and they have a latent space in which images are interpolated.
    `exactness` says which of these.

    Images are arrays of whole numbers (n, height, width), (n, height, width, channels) or (n, channels, height, width),
    an object of `data.Images`, or a path that `data.read_images` reads, with the labels there. Answers have the order
    of axes of the images that were fitted.

    With labels the model is one of each class, and p(x) is the mixture over classes by their frequencies; Bayes' rule
    gives the probability of each class (`predict_proba`). Some labels are hidden in training, another part in each
    epoch, so that the same network is a model of images of any class as well. With an image for each image, such as a
    small, a noisy or a gray one, the model restores: it draws the images that may belong to one that is given.

    Args:
        model: ``"pixels"``, or the name of a flow of images.
        options: of the model, such as ``{"depth": 6, "hidden": (128, 128)}`` for ``"tarflow"``.
        levels: how many values a pixel has: they are 0 .. levels - 1.
        label_dropout: share of the images of an epoch whose labels, attributes or given images are hidden.
        classification: weight of the log-probability of the label by Bayes' rule in what training maximises, beside the
            log-likelihood; see `train.HybridLikelihood`. Above 0, such as 20, for a better classifier: a step takes
            twice as long, and images lose little or nothing in likelihood.
        steps: largest number of optimiser steps.
        epochs: largest number of passes over the images.
        seconds: time limit of the training in seconds. Without any limit the number of images chooses the steps.
        batch_size: images per step. On a CPU 16 by default for ``"pixels"``, ``"window_flow"`` and where the time limit
            is below 15 minutes, else 64.
        lr: peak learning rate: 0.01 by default for ``"pixels"`` and ``"window_flow"``, else 0.002, and 0.003 where the
            time limit is below 15 minutes.
        validation: share of the images held out for early stopping (500 at most), or such images, perhaps with their
            labels as ``(images, y)``; None for no early stopping.
        patience: validations without improvement after which training stops; None for no early stopping.
        precision: ``"bf16"`` for networks that multiply in bfloat16 while they are trained, as in `pushforward.fit`.
        checkpoint: file for the state of the training, written twice a minute and when it is interrupted.
        resume: whether to go on from the checkpoint if it exists, perhaps with a larger limit.
        random_state: seed or generator of numpy; equal seeds give equal fits.
        device: of torch, such as ``"cuda"``.
        verbose: whether to show a progress bar.

    Attributes:
        model_: the distribution of an image (channels, height, width).
        shape_: (channels, height, width).
        layout_: the order of the axes of the images that were fitted.
        classes_: the classes, where labels were learned; ``class_prior_`` holds their frequencies.
        history_: of the training, in nats per image.

    References:
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), arXiv:1606.05328
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329

    >>> import numpy as np
    >>> from pushforward.estimators import FlowImages
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=200)
    >>> images = np.where(y[:, None, None] == 1, rng.integers(2, 4, (200, 3, 3)), rng.integers(0, 2, (200, 3, 3)))
    >>> model = FlowImages(levels=4, options={"hidden": (8, 8)}, steps=60, lr=0.02, random_state=0).fit(images, y)
    >>> model.exactness, model.predict(np.full((1, 3, 3), 3)).tolist(), model.sample(5, y=0).shape
    ('exact', [1], (5, 3, 3))
    """

    model: str = "pixels"
    options: Mapping[str, Any] | None = None
    levels: int = 256
    label_dropout: float = 0.1
    classification: float = 0.0
    precision: str | None = None

    NOT_SAVED: ClassVar[tuple[str, ...]] = ("random_state", "checkpoint", "resume", "validation", "verbose", "device")

    # --- images

    def _read(self, images: Any, y: Any = None) -> tuple[NDArray[np.uint8], Layout, Any]:
        """Pixels (n, channels, height, width), the order of axes that the user has, and labels."""
        if isinstance(images, str | os.PathLike):
            images = read_images(images)
        if isinstance(images, Images):
            if y is None:
                y = images.pictures if images.pictures is not None else images.attributes
            if y is None and images.labels is not None:
                y = [images.classes[k] for k in images.labels]
            pixels, layout = to_pixels("FlowImages", images.pixels)
        else:
            pixels, layout = to_pixels("FlowImages", np.asarray(images))
        if (highest := int(pixels.max())) >= self.levels:
            raise ValueError(
                f"FlowImages: levels={self.levels} is for pixels of 0 .. {self.levels - 1}; the images hold {highest}."
            )
        return pixels, layout, y

    def _pixels(self, images: Any, y: Any = None) -> tuple[Tensor, Any]:
        """Images of the shape that was fitted, as whole numbers in a tensor, and labels."""
        check_is_fitted(self)
        pixels, _, y = self._read(images, y)
        if pixels.shape[1:] != self.shape_:
            raise ValueError(
                f"FlowImages: the model is of images of {_size(self.shape_)}; got {_size(pixels.shape[1:])}. "
                "Resize or convert them."
            )
        return torch.tensor(pixels), y

    @property
    def exactness(self) -> Exactness:
        """Whether log-probabilities are ``"exact"``, or lower bounds (``"bound"``) because pixels are dequantized."""
        check_is_fitted(self)
        exactness: Exactness = self.model_.exactness
        return exactness

    # --- learning

    def fit(self, images: Any, y: Any = None, *, prepared: Callable[[PreparedImages], None] | None = None) -> Self:
        """Fit the model to images.

        Args:
            images: arrays, `Images` or a path; see the class.
            y: labels (n,); or attributes (n, k), named if it is a data frame of pandas, polars or pyarrow; or an image
                for each, (n, height, width) or with an axis of channels, or `Images`, for ``"pixels"`` and
                ``"window_flow"``. By default the labels, attributes or images (`Images.pictures`) that `Images` or a
                path have, if any.
            prepared: called with what is about to be learned from, before the training.
        """
        self._check_parameters()
        if self.device in (None, "cpu"):
            keep_memory_of_steps()
        pixels, self.layout_, y = self._read(images, y)
        self.shape_: tuple[int, int, int] = tuple(pixels.shape[1:])
        self.condition_ = learn_condition(y, len(pixels), self.shape_[1:])
        context = self.condition_.encode(y, len(pixels))
        train, held_out = self._split(pixels, context)
        if len(train[0]) < 2:
            raise ValueError(f"FlowImages: {len(train[0])} training image is not enough; at least two are needed.")
        seed = seed_of(self.random_state)
        x, context = train[0].float(), train[1]
        with seeded(seed):
            self.model_ = self._build().to(device=self.device)
        self._show_classes()
        if prepared is not None:
            images, contexts = (None, None) if held_out is None else held_out
            held = None if images is None else images.byte().numpy()
            prepared(PreparedImages(self, train[0].numpy(), held, self.condition_.decode(contexts)))
        runs: list[History] = []
        try:
            self.history_ = fit(
                self.model_, self._passes(x, context, seed), validation=held_out, seed=seed, loss=self._loss(),
                precision=self.precision, progress=self.verbose, checkpoint=self.checkpoint, resume=self.resume,
                callbacks=lambda event: runs.append(event.history) if isinstance(event, Started) else None,
                **image_schedule(self.model, len(train[0]), self.device, **self._limits()),
            )  # fmt: skip
        except KeyboardInterrupt:  # the best weights so far are a model as well
            if runs:
                seconds = runs[0].records[-1].seconds if runs[0].records else 0.0
                self.history_ = replace(runs[0], seconds=seconds, stopped="interrupted")
                self.model_.eval()
            raise
        self.model_.eval()
        return self

    def _check_parameters(self) -> None:
        owner = "FlowImages"
        one_of(owner, "model", self.model, tuple(IMAGE_FLOWS))
        for name in ("steps", "batch_size", "patience"):
            if getattr(self, name) not in (None, "auto"):
                at_least(owner, name, getattr(self, name), 1)
        for name in ("epochs", "seconds", "lr"):
            if getattr(self, name) is not None:
                positive(owner, name, getattr(self, name))
        if not 2 <= self.levels <= 256:
            raise ValueError(f"{owner}: levels must be between 2 and 256; got {self.levels}.")
        not_negative(owner, "classification", self.classification)
        if not 0 <= self.label_dropout < 1:
            raise ValueError(f"{owner}: label_dropout must be at least 0 and below 1; got {self.label_dropout}.")
        if isinstance(self.validation, int | float) and not 0 <= self.validation < 1:
            raise ValueError(f"{owner}: validation must be a share below 1, images, or None; got {self.validation}.")

    def _build(self) -> Distribution:
        build, condition = IMAGE_FLOWS[self.model], self.condition_
        parameters = inspect.signature(build).parameters
        options = {"values" if "values" in parameters else "levels": self.levels}
        if isinstance(condition, Pictures):
            if "planes" not in parameters:
                able = [name for name, flow in IMAGE_FLOWS.items() if "planes" in inspect.signature(flow).parameters]
                raise ValueError(
                    f"FlowImages: model={self.model!r} is not conditional on images. Take {' or '.join(able)}."
                )
            options["planes"] = condition.shape[0]
        try:
            return build(self.shape_, condition.size, **{**options, **(self.options or {})})
        except (TypeError, RuntimeError, OverflowError) as error:
            raise ValueError(f"options: {error}") from None

    def _split(self, pixels: NDArray[np.uint8], context: Tensor | None) -> tuple[Any, Any]:
        """Training and validation images, each with their contexts."""
        x, share = torch.tensor(pixels), self.validation
        if share is None or isinstance(share, int | float):
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed_of(self.random_state)))
            count = min(MOST_HELD, round((share or 0.0) * len(x)))
            parts = [order[count:], order[:count]]
            train, held = ((x[part], None if context is None else context[part]) for part in parts)
            return train, None if count == 0 else (held[0].float(), held[1])
        images, y = share if isinstance(share, tuple) else (share, None)
        held_out, _, y = self._read(images, y)
        if held_out.shape[1:] != self.shape_:
            raise ValueError(
                f"FlowImages: the validation images have {_size(held_out.shape[1:])}, and the others "
                f"{_size(self.shape_)}. Resize or convert them."
            )
        return (x, context), (torch.tensor(held_out).float(), self.condition_.encode(y, len(held_out)))

    def _passes(self, x: Tensor, context: Tensor | None, seed: int) -> Any:
        """The images; with a condition those of each epoch, and it is hidden for another part of them each time."""
        if context is None:
            return x
        return with_labels_dropped(x, context, self.label_dropout, seed=seed)

    def _limits(self) -> dict[str, Any]:
        names = ("steps", "epochs", "seconds", "batch_size", "lr", "patience")
        return {name: getattr(self, name) for name in names}

    def _loss(self) -> Loss | None:
        """What training minimises; None for the likelihood alone."""
        if not self.classification:
            return None
        classes = self.condition_
        if not isinstance(classes, Classes) or classes.size < 2:
            raise ValueError("FlowImages: classification is for images of two or more labels. Give y, or leave it out.")
        return HybridLikelihood(
            classes.each().tolist(), weight=self.classification, log_prior=classes.log_frequencies.tolist()
        )

    def _show_classes(self) -> None:
        if isinstance(self.condition_, Classes):
            self.classes_ = np.array(self.condition_.names, dtype=None if _of_one_type(self.condition_) else object)
            self.class_prior_ = np.array(self.condition_.frequencies)

    # --- files

    def as_saved(self) -> tuple[Distribution, dict[str, Any]]:
        """The model, and the metadata of the file that ``pf.save(estimator, path)`` writes."""
        check_is_fitted(self)
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in self.NOT_SAVED}
        history: History | None = getattr(self, "history_", None)
        description = {
            "name": "FlowImages", "parameters": parameters, "shape": self.shape_, "layout": self.layout_,
            "condition": self.condition_.to_json(),
        }  # fmt: skip
        return self.model_, {
            "estimator": description,
            **({} if history is None else {"history": history.to_dict()}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write model, classes and parameters to a safetensors file, without pickle, which `load` reads."""
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The estimator that `save` wrote. No code from the file is run.

        Raises:
            ValueError: the file is damaged, or holds no model of images.
        """
        metadata = read_header(path).metadata
        description = metadata.get("estimator", {})
        if description.get("name") != "FlowImages":
            raise ValueError(f"{os.fspath(path)}: this file holds no FlowImages. Read it with pushforward.load.")
        estimator = cls(**description["parameters"])
        estimator.shape_, estimator.layout_ = tuple(description["shape"]), description["layout"]
        estimator.condition_ = condition_from_json(description["condition"])
        if "history" in metadata:
            estimator.history_ = History.from_dict(metadata["history"])
        estimator.model_ = load(Path(path), device=estimator.device)
        estimator._show_classes()
        return estimator


def _size(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{height} × {width} pixels{' in colour' if channels == 3 else ''}"


def _of_one_type(classes: Classes) -> bool:
    """Whether numpy holds the names as they are."""
    return len({type(name) for name in classes.names}) == 1 and isinstance(classes.names[0], str | int | bool)
