"""The commands and their options. What a command does is imported when it runs, so that help comes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pushforward._version import __version__
from pushforward.cli.app_tables import anomalies, impute, intervals
from pushforward.cli.arguments import Debug, FixedSeed, Json, Model, Rows, Seed, Threads
from pushforward.cli.common import command, emit, finish, print_table, say, torch_scope

if TYPE_CHECKING:
    from pushforward.cli.fit import FitRequest

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a mistake in the input, 2 wrong usage, 70 a fault of the program, 130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pushforward {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A table in, an exact density out: normalizing flows from the command line."""


@app.command()
@command
def fit(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="CSV, TSV, Parquet or Feather.")],
    out: Annotated[str, typer.Option(help="The model file to write.")],
    flow: Annotated[
        str | None,
        typer.Option(
            help="nsf (where all columns are numbers), mixed (categories, dates, gaps), maf, iaf, real_nvp, nice, "
            "gaussian_autoregressive, sos, bernstein, naf, ddsf, umnn, bnaf, gaussianization, circular_nsf (angles), "
            "or triangular_map for a few hundred rows.",
            show_default=False,
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Kinds of columns, for mixed: hour=circular:24,grade=ordinal.", show_default=False),
    ] = None,
    given: Annotated[list[str] | None, typer.Option(help="Columns to condition on: a,b.", show_default=False)] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Columns to leave out: a,b.", show_default=False)] = None,
    seconds: Annotated[float | None, typer.Option(help="Time to train.", show_default=False)] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training rows.", show_default=False)] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Training steps. With no budget at all: 100 epochs, but 1,000 to 10,000 steps.", show_default=False
        ),
    ] = None,
    validation: Annotated[str, typer.Option(help="Part of the rows to hold out, or a table; 0 for none.")] = "0.1",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the flow: depth=5, hidden=128,128.", show_default=False),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step.", show_default=False)] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint of an earlier run.")] = False,
    checkpoint: Annotated[
        str | None, typer.Option(help="File for the state of the run; OUT.checkpoint by default.", show_default=False)
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Train by compiled kernels: for long runs; needs a C++ compiler.")
    ] = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn the density of a table's columns, and compare it with a Gaussian and a mixture of Gaussians.

    The best weights on validation are kept. Ctrl-C keeps the best so far; --resume goes on. A table with text, dates or
    gaps is modelled as it is (--flow mixed): then any columns can be given to sample, and gaps be filled (impute).

    Examples:

        pushforward fit train.parquet --out model.safetensors --seconds 120
        pushforward fit train.csv --out m.safetensors --given temp,hour --drop id
        pushforward fit train.csv --out m.safetensors --flow maf --set depth=8
        pushforward fit small.csv --out m.safetensors --flow triangular_map
        pushforward fit people.csv --out m.safetensors --type hour=circular:24
    """
    from pushforward.cli.fit import FitRequest, fit_rows, fit_table
    from pushforward.data import NotNumbersError

    request = FitRequest(
        table=table,
        out=out,
        flow=flow or "nsf",
        given=given or (),
        drop=drop or (),
        settings=settings or (),
        validation=validation,
        seconds=seconds,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        compile=compile,
        lr=lr,
        resume=resume,
        checkpoint=checkpoint,
        seed=seed,
    )
    if types and flow not in (None, "mixed"):
        raise ValueError(f"--type: {flow} takes numbers as they are. Leave --type out, or --flow.")
    if types or flow == "mixed":
        _fit_mixed(request, types or [], seed, threads, json)
        return
    try:
        with torch_scope(seed, threads):
            result = fit_table(request)
    except NotNumbersError as error:
        if flow is not None or given or settings or epochs or resume or compile or checkpoint:
            raise
        say(f"Not all numbers: a model of mixed columns it is. ({error})")
        _fit_mixed(request, [], seed, threads, json)
        return
    if json:
        emit(result)
        return
    rows = f"{result['train_rows']:,} training rows, {result['validation_rows']:,} validation rows"
    print_table(fit_rows(result), ["nats a row", "train", "validation"], title=rows)
    say(f"{out}: {result['parameters']:,} parameters, {result['seconds']:.0f} s of training; {result['stopped']}.")


def _fit_mixed(request: FitRequest, types: list[str], seed: int, threads: int | None, json: bool) -> None:
    from pushforward.cli.mixed import fit_mixed

    with torch_scope(seed, threads):
        found = fit_mixed(request, types, show=not json)
    if json:
        emit(found)
        return
    typer.echo(found["schema"])
    trained = f"{found['seconds']:.0f} s of training; {found['train']:.3f} nats a row of training."
    say(f"{request.out}: {found['parameters']:,} parameters, {trained}")


@app.command()
@command
def evaluate(
    model: Model, table: Rows, threads: Threads = None, seed: FixedSeed = 0, json: Json = False, debug: Debug = False
) -> None:
    """Mean log-likelihood of held-out rows in nats, with its standard error, beside the baselines.

    Example:

        pushforward evaluate model.safetensors test.parquet --json
    """
    from pushforward.cli.evaluate import evaluate_table, evaluation_rows

    with torch_scope(seed, threads):
        found = evaluate_table(model, table)
    if json:
        emit(found.to_dict())
        return
    print_table(evaluation_rows(found), ["nats a row", "log-likelihood", "ahead by"], title=f"{found.rows:,} rows")
    for sentence in found.sentences():
        typer.echo(sentence)


@app.command()
@command
def score(
    model: Model,
    table: Rows,
    out: Annotated[str, typer.Option(help="The table to write: one column, log_density, in the same order.")],
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the log-density of every row, in nats. Files of any length take the same memory. Rows may have gaps where
    the model is one of mixed columns.

    Example:

        pushforward score model.safetensors rows.csv --out scores.csv
    """
    from pushforward.cli.model import is_mixed
    from pushforward.core.exactness import qualified

    if is_mixed(model):
        from pushforward.cli.mixed import score_mixed as run
    else:
        from pushforward.cli.score import score as run

    with torch_scope(seed, threads):
        result = run(model, table, out)
    density = qualified("log-density", result["exactness"])
    finish(result, json, f"{out}: {result['rows']:,} rows, mean {density} {result['mean_log_density']:.4f} nats.")


