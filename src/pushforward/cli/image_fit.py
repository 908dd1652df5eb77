"""``pushforward fit`` for images: from a folder or an array to a model file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushforward.cli.common import Interrupted, listed, say, suggestion
from pushforward.cli.fit import parse_options
from pushforward.cli.image_files import judged
from pushforward.cli.outputs import check_checkpoint, check_model_output, only_run_to, write_model
from pushforward.core.rank import is_first_process
from pushforward.data.image_pairs import with_given
from pushforward.data.images import Images, read_images
from pushforward.estimators import FlowImages
from pushforward.estimators.image_conditions import Attributes, Pictures
from pushforward.estimators.images import PreparedImages
from pushforward.evaluate.images import ImageEvaluation
from pushforward.flows import FLOWS, IMAGE_FLOWS
from pushforward.train.checkpoint import read_step

__all__ = ["fit_images"]

DEFAULT = "pixels"
JUDGED, FEWEST, SCORES = 200, 20, 4_000
"""Validation images that are scored after the training, at most and at least; scores of these and classes at most."""


def fit_images(arguments: Mapping[str, Any], *, show: bool) -> dict[str, Any]:
    """Fit a model of images, save it and compare it with simple models. Mistakes are refused before the training.

    Raises:
        ValueError: an option or the images cannot be used.
    """
    source, out = arguments["table"], arguments["out"]
    name = DEFAULT if arguments["model"] == "auto" else arguments["model"]
    options = parse_options(name, arguments["settings"] or (), _defaults(name))
    checkpoint = arguments["checkpoint"] or f"{out}.checkpoint"
    validation = arguments["validation"]
    beside = (arguments["labels"], arguments["given_images"], validation)
    inputs = [source, *(path for path in beside if isinstance(path, str))]
    check_model_output(out, *inputs, force=arguments["force"], columns=())
    check_checkpoint(checkpoint, *inputs, out)
    if arguments["labels"] and arguments["no_labels"]:
        raise ValueError("--labels and --no-labels: give one of them.")
    if arguments["labels"] and arguments["given_images"]:
        raise ValueError("--labels and --given-images: a model is conditional on one of them. Leave one out.")
    images = _read(source, arguments["labels"], arguments)
    if arguments["given_images"]:
        if isinstance(validation, str):
            raise ValueError("--validation: with --given-images it is a share of the images. Give a number below 1.")
        images = with_given(images, source, arguments["given_images"])
    limits = {key: arguments[key] for key in ("seconds", "epochs", "steps", "batch_size", "lr", "device")}
    model = FlowImages(
        model=name, options=options, levels=arguments["levels"], precision=arguments["precision"],
        classification=arguments["classification"],
        validation=_read(validation, None, arguments) if isinstance(validation, str) else validation or None,
        checkpoint=checkpoint, resume=arguments["resume"], random_state=arguments["seed"], verbose=show, **limits,
    )  # fmt: skip
    with only_run_to(out):
        return ImageRun(model, arguments, checkpoint).fit(images)


def _defaults(name: str) -> dict[str, Any]:
    """The options of a model of images, and their defaults."""
    if name not in IMAGE_FLOWS:
        of_tables = " That one is of tables." if name in (*FLOWS, "mixed") else suggestion(name, list(IMAGE_FLOWS))
        raise ValueError(
            f"--model: there is no model of images {name!r}.{of_tables} Choose one of {listed(sorted(IMAGE_FLOWS))}."
        )
    parameters = inspect.signature(IMAGE_FLOWS[name]).parameters.values()
    counts = {"values"} if any(p.name == "values" for p in parameters) else {"levels"}
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in counts}


def _read(path: str, labels: str | None, arguments: Mapping[str, Any]) -> Images:
    """Images of a path, as labelled as they are wanted."""
    images = read_images(path, labels)
    if (highest := int(images.pixels.max())) >= arguments["levels"]:
        raise ValueError(
            f"{path}: --levels {arguments['levels']} is for pixels of 0 .. {arguments['levels'] - 1}; the images hold "
            f"{highest}."
        )
    return Images(images.pixels, names=images.names) if arguments["no_labels"] else images


class ImageRun:
    """One fit, its files and what is said about it."""

    def __init__(self, model: FlowImages, arguments: Mapping[str, Any], checkpoint: str) -> None:
        self.model, self.arguments, self.checkpoint = model, arguments, checkpoint
        self.prepared: PreparedImages | None = None

    def fit(self, images: Images) -> dict[str, Any]:
        """Train, save and compare; Ctrl-C leaves the best weights so far in the model file."""
        out, path, model = self.arguments["out"], self.checkpoint, self.model
        try:
            model.fit(images, prepared=self.announce)
        except KeyboardInterrupt:
            kept = f" The state of the run is in {path}: continue with --resume." if os.path.exists(path) else ""
            if not hasattr(model, "history_"):
                raise Interrupted(f"Interrupted before the training began; no model written.{kept}") from None
            write_model(model, out, self.metadata())
            records = model.history_.records
            when = f"at step {records[-1].step:,}" if records else "before the first validation"
            raise Interrupted(f"Interrupted {when}. The best weights so far are in {out}.{kept}") from None
        write_model(model, out, self.metadata())  # first, so that Ctrl-C from here on loses nothing
        evaluation = self.judge()
        if is_first_process():
            Path(path).unlink(missing_ok=True)
        history = model.history_
        beside = " --given-images IMAGE" if isinstance(model.condition_, Pictures) else ""
        return {
            "out": out, **self.metadata(), "parameters": sum(p.numel() for p in model.model_.parameters()),
            "seconds": history.seconds, "steps": history.records[-1].step if history.records else 0,
            "best_step": history.best_step, "stopped": history.stopped, "exactness": model.exactness,
            "evaluation": evaluation, "next": f"pushforward sample {out}{beside} --grid {Path(out).stem}.png",
        }  # fmt: skip

    def announce(self, prepared: PreparedImages) -> None:
        """Say what is learned from, and by what."""
        self.prepared, model = prepared, prepared.model
        channels, height, width = model.shape_
        held = 0 if prepared.validation is None else len(prepared.validation)
        classes = ""
        if hasattr(model, "classes_"):
            classes = f", of {len(model.classes_)} classes: {listed([str(name) for name in model.classes_])}"
        elif isinstance(model.condition_, Attributes):
            classes = f", given {listed(list(model.condition_.names))}"
        elif isinstance(model.condition_, Pictures):
            classes = f", given images of {' × '.join(map(str, model.condition_.shape[1:]))} pixels"
        say(
            f"{self.arguments['table']}: {len(prepared.train):,} training and {held:,} validation images of "
            f"{height} × {width} pixels{' in colour' * (channels == 3)}{classes}."
        )
        kind = "exact" if model.exactness == "exact" else "a bound"
        say(f"Fitting {model.model}, whose bits per dimension are {kind}.")
        path = self.checkpoint
        if self.arguments["resume"] and not os.path.exists(path):
            say(f"There is no checkpoint {path}: starting from scratch.")
        elif self.arguments["resume"]:
            say(f"Going on from step {read_step(path):,} of {path}.")
        elif os.path.exists(path):
            say(f"Starting from scratch and replacing the checkpoint {path}; --resume continues from it.")

    def metadata(self) -> dict[str, Any]:
        """What the model file says about itself besides the model."""
        prepared, model = self.prepared, self.model
        held = None if prepared is None else prepared.validation
        return {
            "model": model.model,
            "options": dict(model.options or {}),
            "images": " × ".join(map(str, model.shape_)),
            "classes": [str(name) for name in getattr(model, "classes_", ())],
            "attributes": list(model.condition_.names) if isinstance(model.condition_, Attributes) else [],
            "given_images": " × ".join(map(str, model.condition_.shape))
            if isinstance(model.condition_, Pictures)
            else None,
            "seed": self.arguments["seed"],
            "train_rows": 0 if prepared is None else len(prepared.train),
            "validation_rows": 0 if held is None else len(held),
        }

    def judge(self) -> ImageEvaluation | None:
        """The model beside simple ones, on images that it has not seen."""
        prepared, model = self.prepared, self.model
        if prepared is None or prepared.validation is None:
            return None
        count = min(JUDGED, max(FEWEST, SCORES // max(1, len(getattr(model, "classes_", ())))))
        truth = None if prepared.labels is None else prepared.labels[:count]
        return judged(model, prepared.validation[:count], truth, prepared.train)[0]
