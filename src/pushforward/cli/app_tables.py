"""The commands on tables: their schema; imputation, intervals and anomalies by mixed-type models; reports."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pushforward.cli.common import command, emit, finish, print_table, say, torch_scope
from pushforward.cli.image_options import also_images
from pushforward.cli.options import (
    Debug,
    Drop,
    Engine,
    FixedSeed,
    Force,
    Json,
    Judged,
    Keep,
    Model,
    ModelTable,
    Probability,
    Seconds,
    Seed,
    SkipBad,
    Steps,
    TableFile,
    Threads,
    Types,
    Workers,
)
from pushforward.cli.text_options import reads_tables

__all__ = ["anomalies", "impute", "intervals", "report", "schema"]


def _share(text: str) -> float:
    """A share of the rows of at most a half."""
    try:
        share = float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number; got {text!r}.") from None
    if not 0 < share <= 0.5:
        raise typer.BadParameter(f"must be above 0 and at most 0.5; got {text}.")
    return share


@also_images
@command
@reads_tables("table")
def impute(
    model: Model,
    table: ModelTable,
    out: Annotated[str, typer.Option(help="The table to write.")],
    draw: Annotated[bool, typer.Option("--draw", help="Fill by a random draw instead of means and modes.")] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            help="Columns that the model does not have and that are written as they are: a,b; all by default.",
            show_default=False,
        ),
    ] = None,
    engine: Engine = None,
    workers: Workers = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fill the missing entries of a table given the observed ones: by means and modes, or by a random draw.

    All columns of the table are written, also those that the model does not have, such as identifiers.

    Example:

        pushforward impute people.safetensors gaps.csv --out filled.csv
    """
    from pushforward.cli.answers import impute as run
    from pushforward.cli.shards import answer_shards, folder_line, names_shards

    if names_shards(table, engine):
        if draw:
            raise ValueError("--draw: shards are filled by means and modes. Leave it out.")
        result = answer_shards(
            "impute", model, str(table), out, engine=engine, workers=workers, keep=keep or (), skip_bad=skip_bad
        )
        finish(result, json, folder_line(result))
        return

    with torch_scope(seed, threads):
        result = run(model, table, out, seed, draw=draw, keep=keep or (), force=force)
    finish(result, json, f"{out}: {result['filled']:,} missing entries filled in {result['rows']:,} rows.")


