"""The report on a model: likelihood, samples, training, numerical accuracy and architecture.

Each section is a function, so that other reports can be assembled from the same pieces.
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
from pushforward.evaluate.html import Code, Fact, HtmlTable, Part, Section, picture
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

MAX_SAMPLES = 10_000  # held-out rows and samples in the pictures


def model_report(
    model: Distribution,
    x: Rows,
    context: Rows | None = None,
    *,
    columns: Sequence[str],
    context_columns: Sequence[str] = (),
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
        context: (rows, context columns), for a conditional model; samples are drawn with the same contexts.
        columns: names of the columns of x.
        context_columns: names of the columns of the context.
        baselines: simple models fitted to the training rows.
        evaluation: the result of `evaluate` on the same rows; computed if absent.
        history: of the training run.
        facts: further lines about the model, by name, such as its flow and options.
        commands: the commands that reproduce the model and the report.
        seed: of the samples.

    Raises:
        ValueError: shapes do not fit the model, or names do not fit the shapes.
    """
    check_paired("model_report", x, context)
    width = as_rows("model_report", "x", x[:1]).shape[1]
    context_width = 0 if context is None else as_rows("model_report", "context", context[:1]).shape[1]
    if (len(columns), len(context_columns)) != (width, context_width):
        raise ValueError(
            f"model_report: x has {width} columns and context {context_width}; got {len(columns)} and "
            f"{len(context_columns)} names. Give one name per column."
        )
    result = evaluation or evaluate(model, x, context, baselines=baselines)
    chosen = np.linspace(0, len(x) - 1, min(len(x), MAX_SAMPLES)).round().astype(np.int64)
    shown, shown_context = _rows(x)[chosen], None if context is None else _rows(context)[chosen]
    samples = sample_in_batches(model, len(chosen), shown_context, seed=seed)
    sections = [
        likelihood_section(result),
        samples_section(shown, samples, columns, conditional=context is not None),
        *([training_section(history)] if history is not None and history.records else []),
    ]
    usable = np.flatnonzero(np.isfinite(result.log_densities["model"]))
    if len(usable):
        usable_context = None if context is None else _rows(context)[usable]
        sections.append(precision_section(precision_check(model, _rows(x)[usable], usable_context)))
    sections.append(model_section(model, columns=columns, context_columns=context_columns, facts=facts))
    return [*sections, *([reproduce_section(commands)] if commands else [])]


def likelihood_section(evaluation: Evaluation, *, title: str = "How well does the model fit held-out rows?") -> Section:
    """Log-likelihoods of the model and the baselines as a table, in words, and as histograms over rows."""
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
    header = ["", "log-likelihood (nats per row)", "advantage of this model", "components"]
    caption = f"Mean over {evaluation.rows:,} held-out rows ± standard error; higher is better."
    if not evaluation.baselines:
        header, rows = header[:2], [row[:2] for row in rows]
    elif not any(score.components for score in evaluation.baselines.values()):
        header, rows = header[:3], [row[:3] for row in rows]
    parts: list[Part] = [*map(Fact, evaluation.sentences()), HtmlTable(header, rows, caption)]
    parts += [f"{TITLES.get(name, name)}: {score.note}" for name, score in evaluation.baselines.items() if score.note]
    bits = signed(evaluation.bits_per_dimension)
    parts.append(
        "One nat is a factor of e = 2.72 in the density of a typical row. Log-likelihoods depend on the units of the "
        f"columns; differences between models do not. In bits per dimension (lower is better): {bits}."
    )
    if any(np.isfinite(densities).any() for densities in evaluation.log_densities.values()):
        caption = "Log-densities of the held-out rows; dashed lines are the means in the table above."
        parts.append(picture(plot_log_densities(evaluation), caption))
    return Section(title, parts)


def samples_section(
    data: Rows,
    samples: Floats,
    names: Sequence[str],
    *,
    conditional: bool = False,
    title: str = "Data and samples side by side",
) -> Section:
    """Histograms of columns and of pairs of columns, of held-out rows and of samples.

    Args:
        data: (rows, columns) held-out rows.
        samples: (rows, columns) from the model.
        names: of the columns.
        conditional: whether each sample was drawn with the context of a held-out row.
        title: of the section.
    """
    held_out, drawn = as_rows("samples_section", "data", data), as_rows("samples_section", "samples", samples)
    count = f"{len(drawn):,} samples of the model and {len(held_out):,} held-out rows"
    parts: list[Part] = [f"{count}. Each sample has the context of a held-out row." if conditional else f"{count}."]
    if invalid := int((~np.isfinite(drawn)).any(axis=1).sum()):
        parts.append(Fact(f"{invalid:,} of the samples hold a value that is not finite."))
    caption = "The marginal distribution of each column. For a good model the line follows the filled shape."
    parts.append(picture(plot_marginals(held_out, drawn, names), caption))
    if len(names) > 1:
        caption = (
            "Pairs of columns, darker where rows are denser: data below the diagonal, samples above it. For a good "
            "model the two halves mirror each other."
        )
        parts.append(picture(plot_pairs(held_out, drawn, names), caption))
    return Section(title, parts)


def training_section(history: HistoryLike, *, title: str = "Training") -> Section:
    """The learning curves and why the run ended."""
    caption = (
        "While both curves rise, longer training helps; where the validation curve falls while the training curve "
        "rises, the model overfits."
    )
    last = history.records[-1]
    run = f"{last.step:,} steps in {_duration(last.seconds)}"
    reason = str(getattr(history, "stopped", "") or "").rstrip(".")
    return Section(
        title, [picture(plot_learning_curves(history), caption), f"{run}: {reason}." if reason else f"{run}."]
    )


def precision_section(check: PrecisionCheck, *, title: str = "Can the numbers be trusted?") -> Section:
    """The verdict of the precision check and its numbers."""
    return Section(title, [Fact(check.verdict), HtmlTable(["check", "result"], check.lines())])


def model_section(
    model: Distribution,
    *,
    columns: Sequence[str],
    context_columns: Sequence[str] = (),
    facts: Mapping[str, object] | None = None,
    title: str = "The model",
) -> Section:
    """Columns, size and settings of a model; its modules folded away."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = [["columns", ", ".join(columns)]]
    density = f"A joint density of {_listed(columns)}."
    if context_columns:
        rows.append(["given", ", ".join(context_columns)])
        density = f"A conditional density of {_listed(columns)} given {_listed(context_columns)}."
    rows.append(["parameters", f"{parameters:,}"])
    rows += [[str(name), _as_text(value)] for name, value in (facts or {}).items()]
    return Section(title, [density, HtmlTable([], rows, words=True), Code(str(model), summary="all modules")])


def reproduce_section(commands: str, *, title: str = "How to reproduce this report") -> Section:
    """The commands, ready to copy."""
    return Section(title, [Code(commands)])


def _rows(values: Rows) -> Any:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _listed(names: Sequence[str], limit: int = 8) -> str:
    """Names as an enumeration within a sentence.

    >>> _listed(["a"]), _listed(["a", "b", "c"]), _listed(list("abcd"), limit=2)
    ('a', 'a, b and c', 'a, b and 2 more columns')
    """
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more columns"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _duration(seconds: float) -> str:
    """A duration as text.

    >>> _duration(9.4), _duration(150), _duration(9000)
    ('9 seconds', '2.5 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _as_text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_as_text(entry)}" for key, entry in value.items()) or "defaults"
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(entry) for entry in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
