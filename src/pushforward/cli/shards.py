"""``pushforward score``, ``impute`` and ``sample`` of many files: in shards, by processes or clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pushforward.batch import BatchModel, ShardPlan, ShardResult, run_shards
from pushforward.batch.run import ENGINES
from pushforward.cli.common import listed, say, suggestion
from pushforward.cli.tables import load_model, observed_values, options_named
from pushforward.data.storage import is_several

__all__ = ["answer_shards", "folder_line", "names_shards", "sample_shards"]


OTHER_TABLES = (".csv", ".tsv", ".gz", ".zst", ".feather", ".arrow")
"""Ends of names of tables; folders of Parquet files often have names like a Parquet file."""


def names_shards(table: Any, engine: str | None) -> bool:
    """Whether a table is to be read in shards: an engine is named, or it is a folder, a pattern or an address."""
    return engine is not None or is_several(str(table))


def answer_shards(
    question: str,
    model: str,
    table: str,
    out: str,
    *,
    engine: str | None,
    workers: int | None,
    keep: Sequence[str] = (),
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Answer all Parquet files of a folder, a pattern or an address, into a folder.

    Raises:
        ValueError: an option, the model or a file cannot be used, or some shards could not be answered.
    """
    engine = checked_engine(engine)
    check_folder(out)
    fitted, batch = load_model(model), BatchModel.of(model)
    if question == "impute":
        with options_named(model):
            fitted.check_any_subset("impute")
    kept = list(keep)
    plan = ShardPlan.make(table, out, batch.content, question=question, options={"keep": kept}, skip_bad=skip_bad)
    for file, reason in plan.damaged.items():
        say(f"{file}: left out, for it cannot be read ({reason}).")
    if others := plan.others(out):
        say(f"{out}: {others:,} other Parquet files stay there, of other jobs or of tables that have changed since.")
    return carry_out(plan, batch, engine, workers, kept, skip_bad) | {"out": out, "left_out": len(plan.damaged)}


def sample_shards(
    model: str,
    out: str,
    rows: int,
    conditions: Sequence[str],
    seed: int,
    *,
    engine: str | None,
    workers: int | None,
    keep_rules: bool = False,
) -> dict[str, Any]:
    """Rows of the model, as Parquet files in a folder.

    Raises:
        ValueError: an option or the model cannot be used.
    """
    engine = checked_engine(engine)
    check_folder(out)
    fitted, batch = load_model(model), BatchModel.of(model)
    values = observed_values(fitted, conditions, model)
    with options_named(model):
        fitted.given(values)
    plan = ShardPlan.of_samples(rows, out, batch.content, seed=seed, conditions=values, keep_rules=keep_rules)
    return carry_out(plan, batch, engine, workers, (), False) | {"out": out}


def checked_engine(engine: str | None) -> str:
    """The engine, ``"local"`` by default.

    Raises:
        ValueError: there is no such engine.
    """
    if engine is not None and engine not in ENGINES:
        raise ValueError(
            f"--engine: there is no {engine!r}.{suggestion(engine, ENGINES)} Choose one of {listed(ENGINES)}."
        )
    return engine or "local"


def folder_line(result: Mapping[str, Any]) -> str:
    """What was written."""
    line = f"{result['out']}: a folder of {result['shards']:,} Parquet files with {result['rows']:,} rows"
    return f"{line}; {result['bad']:,} rows are in its folder _quarantine." if result["bad"] else f"{line}."


def check_folder(out: str) -> None:
    """Refuse the name of a file where a folder of Parquet files is written.

    Raises:
        ValueError: see above.
    """
    if out.lower().endswith(OTHER_TABLES):
        raise ValueError(f"--out: {out}: the answers to several files are Parquet files in a folder. Name a folder.")


def carry_out(
    plan: ShardPlan, model: BatchModel, engine: str, workers: int | None, keep: Sequence[str], skip_bad: bool
) -> dict[str, Any]:
    """Do a plan, with a line for each tenth of it."""
    said = 0

    def progress(result: ShardResult, done: int, count: int) -> None:
        nonlocal said
        if done * 10 // count > said:
            said = done * 10 // count
            say(f"{done:,} of {count:,} shards.")

    try:
        report = run_shards(
            plan, model, engine=engine, workers=workers, keep=keep, skip_bad=skip_bad, progress=progress
        )
    except ImportError as error:
        raise ValueError(str(error)) from None
    if report.errors:
        more = f" {len(report.errors) - 1:,} more shards have errors." if len(report.errors) > 1 else ""
        remedy = "" if skip_bad else " --skip-bad puts such rows into quarantine."
        raise ValueError(f"{report.errors[0].rstrip('.')}.{more}{remedy} The other shards are done.")
    return {
        "rows": report.rows, "bad": report.bad, "shards": report.shards, "there_before": report.there_before,
    }  # fmt: skip
