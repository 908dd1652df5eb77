"""The commands for images: fit, evaluate, score, sample and report, each a function of its arguments by name."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pushforward.cli.common import emit, finish, listed, print_table, say, torch_scope
from pushforward.cli.image_files import (
    check_images_output,
    judged,
    labels_of,
    load_images_model,
    read_judged,
    refuse_given,
    refuse_sizes,
    shown_like,
    tell_if_long,
    write_images,
    write_picture,
)
from pushforward.cli.image_fit import fit_images
from pushforward.cli.options import parse_assignments
from pushforward.cli.outputs import check_output, remember, write_blocks
from pushforward.data.image_pairs import read_given
from pushforward.data.images import read_images
from pushforward.data.pixel_arrays import from_pixels, to_pixels
from pushforward.estimators import FlowImages
from pushforward.estimators.image_answers import ClassScores
from pushforward.estimators.image_conditions import Attributes, Classes, Pictures
from pushforward.evaluate.images import ImageEvaluation
from pushforward.evaluate.metrics import with_error
from pushforward.io import read_header
from pushforward.train.progress import advancing

__all__ = ["COMMANDS"]

Arguments = Mapping[str, Any]
BLOCK = 256
"""Images that are scored at a time."""
COLUMNS, DRAWN, COMPLETED, RESTORED = 8, 64, 16, 7
"""Images of each class in a grid of all, images without classes, completions, and draws for each image that is given,
by default."""


def fit(arguments: Arguments, typed: set[str]) -> None:
    """Learn images, and compare the model with simple ones on those held out."""
    with torch_scope(arguments["seed"], arguments["threads"]):
        result = fit_images(arguments, show=not arguments["json"])
    evaluation = result.pop("evaluation")
    if arguments["json"]:
        emit({**result, "evaluation": None if evaluation is None else evaluation.to_dict()})
        return
    if evaluation is not None:
        show_evaluation(evaluation, f"{evaluation.images:,} validation images")
    stopped = f"; {result['stopped']}" if result["stopped"] else ""
    say(f"{result['out']}: {result['parameters']:,} parameters, {result['seconds']:.0f} s of training{stopped}.")
    say(f"Next: {result['next']}")


def evaluate(arguments: Arguments, typed: set[str]) -> None:
    """Bits per dimension beside simple models and codes, and how good Bayes' rule is."""
    with torch_scope(arguments["seed"], arguments["threads"]):
        model = load_images_model(arguments["model"])
        images = read_judged(
            model, arguments["table"], arguments["labels"], arguments["limit"], arguments["given_images"]
        )
        train = None if arguments["train"] is None else read_images(arguments["train"])
        if train is not None:
            refuse_sizes(model, train, arguments["train"])
        truth = labels_of(model, images, arguments["labels"])
        evaluation, _ = judged(model, images.pixels, truth, None if train is None else train.pixels)
    if arguments["json"]:
        emit(evaluation.to_dict())
        return
    show_evaluation(evaluation, f"{evaluation.images:,} images")


def show_evaluation(evaluation: ImageEvaluation, title: str) -> None:
    """Print an evaluation as a table."""
    rows = []
    for name, length in evaluation.rows():
        ahead = "" if math.isnan(length.ahead) else with_error(length.ahead, length.ahead_error)
        kind = length.exactness if length.exactness in ("exact", "bound") else "estimate"
        rows.append([name, with_error(length.bits, length.error), kind, ahead])
    print_table(rows, ["bits per dimension", "mean, lower is better", "which is", "model is ahead by"], title=title)
    if any(name in evaluation.others for name in ("independent pixels", "Gaussian, dequantized")):
        say(f"Independent pixels and the Gaussian were fitted to {evaluation.note}.")
    if (c := evaluation.classifier) is not None:
        say(
            f"Bayes' rule is right about {c.accuracy:.1%} ± {c.error:.1%} of the classes; log loss {c.log_loss:.3f} "
            f"nats, calibration error {c.calibration_error:.3f}."
        )


def score(arguments: Arguments, typed: set[str]) -> None:
    """Write bits per dimension, log-probability and class probabilities of each image."""
    out, source = arguments["out"], arguments["table"]
    with torch_scope(arguments["seed"], arguments["threads"]):
        check_output(out, arguments["model"], source, force=arguments["force"])
        model = load_images_model(arguments["model"]).set_params(verbose=False)  # the blocks have a bar of their own
        images = read_judged(model, source, None, None, arguments["given_images"])
        tell_if_long(model, len(images))
        numbers, total = math.prod(images.shape) * math.log(2), 0.0

        def blocks() -> Any:
            nonlocal total
            starts = range(0, len(images), BLOCK)
            for start in advancing(starts, "score") if len(starts) > 1 else starts:
                block = images.pixels[start : start + BLOCK]
                if images.pictures is None:
                    scores = model.score_by_class(block)
                else:
                    scores = ClassScores(model.score_samples(block, images.pictures[start : start + BLOCK]))
                total += float(scores.total.sum())
                columns: dict[str, Any] = {
                    "file": list(images.names[start : start + BLOCK]),
                    "bits_per_dimension": -scores.total / numbers,
                    "log_probability": scores.total,
                }
                if scores.probabilities is not None:
                    names = [f"p_{name}" for name in model.classes_]
                    columns |= dict(zip(names, scores.probabilities.T, strict=True))
                yield pa.table({name: pa.array(values) for name, values in columns.items()})

        rows = write_blocks(out, blocks(), source)
    mean = total / rows
    result = {
        "out": out, "images": rows, "mean_log_probability": mean, "bits_per_dimension": -mean / numbers,
        "exactness": model.exactness,
    }  # fmt: skip
    kind = "exact" if model.exactness == "exact" else "a bound"
    finish(
        result, arguments["json"], f"{out}: {rows:,} images, mean {-mean / numbers:.4f} bits per dimension ({kind})."
    )


