"""``evaluate`` and ``report`` of models of mixed columns."""

from __future__ import annotations

import shlex
from typing import Any

from pushforward.cli.mixed import rows_of
from pushforward.estimators import FlowDensity
from pushforward.evaluate import Evaluation, evaluate
from pushforward.evaluate.alone import ColumnsAlone
from pushforward.evaluate.arrays import Floats
from pushforward.io import read_header
from pushforward.train import History

__all__ = ["evaluate_mixed", "report_mixed"]


def evaluate_mixed(model: str, table: str) -> Evaluation:
    """The mean log-likelihood of a table's rows, of the entries that are there, beside that of its columns alone."""
    known = FlowDensity.load(model)
    return _evaluation(known, rows_of(known, table))


def report_mixed(model: str, table: str, out: str, seed: int, *, train: str | None = None) -> dict[str, Any]:
    """Write a page with numbers and pictures; returns the numbers."""
    from pushforward.evaluate.html import write_report
    from pushforward.evaluate.mixed_report import mixed_report

    known = FlowDensity.load(model)
    x, learned = rows_of(known, table), None if train is None else rows_of(known, train)
    found = _evaluation(known, x)
    metadata = read_header(model).metadata
    history = metadata.get("history")
    arguments = [] if train is None else ["--train", train]
    sections, numbers = mixed_report(
        known.model_,
        known.schema_,
        x,
        evaluation=found,
        learned=learned,
        history=History.from_dict(history) if history else None,
        facts={key: metadata[key] for key in ("flow", "train_rows") if key in metadata},
        commands=shlex.join(["pushforward", "report", model, table, *arguments, "--out", out, "--seed", str(seed)]),
        seed=seed,
    )
    write_report(out, f"{model} on {table}", sections)
    return {"out": out, **found.to_dict(), **numbers}


def _evaluation(known: FlowDensity, x: Floats) -> Evaluation:
    alone = {"alone": ColumnsAlone(known.model_)} if known.model_.order == "any" else {}
    return evaluate(known.model_, x, baselines=alone)
