"""The answer to the question whether a model is good, and the checks that it rests on."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from pushforward.core.distribution import Distribution
from pushforward.core.entries import contains_each
from pushforward.core.exactness import qualified
from pushforward.distributions import Inflated, Repeated
from pushforward.evaluate.abilities import column_types
from pushforward.evaluate.arrays import Floats, Rows, as_rows, to_model
from pushforward.evaluate.calibration import CALIBRATED, ColumnCalibration
from pushforward.evaluate.diagnostics import PrecisionCheck
from pushforward.evaluate.fidelity import Distance, TwoSampleTest
from pushforward.evaluate.metrics import TITLES, BaselineScore, Evaluation, signed, times, with_error
from pushforward.evaluate.training_rows import TrainingRows
from pushforward.evaluate.violations import Violation

__all__ = ["CheckResult", "Verdict", "verdict", "without_held_out"]

Level = Literal["good", "note", "problem"]
MARKS: dict[Level, str] = {"good": "✓", "note": "!", "problem": "✗"}
LISTED = 3  # columns that a sentence names
SIGNIFICANCE = 0.01  # of the tests of all columns together
LARGE_DISTANCE, LARGE_MISS = 0.05, 0.05  # of a column's distribution, and of the coverage of its intervals
FEWEST = 20  # values of a column from which on they are called few or many


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        level: ``"good"``; ``"note"`` for a small flaw; ``"problem"`` for one to solve before the model is used.
        text: one or two sentences.
    """

    level: Level
    text: str


@dataclass(frozen=True)
class Verdict:
    """Whether a model is good.

    Attributes:
        headline: one sentence.
        findings: the checks, problems first.
        held_out: whether the rows it rests on were not trained on, as far as is known.
    """

    headline: str
    findings: tuple[CheckResult, ...]
    held_out: bool = True

    @property
    def ok(self) -> bool:
        """Whether no check found a problem."""
        return not any(finding.level == "problem" for finding in self.findings)

    @property
    def lines(self) -> list[str]:
        """The headline and a line for each check, to be printed."""
        return [self.headline, *(f"{MARKS[finding.level]} {finding.text}" for finding in self.findings)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ok": self.ok,
            "held_out": self.held_out,
            "headline": self.headline,
            "findings": [vars(finding) for finding in self.findings],
            "lines": self.lines,
        }


def verdict(
    evaluation: Evaluation,
    model: Distribution,
    names: Sequence[str],
    x: Rows,
    context: Rows | None = None,
    *,
    trained_on: TrainingRows | None = None,
    calibration: Sequence[ColumnCalibration] = (),
    distances: Sequence[Distance] = (),
    test: TwoSampleTest | None = None,
    broken: Sequence[Violation] = (),
    precision: PrecisionCheck | None = None,
) -> Verdict:
    """Judge a model by held-out rows.

    Args:
        evaluation: of the model and its baselines on these rows.
        model: any distribution over the columns.
        names: of the columns of x.
        x: (rows, columns) held-out rows, NaN where an entry is missing.
        context: (rows, context columns), for a conditional model.
        trained_on: hashes of the training rows.
        calibration: as from `measure_calibration`.
        distances: of the columns of samples, as from `column_distances`.
        test: as from `two_sample_test`.
        broken: limits, decimals and rules that samples break, as from `violations`.
        precision: as from `precision_check`.
    """
    values = as_rows("verdict", "x", x)
    seen = _seen(trained_on, values, context)
    checks = [
        _likelihood(evaluation),
        seen,
        _support(evaluation, model, names, values),
        _discrete(model, names, values),
        _calibration(calibration),
        _distances(distances),
        _classifier(test),
        _broken(broken),
        None if precision is None or precision.ok else CheckResult("problem", precision.verdict),
    ]
    order: list[Level] = ["problem", "note", "good"]
    findings = sorted((check for check in checks if check is not None), key=lambda check: order.index(check.level))
    held_out = seen is None or seen.level != "problem"
    if not held_out:  # nothing good follows from rows that were trained on
        findings = [replace(f, text=without_held_out(f.text)) for f in findings if f.level != "good"]
    return Verdict(_headline(evaluation, findings, checks), tuple(findings), held_out)


