"""The sections of a report that every model has: verdict, likelihood, training, numerical accuracy, the model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np

from pushforward._version import __version__
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import qualified
from pushforward.data.fields import show_type
from pushforward.data.schema import Schema
from pushforward.evaluate.diagnostics import PrecisionCheck
from pushforward.evaluate.html import Checks, Contents, Fact, HtmlTable, Part, Section, picture
from pushforward.evaluate.judgement import Verdict
from pushforward.evaluate.metrics import TITLES, Evaluation, signed, with_error
from pushforward.evaluate.model_summary import summarize
from pushforward.evaluate.plots import HistoryLike, plot_learning_curves, plot_log_densities

__all__ = ["likelihood_section", "model_section", "precision_section", "training_section", "verdict_section"]

MEANINGS = {
    "independent": "independent columns, each with its distribution by itself",
    "tree": "the best tree of pairs of columns, in which each column depends on one other (Chow and Liu, 1968)",
    "gaussian": "a Gaussian with a full covariance",
    "gmm": "a mixture of Gaussians, as many as BIC chooses",
}


def verdict_section(judged: Verdict, command: str = "", *, title: str = "Is the model good?") -> Section:
    """The verdict, its checks, links to the other sections, and how the page came about."""
    today = dt.date.today()
    about = f"Written on {today.day} {today:%B %Y} by pushforward {__version__}" + (":" if command else ".")
    checks = Checks([(finding.level, finding.text) for finding in judged.findings])
    return Section(title, [Fact(judged.headline, "good" if judged.ok else "problem"), checks, Contents(about, command)])


def likelihood_section(evaluation: Evaluation, *, title: str = "How well does the model fit held-out rows?") -> Section:
    """Log-likelihoods of the model and the baselines as a table, in words, and as histograms over rows."""
    number = with_error(evaluation.log_likelihood, evaluation.standard_error)
    rows = [[qualified("this model", evaluation.exactness), number, "", ""]]
    for name, score in evaluation.baselines.items():
        rows.append([TITLES.get(name, name), *score.shown, f"{score.components:,}" if score.components else ""])
    header = ["", "log-likelihood (nats per row)", "advantage of this model", "components"]
    width = 2 if not evaluation.baselines else 3 if not any(row[3] for row in rows) else 4
    caption = f"Mean over {evaluation.rows:,} held-out rows ± standard error; higher is better."
    table = HtmlTable(header[:width], [row[:width] for row in rows], caption)
    sentences = " ".join(evaluation.sentences())
    parts: list[Part] = [*([Fact(sentences)] if sentences else []), table]
    if simple := [MEANINGS[name] for name in evaluation.baselines if name in MEANINGS]:
        parts.append(f"Simple models, fitted to the training rows: {'; '.join(simple)}.")
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
    schema: Schema,
    context_schema: Schema,
    *,
    facts: Mapping[str, object] | None = None,
    title: str = "The model",
) -> Section:
    """Columns, layers, size and settings of a model."""
    density = f"A joint density of {_listed(schema.names)}."
    if context_schema.fields:
        density = f"A conditional density of {_listed(schema.names)} given {_listed(context_schema.names)}."
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = [["parameters", f"{parameters:,}"], *([str(k), _as_text(v)] for k, v in (facts or {}).items())]
    parts: list[Part] = [density, HtmlTable([], rows, words=True)]
    parts.append(HtmlTable(["layer", "number", "settings", "parameters"], summarize(model), "Its layers.", words=True))
    fields = [*schema.fields, *context_schema.fields]
    if any(field.why for field in fields):
        types = [[field.name, show_type(field.column_type), field.reason] for field in fields]
        parts.append(HtmlTable(["column", "type", "why"], types, "The type of each column.", words=True))
    return Section(title, parts)


def _listed(names: list[str], limit: int = 8) -> str:
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


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_as_text(entry)}" for key, entry in value.items()) or "defaults"
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(entry) for entry in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