@app.command()
@command
def sample(
    model: Model,
    out: Annotated[str, typer.Option(help="The table to write.")],
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="Rows to draw.")] = 1000,
    given: Annotated[
        list[str] | None,
        typer.Option(
            help="A value for every column the model is conditional on: a=1,b=2; of mixed columns for any.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw new rows. Whole numbers come back as real numbers, but for models of mixed columns.

    The given columns are written beside the drawn ones, so that the new table can be scored.

    Examples:

        pushforward sample model.safetensors -n 1000 --out new.csv
        pushforward sample model.safetensors --given temp=20,hour=12 --out new.csv
        pushforward sample people.safetensors --given sex=F,age=40 --out new.csv
    """
    from pushforward.cli.model import is_mixed

    if is_mixed(model):
        from pushforward.cli.mixed import sample_mixed as run
    else:
        from pushforward.cli.sample import sample as run

    with torch_scope(seed, threads):
        result = run(model, out, rows, given or (), seed)
    finish(result, json, f"{out}: {rows:,} rows of {', '.join(result['columns'])}.")


@app.command()
@command
def report(
    model: Model,
    table: Rows,
    out: Annotated[str, typer.Option(help="The page to write.")] = "report.html",
    train: Annotated[
        str | None,
        typer.Option(
            help="The table that a model of mixed columns was fitted on, to look for copies of its rows.",
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page with the fit, the precision and pictures of a model on held-out rows.

    Of a model of mixed columns: its fit, whether its intervals can be trusted, and whether its rows look real.

    Example:

        pushforward report model.safetensors test.parquet --out report.html
    """
    from pushforward.cli.evaluate import report_table

    with torch_scope(seed, threads):
        result = report_table(model, table, out, seed, train=train)
    finish(result, json, f"{out}: written.")


@app.command()
@command
def info(model: Model, seed: FixedSeed = 0, json: Json = False, debug: Debug = False) -> None:
    """Say what a model file holds: columns, size, training, baselines, and every part of the model.

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


@app.command()
@command
def demo(
    out: Annotated[str, typer.Option(help="The folder for report.html and power.safetensors.")] = ".",
    seconds: Annotated[float, typer.Option(min=1, help="Time for training, all in all.")] = 80.0,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit real power measurements and handwritten digits, and write report.html. Needs no files, takes two minutes.

    Example:

        pushforward demo --out .
    """
    from pushforward.cli.demo import run_demo

    with torch_scope(seed, threads):
        result = run_demo(out, seed=seed, seconds=seconds, progress=not json, say=say if json else typer.echo)
    if json:
        emit(result.to_dict())


for own in (impute, intervals, anomalies):
    app.command()(own)
