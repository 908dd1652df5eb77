"""The report on a model of mixed columns: fit, calibration, how real its rows look, and whether they copy.

Each section is a function of its own, as in `report`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pushforward.data.schema import Schema
from pushforward.distributions import Mixed
from pushforward.evaluate.alone import evaluate_mixed
from pushforward.evaluate.arrays import Floats, evaluation_mode, sample_in_batches, to_model
from pushforward.evaluate.calibration import LEVELS, ColumnCalibration, calibrate
from pushforward.evaluate.column_plots import (
    plot_associations,
    plot_columns,
    plot_copies,
    plot_pit,
    plot_reliability,
)
from pushforward.evaluate.diagnostics import precision_check
from pushforward.evaluate.fidelity import (
    Distance,
    TwoSampleTest,
    associations,
    column_distances,
    pair_distances,
    two_sample_test,
)
from pushforward.evaluate.html import Html, Section, code, fact, picture, table, write_report
from pushforward.evaluate.learned_rows import Copies, Usefulness, find_copies, usefulness
from pushforward.evaluate.metrics import mean_and_error, signed, with_error
from pushforward.evaluate.plots import HistoryLike
from pushforward.evaluate.report import (
    likelihood_section,
    model_section,
    precision_section,
    reproduce_section,
    training_section,
)

__all__ = [
    "calibration_section",
    "columns_section",
    "copies_section",
    "fidelity_section",
    "mixed_report",
    "usefulness_section",
    "write_mixed_report",
]

MAX_ROWS = 10_000  # held-out rows whose calibration is looked at, and drawn rows
MAX_LEARNED = 20_000  # training rows
FEWEST = 50  # rows from where on drawn rows are compared with real ones
MOST_NAMED = 8


def write_mixed_report(
    path: str | os.PathLike[str], title: str, model: Mixed, schema: Schema, x: Floats, **options: Any
) -> dict[str, Any]:
    """Write the page that `mixed_report` makes; gives its numbers."""
    sections, found = mixed_report(model, schema, x, **options)
    write_report(path, title, sections)
    return found


def mixed_report(
    model: Mixed,
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
    drawn = sample_in_batches(model, len(chosen), seed=seed)
    real = _filled(model, chosen, seed + 1)  # whole rows, for gaps may depend on values that are there
    sections = [likelihood_section(evaluation)]
    found = evaluation.to_dict()
    if any(own.alone is not None for own in columns):
        sections.append(columns_section(columns))
    if columns:
        sections.append(calibration_section(columns, beside=model.order == "any"))
        found["coverage"] = {own.name: {f"{p:.0%}": own.coverage(p)[0] for p in LEVELS}
                             for own in columns if own.lower is not None}  # fmt: skip
    distances = column_distances(schema, real, drawn)
    pairs = pair_distances(schema, real, drawn)
    test = two_sample_test(schema, real, drawn, seed=seed) if len(real) >= FEWEST else None
    sections.append(fidelity_section(schema, real, drawn, distances, pairs, test, gaps=float(np.isnan(chosen).mean())))
    found["two_sample_auc"] = None if test is None else test.auc
    found["column_distances"] = {own.names[0]: own.distance for own in distances}
    if learned is not None and min(len(learned), len(chosen)) < FEWEST:
        words = f"To look for copies takes at least {FEWEST} held-out rows and as many training rows."
        sections.append(Section("Does it copy the rows it learned from?", [words]))
    elif learned is not None:
        known = _filled(model, learned[np.random.default_rng(seed).permutation(len(learned))[:MAX_LEARNED]], seed + 2)
        copies = find_copies(schema, known, drawn, real, seed=seed)
        more = sample_in_batches(model, min(len(known), MAX_ROWS), seed=seed + 3)
        useful = usefulness(schema, known, more, real, seed=seed)
        sections += [copies_section(copies), *([usefulness_section(useful)] if useful else [])]
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


def columns_section(
    columns: Sequence[ColumnCalibration], *, title: str = "What the columns say about each other"
) -> Section:
    """For each column how likely its values are by themselves, given all others, and how much the others help."""
    ranked = sorted(columns, key=lambda own: -np.nan_to_num(own.gain[0], nan=-np.inf))
    rows = []
    for own in ranked:
        alone = np.asarray(own.alone)
        rows.append([
            own.name, f"{own.rows:,}", with_error(*mean_and_error(alone)), with_error(*mean_and_error(own.log_density)),
            with_error(*own.gain),
        ])  # fmt: skip
    header = ["column", "values", "by itself (nats)", "given all others (nats)", "what the others tell"]
    caption = (
        "Mean log-density, or log-probability, of the held-out values; columns that others tell most of come first."
    )
    best = ranked[0]
    told = f"The others tell most of {best.name}: a typical value is {np.exp(min(best.gain[0], 13.8)):,.3g} times as "
    told += "likely once they are known."
    return Section(title, [*([told] if np.isfinite(best.gain[0]) else []), table(header, rows, caption=caption)])


def calibration_section(
    columns: Sequence[ColumnCalibration], *, beside: bool = True, title: str = "Can its intervals be trusted?"
) -> Section:
    """Coverage of intervals, PIT histograms with bands, and how often likely categories are right."""
    others = "all other entries of its row" if beside else "the entries before it in its row"
    parts: list[str] = []
    ordered = [own for own in columns if own.lower is not None]
    if ordered:
        mean = {level: float(np.mean([own.coverage(level)[0] for own in ordered])) for level in LEVELS}
        worst = max(ordered, key=lambda own: abs(own.coverage(0.9)[0] - 0.9))
        bad = [own for own in ordered if own.verdict() != "as it should be"]
        parts.append(fact(
            f"Intervals of 90 % hold {mean[0.9]:.1%} of the held-out values, a mean over columns; the column furthest "
            f"from 90 % is {worst.name} with {worst.coverage(0.9)[0]:.1%}. "
            + ("No column differs from what it should be by more than chance." if not bad else
               f"{len(bad)} of {len(ordered)} columns differ from what they should be by more than chance.")
        ))  # fmt: skip
        rows = [
            [own.name, f"{own.rows:,}", *(f"{own.coverage(level)[0]:.1%}" for level in LEVELS), own.verdict()]
            for own in ordered
        ]
        rows.append(["mean", "", *(f"{mean[level]:.1%}" for level in LEVELS), ""])
        header = ["column", "values", *(f"{level:.0%} interval" for level in LEVELS), "its law"]
        caption = (
            f"How many values lie inside the central interval that the model gives, knowing {others}. A value with a "
            "probability of its own, such as a count, is inside by the part of that probability which is."
        )
        parts.append(table(header, rows, caption=caption))
        caption = (
            "Where each value lies in the law that the model gave it, from 0, its lower end, to 1. Flat is right. "
            "High at both ends: laws are too narrow; high in the middle: too wide; a slope: shifted."
        )
        parts.append(picture(plot_pit(ordered), caption))
    known = [(own, own.reliability) for own in columns if own.reliability is not None]
    if known:
        rows = [
            [
                own.name,
                f"{own.rows:,}",
                f"{found.hits:.1%}",
                f"{found.sure:.1%}",
                with_error(*mean_and_error(-own.log_density)),
            ]
            for own, found in known
        ]
        header = ["column", "values", "likeliest one is right", "as the model says", "log loss (nats)"]
        caption = f"Columns with categories, knowing {others}: the second and third number should agree."
        parts.append(table(header, rows, caption=caption))
        caption = (
            "How often a category was there against the probability that the model gave it: the diagonal is right."
        )
        parts.append(picture(plot_reliability(columns), caption))
    return Section(title, parts)


def fidelity_section(
    schema: Schema,
    real: Floats,
    drawn: Floats,
    columns: Sequence[Distance],
    pairs: Sequence[Distance],
    test: TwoSampleTest | None,
    *,
    gaps: float = 0.0,
    title: str = "Do its rows look real?",
) -> Section:
    """Columns and pairs of columns of drawn and of real rows, and what a classifier makes of them. ``gaps`` is the part
    of the entries of the real rows that was filled in."""
    parts: list[str] = [] if test is None else [fact(_told_apart(test))]
    filled = f" Of their entries {gaps:.1%} are missing and were filled by draws of the model." if gaps else ""
    parts.append(f"{len(drawn):,} rows drawn from the model beside {len(real):,} held-out rows.{filled}")
    if test is None:
        parts.append(f"Fewer than {FEWEST} rows are too few to train a classifier that tells them apart.")
    caption = "Each column by itself. A good model's line retraces the filled shape."
    parts.append(picture(plot_columns(schema, real, drawn), caption))
    caption = (
        "The largest difference of distribution functions, or of the probability of any set of categories: 0 is the "
        "same, 1 nothing in common. By chance: between two sets of real rows."
    )
    parts.append(_distances(columns, caption, "column"))
    if pairs:
        between = (associations(schema, real, rows) for rows in (real, drawn))
        caption = (
            "How much columns say about each other, from 0, nothing, to 1, everything; of numbers about the size of "
            "their correlation, curved or not. For a good model the two halves mirror each other."
        )
        parts.append(picture(plot_associations(schema.names, *between), caption))
        mean, chance = (float(np.mean([getattr(own, what) for own in pairs])) for what in ("distance", "chance"))
        caption = f"Pairs of columns, in bins: {mean:.3f} on average, {chance:.3f} by chance. The furthest apart:"
        parts.append(_distances(pairs, caption, "pair"))
    return Section(title, parts)


def copies_section(found: Copies, *, title: str = "Does it copy the rows it learned from?") -> Section:
    """Whether drawn rows lie nearer to learned ones than new real rows do."""
    part, error = found.nearer
    drawn, real = found.same
    near = f"{part:.1%} of the drawn rows lie nearer to a training row than all but 5 % of new real rows do"
    more = drawn - real > 3 * np.sqrt((drawn * (1 - drawn) + real * (1 - real)) / len(found.drawn)) + 1e-9
    if real > 0.5:
        words = f"This cannot be told: {real:.0%} of the held-out rows equal a training row themselves. Give new rows."
    elif part > 0.05 + 3 * error or more:
        words = f"It may: {near}, which is more than chance. Look at such rows before they leave the house."
    else:
        words = f"No: {near}, no more than chance allows."
    equal = f"{drawn:.2%} of the drawn rows and {real:.2%} of the new real rows equal a training row in every column."
    caption = "A distance is a mean over columns: of the difference in rank, or of whether categories differ."
    return Section(title, [fact(words), equal, picture(plot_copies(found), caption)])


def usefulness_section(found: Sequence[Usefulness], *, title: str = "Can its rows stand in for real ones?") -> Section:
    """Train on synthetic, test on real."""
    some = [own for own in found if own.real > 0.05]
    parts: list[str] = []
    if some:
        part = sum(own.drawn for own in some) / sum(own.real for own in some)
        parts.append(fact(
            f"Forests trained on drawn rows explain {part:.1%} of what those trained on real rows explain of new rows."
        ))  # fmt: skip
    rows = [[own.name, signed(own.real), signed(own.drawn)] for own in sorted(found, key=lambda own: -own.real)]
    caption = (
        "Each column of new real rows predicted from the others: the part explained of the variance of its ranks, or "
        "of which category it is. 1 is all, 0 nothing, and less is worse than knowing nothing."
    )
    header = ["column", "trained on real rows", "trained on drawn rows"]
    return Section(title, [*parts, table(header, rows, caption=caption)])


def _told_apart(test: TwoSampleTest) -> str:
    """What the two-sample test says, in a sentence."""
    if not test.found_out:
        return (
            f"Gradient boosted trees cannot tell drawn rows from real ones: their AUC is {test.auc:.3f}, as of chance."
        )
    by = [name for name, fell in test.leaning.items() if fell > 0.1 * (test.auc - 0.5)][:3]
    leaning = f" They go by {', '.join(by)}." if by else ""
    how = "easily" if test.auc > 0.8 else "at times" if test.auc > 0.6 else "barely"
    return (
        f"Gradient boosted trees can {how} tell drawn rows from real ones: an AUC of {test.auc:.3f}, where 0.5 is "
        f"chance and 1 certain; they are right about {test.accuracy:.1%} of the rows.{leaning}"
    )


def _filled(model: Mixed, x: Floats, seed: int) -> Floats:
    """Rows with their gaps filled by draws, given what is there."""
    if not np.isnan(x).any():
        return x
    with torch.no_grad(), evaluation_mode(model):
        rows, _ = to_model(model, x, None)
        found: Floats = model.impute(rows, torch.Generator(rows.device).manual_seed(seed)).cpu().numpy()
    return found


def _distances(found: Sequence[Distance], caption: str, what: str) -> Html:
    worst = sorted(found, key=lambda own: own.chance - own.distance)
    shown = worst if what == "column" else worst[:MOST_NAMED]
    rows = [[" and ".join(own.names), f"{own.distance:.3f}", f"{own.chance:.3f}"] for own in shown]
    return table([what, "distance", "by chance"], rows, caption=caption)
