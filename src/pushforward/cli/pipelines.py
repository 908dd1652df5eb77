"""Which pipeline runs a command: that of numeric columns and named flows, or that of mixed-type models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushforward.cli import evaluate as numeric_report
from pushforward.cli import fit as numeric_fit
from pushforward.cli import mixed, mixed_report
from pushforward.cli import sample as numeric_sample
from pushforward.cli import score as numeric_score
from pushforward.cli.common import say
from pushforward.cli.fit import FitRequest
from pushforward.cli.model import is_mixed
from pushforward.data import NotNumbersError, TableError
from pushforward.data.schema import Schema
from pushforward.data.table import open_source
from pushforward.distributions import Boolean, Inflated, Integer
from pushforward.evaluate import Evaluation

__all__ = ["evaluate_table", "fit_table", "report_table", "sample_rows", "score_table"]


FEW = 100
"""Different whole numbers up to which a column holds codes or counts, not measurements."""


def fit_table(request: FitRequest, types: Sequence[str], *, show: bool) -> dict[str, Any]:
    """Fit the flow asked for. Without ``--flow``: `nsf` where all columns are real numbers without gaps, else a
    mixed-type model.

    Raises:
        ValueError: an option does not go with the flow, or the table with the options.
    """
    if note := open_source(request.table).note:
        say(f"{request.table}: {note}.")
    if types and request.flow not in (None, "mixed"):
        raise ValueError(f"--type: column types are for mixed-type models, not for {request.flow}. Use --flow mixed.")
    if types or request.flow == "mixed":
        return mixed.fit_mixed(request, types, show=show)
    unsupported = mixed.unsupported_options(request)
    if request.flow is None and (reason := why_mixed(request)):
        if not unsupported:
            say(f"{reason}: fitting a mixed-type model.")
            return mixed.fit_mixed(request, types, show=show)
        say(f"{reason}, which nsf takes for real numbers: a mixed-type model does not take {', '.join(unsupported)}.")
    try:
        return numeric_fit.fit_table(request)
    except NotNumbersError as error:
        if request.flow is not None:
            raise TableError(f"{error} Or use --flow mixed, which models text, dates and missing values.") from None
        if unsupported:
            raise TableError(
                f"{error} A mixed-type model takes the table as it is, but not {', '.join(unsupported)}."
            ) from None
        return mixed.fit_mixed(request, types, show=show)  # or its own sentence about the table


def why_mixed(request: FitRequest) -> str | None:
    """Why a table is not for a flow over real numbers, in words; None if it is, or cannot be read as a data frame."""
    columns = numeric_fit.choose_columns(request)[0]
    try:
        rows = mixed.first_rows(request.table, columns)
        fields = Schema.infer(rows).fields
    except TableError:
        return None  # said by the pipeline that reads it
    for field, column in zip(fields, rows.columns, strict=True):
        if field.labels is not None:
            return f"Column {field.name!r} holds text"
        if field.form in ("time", "day"):
            return f"Column {field.name!r} holds dates or times"
        if field.notation is not None:
            return f"Column {field.name!r} holds numbers stored as text"
        if column.null_count:
            return f"Column {field.name!r} has missing values"
        distinct = len(column.unique())
        if (
            field.form == "bool"
            or isinstance(field.column_type, Inflated)
            or (isinstance(field.column_type, Boolean | Integer) and distinct <= FEW)
        ):
            return f"Column {field.name!r} holds {distinct} different numbers"
    return None


def evaluate_table(model: str, table: str) -> Evaluation:
    """The mean log-likelihood of the rows of a table, beside the baselines."""
    return (mixed_report if is_mixed(model) else numeric_report).evaluate_rows(model, table)


def report_table(model: str, table: str, out: str, seed: int, *, train: str | None = None) -> dict[str, Any]:
    """Write an HTML report on held-out rows; returns its numbers. ``train`` is the table of the training rows."""
    return (mixed_report if is_mixed(model) else numeric_report).report_rows(model, table, out, seed, train=train)


def score_table(model: str, table: str, out: str) -> dict[str, Any]:
    """Write the log-density of each row of a table."""
    return (mixed.score_mixed if is_mixed(model) else numeric_score.score)(model, table, out)


def sample_rows(model: str, out: str, rows: int, conditions: Sequence[str], seed: int) -> dict[str, Any]:
    """Write sampled rows, given the values of ``conditions`` (``a=1,b=2``)."""
    return (mixed.sample_mixed if is_mixed(model) else numeric_sample.sample)(model, out, rows, conditions, seed)
