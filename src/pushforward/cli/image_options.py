"""One command for tables and for images: what its file is decides which of the two runs.

`also_images` adds the options of images to a command, and hands it over to `cli.image_commands` where its first
argument is a file or folder of images or a model of images. An option that was typed and is for the other kind is
refused in one sentence.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from pushforward.cli.common import command, listed
from pushforward.cli.options import positive_number

__all__ = ["also_images"]

Function = TypeVar("Function", bound=Callable[..., None])


def _option(kind: Any, default: Any, *names: str, **options: Any) -> tuple[Any, Any]:
    """Annotation and default of an option."""
    return Annotated[kind, typer.Option(*names, show_default=False, rich_help_panel="Images", **options)], default


LABELS = _option(
    str | None,
    None,
    "--labels",
    help="A CSV with the columns file and label, or file and several of numbers; or an idx or .npy file.",
)
GIVEN = _option(
    str | None,
    None,
    "--given-images",
    help="An image for each image, on which it is conditional, such as a smaller or noisier one: a folder with files "
    "of the same names, or an array in the same order.",
)
LIMIT = _option(int | None, None, "--limit", min=1, help="Score so many images, drawn at random; all by default.")
TRAIN = _option(str | None, None, "--train", help="The training images, to which the simple models are fitted.")

IMAGE_OPTIONS: dict[str, dict[str, tuple[Any, Any]]] = {
    "fit": {
        "labels": LABELS,
        "given_images": GIVEN,
        "no_labels": _option(bool, False, "--no-labels", help="Learn without the labels that are with the images."),
        "classification": _option(
            float,
            0.0,
            "--classification",
            min=0.0,
            metavar="NUMBER",
            help="Weight of the probability of the label by Bayes' rule in training, such as 20; 0 for none.",
        ),
        "levels": _option(int, 256, "--levels", min=2, max=256, help="Values of a pixel, from 0 on."),
        "precision": _option(str | None, None, "--precision", help="bf16 for products in bfloat16 while training."),
    },
    "evaluate": {"labels": LABELS, "given_images": GIVEN, "train": TRAIN, "limit": LIMIT},
    "score": {"given_images": GIVEN},
    "sample": {
        "grid": _option(str | None, None, "--grid", help="A PNG to write, with the images side by side."),
        "given_images": _option(
            str | None,
            None,
            "--given-images",
            help="An image, or several, on each of which --rows draws are conditional.",
        ),
        "complete": _option(
            str | None, None, "--complete", help="An image whose first rows are kept; of a whole one the upper half."
        ),
        "guidance": _option(
            float, 0.0, "--guidance", min=0, metavar="NUMBER", help="Above 0: more typical of the label of --given."
        ),
        "temperature": _option(
            float, 1.0, "--temperature", parser=positive_number, metavar="NUMBER", help="Below 1: more usual images."
        ),
    },
    "report": {"labels": LABELS, "given_images": GIVEN, "limit": LIMIT},
    "impute": {},
    "intervals": {},
    "anomalies": {},
    "schema": {},
}
"""The further options of each command: annotation and default by name."""

COMMON = {"json", "debug", "seed", "threads", "force"}
TAKEN: Mapping[str, set[str]] = {
    "fit": {
        "table", "out", "model", "seconds", "epochs", "steps", "validation", "settings", "batch_size", "lr", "resume",
        "checkpoint", "device",
    },
    "evaluate": {"model", "table"},
    "score": {"model", "table", "out"},
    "sample": {"model", "out", "rows", "conditions"},
    "report": {"model", "table", "out", "train"},
}  # fmt: skip
"""The options of tables that each command takes for images as well."""
INSTEAD: Mapping[str, str] = {
    "impute": "Complete an image from its first rows by: pushforward sample {0} --complete half.png --grid out.png",
    "intervals": "For the probability of each class use: pushforward score {0} IMAGES --out scores.csv",
    "anomalies": "Fit a model of them, and find the rarest by: pushforward report MODEL IMAGES, or score.",
    "schema": "They have no columns; pushforward fit {0} --out m.safetensors says how they are read.",
}
"""What to do with images instead of commands that are for tables alone."""


WORDS: Mapping[str, str] = {
    "classification is for images of two or more labels. Give y, or leave it out.": "--classification is for images of "
    "two or more labels. Name them by --labels, or leave it out.",
    "Fit it with y.": "Fit it with --labels.",
    "model='pixels' has.": "--model pixels has.",
    "fit: precision": "--precision",
    "Fit with label_dropout above 0.": "Fit it from Python with label_dropout above 0.",
    "options: ": "--set: ",
    "y is missing. Give y, or fit with label_dropout above 0.": "its condition is missing. Name it by --given or "
    "--given-images.",
}
"""What sentences of `FlowImages` say in other words here."""


def also_images(function: Function) -> Function:
    """Let a command on tables take images as well, as far as `TAKEN` or `INSTEAD` says."""
    name = function.__name__
    further = IMAGE_OPTIONS[name]

    @functools.wraps(function)
    def run(*args: Any, typer_context: typer.Context, **kwargs: Any) -> None:
        flags = {option.name: max(option.opts, key=len) for option in typer_context.command.params}
        typed = {n for n in kwargs if getattr(typer_context.get_parameter_source(n), "name", "") == "COMMANDLINE"}
        if (subject := _of_images(name, kwargs)) is not None:
            command(_for_images)(name, subject, {n: kwargs[n] for n in kwargs}, typed, flags, debug=kwargs["debug"])
            return
        chosen = {n: kwargs.pop(n) for n in further}
        if name != "fit" and typed & chosen.keys():
            command(_refuse_absent)(kwargs.get("model"))
        if name in TAKEN and kwargs.get("out", "") is None:
            typer_context.fail("Missing option '--out'.")
        command(_refuse)(sorted(typed & chosen.keys()), kwargs, flags)
        function(*args, **kwargs)

    signature = inspect.signature(function, eval_str=True)
    parameters = [p.replace(default=None) if p.name == "out" and name == "sample" else p
                  for p in signature.parameters.values()]  # fmt: skip
    added = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for n, (annotation, default) in further.items()
    ]
    context = inspect.Parameter("typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    run.__signature__ = signature.replace(parameters=[*parameters, *added, context])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*parameters, *added, context]}
    return run  # type: ignore[return-value]


def _of_images(name: str, arguments: Mapping[str, Any]) -> str | None:
    """The path of images, or of a model of images, that a command is for; None where it is for a table."""
    from pushforward.data.images import names_images
    from pushforward.io import read_header

    if name in ("fit", "schema", "anomalies") and names_images(arguments["table"]):
        return str(arguments["table"])
    path = None if name == "fit" else arguments.get("model")
    if path is None or not os.path.isfile(path):
        return None
    try:
        metadata = read_header(path).metadata
    except (ValueError, OSError):  # which the command says
        return None
    return path if metadata.get("estimator", {}).get("name") == "FlowImages" else None


def _for_images(
    name: str, subject: str, arguments: dict[str, Any], typed: set[str], flags: Mapping[str, str], *, debug: bool
) -> None:
    """Run the command of this name for images."""
    if name in INSTEAD:
        raise ValueError(f"{name}: {subject} is of images, and this is for tables. {INSTEAD[name].format(subject)}")
    taken = TAKEN[name] | IMAGE_OPTIONS[name].keys() | COMMON
    if others := sorted(typed - taken):
        raise ValueError(f"{flags[others[0]]}: this option is for tables, and {subject} is of images. Leave it out.")
    from pushforward.cli.image_commands import COMMANDS

    try:
        COMMANDS[name]({n: arguments[n] for n in taken if n in arguments}, typed)
    except ValueError as error:  # of the estimator: in the words of the command line
        message = re.sub(r"^FlowImages(\.\w+)?: ", "", str(error))
        for python, here in WORDS.items():
            message = message.replace(python, here)
        if message == str(error):
            raise
        raise ValueError(message) from None


def _refuse_absent(path: str | None) -> None:
    """Refuse a path of a model at which nothing is, before it is taken for one of tables."""
    if path is not None and not os.path.exists(path):
        raise FileNotFoundError(f"{path}: there is no such file. Check the path.")


def _refuse(names: list[str], arguments: Mapping[str, Any], flags: Mapping[str, str]) -> None:
    """Refuse options that are for images alone."""
    if names:
        subject = arguments.get("model") if "rows" in arguments else arguments.get("table")
        raise ValueError(f"{listed([flags[n] for n in names])}: for images only, and {subject} is of a table. "
                         "Leave it out.")  # fmt: skip
