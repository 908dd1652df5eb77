"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Debug", "FixedSeed", "Json", "Model", "Rows", "Seed", "Threads"]

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model file.")]
Rows = Annotated[str, typer.Argument(metavar="TABLE", help="CSV, TSV, Parquet or Feather, with the model's columns.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same numbers.")]
FixedSeed = Annotated[int, typer.Option(min=0, help="Taken by every command; this one draws nothing.")]
