"""``evaluate`` and ``report`` of models of mixed columns."""

from __future__ import annotations

import shlex
from typing import Any

from pushforward.cli.mixed import rows_of
from pushforward.estimators import FlowDensity
from pushforward.evaluate import Evaluation
from pushforward.evaluate.independence_baseline import evaluate_mixed
from pushforward.io import read_header
from pushforward.train import History

__all__ = ["evaluate_rows", "report_mixed"]


def evaluate_rows(model: str, table: str) -> Evaluation:
    """How likely a table's rows are, of the entries that are there."""
    known = FlowDensity.load(model)
    return evaluate_mixed(known.model_, rows_of(known, table))


def report_mixed(model: str, table: str, out: str, seed: int, *, train: str | None = None) -> dict[str, Any]:
    """Write a page with numbers and pictures; returns the numbers."""
    from pushforward.evaluate.mixed_report import write_mixed_report

    known = FlowDensity.load(model)
    metadata = read_header(model).metadata
    history = metadata.get("history")
    arguments = [] if train is None else ["--train", train]
    found = write_mixed_report(
        out,
        f"{model} on {table}",
        known.model_,
        known.schema_,
        rows_of(known, table),
        train=None if train is None else rows_of(known, train),
        history=History.from_dict(history) if history else None,
        facts={key: metadata[key] for key in ("flow", "train_rows") if key in metadata},
        commands=shlex.join(["pushforward", "report", model, table, *arguments, "--out", out, "--seed", str(seed)]),
        seed=seed,
    )
    return {"out": out, **found}