def sample(arguments: Arguments, typed: set[str]) -> None:
    """Write new images, or completions of one, as a grid, a folder or an array."""
    grid, out, path = arguments["grid"], arguments["out"], arguments["model"]
    with torch_scope(arguments["seed"], arguments["threads"]):
        if grid is None and out is None:
            raise ValueError("sample: name a PNG for all images by --grid, or a folder, .npy or .npz file by --out.")
        if grid is not None and not grid.lower().endswith(".png"):
            raise ValueError(f"--grid: the picture is a PNG; got {grid}. Write --grid {grid}.png.")
        force, complete, pictures = arguments["force"], arguments["complete"], arguments["given_images"]
        if grid is not None:
            check_output(grid, path, complete, pictures, out, force=force, option="--grid")
        if out is not None:
            check_images_output(out, path, complete, pictures, grid, force=force)
        model = load_images_model(path)
        y = condition_of(model, arguments["conditions"] or (), path)
        if pictures is not None:
            refuse_given(model, pictures)
            y = read_given(pictures).pixels
            if complete is not None and len(y) > 1:
                raise ValueError(f"--complete: it completes one image, and {pictures} holds {len(y)}. Give one.")
        images = draw(model, y, arguments, arguments["rows"] if "rows" in typed else None)
        written = []
        if grid is not None:
            write_picture(grid, images.as_grid(model.levels))
            written.append(grid)
        if out is not None:
            write_images(out, images.pixels, images.classes, model.levels)
            written.append(out)
    count = len(images.pixels)
    told: Any = pictures if pictures is not None or y is None else str(y)
    if isinstance(model.condition_, Attributes) and y is not None:
        told = dict(zip(model.condition_.names, y.tolist(), strict=True))
    what = "completions" if complete is not None else "images"
    order = ""
    if images.columns and images.first is None:
        order = f", one class a row: {listed([str(name) for name in model.classes_])}"
    elif images.columns and grid is not None:
        order = ", after the image that each row is given"
    result = {"written": written, "images": count, "given": told}
    finish(result, arguments["json"], f"{' and '.join(written)}: {count:,} {what}{order}.")


@dataclass(frozen=True)
class Drawn:
    """Images (n, channels, height, width) that were drawn.

    Attributes:
        classes: of each, where they are known.
        columns: of their grid; None for about as many as rows.
        first: what stands before them in the grid, such as the rows that were completed; with columns, before each row.
    """

    pixels: np.ndarray
    classes: list[Any] | None = None
    columns: int | None = None
    first: np.ndarray | None = None

    def as_grid(self, levels: int) -> np.ndarray:
        """The images side by side, (channels, height, width)."""
        from pushforward.evaluate.image_grid import grid_of, image_grid

        shown, columns = self.pixels, self.columns
        if self.first is not None:
            rows = shown.reshape(len(self.first), -1, *shown.shape[1:])
            shown = np.concatenate([self.first[:, None], rows], axis=1).reshape(-1, *shown.shape[1:])
            columns = None if columns is None else columns + 1
        return image_grid(grid_of(shown, columns, blank=levels - 1), levels=levels)


