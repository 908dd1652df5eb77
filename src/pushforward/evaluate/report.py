"""The report on a model: what it is, how well it fits, whether to trust it, and what its samples look like.

Each section is a function of its own, so that other reports are put together from the same pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pushforward.core.distribution import Distribution
from pushforward.core.exactness import qualified
from pushforward.evaluate.arrays import Floats, Rows, as_rows, check_paired, sample_in_batches
from pushforward.evaluate.baselines import Baseline
from pushforward.evaluate.diagnostics import PrecisionCheck, precision_check
from pushforward.evaluate.html import Html, Section, code, fact, picture, table
from pushforward.evaluate.metrics import TITLES, Evaluation, evaluate, signed, with_error
from pushforward.evaluate.plots import (
    HistoryLike,
    plot_learning_curves,
    plot_log_densities,
    plot_marginals,
    plot_pairs,
)

__all__ = [
    "likelihood_section",
    "model_report",
    "model_section",
    "precision_section",
    "reproduce_section",
    "samples_section",
    "training_section",
]

MAX_DRAWN = 10_000  # rows of data and samples in the pictures


def model_report(
    model: Distribution,
    x: Rows,
    context: Rows | None = None,
    *,
    columns: Sequence[str],
    given: Sequence[str] = (),
    baselines: Mapping[str, Baseline] | None = None,
    evaluation: Evaluation | None = None,
    history: HistoryLike | None = None,
    facts: Mapping[str, object] | None = None,
    commands: str = "",
    seed: int = 0,
) -> list[Section]:
    """The sections of a report on a model and held-out rows; `html.write_report` writes them.

    Args:
        model: any distribution over vectors.
        x: (rows, columns) held-out rows.
        context: (rows, given columns), for a conditional model; samples are drawn with the same contexts.
        columns: names of the columns of x.
        given: names of the columns of context.
        baselines: simple models fitted on the training rows.
        evaluation: the result of `evaluate` on the same rows, if it is at hand; computed otherwise.
        history: of the training run.
        facts: whatever else should be said about the model, such as its flow's name and options.
        commands: what to type to get the same model and report again.
        seed: of the samples.

    Raises:
        ValueError: shapes do not fit the model, or names do not fit the shapes.
    """
    check_paired("model_report", x, context)
    width = as_rows("model_report", "x", x[:1]).shape[1]
    given_width = 0 if context is None else as_rows("model_report", "context", context[:1]).shape[1]
    if (len(columns), len(given)) != (width, given_width):
        raise ValueError(
            f"model_report: {len(columns)} column names and {len(given)} given names for {width} columns and "
            f"{given_width} of context; give one name each."
        )
    result = evaluation or evaluate(model, x, context, baselines=baselines)
    chosen = np.linspace(0, len(x) - 1, min(len(x), MAX_DRAWN)).round().astype(np.int64)
    shown, shown_context = _rows(x)[chosen], None if context is None else _rows(context)[chosen]
    samples = sample_in_batches(model, len(chosen), shown_context, seed=seed)
    sections = [
        likelihood_section(result),
        samples_section(shown, samples, columns, given=given),
        *([training_section(history)] if history is not None and history.records else []),
    ]
    usable = np.flatnonzero(np.isfinite(result.log_densities["model"]))
    if len(usable):
        known = None if context is None else _rows(context)[usable]
        sections.append(precision_section(precision_check(model, _rows(x)[usable], known)))
    sections.append(model_section(model, columns=columns, given=given, facts=facts))
    return [*sections, *([reproduce_section(commands)] if commands else [])]


def likelihood_section(evaluation: Evaluation, *, title: str = "How well it fits rows it has not seen") -> Section:
    """The table of log-likelihoods beside the baselines, what it means in words, and the densities row by row."""
    rows = [
        [
            qualified("this model", evaluation.exactness),
            with_error(evaluation.log_likelihood, evaluation.standard_error),
            "",
            "",
        ]
    ]
    for name, score in evaluation.baselines.items():
        rows.append([
            TITLES.get(name, name),
            with_error(score.log_likelihood, score.standard_error),
            with_error(score.difference, score.difference_error),
            f"{score.components:,}",
        ])  # fmt: skip
    header = ["", "log-likelihood (nats a row)", "this model is ahead by", "Gaussians in it"]
    caption = f"Mean over {evaluation.rows:,} held-out rows ± its standard error; higher is better."
    if not evaluation.baselines:
        header, rows = header[:2], [row[:2] for row in rows]
    elif not any(score.components for score in evaluation.baselines.values()):
        header, rows = header[:3], [row[:3] for row in rows]
    parts: list[str] = [*map(fact, evaluation.sentences()), table(header, rows, caption=caption)]
    parts += [f"{TITLES.get(name, name)}: {score.note}" for name, score in evaluation.baselines.items() if score.note]
    bits = signed(evaluation.bits_per_dimension)
    parts.append(
        "One nat is a factor of e = 2.72 in the density of a typical row. The numbers depend on the units of the "
        f"columns; their differences do not. The same fit in bits per dimension (lower is better): {bits}."
    )
    if any(np.isfinite(densities).any() for densities in evaluation.log_densities.values()):
        caption = "Log-density of each held-out row; dashed lines are the means of the table above."
        parts.append(picture(plot_log_densities(evaluation), caption))
    return Section(title, parts)


def samples_section(
    data: Rows,
    samples: Floats,
    names: Sequence[str],
    *,
    given: Sequence[str] = (),
    title: str = "Data and samples side by side",
) -> Section:
    """Columns and pairs of columns of held-out rows and of as many samples."""
    held_out, drawn = as_rows("samples_section", "data", data), as_rows("samples_section", "samples", samples)
    count = f"{len(drawn):,} rows drawn from the model beside {len(held_out):,} held-out rows"
    parts: list[str] = [f"{count}, each with the given values of a held-out row." if given else f"{count}."]
    broken = int((~np.isfinite(drawn)).any(axis=1).sum())
    if broken:
        parts.append(fact(f"{broken:,} of the samples hold a value that is not a finite number."))
    caption = "Each column by itself. A good model's line retraces the filled shape."
    parts.append(picture(plot_marginals(held_out, drawn, names), caption))
    if len(names) > 1:
        caption = (
            "Columns two at a time, darker where rows are denser. Below the diagonal data, above it samples: "
            "for a good model the two halves mirror each other."
        )
        parts.append(picture(plot_pairs(held_out, drawn, names), caption))
    return Section(title, parts)


def training_section(history: HistoryLike, *, title: str = "How it was trained") -> Section:
    """The learning curves and how the run ended."""
    caption = (
        "Where both curves still rise, longer training helps; where validation falls behind training, "
        "the model has begun to learn the training rows by heart."
    )
    parts: list[str] = [picture(plot_learning_curves(history), caption)]
    last = history.records[-1]
    ended = f"{last.step:,} steps in {_duration(last.seconds)}"
    stopped = str(getattr(history, "stopped", "") or "")
    return Section(title, [*parts, f"{ended}. {stopped}".strip()])


def precision_section(check: PrecisionCheck, *, title: str = "Can the numbers be trusted?") -> Section:
    """The precision check, verdict first."""
    return Section(title, [fact(check.verdict), table(["check", "found"], check.lines())])


def model_section(
    model: Distribution,
    *,
    columns: Sequence[str],
    given: Sequence[str] = (),
    facts: Mapping[str, object] | None = None,
    title: str = "What the model is",
) -> Section:
    """Columns, size and make of a model; its full printout folded away."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    rows = [["columns", ", ".join(columns)]]
    if given:
        rows.append(["given", ", ".join(given)])
    rows.append(["parameters", f"{weights:,}"])
    rows += [[str(key), _worded(value)] for key, value in (facts or {}).items()]
    described = (
        f"A density of {_listed(columns)} given {_listed(given)}."
        if given
        else f"A joint density of {_listed(columns)}."
    )
    printed = Html(f"<details><summary>all its parts</summary>{code(str(model))}</details>")
    return Section(title, [described, table([], rows, words=True), printed])


def reproduce_section(commands: str, *, title: str = "How to get this again") -> Section:
    """The commands, ready to copy."""
    return Section(title, [code(commands)])


def _rows(values: Rows) -> Any:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _listed(names: Sequence[str], limit: int = 8) -> str:
    """Names as part of a sentence.

    >>> _listed(["a"]), _listed(["a", "b", "c"]), _listed(list("abcd"), limit=2)
    ('a', 'a, b and c', 'a, b and 2 more columns')
    """
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more columns"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _duration(seconds: float) -> str:
    """A span of time to be read.

    >>> _duration(9.4), _duration(150), _duration(9000)
    ('9 seconds', '2.5 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _worded(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_worded(entry)}" for key, entry in value.items()) or "defaults"
    if isinstance(value, list | tuple):
        return ", ".join(_worded(entry) for entry in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