@also_images
@command
@reads_tables("table")
def intervals(
    model: Model,
    table: ModelTable,
    column: Annotated[str, typer.Option(help="The column to predict.")],
    out: Annotated[
        str, typer.Option(help="The table to write: low, median, high; for categories likeliest, probability.")
    ],
    probability: Probability = 0.9,
    keep: Keep = None,
    force: Force = False,
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict a column in each row, with intervals, given the other entries of the row.

    Of a circular column, such as hours, they are arcs from low to high: through midnight where high is below low.

    Example:

        pushforward intervals people.safetensors new.csv --column income --out intervals.csv
    """
    from pushforward.cli.answers import intervals as run

    with torch_scope(seed, threads):
        result = run(model, table, column, out, probability, keep=keep or (), force=force)
    coverage = f", {result['covered']:.1%} of the values inside" if "covered" in result else ""
    if "accuracy" in result:
        coverage = f", the likeliest right in {result['accuracy']:.1%}, log loss {result['log_loss']:.3f} nats"
    finish(result, json, f"{out}: intervals of {column!r} for {result['rows']:,} rows{coverage}.")


@also_images
@command
@reads_tables("table", "learn_from")
def anomalies(
    table: TableFile,
    learn_from: Annotated[
        str | None, typer.Option(help="A table of normal rows to fit to; by default TABLE itself.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of rows to list.")] = 20,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also list the entries that make each row unlikely.")
    ] = False,
    drop: Drop = None,
    types: Types = None,
    out: Annotated[
        str | None,
        typer.Option(help="A table to write, with the columns score and outlier for all rows.", show_default=False),
    ] = None,
    contamination: Annotated[
        float | None,
        typer.Option(
            parser=_share,
            metavar="NUMBER",
            help="Share of the rows fitted to that are called outliers; 0.01 by default.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option(help="The score: surprise, composite, density, p_value, radius or typicality.")
    ] = "surprise",
    steps: Steps = None,
    seconds: Seconds = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A saved detector, or a mixed-type model of fit, to judge by; nothing is fitted.",
            show_default=False,
        ),
    ] = None,
    save_as: Annotated[
        str | None, typer.Option("--save", help="A file for the detector, for --model.", show_default=False)
    ] = None,
    novelty: Annotated[
        bool,
        typer.Option(
            "--novelty/--outliers",
            help="Whether all rows fitted to are normal, or may hold the anomalies that are looked for.",
        ),
    ] = False,
    keep: Keep = None,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the least likely rows of a table, the least likely first, with the entries that make them so.

    The likelihood of rows unlike all training rows may still be high: check the reasons, not the score alone.

    Example:

        pushforward anomalies people.csv --top 20 --explain
    """
    from pushforward.cli.anomalies import anomalies as run

    with torch_scope(seed, threads):
        result = run(
            table,
            learn_from=learn_from,
            top=top,
            drop=drop or (),
            types=types or (),
            out=out,
            contamination=contamination,
            measure=measure,
            steps=steps,
            seconds=seconds,
            model=model,
            save_as=save_as,
            novelty=novelty,
            keep=keep or (),
            force=force,
            seed=seed,
            show=not json,
        )
    if json:
        emit(result)
        return
    beside = list(result["top"][0]["kept"]) if result["top"] else []
    header = ["row", *beside, "score", *(["column", "value", "expected", "surprise in nats"] if explain else [])]
    rows = [line for row in result["top"] for line in _lines(row, explain=explain)]
    print_table(rows, header, title=f"{result['outliers']:,} of {result['rows']:,} rows are outliers")
    say(
        f"Rows are counted from 1, without the header. Outliers score ({result['measure']}) below "
        f"{result['threshold']:.2f}, as a share of {result['contamination']:.3g} of the rows of "
        f"{result['learned_from']} does; --contamination sets that share."
    )


@also_images
@command
@reads_tables("table")
def schema(
    table: TableFile,
    drop: Drop = None,
    types: Types = None,
    out: Annotated[
        str | None, typer.Option(help="A TOML file to write, to edit and give to fit --schema.", show_default=False)
    ] = None,
    force: Force = False,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print how a table is read: the type of each column, the rule that chose it, and what stands out.

    Example:

        pushforward schema people.csv --out people.toml
    """
    from pushforward.cli.schema import table_schema

    result = table_schema(table, drop or (), types or (), out, force=force)
    if json:
        emit(result)
        return
    if result["note"]:
        say(f"{table}: {result['note']}.")
    typer.echo(result["schema"])
    for sentence in result["findings"]:
        say(f"Note: {sentence}")
    missing = sum(result["missing"].values())
    written = f"; {out} holds the schema, for fit --schema" if out is not None else ""
    say(f"{result['rows']:,} rows, {missing:,} missing entries{written}.")


def _lines(row: dict[str, Any], *, explain: bool) -> list[list[str]]:
    """The lines of the table for one row: one for each reason, or one alone."""
    first = [str(row["row"]), *("" if v is None else str(v) for v in row["kept"].values()), f"{row['score']:.2f}"]
    if not explain:
        return [first]
    reasons = [[r["column"], str(r["value"]), str(r["expected"]), f"{r['surprise']:.1f}"] for r in row["reasons"]]
    return [(first if k == 0 else [""] * len(first)) + cells for k, cells in enumerate(reasons or [["", "", "", ""]])]


@also_images
@command
@reads_tables("table", "train")
def report(
    model: Model,
    table: Judged,
    out: Annotated[str, typer.Option(help="The HTML page to write.")] = "report.html",
    train: Annotated[
        str | None,
        typer.Option(help="The training table or images, to check whether samples are copies.", show_default=False),
    ] = None,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write an HTML page on a model and held-out rows: a verdict, likelihoods, calibration, samples and plots; or on a
    model of images, with pictures.

    Examples:

        pushforward report model.safetensors test.parquet --out report.html
        pushforward report digits.safetensors images/ --limit 1000 --train training/ --out report.html
    """
    from pushforward.cli.evaluate import report_rows

    with torch_scope(seed, threads):
        result = report_rows(model, table, out, seed, train=train, force=force)
    finish(result, json, f"{out}: written.")
