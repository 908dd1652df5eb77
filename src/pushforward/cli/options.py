"""The arguments and options that several commands share, and how the values of options are parsed."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pushforward.cli.common import listed, suggestion

__all__ = [
    "BatchSize",
    "Debug",
    "Device",
    "Drop",
    "Epochs",
    "FixedSeed",
    "Force",
    "Json",
    "Judged",
    "Keep",
    "LearningRate",
    "Model",
    "ModelTable",
    "Probability",
    "Seconds",
    "Seed",
    "Steps",
    "TableFile",
    "TableOrImages",
    "Threads",
    "Types",
    "Validation",
    "parse_assignments",
    "parse_columns",
    "positive_number",
]


def positive_number(text: str) -> float:
    """A positive finite number."""
    try:
        number = float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number; got {text!r}.") from None
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"must be positive; got {text}.")
    return number


def _device(text: str) -> str:
    """A device of torch that this machine has."""
    import torch

    try:
        there = torch.empty(0, device=text).device.type != "meta"
    except (AssertionError, RuntimeError):
        there = False
    if not there:
        raise typer.BadParameter(f"there is no device {text!r} here. Leave the option out for the CPU.")
    # Of several processes that torchrun has started, each takes a GPU of its own.
    return f"cuda:{os.environ['LOCAL_RANK']}" if text == "cuda" and "LOCAL_RANK" in os.environ else text


def _probability(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    number = positive_number(text)
    if number >= 1:
        raise typer.BadParameter(f"must be below 1; got {text}.")
    return number


def _fraction_or_table(text: str | float) -> float | str:
    """A fraction of the rows, or the path of a table."""
    try:
        fraction = float(text)
    except ValueError:
        return str(text)
    if not 0 <= fraction < 1:
        raise typer.BadParameter(f"must be a fraction of the rows, at least 0 and below 1, or a table; got {text}.")
    return fraction


Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model file, as written by fit.")]
TableFile = Annotated[str, typer.Argument(metavar="TABLE", help="A CSV, TSV, Parquet or Feather file.")]
ModelTable = Annotated[
    str, typer.Argument(metavar="TABLE", help="A CSV, TSV, Parquet or Feather file with the columns of the model.")
]
TableOrImages = Annotated[
    str,
    typer.Argument(
        metavar="TABLE|IMAGES",
        help="A CSV, TSV, Parquet or Feather file; or images: a folder of PNG or JPEG files, an idx file, .npy or "
        ".npz.",
    ),
]
Judged = Annotated[
    str,
    typer.Argument(
        metavar="TABLE|IMAGES",
        help="A CSV, TSV, Parquet or Feather file with the columns of the model; or images, for a model of images.",
    ),
]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="Columns to leave out: a,b.", show_default=False)]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        help="Column types, where the inferred ones are not wanted: hour=circular:24,size=ordinal:S:M:L.",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Largest number of training steps.", show_default=False)
]
Seconds = Annotated[
    float | None,
    typer.Option(parser=positive_number, metavar="NUMBER", help="Time limit of the training.", show_default=False),
]
Epochs = Annotated[
    float | None,
    typer.Option(
        parser=positive_number,
        metavar="NUMBER",
        help="Largest number of passes over the training rows.",
        show_default=False,
    ),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Rows per step.", show_default=False)]
LearningRate = Annotated[
    float | None, typer.Option(parser=positive_number, metavar="NUMBER", help="Peak learning rate.", show_default=False)
]
Validation = Annotated[
    Any,
    typer.Option(
        parser=_fraction_or_table,
        metavar="FRACTION|TABLE",
        help="Fraction of the rows to hold out for validation, or a table of such rows; 0 for none.",
    ),
]
Probability = Annotated[float, typer.Option(parser=_probability, metavar="NUMBER", help="Probability of the interval.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file at OUT, whatever it holds.")]
Keep = Annotated[
    list[str] | None,
    typer.Option("--keep", help="Columns to copy into the result, such as identifiers: a,b.", show_default=False),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Read Parquet files in shards, of a folder, a pattern or an address such as s3://bucket/*.parquet, and "
        "write a folder: local, ray or spark.",
        show_default=False,
        rich_help_panel="Shards",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Processes of --engine local, 1 by default; or tasks of ray at a time, as many as there are cores.",
        show_default=False,
        rich_help_panel="Shards",
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out files that cannot be read, and put rows that cannot be answered into OUT/_quarantine.",
        rich_help_panel="Shards",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.", show_default=False)]
Device = Annotated[
    str | None,
    typer.Option(parser=_device, metavar="DEVICE", help="Where to train: cuda, cuda:1 or cpu.", show_default=False),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed; the same seed gives the same result.")]
# All commands accept a seed; of those that use no random numbers it is no option worth a line of help.
FixedSeed = Annotated[int, typer.Option(min=0, hidden=True)]


def parse_columns(option: str, values: Sequence[str], columns: Sequence[str], where: str) -> list[str]:
    """Column names from ``a,b`` or a repeated option, in the order typed; a name with a comma goes in quotes.

    Raises:
        ValueError: ``where`` has no such column.
    """
    names: list[str] = []
    for value in values:
        parts = (
            [value] if value in columns else [n.strip() for n in next(csv.reader([value], skipinitialspace=True), [])]
        )
        names += [name for name in parts if name and name not in names]
    for name in names:
        if name not in columns:
            raise _unknown(option, name, columns, where, "column")
    return names


def parse_assignments(
    option: str, values: Sequence[str], names: Sequence[str], *, where: str, noun: str = "column", form: str
) -> dict[str, str]:
    """Values by name from ``a=1,b=2`` or a repeated option. A value may hold commas: ``hidden=128,128``.

    Args:
        option: the option, for messages.
        values: its values, as typed.
        names: the names that may be assigned to.
        where: what has these names, for messages: a flow, a table or a model.
        noun: what a name stands for.
        form: what to write, with an example.

    Raises:
        ValueError: a part is no assignment, or a name is unknown or assigned twice.

    >>> parse_assignments(
    ...     "--set", ["depth=5", "hidden=128,128, bins=8"], ["depth", "hidden", "bins"], where="nsf", form="NAME=VALUE"
    ... )
    {'depth': '5', 'hidden': '128,128', 'bins': '8'}
    """
    # A name is one of those expected, which may hold commas and equals signs, or else anything without them.
    expected = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    start_of_one = re.compile(rf"(?:^|,)\s*({expected}|[^,=]*?)\s*=")
    assigned: dict[str, str] = {}
    for text in values:
        starts = list(start_of_one.finditer(text))
        ends = [start.start() for start in starts[1:]] + [len(text)]
        if not starts or starts[0].start() > 0:
            raise ValueError(f"{option}: write {form}; got {text!r}.")
        for start, end in zip(starts, ends, strict=True):
            name, value = start[1].strip(), text[start.end() : end].strip()
            if not name or not value:
                raise ValueError(f"{option}: write {form}; got {text!r}.")
            if name not in names:
                raise _unknown(option, name, names, where, noun)
            if name in assigned:
                raise ValueError(f"{option}: {name!r} has two values. Give one.")
            assigned[name] = value
    return assigned


def _unknown(option: str, name: str, names: Sequence[str], where: str, noun: str) -> ValueError:
    return ValueError(
        f"{option}: {where} has no {noun} {name!r}.{suggestion(name, names)} The {noun}s are {listed(names, 20)}."
    )
