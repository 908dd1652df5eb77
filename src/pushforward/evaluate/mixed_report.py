"""The report on a model of mixed columns: fit, calibration, how real its rows look, and whether they copy."""

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
from pushforward.evaluate.calibration import LEVELS, calibrate
from pushforward.evaluate.diagnostics import precision_check
from pushforward.evaluate.fidelity import column_distances, two_sample_test
from pushforward.evaluate.html import Section, code, write_report
from pushforward.evaluate.independence_baseline import evaluate_mixed
from pushforward.evaluate.memorization import find_copies, usefulness
from pushforward.evaluate.mixed_sections import (
    FEWEST,
    ORDERS,
    calibration_section,
    columns_section,
    copies_section,
    fidelity_section,
    usefulness_section,
)
from pushforward.evaluate.plots import HistoryLike
from pushforward.evaluate.report import (
    likelihood_section,
    model_section,
    precision_section,
    reproduce_section,
    training_section,
)

__all__ = ["mixed_report", "write_mixed_report"]

MAX_ROWS = 10_000  # held-out rows whose calibration is looked at, and drawn rows
SPREAD_ROWS = 500  # whose densities are compared between orders


def write_mixed_report(
    path: str | os.PathLike[str], title: str, model: MixedTypeModel, schema: Schema, x: Floats, **options: Any
) -> dict[str, Any]:
    """Write the page that `mixed_report` makes; gives its numbers."""
    sections, found = mixed_report(model, schema, x, **options)
    write_report(path, title, sections)
    return found


def mixed_report(
    model: MixedTypeModel,
    schema: Schema,
    x: Floats,
    *,
    learned: Floats | None = None,
    history: HistoryLike | None = None,
    facts: Mapping[str, object] | None = None,
    commands: str = "",
    seed: int = 0,
) -> tuple[list[Section], dict[str, Any]]:
    """The sections of a report on a model of mixed columns and held-out rows, and its numbers.

    Args:
        model: of the columns.
        schema: what the columns are.
        x: (rows, columns) held-out rows as numbers, NaN where an entry is missing.
        learned: (rows, columns) that the model was fitted on, to look for copies of them and to compare what can be
            learned from them with what can be learned from drawn rows.
        history: of the training run.
        facts: whatever else should be said about the model.
        commands: what to type to get the same report again.
        seed: of the drawn rows.
    """
    evaluation = evaluate_mixed(model, x)
    chosen = x[np.linspace(0, len(x) - 1, min(len(x), MAX_ROWS)).round().astype(np.int64)]
    columns = calibrate(model, chosen, schema.names)
    drawn = sample_in_batches(model, MAX_ROWS if learned is not None else len(chosen), seed=seed)
    sections, found = [likelihood_section(evaluation)], evaluation.to_dict()
    if any(own.alone is not None for own in columns):
        spread = _order_spread(model, chosen[:SPREAD_ROWS], seed)
        sections.append(columns_section(columns, spread=spread))
        found["order_spread"] = spread
    if columns:
        sections.append(calibration_section(columns, beside=model.order == "any"))
        found["coverage"] = {
            own.name: {f"{p:.0%}": own.coverage(p)[0] for p in LEVELS} for own in columns if own.lower is not None
        }
    real, gaps = _whole(model, chosen, seed + 1)
    beside = drawn[: len(real)]
    test = two_sample_test(schema, real, beside, seed=seed) if len(real) >= FEWEST else None
    distances = column_distances(schema, real, beside)
    if len(real):
        shares, left_out = gaps.mean(axis=0), len(chosen) - len(real)
        sections.append(fidelity_section(schema, real, beside, distances, test, gaps=shares, left_out=left_out))
    else:
        words = "Every held-out row has gaps, and a model of one order of the columns cannot fill them."
        sections.append(Section("Do its rows look real?", [words]))
    found["two_sample_auc"] = None if test is None else test.auc
    found["column_distances"] = {own.names[0]: own.distance for own in distances}
    if learned is not None and min(len(learned), len(real)) < FEWEST:
        words = f"To look for copies takes at least {FEWEST} whole held-out rows and as many training rows."
        sections.append(Section("Does it copy the rows it learned from?", [words]))
    elif learned is not None:
        copies = find_copies(schema, learned, drawn, real, seed=seed)
        some = learned[np.random.default_rng(seed).permutation(len(learned))[:MAX_ROWS]]
        known, known_gaps = _whole(model, some, seed + 2)
        useful = usefulness(schema, known, drawn, real, gaps=(known_gaps, gaps), seed=seed)
        sections += [copies_section(copies, len(learned)), *([usefulness_section(useful)] if useful else [])]
        found["nearer_than_real"] = copies.nearer[0]
        found["usefulness"] = {own.name: {"real": own.real, "drawn": own.drawn} for own in useful}
    if history is not None and history.records:
        sections.append(training_section(history))
    usable = np.isfinite(x).all(axis=1) & np.isfinite(evaluation.log_densities["model"])
    if usable.any():
        sections.append(precision_section(precision_check(model, x[usable])))
    sections.append(model_section(model, columns=schema.names, facts=facts))
    kinds = code(schema.describe())
    sections[-1].parts = [*sections[-1].parts, "What each column is, and the rule that said so:", kinds]
    if commands:
        sections.append(reproduce_section(commands))
    return sections, found


def _whole(model: MixedTypeModel, x: Floats, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Rows without gaps, and where there were some: filled by draws given what is there. A model of one order gives a
    gap no more than what stands before it, so of its rows those without gaps are kept."""
    gaps = np.isnan(x)
    if not gaps.any():
        return x, gaps
    if model.order == "fixed":
        kept = ~gaps.any(axis=1)
        return x[kept], gaps[kept]
    with torch.no_grad(), evaluation_mode(model):
        rows, _ = to_model(model, x, None)
        found: Floats = model.impute(rows, torch.Generator(rows.device).manual_seed(seed)).cpu().numpy()
    return found, gaps


def _order_spread(model: MixedTypeModel, x: Floats, seed: int) -> float | None:
    """How far log-densities of rows differ between random orders of the columns, a mean over rows; None where no row
    has a density."""
    random, (count,) = np.random.default_rng(seed), model.event_shape
    with torch.no_grad(), evaluation_mode(model):
        rows, _ = to_model(model, x, None)
        spread = model.order_spread(rows, [random.permutation(count).tolist() for _ in range(ORDERS)])
    known = spread[spread.isfinite()]
    return float(known.mean()) if len(known) else None
