"""Methods of many column types at once: what their log-probabilities have in common is computed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

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
    # Points of terms follow from the values and from what is linear in others of the same table.
    constant = not any(x.requires_grad for _, x, _ in parts)
    return evaluate_together([column_type.in_terms(x, params) for column_type, x, params in parts], constant)
