"""The commands that are about no table: what is in a model file, the demonstration, and Flow Lab."""

from __future__ import annotations

from typing import Annotated

import typer

from pushforward.cli.common import command, emit, print_table, say, torch_scope
from pushforward.cli.options import Debug, FixedSeed, Json, Model, Seed, Threads

__all__ = ["demo", "info", "lab"]


@command
def info(model: Model, seed: FixedSeed = 0, json: Json = False, debug: Debug = False) -> None:
    """Print what a model file holds: columns, size, training, baselines and the parts of the model.

    Example:

        pushforward info model.safetensors
    """
    from pushforward.cli.info import describe, info_rows

    described, header = describe(model)
    if json:
        emit(described)
        return
    print_table(info_rows(model, header))
    typer.echo(f"\n{described['parts']}")


@command
def demo(
    out: Annotated[str, typer.Option(help="The folder to write report.html and power.safetensors to.")] = ".",
    seconds: Annotated[float, typer.Option(min=1, help="Total training time.")] = 80.0,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit household power measurements and handwritten digits, and write report.html. Takes about two minutes.

    Example:

        pushforward demo --out .
    """
    from pushforward.cli.demo import run_demo

    with torch_scope(seed, threads):
        result = run_demo(out, seed=seed, seconds=seconds, progress=not json, say=say if json else typer.echo)
    if json:
        emit(result.to_dict())


@command
def lab(
    folder: Annotated[str, typer.Argument(help="The folder of model files that the page may open.")] = ".",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen at 127.0.0.1; 0: a free port.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
    debug: Debug = False,
) -> None:
    """Open Flow Lab in the browser: see change of variables, train flows live, ask a model, break things.

    It answers this machine alone, to those who have the address with its token, until Ctrl-C.

    Example:

        pushforward lab models/
    """
    from pushforward.lab.server import serve

    try:
        serve(folder, port=port, browser=not no_browser, say=typer.echo)
    except ImportError as error:
        raise ValueError(str(error)) from None
