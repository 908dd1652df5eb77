"""Methods of many column types at once: what their log-probabilities have in common is computed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.columns.terms import evaluate_together

__all__ = ["ColumnMethod", "evaluated"]

ColumnMethod = Literal["log_prob", "cdf", "mid_cdf", "plausibility"]
"""A function of values and parameters that every `ColumnType` has."""


def evaluated(method: ColumnMethod, parts: Sequence[tuple[ColumnType, Tensor, Tensor]]) -> list[Tensor]:
    """A method of column types at values (columns, n) with parameters. What log-probabilities have in common is
    evaluated for all of them at once."""
    if method != "log_prob":
        return [getattr(column_type, method)(x, params) for column_type, x, params in parts]
    # Location and scale are linear in other values of the same table.
    constant = all(not x.requires_grad and runs_eagerly(params) for _, x, params in parts)
    return evaluate_together([t.in_terms(x, params, constant_place=constant) for t, x, params in parts])
