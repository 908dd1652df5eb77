"""``pushforward evaluate`` and ``pushforward report`` for mixed-type models."""

from __future__ import annotations

import shlex
from typing import Any

from pushforward.cli.common import refuse_same_file
from pushforward.cli.mixed import read_rows
from pushforward.core.files import check_writable
from pushforward.estimators import FlowDensity
from pushforward.evaluate import Evaluation
from pushforward.evaluate.independence_baseline import evaluate_mixed
from pushforward.io import read_header
from pushforward.train import History

__all__ = ["evaluate_rows", "report_rows"]


def evaluate_rows(model: str, table: str) -> Evaluation:
    """The mean log-likelihood of the observed entries of the rows, beside the independence baseline."""
    fitted = FlowDensity.load(model)
    return evaluate_mixed(fitted.model_, read_rows(fitted, table))


def report_rows(model: str, table: str, out: str, seed: int, *, train: str | None = None) -> dict[str, Any]:
    """Write an HTML report on held-out rows; returns its numbers."""
    from pushforward.evaluate.mixed_report import write_mixed_report

    refuse_same_file("--out", out, model, table, *([train] if train else []))
    check_writable(out)
    fitted = FlowDensity.load(model)
    metadata = read_header(model).metadata
    history = metadata.get("history")
    arguments = [] if train is None else ["--train", train]
    numbers = write_mixed_report(
        out,
        f"{model} on {table}",
        fitted.model_,
        fitted.schema_,
        read_rows(fitted, table),
        train=None if train is None else read_rows(fitted, train),
        history=History.from_dict(history) if history else None,
        facts={key: metadata[key] for key in ("flow", "train_rows") if key in metadata},
        commands=shlex.join(["pushforward", "report", model, table, *arguments, "--out", out, "--seed", str(seed)]),
        seed=seed,
    )
    return {"out": out, **numbers}
