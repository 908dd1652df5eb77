"""The commands and their options. What a command does is imported when it runs, so that help is printed at once."""

from __future__ import annotations

from typing import Annotated

import typer

from pushforward._version import __version__
from pushforward.cli.app_tables import anomalies, impute, intervals, schema
from pushforward.cli.common import command, emit, finish, print_table, say, torch_scope
from pushforward.cli.options import (
    BatchSize,
    Debug,
    Drop,
    Epochs,
    FixedSeed,
    Force,
    Json,
    Keep,
    LearningRate,
    Model,
    ModelTable,
    Seconds,
    Seed,
    Steps,
    TableFile,
    Threads,
    Types,
    Validation,
)
from pushforward.cli.text_options import reads_tables

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 invalid input, 2 invalid usage, 70 internal error, 130 interrupted.",
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"pushforward {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Normalizing flows: learn the exact density of a table, score rows and sample new ones."""


@app.command()
@command
@reads_tables("table", "validation")
def fit(
    table: TableFile,
    out: Annotated[str, typer.Option(help="The model file to write.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "--flow",
            help="auto: mixed for text, dates, gaps, codes or few rows, else nsf. Or maf, iaf, real_nvp, nice, sos, "
            "gaussian_autoregressive, bernstein, naf, ddsf, umnn, bnaf, gaussianization, planar, radial, sylvester, "
            "residual_flow, cnf, graphical, transformer_flow, circular_nsf (angles) or triangular_map (few rows).",
        ),
    ] = "auto",
    types: Types = None,
    schema_file: Annotated[
        str | None, typer.Option("--schema", help="A TOML file, as written by schema --out.", show_default=False)
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            "--given",
            help="Columns to condition on: a,b. The model is that of the other columns given these. A mixed-type model "
            "can condition on any columns afterwards, too.",
            show_default=False,
        ),
    ] = None,
    drop: Drop = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="Columns to learn although they look like identifiers: a,b.", show_default=False),
    ] = None,
    seconds: Seconds = None,
    epochs: Epochs = None,
    steps: Steps = None,
    validation: Validation = 0.1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Options of the model: depth=5,hidden=128,128.", show_default=False),
    ] = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint of an earlier run, maybe with a new limit.")
    ] = False,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint file; OUT.checkpoint by default.", show_default=False)
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Train with compiled kernels, for long runs; needs a C++ compiler.")
    ] = False,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn the joint density of the columns of a table, and compare it with baselines.

    Training stops early when the validation rows no longer improve; the best weights are saved. Ctrl-C saves the best
    weights so far, and --resume continues. Columns that differ in every row, as identifiers do, are left out.

    A mixed-type model can condition on any columns (sample --given), fill missing entries (impute) and predict a column
    (intervals).

    Examples:

        pushforward fit people.csv --out people.safetensors --type hour=circular:24
        pushforward fit train.parquet --out model.safetensors --seconds 120
        pushforward fit train.csv --out m.safetensors --model maf --set depth=8 --given temp,hour
    """
    from pushforward.cli.evaluate import fit_rows
    from pushforward.cli.fit import FitRequest, fit_table
    from pushforward.cli.schema import read_schema_file

    dropped, declared = ([], {}) if schema_file is None else read_schema_file(schema_file, table)
    limits = {"seconds": seconds, "epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr}
    request = FitRequest(
        table=table,
        out=out,
        model=model,
        context=context or (),
        drop=[*(drop or ()), *(name if "," not in name else f'"{name}"' for name in dropped)],
        keep=keep or (),
        types=[*(types or ()), *(f"{name}={kind}" for name, kind in declared.items())],
        settings=settings or (),
        validation=validation,
        training={name: value for name, value in limits.items() if value is not None},
        compile=compile,
        resume=resume,
        checkpoint=checkpoint,
        force=force,
        seed=seed,
    )
    with torch_scope(seed, threads):
        result = fit_table(request, show=not json)
    if json:
        emit(result)
        return
    rows = f"{result['train_rows']:,} training rows, {result['validation_rows']:,} validation rows"
    print_table(fit_rows(result), ["nats per row", "train", "validation"], title=rows)
    trained = f"{out}: {result['parameters']:,} parameters, {result['seconds']:.0f} s of training"
    say(f"{trained}{'; ' + result['stopped'] if result['stopped'] else ''}.")
    for line in (result["verdict"] or {"lines": ["Not judged: no rows were held out."]})["lines"]:
        typer.echo(line)
    say(f"Next: {result['next']}")


@app.command()
@command
@reads_tables("table")
def evaluate(
    model: Model,
    table: ModelTable,
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the mean log-likelihood of held-out rows in nats, with its standard error, beside baselines.

    Example:

        pushforward evaluate model.safetensors test.parquet --json
    """
    from pushforward.cli.evaluate import evaluate_rows, evaluation_rows

    with torch_scope(seed, threads):
        evaluation, verdict = evaluate_rows(model, table)
    if json:
        emit({**evaluation.to_dict(), "verdict": verdict.to_dict()})
        return
    header = ["nats per row", "log-likelihood", "model is ahead by"]
    print_table(evaluation_rows(evaluation), header, title=f"{evaluation.rows:,} rows")
    for line in verdict.lines:
        typer.echo(line)


