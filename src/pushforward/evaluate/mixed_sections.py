"""What a report says of a model of mixed columns, section by section."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pushforward.data.schema import Schema
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.calibration import LEVELS, ColumnCalibration
from pushforward.evaluate.column_plots import (
    plot_associations,
    plot_columns,
    plot_copies,
    plot_pit,
    plot_reliability,
)
from pushforward.evaluate.fidelity import Distance, TwoSampleTest, associations, pair_distances
from pushforward.evaluate.html import Html, Section, fact, picture, table
from pushforward.evaluate.memorization import Copies, Usefulness
from pushforward.evaluate.metrics import mean_and_error, signed, with_error

__all__ = [
    "FEWEST",
    "ORDERS",
    "calibration_section",
    "columns_section",
    "copies_section",
    "fidelity_section",
    "usefulness_section",
]

FEWEST = 50  # rows from where on drawn rows are compared with real ones
ORDERS = 8  # between which densities are compared
MOST_PAIRED = 40  # columns that are looked at in pairs
MOST_NAMED = 8  # pairs of columns in the table


def columns_section(
    columns: Sequence[ColumnCalibration],
    *,
    spread: float | None = None,
    title: str = "What the columns say about each other",
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
    parts: list[str] = []
    gain, error = ranked[0].gain
    if gain > 2 * error:
        times = f"{np.exp(min(gain, 13.8)):,.3g} times"
        parts.append(
            f"The others tell most of {ranked[0].name}: a typical value is {times} as likely once they are known."
        )
    parts.append(table(header, rows, caption=caption))
    if spread is not None:
        parts.append(
            f"The model knows the columns in any order. Between {ORDERS} random orders the log-density of a row "
            f"differs by {spread:.3f} nats (standard deviation, a mean over rows), where 0 is perfect."
        )
    return Section(title, parts)


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
        verdicts = [own.verdict() for own in ordered]
        bad = sum(own != "as it should be" for own in verdicts)
        parts.append(fact(
            f"Intervals of 90 % hold {mean[0.9]:.1%} of the held-out values, a mean over columns; the column furthest "
            f"from 90 % is {worst.name} with {worst.coverage(0.9)[0]:.1%}. "
            + ("The histograms of all columns stay within their bands." if not bad else
               f"The histograms of {bad} of {len(ordered)} columns leave their bands; of right ones 1 in 100 does.")
        ))  # fmt: skip
        rows = [
            [own.name, _values(own), *(f"{own.coverage(level)[0]:.1%}" for level in LEVELS), verdict]
            for own, verdict in zip(ordered, verdicts, strict=True)
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
                _values(own),
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
    test: TwoSampleTest | None,
    *,
    gaps: Floats | None = None,
    left_out: int = 0,
    title: str = "Do its rows look real?",
) -> Section:
    """Columns and pairs of columns of drawn and of real rows, and what a classifier makes of them. ``gaps`` is the part
    of each column of the real rows that was filled in, (columns,); ``left_out`` says how many rows were not."""
    parts: list[str] = [] if test is None else [fact(_told_apart(test))]
    parts.append(f"{len(drawn):,} rows drawn from the model beside {len(real):,} held-out rows.")
    if gaps is not None and gaps.any():
        parts.append(
            f"{gaps.mean():.1%} of the entries of these are missing and were filled by draws of the model, given what "
            "is there. That is as it should be for a right model; the more is filled, the less a wrong one shows."
        )
    if left_out:
        parts.append(f"{left_out:,} rows with gaps are left out: a model of one order of the columns cannot fill them.")
    if test is None:
        parts.append(f"Fewer than {FEWEST} rows are too few to train a classifier that tells them apart.")
    caption = "Each column by itself. A good model's line retraces the filled shape."
    parts.append(picture(plot_columns(schema, real, drawn, gaps=gaps), caption))
    caption = (
        "The largest difference of distribution functions, or of the probability of any set of categories: 0 is the "
        "same, 1 nothing in common. By chance: between two such sets of one law."
    )
    parts.append(_distances(columns, caption, "column"))
    if len(schema.fields) > 1:
        first = Schema(schema.fields[:MOST_PAIRED], schema.backend)
        real, drawn = real[:, :MOST_PAIRED], drawn[:, :MOST_PAIRED]
        pairs = pair_distances(first, real, drawn)
        between = (associations(first, real, rows) for rows in (real, drawn))
        caption = (
            "How much columns say about each other, from 0, nothing, to 1, everything; of numbers about the size of "
            "their correlation, curved or not. For a good model the two halves mirror each other."
        )
        if len(schema.fields) > MOST_PAIRED:
            caption += f" The first {MOST_PAIRED} of {len(schema.fields)} columns."
        parts.append(picture(plot_associations(first.names, *between), caption))
        mean, chance = (float(np.mean([getattr(own, what) for own in pairs])) for what in ("distance", "chance"))
        caption = f"Pairs of columns, in bins: {mean:.3f} on average, {chance:.3f} by chance. The furthest apart:"
        parts.append(_distances(pairs, caption, "pair"))
    return Section(title, parts)


def copies_section(
    found: Copies, learned: int | None = None, *, title: str = "Does it copy the rows it learned from?"
) -> Section:
    """Whether drawn rows lie nearer to learned ones, so many in all, than new real rows do."""
    part, error = found.nearer
    near = f"{part:.1%} of the drawn rows lie nearer to a training row than all but 5 % of new real rows do"
    drawn, real = found.same_drawn, found.same_real
    equal = f"{drawn:.2%} of the drawn rows and {real:.2%} of the new real rows equal a training row in every column."
    if real > 0.5:
        words = (
            f"{real:.0%} of the held-out rows equal a training row: the model has seen them, or there are few "
            f"different rows. Of the drawn rows {drawn:.0%} do."
        )
    elif found.exact or part > 0.05 + 3 * error:
        words = f"It may: {equal} {near}." if found.exact else f"It may: {near}, which is more than chance."
        words += " Look at such rows before they leave the house."
    else:
        words = f"No sign of it: {near}, no more than chance allows."
    whole = found.searched if learned is None else learned
    caption = (
        f"To the nearest of {found.searched:,} of {whole:,} training rows. A distance is a mean over columns: of the "
        "difference in rank, or of whether categories differ."
    )
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


def _values(own: ColumnCalibration) -> str:
    return f"{own.rows:,} + {own.outside:,} impossible" if own.outside else f"{own.rows:,}"


def _distances(found: Sequence[Distance], caption: str, what: str) -> Html:
    worst = sorted(found, key=lambda own: own.chance - own.distance)  # furthest beyond chance first
    shown = worst if what == "column" else worst[:MOST_NAMED]
    rows = [[" and ".join(own.names), f"{own.distance:.3f}", f"{own.chance:.3f}"] for own in shown]
    return table([what, "distance", "by chance"], rows, caption=caption)