def _headline(evaluation: Evaluation, findings: Sequence[CheckResult], checks: Sequence[CheckResult | None]) -> str:
    likelihood, seen = checks[:2]
    if seen is not None and seen.level == "problem":
        return "Not judged: the model was trained on these rows. Evaluate it on rows that it has not seen."
    problems = sum(finding.level == "problem" for finding in findings)
    if likelihood is not None and likelihood.level == "problem":
        others = f", and {_counted(problems - 1, 'other problem')}" if problems > 1 else ""
        return f"Not good: the model is not better than the best simple model{others}."
    if absent := evaluation.outside + evaluation.undefined:
        what = "have density zero" if evaluation.outside else "have missing values that it does not take"
        what = what if absent > 1 else what.replace("have", "has", 1)
        others = f", and {_counted(problems - 1, 'other problem')}" if problems > 1 else ""
        return f"Not good: {absent:,} of {evaluation.rows:,} rows {what} under the model{others}."
    if likelihood is not None and likelihood.level == "note" and evaluation.baselines:
        others = f"; {_counted(problems, 'problem')}" if problems else ""
        return f"Undecided: on these rows the model cannot be told from the best simple model{others}."
    ahead = "better than the best simple model" if evaluation.baselines else "no simple model was compared"
    if problems:
        return f"Not good yet: {ahead}, but with {_counted(problems, 'problem')}."
    notes = sum(finding.level == "note" for finding in findings)
    flaws = _counted(notes, "small flaw") if notes else "no flaw"
    return f"Good: {ahead}, with {flaws} in {_counted(len(findings), 'check')}."


def _likelihood(evaluation: Evaluation) -> CheckResult:
    """The log-likelihood beside that of the best baseline, on the rows to which both give a density."""
    number = with_error(evaluation.log_likelihood, evaluation.standard_error)
    mean = f"{qualified('Log-likelihood', evaluation.exactness)} {number} nats per row"
    if not evaluation.baselines:
        return CheckResult("note", f"{mean}. No simple model was fitted to compare it with.")
    name, best = _best_baseline(evaluation)
    title = TITLES.get(name, name)
    if not best.compared:
        return CheckResult("note", f"{mean}. No row has a density under both it and the {title}.")
    if math.isfinite(best.difference):
        beside = f"{mean}; best simple model, {title}: {signed(best.log_likelihood)}"
        difference, error = best.difference, best.difference_error
    else:
        zero = [
            f"{_counted(count, 'row')} {'has' if count == 1 else 'have'} no density under {who}"
            for count, who in ((evaluation.outside + evaluation.undefined, "the model"), (best.outside, f"the {title}"))
            if count
        ]
        difference, error = best.difference_inside, best.difference_inside_error
        beside = (
            f"{mean}. {' and '.join(zero)}. On the other {_counted(best.compared, 'row')} the model has "
            f"{signed(best.log_likelihood_inside + difference)}; best simple model, {title}: "
            f"{signed(best.log_likelihood_inside)}"
        )
    ahead = with_error(abs(difference), error)
    if difference > 2 * error:
        return CheckResult("good", f"{beside}. Ahead by {ahead}: a typical row is {times(difference)} as likely.")
    if difference < -2 * error:
        return CheckResult(
            "problem", f"{beside}. Behind by {ahead}: train longer, on more rows, or use the simple model."
        )
    return CheckResult("note", f"{beside}. They differ by {ahead}, which may be chance.")


def _best_baseline(evaluation: Evaluation) -> tuple[str, BaselineScore]:
    """The baseline of the fewest rows without a density, and of those the one that is best on the rows compared."""

    def rank(item: tuple[str, BaselineScore]) -> tuple[int, float]:
        score = item[1]
        ahead = score.difference if math.isfinite(score.difference) else score.difference_inside
        return -score.outside, -ahead if math.isfinite(ahead) else -math.inf

    return max(evaluation.baselines.items(), key=rank)


def _seen(trained_on: TrainingRows | None, x: Floats, context: Rows | None) -> CheckResult | None:
    """Whether rows were trained on, more than equal some by chance."""
    if trained_on is None:
        return None
    share, error = trained_on.recognised(x, context)
    if share <= trained_on.repeated + max(3 * error, 0.001):
        return None
    if share > trained_on.repeated + 0.5:
        return CheckResult(
            "problem", f"{share:.0%} of these rows were trained on: every number here is too optimistic."
        )
    text = f"{share:.1%} of these rows equal training rows, {trained_on.repeated:.1%} by chance"
    return CheckResult("note", f"{text}: leave out the rows that were trained on.")


def _support(evaluation: Evaluation, model: Distribution, names: Sequence[str], x: Floats) -> CheckResult | None:
    """Rows of probability zero, and the columns that make them so."""
    if not evaluation.outside + evaluation.undefined:
        return None
    rows, _ = to_model(model, x, None)
    inside = contains_each(model.support, rows)
    # A ball, or another domain of whole rows, blames no column.
    held = (inside if inside.shape == rows.shape else torch.ones_like(rows, dtype=torch.bool)) & rows.isfinite()
    counts = (~held.cpu().numpy() & ~np.isnan(x)).sum(axis=0)
    bad = sorted(zip(counts.tolist(), names, strict=True), reverse=True)
    worst = [f"{name} ({count:,})" for count, name in bad if count]
    columns = f" Values outside of the support: {_listed(worst)}." if worst else ""
    kinds = [(evaluation.outside, "have density zero"), (evaluation.undefined, "hold missing values")]
    parts = " and ".join(f"{count:,} of {evaluation.rows:,} rows {what}" for count, what in kinds if count)
    return CheckResult("problem", f"{parts}, so the mean log-likelihood is not finite.{columns}")


