"""``pushforward evaluate`` and ``pushforward report`` for named flows: log-likelihoods, baselines and plots."""

from __future__ import annotations

import shlex
from typing import Any

from pushforward.cli.common import refuse_same_file
from pushforward.cli.model import TableModel
from pushforward.core.files import check_writable
from pushforward.evaluate import Evaluation, baselines_from_dict, evaluate
from pushforward.train import History

__all__ = ["evaluate_rows", "evaluation_rows", "report_rows"]


def evaluate_rows(model: str, table: str) -> Evaluation:
    """The mean log-likelihood of the rows of a table, beside the baselines that were fitted with the model."""
    fitted = TableModel.load(model)
    x, context = fitted.split(fitted.read(table).values)
    return evaluate(fitted.flow, x, context, baselines=_baselines(fitted))


def report_rows(model: str, table: str, out: str, seed: int, *, train: str | None = None) -> dict[str, Any]:
    """Write an HTML report on held-out rows; returns its numbers."""
    from pushforward.evaluate.html import write_report
    from pushforward.evaluate.report import model_report

    refuse_same_file("--out", out, model, table, *([train] if train else []))
    check_writable(out)
    if train is not None:
        raise ValueError("--train: only the report on a mixed-type model uses the training rows. Leave it out.")
    fitted = TableModel.load(model)
    x, context = fitted.split(fitted.read(table).values)
    evaluation = evaluate(fitted.flow, x, context, baselines=_baselines(fitted))
    history = fitted.metadata.get("history")
    keys = ("flow", "options", "train_rows")
    facts: dict[str, object] = {key: fitted.metadata[key] for key in keys if key in fitted.metadata}
    sections = model_report(
        fitted.flow,
        x,
        context,
        columns=fitted.columns,
        context_columns=fitted.context_columns,
        baselines=_baselines(fitted),
        evaluation=evaluation,
        history=History.from_dict(history) if history else None,
        facts=facts,
        commands=shlex.join(["pushforward", "report", model, table, "--out", out, "--seed", str(seed)]),
        seed=seed,
    )
    write_report(out, f"{model} on {table}", sections)
    return {"out": out, **evaluation.to_dict()}


def evaluation_rows(evaluation: Evaluation) -> list[list[str]]:
    """An evaluation as rows of a table to print: model, log-likelihood, difference to the baseline."""
    from pushforward.core.exactness import qualified
    from pushforward.evaluate.metrics import TITLES, with_error

    rows = [
        [
            qualified("this model", evaluation.exactness),
            with_error(evaluation.log_likelihood, evaluation.standard_error),
            "",
        ]
    ]
    for name, score in evaluation.baselines.items():
        ahead = with_error(score.difference, score.difference_error)
        rows.append([TITLES.get(name, name), with_error(score.log_likelihood, score.standard_error), ahead])
    return rows


def _baselines(model: TableModel) -> Any:
    return baselines_from_dict(model.metadata.get("baselines") or {})
