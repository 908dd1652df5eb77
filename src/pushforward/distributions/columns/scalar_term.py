"""Densities and probabilities of intervals under distributions of one number, evaluated for several columns at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.univariate.base import Univariate
from pushforward.univariate.distribution import UnivariateDistribution

__all__ = ["ScalarTerm", "evaluate_together", "kind_of"]


def kind_of(univariate: Univariate) -> str:
    """The same for equal maps, whose values with different parameters one call computes; empty for others."""
    config = getattr(univariate, "config", None)
    if config is None or univariate.features is not None or any(True for _ in univariate.parameters()):
        return ""
    return json.dumps(config, sort_keys=True)


class ScalarTerm(NamedTuple):
    """The log-density of some columns at standardised values, or the log-probability of intervals, plus an offset.

    Shape:
        All are (columns, n), but for the parameters, (num_params, columns, n).
    """

    distribution: UnivariateDistribution
    kind: str
    """Of the distribution, from `kind_of`."""
    params: Tensor
    low: Tensor
    """Where the density is asked for, or the lower end of the interval."""
    high: Tensor | None
    """The upper end; None for a density."""
    width: Tensor | None
    """Of the interval, which may have more digits than the difference of its ends."""
    offset: Tensor | None

    def evaluate(self) -> Tensor:
        """The logarithm, (columns, n)."""
        if self.high is None:
            value = self.distribution.log_density(self.low, self.params)
        else:
            value = self.distribution.log_mass(self.low, self.high, self.params, self.width)
        return value if self.offset is None else value + self.offset


def evaluate_together(terms: Sequence[ScalarTerm]) -> list[Tensor]:
    """`ScalarTerm.evaluate` of each, where terms of equal distributions take one call for all of their columns."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for k, term in enumerate(terms):
        parts = (part is None for part in (term.high, term.width, term.offset))
        kinds.setdefault((term.kind or k, term.params.shape[2:], *parts), []).append(k)
    values: dict[int, Tensor] = {}
    for members in kinds.values():
        same = [terms[k] for k in members]
        whole = same[0] if len(same) == 1 else _joined(same)
        values.update(zip(members, whole.evaluate().split([len(term.low) for term in same]), strict=True))
    return [values[k] for k in range(len(terms))]


def _joined(terms: Sequence[ScalarTerm]) -> ScalarTerm:
    """One term with the columns of all."""
    params = torch.cat([term.params for term in terms], dim=1)
    low = torch.cat([term.low for term in terms])
    parts = zip(*((term.high, term.width, term.offset) for term in terms), strict=True)
    high, width, offset = (None if part[0] is None else torch.cat(part) for part in parts)
    return ScalarTerm(terms[0].distribution, terms[0].kind, params, low, high, width, offset)
