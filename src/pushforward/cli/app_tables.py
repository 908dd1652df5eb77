"""The commands for tables of mixed columns: gaps, intervals, anomalies."""

from __future__ import annotations

from typing import Annotated

import typer

from pushforward.cli.arguments import Debug, FixedSeed, Json, Model, Rows, Seed, Threads
from pushforward.cli.common import command, emit, finish, print_table, torch_scope

__all__ = ["anomalies", "impute", "intervals"]


@command
def impute(
    model: Model,
    table: Rows,
    out: Annotated[str, typer.Option(help="The table to write.")],
    draw: Annotated[bool, typer.Option("--draw", help="Draw what is missing instead of its mean.")] = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fill the gaps of a table, given what is there: by means and likeliest values, or by a draw.

    Example:

        pushforward impute people.safetensors gaps.csv --out filled.csv
    """
    from pushforward.cli.mixed import impute as run

    with torch_scope(seed, threads):
        result = run(model, table, out, seed, draw=draw)
    finish(result, json, f"{out}: {result['filled']:,} gaps filled in {result['rows']:,} rows.")


@command
def intervals(
    model: Model,
    table: Rows,
    column: Annotated[str, typer.Option(help="The column that is asked for.")],
    out: Annotated[str, typer.Option(help="The table to write: low, median, high; or likeliest, probability.")],
    probability: Annotated[float, typer.Option(help="Of the interval.")] = 0.9,
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a column should be in each row, given the row's other entries.

    Example:

        pushforward intervals people.safetensors new.csv --column income --out intervals.csv
    """
    from pushforward.cli.mixed import intervals as run

    with torch_scope(seed, threads):
        result = run(model, table, column, out, probability)
    held = f", {result['covered']:.1%} of the values inside" if "covered" in result else ""
    finish(result, json, f"{out}: {result['rows']:,} rows{held}.")


@command
def anomalies(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="CSV, TSV, Parquet or Feather.")],
    learn_from: Annotated[
        str | None, typer.Option(help="A table of usual rows; by default TABLE itself.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many rows to list.")] = 20,
    explain: Annotated[bool, typer.Option("--explain", help="Say what makes each row odd.")] = False,
    drop: Annotated[list[str] | None, typer.Option(help="Columns to leave out: a,b.", show_default=False)] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Kinds of columns: hour=circular:24.", show_default=False)
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="A table of all scores to write: score, outlier.", show_default=False)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default=False)] = None,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the rows that are least like the others, oddest first, and what makes them so.

    A likelihood can rank rows of a kind that was never seen as usual: look at the reasons, not at the score alone.

    Example:

        pushforward anomalies people.csv --top 20 --explain
    """
    from pushforward.cli.mixed import anomalies as run

    with torch_scope(seed, threads):
        found = run(
            table, learn_from=learn_from, top=top, drop=drop or (), types=types or (), out=out, steps=steps, seed=seed,
            show=not json,
        )  # fmt: skip
    if json:
        emit(found)
        return
    rows = [
        [str(row["row"]), f"{row['score']:.2f}"]
        + (["; ".join(f"{r['column']} is {r['value']}, not {r['expected']} ({r['surprise']:.1f})"
                      for r in row["reasons"])] if explain else [])
        for row in found["top"]
    ]  # fmt: skip
    header = ["row", "score", *(["odd: what is, what was expected (nats of surprise)"] if explain else [])]
    print_table(rows, header, title=f"{found['outliers']:,} of {found['rows']:,} rows are outliers")
