"""The commands that are about no table: what is in a model file, the demonstration, Flow Lab and the server."""

from __future__ import annotations

from typing import Annotated

import typer

from pushforward.cli.common import command, emit, print_table, say, torch_scope
from pushforward.cli.options import Debug, FixedSeed, Json, Model, Seed, Threads

__all__ = ["demo", "info", "lab", "serve"]


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


@command
def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="Where to listen; by default this machine alone can ask.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0: a free port.")] = 8000,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Answer whoever asks; only where this machine alone can.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Most rows of a request.")] = 10_000,
    waiting: Annotated[int, typer.Option(min=1, help="Most requests that wait; others get status 503.")] = 256,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="Time for clients to go elsewhere, before it stops listening.")
    ] = 1.0,
    debug: Debug = False,
) -> None:
    """Answer questions to a model over HTTP: densities of rows, samples, conditionals, gaps, surprises.

    Requests bring the token that is printed, or that of the variable PUSHFORWARD_TOKEN. /openapi.json describes them.

    Example:

        pushforward serve people.safetensors --port 8000
    """
    from pushforward.serve.server import serve as run

    try:
        from pushforward.serve.limits import ServerLimits

        run(
            model, host=host, port=port, needs_token=not no_token, limits=ServerLimits(rows=rows, waiting=waiting),
            drain_seconds=drain_seconds, say=typer.echo,
        )  # fmt: skip
    except ImportError as error:
        raise ValueError(str(error)) from None