def _discrete(model: Distribution, names: Sequence[str], x: Floats) -> CheckResult | None:
    """Columns of whole numbers, or of few different values, in which the model has densities."""
    few, whole = [], []
    for name, column_type, column in zip(names, column_types(model, x.shape[1]), x.T, strict=True):
        values = column[np.isfinite(column)]
        if not column_type.is_density or isinstance(column_type, Inflated | Repeated) or len(values) < FEWEST:
            continue
        different = len(np.unique(values))
        if different <= len(values) / 4:
            few.append(f"{name} ({different:,} different values)")
        elif (values == np.round(values)).all():
            whole.append(name)
    remedy = "a mixed-type model gives such values probabilities"
    if few:
        return CheckResult(
            "problem",
            f"Discrete columns are modelled as if they were continuous: {_listed(few)}. Their densities can be made "
            f"arbitrarily high, so log-likelihoods mean little; {remedy}.",
        )
    if whole:
        return CheckResult("note", f"Columns of whole numbers are modelled as continuous: {_listed(whole)}; {remedy}.")
    return None


def _calibration(columns: Sequence[ColumnCalibration]) -> CheckResult | None:
    """Coverage of 90 % intervals, and columns whose PIT histogram leaves its band."""
    ordered = [column for column in columns if column.lower is not None]
    if not ordered:
        return None
    shares = {column.name: column.coverage(0.9) for column in ordered}
    mean = float(np.mean([share for share, _ in shares.values()]))
    text = f"90% intervals contain {mean:.1%} of the held-out values"
    far = [name for name, (share, error) in shares.items() if abs(share - 0.9) > LARGE_MISS + 3 * np.nan_to_num(error)]
    if far:
        return CheckResult("problem", f"{text}, but not in {_listed([f'{n} ({shares[n][0]:.0%})' for n in far])}.")
    # One in a hundred calibrated columns leaves its band.
    deviating = [f"{c.name} ({c.verdict()})" for c in ordered if c.verdict() != CALIBRATED]
    if len(deviating) > 1 + 0.02 * len(ordered):
        return CheckResult("note", f"{text}; the distributions of some columns are slightly off: {_listed(deviating)}.")
    return CheckResult("good", f"{text}: they can be trusted.")


def _distances(distances: Sequence[Distance]) -> CheckResult | None:
    """Columns of samples that fail their two-sample test."""
    if not distances:
        return None
    failed = [entry for entry in distances if entry.p_value < SIGNIFICANCE / len(distances)]
    if not failed:
        return CheckResult(
            "good", "No column of the samples differs from held-out rows by more than expected by chance."
        )
    failed.sort(key=lambda entry: -entry.distance)
    columns = _listed([f"{entry.names[0]} ({entry.distance:.2g})" for entry in failed])
    level: Level = "problem" if failed[0].distance > LARGE_DISTANCE else "note"
    size = "" if level == "problem" else "slightly, but "
    return CheckResult(
        level,
        f"{len(failed)} of {len(distances)} columns of the samples differ from held-out rows {size}by more than "
        f"expected by chance: {columns}, as distances from 0 to 1.",
    )


def _classifier(test: TwoSampleTest | None) -> CheckResult | None:
    """Whether samples are told from real rows."""
    if test is None:
        return None
    auc = f"AUC {test.auc:.3f}, where 0.5 is chance"
    if not test.distinguishable:
        return CheckResult("good", f"Boosted trees cannot tell samples from held-out rows: {auc}.")
    columns = f", mostly by {_listed(test.telling)}" if test.telling else ""
    level: Level = "problem" if test.auc > 0.8 else "note"
    return CheckResult(level, f"Boosted trees can {test.ease} tell samples from held-out rows{columns}: {auc}.")


def _broken(violations: Sequence[Violation]) -> CheckResult | None:
    """Limits, decimals and rules that samples break."""
    if not violations:
        return None
    worst = max(violations, key=lambda violation: violation.rows)
    others = f", and {_counted(len(violations) - 1, 'other thing')} is broken" if len(violations) > 1 else ""
    remedy = "; sampling with --keep-rules keeps the order" if worst.what == "rule" else ""
    return CheckResult("note", f"Of the samples {worst.sentence}{others}{remedy}.")


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {_counted(more, 'other column')}" if more > 0 else "")


def without_held_out(text: str) -> str:
    """A text about rows that are not held out.

    >>> without_held_out("Held-out rows, and a held-out row")
    'Rows, and a row'
    """
    return re.sub(r"\bheld-out (?=\w)", "", re.sub(r"\bHeld-out (\w)", lambda match: match[1].upper(), text))


def _counted(number: int, noun: str) -> str:
    """
    >>> _counted(1, "flaw"), _counted(2, "flaw")
    ('1 flaw', '2 flaws')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
