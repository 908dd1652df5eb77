"""The sections of a report that compare columns: dependence, calibration, fidelity, memorization and utility."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pushforward.data.schema import Schema
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.calibration import CALIBRATED, LEVELS, ColumnCalibration
from pushforward.evaluate.column_plots import (
    plot_associations,
    plot_columns,
    plot_memorization,
    plot_pit,
    plot_reliability,
)
from pushforward.evaluate.fidelity import Distance, TwoSampleTest, associations, pair_distances
from pushforward.evaluate.html import Fact, HtmlTable, Part, Section, picture
from pushforward.evaluate.memorization import QUANTILE, Memorization
from pushforward.evaluate.metrics import mean_and_error, signed, with_error
from pushforward.evaluate.plots import plot_pairs
from pushforward.evaluate.utility import Utility
from pushforward.evaluate.violations import Violation

__all__ = [
    "FEWEST_ROWS",
    "ORDERS",
    "calibration_section",
    "dependence_section",
    "fidelity_section",
    "memorization_section",
    "utility_section",
    "violation_parts",
]

FEWEST_ROWS = 50  # rows needed for a comparison with samples
ORDERS = 8  # random column orders between which densities are compared
PAIRED_COLUMNS = 40  # largest number of columns that are compared in pairs
LISTED_PAIRS = 8  # in the table of the most distant pairs


def dependence_section(
    columns: Sequence[ColumnCalibration], *, spread: float | None = None, title: str = "Dependence between columns"
) -> Section:
    """How likely the values of each column are under its marginal and its conditional distribution.

    Args:
        columns: as from `measure_calibration`, of a model of any column order.
        spread: mean standard deviation of the log-density of a row between random column orders, in nats.
        title: of the section.
    """
    ranked = sorted(columns, key=lambda column: -np.nan_to_num(column.gain[0], nan=-np.inf))
    rows = []
    for column in ranked:
        marginal, conditional = np.asarray(column.marginal_log_prob), column.log_prob
        means = (with_error(*mean_and_error(values)) for values in (marginal, conditional))
        rows.append([column.name, f"{column.rows:,}", *means, with_error(*column.gain)])
    header = ["column", "values", "marginal (nats)", "given all others (nats)", "gain (nats)"]
    caption = (
        "Mean log-density (log-probability of discrete columns) of the held-out values: marginal, and conditional on "
        "all other entries of the row. The gain is the difference, an estimate of the mutual information with all "
        "others."
    )
    parts: list[Part] = []
    gain, error = ranked[0].gain
    if gain > 2 * error:
        ratio = f"{np.exp(min(gain, 13.8)):,.3g} times"
        parts.append(
            f"The column best explained by the others is {ranked[0].name}: a typical value is {ratio} as likely once "
            "the other entries of its row are known."
        )
    parts.append(HtmlTable(header, rows, caption))
    if spread is not None:
        parts.append(
            f"The model gives a density for every column order. Between {ORDERS} random orders the log-density of a "
            f"row has a standard deviation of {spread:.3f} nats (mean over rows); 0 would be full agreement."
        )
    return Section(title, parts)


def calibration_section(
    columns: Sequence[ColumnCalibration],
    *,
    any_order: bool = True,
    single: bool = False,
    title: str = "Can the intervals be trusted?",
) -> Section:
    """Coverage of intervals, PIT histograms with bands, and reliability of category probabilities.

    Args:
        columns: as from `measure_calibration`.
        any_order: whether the conditional distributions are given all other entries, or only those before.
        single: whether there is only one column, whose distribution is given the context alone.
        title: of the section.
    """
    condition = "given all other entries of its row" if any_order else "given the entries before it in its row"
    condition = "of each row" if single else condition
    parts: list[Part] = []
    if ordered := [column for column in columns if column.lower is not None]:
        parts += _interval_parts(ordered, condition)
    if categorical := [column for column in columns if column.reliability is not None]:
        parts += _reliability_parts(categorical, condition)
    return Section(title, parts)


def _interval_parts(columns: Sequence[ColumnCalibration], condition: str) -> list[Part]:
    mean = {level: float(np.mean([column.coverage(level)[0] for column in columns])) for level in LEVELS}
    worst = max(columns, key=lambda column: abs(column.coverage(0.9)[0] - 0.9))
    verdicts = [column.verdict() for column in columns]
    deviating = sum(verdict != CALIBRATED for verdict in verdicts)
    histograms = (
        f"The PIT histograms of {deviating} of {len(columns)} columns leave their bands; of calibrated ones 1 in 100 "
        "does."
        if deviating
        else "The PIT histograms of all columns stay within their bands."
    )
    fact = Fact(
        f"The 90% intervals contain {mean[0.9]:.1%} of the held-out values on average over columns; the column "
        f"furthest from 90% is {worst.name} with {worst.coverage(0.9)[0]:.1%}. {histograms}"
    )
    rows = [
        [column.name, _count(column), *(f"{column.coverage(level)[0]:.1%}" for level in LEVELS), verdict]
        for column, verdict in zip(columns, verdicts, strict=True)
    ]
    rows.append(["mean", "", *(f"{mean[level]:.1%}" for level in LEVELS), ""])
    header = ["column", "values", *(f"{level:.0%} interval" for level in LEVELS), "distribution"]
    caption = (
        f"Coverage: the share of the values inside the central interval of the column's distribution {condition}. A "
        "discrete value counts by the part of its probability that lies inside the interval. On a circle the interval "
        "is an arc with as much probability on each side of the median."
    )
    pit = (
        "Histograms of the probability integral transform (PIT): the position of each value in its predicted "
        "distribution, from 0 (lower end) to 1 (upper end). Calibrated: flat. High at both ends: distributions too "
        "narrow; high in the middle: too wide; sloped: shifted."
    )
    return [fact, HtmlTable(header, rows, caption), picture(plot_pit(columns), pit)]


def _reliability_parts(columns: Sequence[ColumnCalibration], condition: str) -> list[Part]:
    rows = []
    for column in columns:
        reliability = column.reliability
        if reliability is not None:
            loss = with_error(*mean_and_error(-column.log_prob))
            rows.append(
                [column.name, _count(column), f"{reliability.accuracy:.1%}", f"{reliability.confidence:.1%}", loss]
            )
    header = ["column", "values", "accuracy", "mean confidence", "log loss (nats)"]
    caption = (
        f"Categories predicted {condition}: how often the likeliest one is right, and the mean probability that the "
        "model gives it. For a calibrated model the two agree."
    )
    diagram = (
        "Reliability diagrams: how often a category occurs against the probability that the model gives it. "
        "Calibrated: on the diagonal. Bars are two standard errors."
    )
    return [HtmlTable(header, rows, caption), picture(plot_reliability(columns), diagram)]


def fidelity_section(
    schema: Schema,
    real: Floats,
    samples: Floats,
    distances: Sequence[Distance],
    test: TwoSampleTest | None,
    *,
    imputed: Floats | None = None,
    excluded: int = 0,
    invalid: int = 0,
    conditional: bool = False,
    title: str = "Do samples look real?",
) -> Section:
    """Columns and pairs of columns of samples and of held-out rows, and whether a classifier tells them apart.

    Args:
        schema: of the columns.
        real: (rows, columns) held-out rows without gaps.
        samples: (rows, columns) from the model.
        distances: as from `column_distances`.
        test: as from `two_sample_test`; None if there are too few rows for it.
        imputed: share of each column of the real rows that was filled in, (columns,).
        excluded: number of held-out rows that were left out because of their gaps.
        invalid: number of samples that were left out because a value is not finite.
        conditional: whether each sample has the context of a held-out row, the last columns of both.
        title: of the section.
    """
    parts: list[Part] = [] if test is None else [Fact(_verdict(test))]
    alike = " Each sample has the context of a held-out row." if conditional else ""
    parts.append(f"{len(samples):,} samples of the model are compared with {len(real):,} held-out rows.{alike}")
    if invalid:
        parts.append(Fact(f"{invalid:,} of the samples hold a value that is not finite, and are left out."))
    if imputed is not None and imputed.any():
        parts.append(
            f"{imputed.mean():.1%} of the entries of the held-out rows are missing and were filled in by draws from "
            "the model given the observed entries. For a correct model this changes nothing; the more is filled in, "
            "the less the comparison shows of a wrong one."
        )
    if excluded:
        parts.append(f"{excluded:,} rows with missing entries are left out: this model cannot fill them in.")
    if test is None:
        parts.append(f"A classifier that tells them apart was not trained: this takes at least {FEWEST_ROWS} rows.")
    caption = "The marginal distribution of each column. For a good model the line follows the filled shape."
    parts.append(picture(plot_columns(schema, real, samples, imputed=imputed), caption))
    caption = (
        "Distance of each column: Kolmogorov-Smirnov of ordered columns, total variation of others. 0: equal "
        "distributions; 1: disjoint ones. Expected by chance: the distance between two sets of rows from one "
        "distribution. p-value: the probability of at least this distance by chance."
    )
    parts.append(_distance_table(distances, caption, "column"))
    if len(schema.fields) > 1:
        parts += _pair_parts(schema, real, samples)
    numbers = [j for j, field in enumerate(schema.fields) if field.column_type.is_density and field.form == "number"]
    if len(numbers) > 1:
        caption = (
            "Pairs of columns of real numbers, darker where rows are denser: data below the diagonal, samples above. "
            "For a good model the two halves mirror each other."
        )
        names = [schema.names[j] for j in numbers]
        parts.append(picture(plot_pairs(real[:, numbers], samples[:, numbers], names), caption))
    return Section(title, parts)


def violation_parts(broken: Sequence[Violation], samples: int) -> list[Part]:
    """How many samples break limits, decimals and rules of the columns."""
    if not broken:
        return [f"None of {samples:,} samples breaks a limit, the decimals or an order of columns of the table."]
    return [Fact(f"Of {samples:,} samples " + "; ".join(violation.sentence for violation in broken) + ".")]


def _pair_parts(schema: Schema, real: Floats, samples: Floats) -> list[Part]:
    first = Schema(schema.fields[:PAIRED_COLUMNS], schema.backend)
    real, samples = real[:, :PAIRED_COLUMNS], samples[:, :PAIRED_COLUMNS]
    caption = (
        "Association of each pair of columns: the informational coefficient of correlation, from 0 (independent) to 1. "
        "For a Gaussian pair it is the absolute correlation; it sees other dependence as well. For a good model the "
        "two halves mirror each other."
    )
    if len(schema.fields) > PAIRED_COLUMNS:
        caption += f" The first {PAIRED_COLUMNS} of {len(schema.fields)} columns."
    figure = plot_associations(first.names, *(associations(first, real, rows) for rows in (real, samples)))
    pairs = pair_distances(first, real, samples)
    mean, chance = (float(np.mean([getattr(pair, name) for pair in pairs])) for name in ("distance", "chance"))
    table_caption = (
        f"Total variation distance of pairs of columns, in bins: {mean:.3f} on average, where {chance:.3f} is expected "
        "by chance. The most distant pairs:"
    )
    return [picture(figure, caption), _distance_table(pairs, table_caption, "pair", LISTED_PAIRS)]


def memorization_section(
    result: Memorization, train_rows: int | None = None, *, title: str = "Does the model memorize training rows?"
) -> Section:
    """Whether samples lie closer to the training rows, ``train_rows`` in all, than held-out rows do."""
    share, error = result.close
    close = f"{share:.1%} of the samples lie closer to a training row than {1 - QUANTILE:.0%} of the held-out rows do"
    equal = (
        f"{result.equal_samples:.2%} of the samples and {result.equal_held_out:.2%} of the held-out rows equal a "
        "training row in every column."
    )
    if result.equal_held_out > 0.5:
        verdict = (
            f"{result.equal_held_out:.0%} of the held-out rows equal a training row: either the model was trained on "
            f"them, or the table has few different rows. Of the samples {result.equal_samples:.0%} do."
        )
    elif result.copied:
        verdict = f"Possibly: {equal} {close}. Inspect the samples before you share them."
    elif share > QUANTILE + 3 * error:
        verdict = f"Possibly: {close}, more than expected by chance. Inspect the samples before you share them."
    else:
        verdict = f"No sign of it: {close}, which is within chance."
    total = result.searched if train_rows is None else train_rows
    caption = (
        f"Distance to the closest of {result.searched:,} of {total:,} training rows: Gower's, the mean over columns of "
        "the difference in rank or of whether categories differ."
    )
    return Section(title, [Fact(verdict), equal, picture(plot_memorization(result), caption)])


def utility_section(utilities: Sequence[Utility], *, title: str = "Can samples replace real training rows?") -> Section:
    """Train on synthetic, test on real."""
    parts: list[Part] = []
    if explained := [utility for utility in utilities if utility.real > 0.05]:
        ratio = sum(utility.samples for utility in explained) / sum(utility.real for utility in explained)
        parts.append(Fact(
            f"Random forests trained on samples explain {ratio:.1%} of what those trained on real rows explain of "
            "held-out rows."
        ))  # fmt: skip
    ranked = sorted(utilities, key=lambda utility: -utility.real)
    rows = [[utility.name, signed(utility.real), signed(utility.samples)] for utility in ranked]
    caption = (
        "Each column of the held-out rows predicted from the others by a random forest: R² of its ranks, or the Brier "
        "skill score of its categories. 1: perfect; 0: no better than the marginal distribution; negative: worse."
    )
    header = ["column", "trained on real rows", "trained on samples"]
    return Section(title, [*parts, HtmlTable(header, rows, caption)])


def _verdict(test: TwoSampleTest) -> str:
    """The result of the two-sample test in words."""
    if not test.distinguishable:
        return (
            f"Gradient-boosted trees cannot tell samples from real rows: their AUC is {test.auc:.3f}, where 0.5 is "
            "expected by chance."
        )
    columns = f" The most informative columns are {', '.join(test.telling)}." if test.telling else ""
    return (
        f"Gradient-boosted trees can {test.ease} tell samples from real rows: an AUC of {test.auc:.3f}, where 0.5 is "
        f"expected by chance and 1 is perfect; they classify {test.accuracy:.1%} of the rows correctly.{columns}"
    )


def _count(column: ColumnCalibration) -> str:
    return f"{column.rows:,} + {column.outside:,} outside" if column.outside else f"{column.rows:,}"


def _distance_table(distances: Sequence[Distance], caption: str, title: str, limit: int | None = None) -> HtmlTable:
    """The distances, those that exceed chance the most first, by their p-values if they have some."""
    ranked = sorted(distances, key=lambda entry: (np.nan_to_num(entry.p_value), entry.chance - entry.distance))[:limit]
    rows = [[" and ".join(entry.names), f"{entry.distance:.3f}", f"{entry.chance:.3f}"] for entry in ranked]
    header = [title, "distance", "expected by chance"]
    if all(math.isfinite(entry.p_value) for entry in ranked):
        rows = [
            [*row, f"{entry.p_value:.2g}" if entry.p_value >= 1e-4 else "< 0.0001"]
            for row, entry in zip(rows, ranked, strict=True)
        ]
        header.append("p-value")
    return HtmlTable(header, rows, caption)