def draw(model: FlowImages, y: Any, arguments: Arguments, count: int | None) -> Drawn:
    """As many images as were asked for, of a condition, or completions of an image. Without number and condition there
    are several of each class."""
    options = {name: arguments[name] for name in ("guidance", "temperature")} | {"random_state": arguments["seed"]}
    if arguments["complete"] is not None:
        top = first_rows(model, arguments["complete"])
        images = model.complete(from_pixels(top, model.layout_), count or COMPLETED, y, **options)
        below = ((0, 0), (0, model.shape_[1] - top.shape[1]), (0, 0))
        return Drawn(_pixels(images), first=np.pad(top, below, constant_values=(model.levels - 1) // 2)[None])
    if isinstance(model.condition_, Pictures) and y is not None:
        each = count or RESTORED
        images = _pixels(model.sample(each * len(y), y.repeat(each, axis=0), **options))
        return Drawn(images, columns=each, first=shown_like(model, y))
    if isinstance(model.condition_, Pictures):
        say("Without --given-images these are draws of images that are given nothing.")
    if not isinstance(model.condition_, Classes):
        return Drawn(_pixels(model.sample(count or DRAWN, y, **options)))
    names, columns = model.condition_.names, None
    if y is not None:
        classes = [y] * (count or DRAWN)
    elif count is None:
        columns, classes = COLUMNS, [name for name in names for _ in range(COLUMNS)]
    else:
        random = np.random.default_rng(arguments["seed"])
        classes = [names[k] for k in random.choice(len(names), size=(count,), p=model.class_prior_).tolist()]
    return Drawn(_pixels(model.sample(len(classes), classes, **options)), classes, columns)


def _pixels(images: np.ndarray) -> np.ndarray:
    return to_pixels("the images", images)[0]


def condition_of(model: FlowImages, conditions: Any, path: str) -> Any:
    """``label=3`` as the label, or ``age=30,angle=2`` as attributes."""
    if not conditions:
        return None
    condition = model.condition_
    if isinstance(condition, Classes):
        text = parse_assignments("--given", conditions, ["label"], where=path, noun="condition", form="label=NAME")
        try:
            return condition.names[condition.place(text["label"])]
        except ValueError as error:
            raise ValueError(f"--given: {str(error).removeprefix('FlowImages: ')}") from None
    if isinstance(condition, Attributes):
        names = list(condition.names)
        form = f"{names[0]}=NUMBER"
        texts = parse_assignments("--given", conditions, names, where=path, noun="attribute", form=form)
        if absent := [name for name in names if name not in texts]:
            raise ValueError(f"--given: a value of {listed(absent)} is missing.")
        try:
            return np.array([float(texts[name]) for name in names])
        except ValueError:
            raise ValueError(f"--given: attributes are numbers; got {', '.join(texts.values())}.") from None
    if isinstance(condition, Pictures):
        raise ValueError(f"--given: {path} is conditional on images. Give one by --given-images.")
    raise ValueError(f"--given: {path} was fitted without labels. Fit it with --labels, or leave --given out.")


def first_rows(model: FlowImages, path: str) -> np.ndarray:
    """The first rows (channels, rows, width) of one image; of a whole image its upper half."""
    from pushforward.data.images import read_image

    (channels, height, width), image = model.shape_, read_image(path)
    if (image.shape[0] == 3 and channels == 1) or image.shape[2] != width or image.shape[1] > height:
        kind = "a gray image" if channels == 1 else "an image in colour"
        raise ValueError(
            f"--complete: {path} has {image.shape[1]} × {image.shape[2]} pixels"
            f"{' in colour' if image.shape[0] == 3 else ''}; the model takes up to {height} rows of {width} pixels of "
            f"{kind}. Resize or convert it."
        )
    if image.shape[0] < channels:
        image = image.repeat(channels, axis=0)
    if image.shape[1] == height:
        say(f"{path} is a whole image: its first {height // 2} of {height} rows are kept.")
        image = image[:, : height // 2]
    return image


def report(arguments: Arguments, typed: set[str]) -> None:
    """Write an HTML page on a model and images."""
    from pushforward.cli.image_report import write_image_report

    out, source, train_path = arguments["out"], arguments["table"], arguments["train"]
    with torch_scope(arguments["seed"], arguments["threads"]):
        check_output(out, arguments["model"], source, train_path, force=arguments["force"])
        model, metadata = load_images_model(arguments["model"]), read_header(arguments["model"]).metadata
        images = read_judged(model, source, arguments["labels"], arguments["limit"], arguments["given_images"])
        train = None if train_path is None else read_images(train_path)
        if train is not None:
            refuse_sizes(model, train, train_path)
        files = [] if train_path is None else ["--train", train_path]
        for name in ("labels", "given_images"):
            files += [f"--{name.replace('_', '-')}", arguments[name]] if arguments[name] else []
        files += [f"--limit={arguments['limit']}"] if arguments["limit"] else []
        call = [
            "pushforward",
            "report",
            arguments["model"],
            source,
            *files,
            "--out",
            out,
            f"--seed={arguments['seed']}",
        ]
        evaluation, bits = judged(
            model, images.pixels, labels_of(model, images, arguments["labels"]), None if train is None else train.pixels
        )
        numbers = write_image_report(
            out, f"{arguments['model']} on {source}", model, images, train, evaluation=evaluation, bits=bits,
            facts={key: metadata[key] for key in ("model", "options", "train_rows") if key in metadata},
            command=shlex.join(call), seed=arguments["seed"],
        )  # fmt: skip
        remember(out)
    finish({"out": out, **numbers}, arguments["json"], f"{out}: written.")


COMMANDS: Mapping[str, Callable[[Arguments, set[str]], None]] = {
    "fit": fit, "evaluate": evaluate, "score": score, "sample": sample, "report": report,
}  # fmt: skip
