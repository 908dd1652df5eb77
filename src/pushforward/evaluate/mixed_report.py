"""The report on a mixed-type model: likelihood, calibration, fidelity of samples, memorization and utility."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.schema import Schema
from pushforward.distributions import MixedTypeModel
from pushforward.evaluate.arrays import Floats, evaluation_mode, sample_in_batches, to_model
from pushforward.evaluate.calibration import LEVELS, ColumnCalibration, measure_calibration
from pushforward.evaluate.diagnostics import precision_check
from pushforward.evaluate.fidelity import column_distances, two_sample_test
from pushforward.evaluate.html import Code, Section, write_report
from pushforward.evaluate.independence_baseline import evaluate_mixed
from pushforward.evaluate.memorization import measure_memorization
from pushforward.evaluate.mixed_sections import (
    FEWEST_ROWS,
    ORDERS,
    calibration_section,
    dependence_section,
    fidelity_section,
    memorization_section,
    utility_section,
)
from pushforward.evaluate.plots import HistoryLike
from pushforward.evaluate.ranks import subsample
from pushforward.evaluate.report import (
    likelihood_section,
    model_section,
    precision_section,
    reproduce_section,
    training_section,
)
from pushforward.evaluate.utility import measure_utility

__all__ = ["mixed_report", "write_mixed_report"]

MAX_ROWS = 10_000  # held-out rows beyond the likelihood, and samples
SPREAD_ROWS = 500  # whose log-densities are compared between column orders

Result = tuple[list[Section], dict[str, Any]]  # of one part of the report


def write_mixed_report(
    path: str | os.PathLike[str], title: str, model: MixedTypeModel, schema: Schema, x: Floats, **options: Any
) -> dict[str, Any]:
    """Write `mixed_report` to an HTML file and return its numbers."""
    sections, numbers = mixed_report(model, schema, x, **options)
    write_report(path, title, sections)
    return numbers


def mixed_report(
    model: MixedTypeModel,
    schema: Schema,
    x: Floats,
    *,
    train: Floats | None = None,
    history: HistoryLike | None = None,
    facts: Mapping[str, object] | None = None,
    commands: str = "",
    seed: int = 0,
) -> Result:
    """The sections of a report on a mixed-type model and held-out rows, and its main numbers.

    Args:
        model: of the columns.
        schema: of the columns.
        x: (rows, columns) held-out rows as numbers, NaN where an entry is missing.
        train: (rows, columns) that the model was trained on, for the sections on memorization and utility.
        history: of the training run.
        facts: further lines about the model, by name.
        commands: the commands that reproduce the report.
        seed: of the samples.
    """
    evaluation = evaluate_mixed(model, x)
    sections, numbers = [likelihood_section(evaluation)], evaluation.to_dict()
    chosen = x[np.linspace(0, len(x) - 1, min(len(x), MAX_ROWS)).round().astype(np.int64)]
    parts = [_calibration(model, chosen, schema, seed), _samples(model, chosen, schema, train, seed)]
    for part_sections, part_numbers in parts:
        sections += part_sections
        numbers |= part_numbers
    if history is not None and history.records:
        sections.append(training_section(history))
    complete = np.isfinite(x).all(axis=1) & np.isfinite(evaluation.log_densities["model"])
    if complete.any():
        sections.append(precision_section(precision_check(model, x[complete])))
    described = model_section(model, columns=schema.names, facts=facts)
    described.parts = [
        *described.parts,
        "The type of each column and the rule that decided it:",
        Code(schema.describe()),
    ]
    sections.append(described)
    if commands:
        sections.append(reproduce_section(commands))
    return sections, numbers


def _calibration(model: MixedTypeModel, x: Floats, schema: Schema, seed: int) -> Result:
    """Dependence between columns and calibration of their conditional distributions."""
    columns = measure_calibration(model, x, schema.names)
    sections: list[Section] = []
    numbers: dict[str, Any] = {}
    if columns and model.order == "any":
        numbers["order_spread"] = _order_spread(model, x[:SPREAD_ROWS], seed)
        sections.append(dependence_section(columns, spread=numbers["order_spread"]))
    if columns:
        sections.append(calibration_section(columns, any_order=model.order == "any"))
        numbers["coverage"] = {column.name: _coverage(column) for column in columns if column.lower is not None}
    return sections, numbers


def _coverage(column: ColumnCalibration) -> dict[str, float]:
    return {f"{level:.0%}": column.coverage(level)[0] for level in LEVELS}


def _samples(model: MixedTypeModel, x: Floats, schema: Schema, train: Floats | None, seed: int) -> Result:
    """Samples compared with held-out rows and, if given, with the training rows."""
    samples = sample_in_batches(model, MAX_ROWS if train is not None else len(x), seed=seed)
    real, gaps = _fill_gaps(model, x, seed + 1)
    paired = samples[: len(real)]
    test = two_sample_test(schema, real, paired, seed=seed) if len(real) >= FEWEST_ROWS else None
    distances = column_distances(schema, real, paired)
    numbers: dict[str, Any] = {
        "two_sample_auc": None if test is None else test.auc,
        "column_distances": {distance.names[0]: distance.distance for distance in distances},
    }
    if len(real):
        imputed, excluded = gaps.mean(axis=0), len(x) - len(real)
        sections = [fidelity_section(schema, real, paired, distances, test, imputed=imputed, excluded=excluded)]
    else:
        reason = "Every held-out row has missing entries, which a model of a fixed column order cannot fill in."
        sections = [Section("Do samples look real?", [reason])]
    if train is None:
        return sections, numbers
    if min(len(train), len(real)) < FEWEST_ROWS:
        reason = f"Not measured: this takes at least {FEWEST_ROWS} complete held-out rows and as many training rows."
        return [*sections, Section("Does the model memorize training rows?", [reason])], numbers
    memorization = measure_memorization(schema, train, samples, real, seed=seed)
    sections.append(memorization_section(memorization, len(train)))
    filled, train_gaps = _fill_gaps(model, subsample(train, MAX_ROWS, seed), seed + 2)
    utilities = measure_utility(schema, filled, samples, real, imputed=(train_gaps, gaps), seed=seed)
    if utilities:
        sections.append(utility_section(utilities))
    numbers["closer_than_held_out"] = memorization.close[0]
    numbers["utility"] = {entry.name: {"real": entry.real, "samples": entry.samples} for entry in utilities}
    return sections, numbers


def _fill_gaps(model: MixedTypeModel, x: Floats, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Rows with missing entries drawn given the observed ones, and where these were missing.

    A model of a fixed column order conditions a missing entry only on those before it, so that drawing would favour
    the model: there the rows without gaps are returned.
    """
    gaps = np.isnan(x)
    if not gaps.any():
        return x, gaps
    if model.order == "fixed":
        complete = ~gaps.any(axis=1)
        return x[complete], gaps[complete]
    with torch.no_grad(), evaluation_mode(model):
        rows, _ = to_model(model, x, None)
        filled: Floats = model.impute(rows, torch.Generator(rows.device).manual_seed(seed)).cpu().numpy()
    return filled, gaps


def _order_spread(model: MixedTypeModel, x: Floats, seed: int) -> float | None:
    """Standard deviation of the log-density of a row between random column orders, averaged over the rows with a
    density; None without such rows."""
    random, (columns,) = np.random.default_rng(seed), model.event_shape
    with torch.no_grad(), evaluation_mode(model):
        rows, _ = to_model(model, x, None)
        spread = model.order_spread(rows, [random.permutation(columns).tolist() for _ in range(ORDERS)])
    finite = spread[spread.isfinite()]
    return float(finite.mean()) if len(finite) else None
