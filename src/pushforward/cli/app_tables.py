"""The commands on mixed-type models: imputation, prediction intervals, anomalies."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pushforward.cli.common import command, emit, finish, print_table, torch_scope
from pushforward.cli.options import (
    Debug,
    Drop,
    FixedSeed,
    Json,
    Model,
    ModelTable,
    Probability,
    Seed,
    Steps,
    TableFile,
    Threads,
    Types,
)

__all__ = ["anomalies", "impute", "intervals"]


@command
def impute(
    model: Model,
    table: ModelTable,
    out: Annotated[str, typer.Option(help="The table to write.")],
    draw: Annotated[bool, typer.Option("--draw", help="Fill by a random draw instead of means and modes.")] = False,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fill the missing entries of a table given the observed ones: by means and modes, or by a random draw.

    Example:

        pushforward impute people.safetensors gaps.csv --out filled.csv
    """
    from pushforward.cli.mixed import impute as run

    with torch_scope(seed, threads):
        result = run(model, table, out, seed, draw=draw)
    finish(result, json, f"{out}: {result['filled']:,} missing entries filled in {result['rows']:,} rows.")


@command
def intervals(
    model: Model,
    table: ModelTable,
    column: Annotated[str, typer.Option(help="The column to predict.")],
    out: Annotated[
        str, typer.Option(help="The table to write: low, median, high; for categories likeliest, probability.")
    ],
    probability: Probability = 0.9,
    threads: Threads = None,
    seed: FixedSeed = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict a column in each row, with intervals, given the other entries of the row.

    Example:

        pushforward intervals people.safetensors new.csv --column income --out intervals.csv
    """
    from pushforward.cli.mixed import intervals as run

    with torch_scope(seed, threads):
        result = run(model, table, column, out, probability)
    coverage = f", {result['covered']:.1%} of the values inside" if "covered" in result else ""
    finish(result, json, f"{out}: intervals of {column!r} for {result['rows']:,} rows{coverage}.")


@command
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
    steps: Steps = None,
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
            steps=steps,
            seed=seed,
            show=not json,
        )
    if json:
        emit(result)
        return
    header = ["row", "score", *(["value, expected value (surprise in nats)"] if explain else [])]
    rows = [
        [str(row["row"]), f"{row['score']:.2f}", *([_explanation(row["reasons"])] if explain else [])]
        for row in result["top"]
    ]
    print_table(rows, header, title=f"{result['outliers']:,} of {result['rows']:,} rows are outliers")


def _explanation(reasons: list[dict[str, Any]]) -> str:
    return "; ".join(f"{r['column']} is {r['value']}, not {r['expected']} ({r['surprise']:.1f})" for r in reasons)
