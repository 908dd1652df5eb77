"""``pushforward evaluate`` and ``pushforward report``: how well a model fits rows that it has not seen."""

from __future__ import annotations

import shlex
from typing import Any

from pushforward.cli.common import refuse_same_file
from pushforward.cli.model import TableModel, is_mixed
from pushforward.core.files import check_writable
from pushforward.evaluate import Evaluation, baselines_from_dict, evaluate
from pushforward.train import History

__all__ = ["evaluate_table", "evaluation_rows", "report_table"]


def evaluate_table(model: str, table: str) -> Evaluation:
    """The mean log-likelihood of a table's rows beside the baselines that were fitted with the model."""
    if is_mixed(model):
        from pushforward.cli.mixed_report import evaluate_rows

        return evaluate_rows(model, table)
    known = TableModel.load(model)
    x, context = known.split(known.read(table).values)
    return evaluate(known.flow, x, context, baselines=_baselines(known))


def report_table(model: str, table: str, out: str, seed: int, *, train: str | None = None) -> dict[str, Any]:
    """Write a page with numbers and pictures; returns the numbers. ``train``: the rows that were learned from."""
    from pushforward.evaluate.html import write_report
    from pushforward.evaluate.report import model_report

    refuse_same_file("--out", out, model, table, *([train] if train else []))
    check_writable(out)
    if is_mixed(model):
        from pushforward.cli.mixed_report import report_mixed

        return report_mixed(model, table, out, seed, train=train)
    if train is not None:
        raise ValueError("--train: only the report of a model of mixed columns looks at those rows. Leave it out.")
    known = TableModel.load(model)
    x, context = known.split(known.read(table).values)
    found = evaluate(known.flow, x, context, baselines=_baselines(known))
    history = known.metadata.get("history")
    keys = ("flow", "options", "train_rows")
    facts: dict[str, object] = {key: known.metadata[key] for key in keys if key in known.metadata}
    sections = model_report(
        known.flow,
        x,
        context,
        columns=known.columns,
        context_columns=known.given,
        baselines=_baselines(known),
        evaluation=found,
        history=History.from_dict(history) if history else None,
        facts=facts,
        commands=shlex.join(["pushforward", "report", model, table, "--out", out, "--seed", str(seed)]),
        seed=seed,
    )
    write_report(out, f"{model} on {table}", sections)
    return {"out": out, **found.to_dict()}


def evaluation_rows(found: Evaluation) -> list[list[str]]:
    """The numbers as rows of a table to print."""
    from pushforward.core.exactness import qualified
    from pushforward.evaluate.metrics import TITLES, with_error

    rows = [[qualified("this model", found.exactness), with_error(found.log_likelihood, found.standard_error), ""]]
    for name, score in found.baselines.items():
        ahead = with_error(score.difference, score.difference_error)
        rows.append([TITLES.get(name, name), with_error(score.log_likelihood, score.standard_error), ahead])
    return rows


def _baselines(model: TableModel) -> Any:
    return baselines_from_dict(model.metadata.get("baselines") or {})
