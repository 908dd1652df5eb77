"""Methods of many column types at once: what their log-probabilities have in common is computed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.columns.discrete import Categorical, log_probs_together
from pushforward.distributions.columns.scalar_term import ScalarTerm, evaluate_together

__all__ = ["ColumnMethod", "evaluated"]

ColumnMethod = Literal["log_prob", "cdf", "mid_cdf", "plausibility"]
"""A function of values and parameters that every `ColumnType` has."""


def evaluated(method: ColumnMethod, parts: Sequence[tuple[ColumnType, Tensor, Tensor]]) -> list[Tensor]:
    """A method of column types at values (columns, n) with parameters. What log-probabilities have in common is
    evaluated for all of them at once."""
    if method != "log_prob":
        return [getattr(column_type, method)(x, params) for column_type, x, params in parts]
    few = [(t, x, p) for t, x, p in parts if isinstance(t, Categorical) and t.levels <= t.MOST_ONE_HOT]
    chosen = iter(log_probs_together(few) if few else [])
    terms = [_with_constants(column_type.scalar_term(x, params), x) for column_type, x, params in parts]
    values = iter(evaluate_together([term for term in terms if term is not None]))
    outputs = []
    for (t, x, params), term in zip(parts, terms, strict=True):
        if isinstance(t, Categorical) and t.levels <= t.MOST_ONE_HOT:
            outputs.append(next(chosen))
        elif term is None:
            outputs.append(t.log_prob(x, params))
        else:
            outputs.append(t.log_prob_from(next(values), x, params))
    return outputs


def _with_constants(term: ScalarTerm | None, x: Tensor) -> ScalarTerm | None:
    """The term of values x, whose points are constants where x is one. They follow from the values and from what is
    linear in others of the same table, but the latter come beside parameters that have gradients, and for points that
    seem to have gradients as well mixtures cannot take their slopes in closed form."""
    if term is None or x.requires_grad or not runs_eagerly(term.params):
        return term
    high, width, offset = (None if part is None else part.detach() for part in (term.high, term.width, term.offset))
    return term._replace(low=term.low.detach(), high=high, width=width, offset=offset)
