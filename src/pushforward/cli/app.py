"""The commands and their options. What a command does is imported when it runs, so that help is printed at once."""

from __future__ import annotations

from typing import Annotated

import typer

from pushforward._version import __version__
from pushforward.cli.app_others import demo, info, lab, serve
from pushforward.cli.app_tables import anomalies, impute, intervals, report, schema
from pushforward.cli.common import command, emit, finish, print_table, say, torch_scope
from pushforward.cli.image_options import also_images
from pushforward.cli.options import (
    BatchSize,
    Debug,
    Device,
    Drop,
    Engine,
    Epochs,
    FixedSeed,
    Force,
    Json,
    Judged,
    Keep,
    LearningRate,
    Model,
    Seconds,
    Seed,
    SkipBad,
    Steps,
    TableOrImages,
    Threads,
    Types,
    Validation,
    Workers,
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
@also_images
@command
@reads_tables("table", "validation")
def fit(
    table: TableOrImages,
    out: Annotated[str, typer.Option(help="The model file to write.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "--flow",
            help="auto: mixed for text, dates, gaps, codes or few rows, else nsf. Or maf, iaf, real_nvp, nice, sos, "
            "gaussian_autoregressive, bernstein, naf, ddsf, umnn, bnaf, gaussianization, planar, radial, sylvester, "
            "residual_flow, cnf, graphical, transformer_flow, circular_nsf (angles) or triangular_map (few rows). Of "
            "images pixels (auto: exact), window_flow, tarflow, glow, multiscale_real_nvp, multiscale_residual_flow.",
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
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out Parquet files and row groups that cannot be read.")
    ] = False,
    compile: Annotated[
        bool, typer.Option("--compile", help="Train with compiled kernels, for long runs; needs a C++ compiler.")
    ] = False,
    shard: Annotated[
        bool, typer.Option("--shard", help="Under torchrun, let each process keep a part of the weights.")
    ] = False,
    force: Force = False,
    device: Device = None,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn the joint density of the columns of a table, or a distribution of images, and compare it with baselines.

    Training stops early when the validation rows no longer improve; the best weights are saved. Ctrl-C saves the best
    weights so far, and --resume continues. Columns that differ in every row, as identifiers do, are left out.

    A mixed-type model can condition on any columns (sample --given), fill missing entries (impute) and predict a column
    (intervals). Images of one size are learned with their labels, if there are any: those of sub-folders or --labels.

    Examples:

        pushforward fit people.csv --out people.safetensors --type hour=circular:24
        pushforward fit train.parquet --out model.safetensors --seconds 120
        pushforward fit train.csv --out m.safetensors --model maf --set depth=8 --given temp,hour
        pushforward fit images/ --labels labels.csv --out m.safetensors --seconds 1800
    """
    from pushforward.cli.evaluate import fit_rows
    from pushforward.cli.fit import FitRequest, fit_table
    from pushforward.cli.schema import read_schema_file

    dropped, declared = ([], {}) if schema_file is None else read_schema_file(schema_file, table, skip_bad=skip_bad)
    training = {
        "seconds": seconds, "epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr, "device": device,
        "shard": shard or None,
    }  # fmt: skip
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
        training={name: value for name, value in training.items() if value is not None},
        compile=compile,
        resume=resume,
        skip_bad=skip_bad,
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
@also_images
@command
@reads_tables("table")
def evaluate(
    model: Model,
    table: Judged,
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the mean log-likelihood of held-out rows in nats, with its standard error, beside baselines; of images the
    bits per dimension, beside simple models, PNG and zlib, and how good Bayes' rule is for their classes.

    Examples:

        pushforward evaluate model.safetensors test.parquet --json
        pushforward evaluate model.safetensors images/ --limit 1000 --train training/
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
@also_images
@command
@reads_tables("table")
def score(
    model: Model,
    table: Judged,
    out: Annotated[str, typer.Option(help="The table to write: one column, log_density, in the order of the rows.")],
    keep: Keep = None,
    engine: Engine = None,
    workers: Workers = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the log-density of every row, in nats.

    Memory does not grow with the table. Missing entries are allowed for mixed-type models: the log-density is that of
    the observed entries. Of images the table has files, bits per dimension, and the probability of each class.

    Examples:

        pushforward score model.safetensors rows.csv --out scores.csv --keep id
        pushforward score model.safetensors 's3://bucket/*.parquet' --out s3://bucket/scores --engine ray
        pushforward score model.safetensors images/ --out scores.csv
    """
    from pushforward.cli.answers import score as run
    from pushforward.cli.shards import answer_shards, folder_line, names_shards
    from pushforward.core.exactness import qualified

    if names_shards(table, engine):
        result = answer_shards(
            "score", model, str(table), out, engine=engine, workers=workers, keep=keep or (), skip_bad=skip_bad
        )
        finish(result, json, folder_line(result))
        return

    with torch_scope(seed, threads):
        result = run(model, table, out, keep=keep or (), force=force)
    density = qualified("log-density", result["exactness"])
    finish(result, json, f"{out}: {result['rows']:,} rows, mean {density} {result['mean_log_density']:.4f} nats.")


@app.command()
@also_images
@command
def sample(
    model: Model,
    out: Annotated[
        str,
        typer.Option(help="The table to write; - for CSV on standard output. Of images a folder, .npy or .npz."),
    ],
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="Number of rows or images.")] = 1000,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--given",
            help="Values to condition on: a=1,b=2. For a flow fitted with --given, one for each of these columns; for "
            "a mixed-type model, for any columns; for images label=NAME.",
            show_default=False,
        ),
    ] = None,
    engine: Engine = None,
    workers: Workers = None,
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
    """Sample new rows, or new images.

    The columns after --given are written too, so that the table can be scored. Images are written side by side to
    --grid, or as a folder of PNG files, .npy or .npz to --out; --complete draws images that begin like one.

    Examples:

        pushforward sample model.safetensors -n 1000 --out new.csv
        pushforward sample people.safetensors --given sex=F,age=40 --out new.csv
        pushforward sample digits.safetensors --given label=3 -n 64 --grid out.png --temperature 0.9
        pushforward sample digits.safetensors --complete half.png -n 16 --grid out.png
    """
    from pushforward.cli.answers import sample as run

    if engine is not None:
        from pushforward.cli.shards import sample_shards

        result = sample_shards(
            model, out, rows, conditions or (), seed, engine=engine, workers=workers, keep_rules=keep_rules
        )
        finish(result, json, f"{out}: {result['rows']:,} rows in {result['shards']:,} files.")
        return
    with torch_scope(seed, threads):
        result = run(model, out, rows, conditions or (), seed, keep_rules=keep_rules, force=force)
    finish(result, json, f"{out}: {rows:,} rows of {', '.join(result['columns'])}.")


for other_command in (report, info, demo, lab, serve, schema, impute, intervals, anomalies):
    app.command()(other_command)