@app.command()
@command
@reads_tables("table")
def score(
    model: Model,
    table: ModelTable,
    out: Annotated[str, typer.Option(help="The table to write: one column, log_density, in the order of the rows.")],
    keep: Keep = None,
    force: Force = False,
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the log-density of every row, in nats.

    Memory does not grow with the length of the table. Missing entries are allowed for mixed-type models: the
    log-density is that of the observed entries.

    Example:

        pushforward score model.safetensors rows.csv --out scores.csv --keep id
    """
    from pushforward.cli.answers import score as run
    from pushforward.core.exactness import qualified

    with torch_scope(seed, threads):
        result = run(model, table, out, keep=keep or (), force=force)
    density = qualified("log-density", result["exactness"])
    finish(result, json, f"{out}: {result['rows']:,} rows, mean {density} {result['mean_log_density']:.4f} nats.")


@app.command()
@command
def sample(
    model: Model,
    out: Annotated[str, typer.Option(help="The table to write; - for CSV on standard output.")],
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="Number of rows.")] = 1000,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--given",
            help="Values to condition on: a=1,b=2. For a flow fitted with --given, one for each of these columns; for "
            "a mixed-type model, for any columns.",
            show_default=False,
        ),
    ] = None,
    keep_rules: Annotated[
        bool,
        typer.Option(
            "--keep-rules", help="Keep orders of columns that hold in all rows of the table, as schema names."
        ),
    ] = False,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Sample new rows.

    The columns after --given are written too, so that the table can be scored.

    Examples:

        pushforward sample model.safetensors -n 1000 --out new.csv
        pushforward sample people.safetensors --given sex=F,age=40 --out new.csv
    """
    from pushforward.cli.answers import sample as run

    with torch_scope(seed, threads):
        result = run(model, out, rows, conditions or (), seed, keep_rules=keep_rules, force=force)
    finish(result, json, f"{out}: {rows:,} rows of {', '.join(result['columns'])}.")


@app.command()
@command
@reads_tables("table", "train")
def report(
    model: Model,
    table: ModelTable,
    out: Annotated[str, typer.Option(help="The HTML page to write.")] = "report.html",
    train: Annotated[
        str | None,
        typer.Option(help="The training table, to check whether samples copy its rows.", show_default=False),
    ] = None,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write an HTML page on a model and held-out rows: a verdict, likelihoods, calibration, samples and plots.

    Example:

        pushforward report model.safetensors test.parquet --out report.html
    """
    from pushforward.cli.evaluate import report_rows

    with torch_scope(seed, threads):
        result = report_rows(model, table, out, seed, train=train, force=force)
    finish(result, json, f"{out}: written.")


@app.command()
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


@app.command()
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


for table_command in (schema, impute, intervals, anomalies):
    app.command()(table_command)
