"""The report on a model of the columns of a table, whatever model it is: one page that begins with a verdict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.core.distribution import Distribution
from pushforward.data.fields import Field
from pushforward.data.schema import Schema
from pushforward.distributions import Continuous
from pushforward.evaluate.abilities import column_types, conditions_on_any
from pushforward.evaluate.arrays import (
    Floats,
    Rows,
    as_rows,
    check_paired,
    evaluation_mode,
    sample_in_batches,
    to_model,
)
from pushforward.evaluate.baselines import AnyBaseline, fit_baselines
from pushforward.evaluate.calibration import LEVELS, ColumnCalibration, measure_calibration
from pushforward.evaluate.diagnostics import precision_check
from pushforward.evaluate.fidelity import Distance, TwoSampleTest, column_distances, two_sample_test
from pushforward.evaluate.html import Section, reworded, write_report
from pushforward.evaluate.judgement import verdict, without_held_out
from pushforward.evaluate.memorization import measure_memorization
from pushforward.evaluate.metrics import evaluate
from pushforward.evaluate.plots import HistoryLike
from pushforward.evaluate.ranks import subsample
from pushforward.evaluate.sections import (
    likelihood_section,
    model_section,
    precision_section,
    training_section,
    verdict_section,
)
from pushforward.evaluate.table_sections import (
    FEWEST_ROWS,
    ORDERS,
    calibration_section,
    dependence_section,
    fidelity_section,
    memorization_section,
    utility_section,
    violation_parts,
)
from pushforward.evaluate.training_rows import TrainingRows
from pushforward.evaluate.utility import measure_utility
from pushforward.evaluate.violations import violations

__all__ = ["model_report", "write_model_report"]

MAX_ROWS = 10_000  # held-out rows beyond the likelihood, and samples
SPREAD_ROWS = 500  # whose log-densities are compared between column orders

Result = tuple[list[Section], dict[str, Any]]  # sections of a report, and numbers


def write_model_report(
    path: str | os.PathLike[str],
    title: str,
    model: Distribution,
    schema: Schema | Sequence[str],
    x: Rows,
    **options: Any,
) -> dict[str, Any]:
    """Write `model_report` to an HTML file and return its numbers."""
    sections, numbers = model_report(model, schema, x, **options)
    write_report(path, title, sections)
    return numbers


def model_report(
    model: Distribution,
    schema: Schema | Sequence[str],
    x: Rows,
    context: Rows | None = None,
    context_schema: Schema | Sequence[str] = (),
    *,
    baselines: Mapping[str, AnyBaseline] | None = None,
    train: Rows | None = None,
    trained_on: TrainingRows | None = None,
    history: HistoryLike | None = None,
    facts: Mapping[str, object] | None = None,
    commands: str = "",
    seed: int = 0,
) -> Result:
    """The sections of a report on a model and held-out rows, and its main numbers.

    What takes the distribution of single columns given others is left out for models that have none.

    Args:
        model: any distribution over the columns.
        schema: of the columns of x, or their names if all are real numbers.
        x: (rows, columns) held-out rows as numbers, NaN where an entry is missing.
        context: (rows, context columns), for a conditional model; samples are drawn with the same contexts.
        context_schema: of the columns of the context, or their names.
        baselines: simple models fitted to the training rows, as from `fit_baselines`; by default fitted to ``train``.
        train: (rows, columns) that the model was trained on, for the sections on memorization and utility, which a
            conditional model does not have.
        trained_on: hashes of the training rows, by which held-out rows that are none are recognised; by default of
            ``train``.
        history: of the training run.
        facts: further lines about the model, by name, such as its flow and options.
        commands: the commands that reproduce the report.
        seed: of the samples.

    Raises:
        ValueError: shapes do not fit the model, or names do not fit the shapes.
    """
    check_paired("model_report", x, context)
    schema, context_schema = _as_schema(schema), _as_schema(context_schema)
    x, contexts = (
        as_rows("model_report", "x", x),
        None if context is None else as_rows("model_report", "context", context),
    )
    widths = x.shape[1], 0 if contexts is None else contexts.shape[1]
    if (len(schema.names), len(context_schema.names)) != widths:
        raise ValueError(
            f"model_report: x has {widths[0]} columns and context {widths[1]}; got {len(schema.names)} and "
            f"{len(context_schema.names)} names. Give one name per column."
        )
    train = None if train is None or contexts is not None else as_rows("model_report", "train", train)
    if train is not None:
        trained_on = trained_on or TrainingRows.of(train)
        if baselines is None:
            baselines = fit_baselines(train, types=column_types(model, len(schema.names)), seed=seed)
    evaluation = evaluate(model, x, contexts, baselines=baselines)
    chosen = np.linspace(0, len(x) - 1, min(len(x), MAX_ROWS)).round().astype(np.int64)
    shown, shown_contexts = x[chosen], None if contexts is None else contexts[chosen]
    columns = measure_calibration(model, shown, schema.names, shown_contexts)
    sections, numbers = _conditionals(model, shown, shown_contexts, columns, seed)
    real, kept, gaps = _fill_gaps(model, shown, shown_contexts, seed + 1)
    shown_contexts = None if shown_contexts is None else shown_contexts[kept]
    samples = sample_in_batches(model, len(real) if train is None else MAX_ROWS, shown_contexts, seed=seed)
    samples, excluded = schema.rounded(samples), len(shown) - len(real)
    compared, table = _compare(schema, context_schema, real, shown_contexts, samples, gaps, excluded, seed)
    sections += compared
    table["broken"] = violations(schema, samples)
    sections[-1].parts = [*sections[-1].parts, *violation_parts(table["broken"], len(samples))]
    if train is not None:
        parts = _training_rows(model, schema, train, real, samples, gaps, seed)
        sections += parts[0]
        numbers |= parts[1]
    if history is not None and history.records:
        sections.append(training_section(history))
    usable = np.isfinite(x).all(axis=1) & np.isfinite(evaluation.log_densities["model"])
    precision = None
    if usable.any():
        precision = precision_check(model, x[usable], None if contexts is None else contexts[usable])
        sections.append(precision_section(precision))
    sections.append(model_section(model, schema, context_schema, facts=facts))
    judged = verdict(
        evaluation, model, schema.names, x, contexts, trained_on=trained_on, calibration=columns, precision=precision,
        **table,
    )  # fmt: skip
    numbers |= {
        "verdict": judged.to_dict(),
        "two_sample_auc": None if table["test"] is None else table["test"].auc,
        "violations": [vars(violation) for violation in table["broken"]],
        "column_distances": {entry.names[0]: entry.distance for entry in table["distances"]},
    }
    sections = [likelihood_section(evaluation), *sections]
    if not judged.held_out:
        sections = [reworded(section, without_held_out) for section in sections]
    return [verdict_section(judged, commands), *sections], evaluation.to_dict() | numbers


def _as_schema(columns: Schema | Sequence[str]) -> Schema:
    if isinstance(columns, Schema):
        return columns
    return Schema(tuple(Field(name, Continuous(), "", "float64") for name in columns))


def _conditionals(
    model: Distribution, x: Floats, context: Floats | None, columns: Sequence[ColumnCalibration], seed: int
) -> Result:
    """Dependence between columns and calibration of their conditional distributions, for models that have some."""
    sections: list[Section] = []
    numbers: dict[str, Any] = {}
    if not columns:
        return sections, numbers
    if conditions_on_any(model) and x.shape[1] > 1:
        numbers["order_spread"] = _order_spread(model, x[:SPREAD_ROWS], context, seed)
        sections.append(dependence_section(columns, spread=numbers["order_spread"]))
    sections.append(calibration_section(columns, any_order=conditions_on_any(model), single=x.shape[1] == 1))
    coverages = {c.name: {f"{p:.0%}": c.coverage(p)[0] for p in LEVELS} for c in columns if c.lower is not None}
    return sections, numbers | {"coverage": coverages}


def _compare(
    schema: Schema,
    context_schema: Schema,
    real: Floats,
    context: Floats | None,
    samples: Floats,
    gaps: NDArray[np.bool_],
    excluded: int,
    seed: int,
) -> tuple[list[Section], dict[str, Any]]:
    """Samples beside held-out rows; the context of a conditional model counts as further columns of both."""
    title = "Do samples look real?"
    finite = np.asarray(np.isfinite(samples).all(axis=1))
    pairs = finite[: len(real)]
    real, paired, gaps = real[pairs], samples[: len(real)][pairs], gaps[pairs]
    distances: list[Distance] = column_distances(schema, real, paired)
    test: TwoSampleTest | None = None
    if not len(real):
        reason = "All held-out rows have missing entries, which this model cannot fill in, or no sample is finite."
        return [Section(title, [reason])], {"distances": distances, "test": test}
    imputed = np.append(gaps.mean(axis=0), np.zeros(len(context_schema.fields)))
    if context is not None:
        context = context[pairs]
        schema = Schema((*schema.fields, *context_schema.fields), schema.backend)
        real, paired = np.hstack([real, context]), np.hstack([paired, context])
    if len(real) >= FEWEST_ROWS:
        test = two_sample_test(schema, real, paired, seed=seed)
    section = fidelity_section(
        schema, real, paired, distances, test, imputed=imputed, excluded=excluded, title=title,
        invalid=int((~finite).sum()), conditional=context is not None,
    )  # fmt: skip
    return [section], {"distances": distances, "test": test}


def _training_rows(
    model: Distribution,
    schema: Schema,
    train: Floats,
    real: Floats,
    samples: Floats,
    gaps: NDArray[np.bool_],
    seed: int,
) -> Result:
    """Whether samples copy the training rows, and whether they can stand in for them."""
    if min(len(train), len(real)) < FEWEST_ROWS:
        reason = f"Not measured: this takes at least {FEWEST_ROWS} complete held-out rows and as many training rows."
        return [Section("Does the model memorize training rows?", [reason])], {}
    memorization = measure_memorization(schema, train, samples, real, seed=seed)
    sections = [memorization_section(memorization, len(train))]
    filled, _, train_gaps = _fill_gaps(model, subsample(train, MAX_ROWS, seed), None, seed + 2)
    utilities = measure_utility(schema, filled, samples, real, imputed=(train_gaps, gaps), seed=seed)
    if utilities:
        sections.append(utility_section(utilities))
    return sections, {
        "closer_than_held_out": memorization.close[0],
        "utility": {entry.name: {"real": entry.real, "samples": entry.samples} for entry in utilities},
    }


def _fill_gaps(
    model: Any, x: Floats, context: Floats | None, seed: int
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows with missing entries drawn given the observed ones, which rows these are, and where entries were missing.

    A model of a fixed column order conditions a missing entry only on those before it, so that drawing would favour
    the model: there, and for models that cannot draw them, the rows without gaps are returned.
    """
    gaps = np.isnan(x)
    complete = np.asarray(~gaps.any(axis=1))
    if complete.all() or not conditions_on_any(model):
        return x[complete], complete, gaps[complete]
    with torch.no_grad(), evaluation_mode(model):
        rows, contexts = to_model(model, x, context)
        generator = torch.Generator(rows.device).manual_seed(seed)
        filled: Floats = model.impute(rows, generator, contexts).cpu().numpy()
    return filled, np.ones(len(x), dtype=bool), gaps


def _order_spread(model: Any, x: Floats, context: Floats | None, seed: int) -> float | None:
    """Standard deviation of the log-density of a row between random column orders, averaged over the rows with a
    density; None without such rows."""
    random, columns = np.random.default_rng(seed), x.shape[1]
    with torch.no_grad(), evaluation_mode(model):
        rows, contexts = to_model(model, x, None if context is None else context[: len(x)])
        spread = model.order_spread(rows, [random.permutation(columns).tolist() for _ in range(ORDERS)], contexts)
    finite = spread[spread.isfinite()]
    return float(finite.mean()) if len(finite) else None
