"""``pushforward evaluate`` and ``pushforward report``: how good a model is on rows that it has not seen."""

from __future__ import annotations

import shlex
from typing import Any

from pushforward.cli.common import say
from pushforward.cli.outputs import check_output, remember
from pushforward.cli.tables import load_model, read_rows
from pushforward.estimators import FlowDensity
from pushforward.estimators.layout import TableRows
from pushforward.estimators.table import Prepared
from pushforward.evaluate import (
    Evaluation,
    TrainingRows,
    Verdict,
    baselines_from_dict,
    baselines_to_dict,
    column_types,
    evaluate,
    fit_baselines,
    verdict,
)
from pushforward.io import read_header
from pushforward.train import History

__all__ = ["compare", "evaluate_rows", "evaluation_rows", "fit_rows", "report_rows"]

MAX_SCORED = 50_000
"""Largest number of training rows on which the final training likelihood is computed."""


def fit_simple_models(model: FlowDensity, train: TableRows, seed: int) -> dict[str, Any]:
    """Baselines of the kind of the table, fitted to the training rows; none where they cannot be."""
    fields, context_fields = model.layout_.fields
    types, context_types = column_types(model.model_, len(fields)), [field.column_type for field in context_fields]
    try:
        return fit_baselines(train.x, train.context, types=types, context_types=context_types, seed=seed)
    except ValueError as error:  # the model is saved without them
        say(f"No baselines: {error}")
        return {}


def judged(
    model: FlowDensity, rows: TableRows, baselines: dict[str, Any], trained_on: TrainingRows | None
) -> tuple[Evaluation, Verdict]:
    """The likelihood of rows under the model and its baselines, and what follows from it."""
    evaluation = evaluate(model.model_, rows.x, rows.context, baselines=baselines)
    names = [field.name for field in model.layout_.fields[0]]
    return evaluation, verdict(evaluation, model.model_, names, rows.x, rows.context, trained_on=trained_on)


def compare(model: FlowDensity, prepared: Prepared, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is stored about the training rows, and the mean log-likelihoods of the training rows (`MAX_SCORED` at most)
    and of the validation rows, with a verdict on the latter."""
    baselines = fit_simple_models(model, prepared.train, seed)
    trained_on = TrainingRows.of(prepared.train.x, prepared.train.context)
    first = next(prepared.train.pieces(MAX_SCORED))
    train = evaluate(model.model_, first.x, first.context, baselines=baselines)
    held, opinion = (
        (None, None) if prepared.validation is None else judged(model, prepared.validation, baselines, trained_on)
    )

    def scores(name: str | None) -> dict[str, Any]:
        seen, unseen = (e if e is None or name is None else e.baselines[name] for e in (train, held))
        return {
            "train": None if seen is None else seen.log_likelihood,
            "validation": None if unseen is None else unseen.log_likelihood,
            "validation_error": None if unseen is None else unseen.standard_error,
        }

    stored = {"baselines": baselines_to_dict(baselines), "training_hashes": trained_on.to_dict()}
    return stored, {
        **scores(None),
        "baselines": {name: scores(name) for name in train.baselines},
        "verdict": None if opinion is None else opinion.to_dict(),
    }


def evaluate_rows(model: str, table: str) -> tuple[Evaluation, Verdict]:
    """The mean log-likelihood of the rows of a table, beside the baselines that were fitted with the model."""
    fitted, metadata = load_model(model), read_header(model).metadata
    stored = metadata.get("training_hashes")
    baselines = baselines_from_dict(metadata.get("baselines") or {})
    return judged(fitted, read_rows(fitted, table), baselines, TrainingRows.from_dict(stored) if stored else None)


def report_rows(
    model: str, table: str, out: str, seed: int, *, train: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Write an HTML report on held-out rows; returns its numbers. ``train`` is the table of the training rows."""
    from pushforward.evaluate.report import write_model_report

    check_output(out, model, table, train, force=force)
    fitted, metadata = load_model(model), read_header(model).metadata
    rows, train_rows = read_rows(fitted, table), None if train is None else read_rows(fitted, train)
    fields, context_fields = fitted.layout_.schemas
    stored, history = metadata.get("training_hashes"), metadata.get("history")
    arguments = [] if train is None else ["--train", str(train)]
    numbers = write_model_report(
        out, f"{model} on {table}", fitted.model_, fields, rows.x, context=rows.context, context_schema=context_fields,
        baselines=baselines_from_dict(metadata.get("baselines") or {}) or None,
        train=None if train_rows is None else train_rows.x,
        trained_on=TrainingRows.from_dict(stored) if stored else None,
        history=History.from_dict(history) if history else None,
        facts={key: metadata[key] for key in ("model", "options", "train_rows") if key in metadata},
        commands=shlex.join(["pushforward", "report", model, str(table), *arguments, "--out", out, f"--seed={seed}"]),
        seed=seed,
    )  # fmt: skip
    remember(out)
    return {"out": out, **numbers}


def fit_rows(result: dict[str, Any]) -> list[list[str]]:
    """The log-likelihoods after a fit as rows of a table to print."""
    from pushforward.core.exactness import qualified
    from pushforward.evaluate.metrics import TITLES, signed, with_error

    def row(title: str, scores: dict[str, Any]) -> list[str]:
        validation = scores["validation"]
        error = scores["validation_error"]
        return [title, signed(scores["train"]), "" if validation is None else with_error(validation, error)]

    model = row(qualified(result["model"], result["exactness"]), result)
    return [model] + [row(TITLES.get(k, k), b) for k, b in result["baselines"].items()]


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
        rows.append([TITLES.get(name, name), *score.shown])
    return rows
