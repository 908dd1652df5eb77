"""Log-probabilities of columns in parts, each of which is evaluated for several columns at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.univariate.base import Univariate
from pushforward.univariate.distribution import UnivariateDistribution

__all__ = ["CategoricalTerm", "InTerms", "ScalarTerm", "Term", "evaluate_together", "kind_of"]

MOST_PADDED = 65
"""Up to so many categories logits are padded, so that columns with fewer are evaluated with those that have more."""


def kind_of(univariate: Univariate) -> str:
    """The same for equal maps, whose values with different parameters one call computes; empty for others."""
    config = getattr(univariate, "config", None)
    if config is None or univariate.features is not None or any(True for _ in univariate.parameters()):
        return ""
    return json.dumps(config, sort_keys=True)


class ScalarTerm(NamedTuple):
    """The log-density of some columns at standardised values, or the log-probability of intervals.

    Shape:
        All are (columns, n), but for the parameters, (num_params, columns, n).
    """

    distribution: UnivariateDistribution
    kind: str
    """Of the distribution, from `kind_of`."""
    params: Tensor
    at: Tensor | None = None
    """Where the density is asked for; None for an interval."""
    offset: Tensor | None = None
    """What is added to a log-density."""
    low: Tensor | None = None
    """The lower end of the interval; None where it has none."""
    high: Tensor | None = None
    width: Tensor | None = None
    """Of the interval, which may have more digits than the difference of its ends."""

    @property
    def columns(self) -> int:
        return self.params.shape[1]

    @property
    def group(self) -> Hashable:
        """Equal for terms that are evaluated together; None for one that is evaluated alone."""
        parts = (part is None for part in self[3:])
        return (self.kind, self.params.shape[2:], *parts) if self.kind else None

    def evaluate(self) -> Tensor:
        """The logarithm, (columns, n)."""
        _, _, params, at, offset, low, high, width = self
        if at is not None:
            value = self.distribution.log_density(at, params)
            return value if offset is None else value + offset
        if low is not None and high is not None:
            return self.distribution.log_mass(low, high, params, width)
        if high is not None:
            return self.distribution.log_tail(high, params)
        return self.distribution.log_tail(cast(Tensor, low), params, upper=True)

    def joined(self, others: Sequence[Any]) -> ScalarTerm:
        """One term with the columns of this and of others of its group."""
        terms = [self, *others]
        params = torch.cat([term.params for term in terms], dim=1)
        points = zip(*(term[3:] for term in terms), strict=True)
        return ScalarTerm(*self[:2], params, *(None if each[0] is None else torch.cat(each) for each in points))


class CategoricalTerm(NamedTuple):
    """The log-probabilities of categories, -inf for numbers that are none.

    Shape:
        logits: (levels, columns, n); codes, in float64: (columns, n).
    """

    logits: Tensor
    codes: Tensor

    @property
    def columns(self) -> int:
        return len(self.codes)

    @property
    def group(self) -> Hashable:
        """Equal for terms that are evaluated together; None for one that is evaluated alone."""
        return ("categories", self.logits.shape[2:]) if len(self.logits) <= MOST_PADDED else None

    def evaluate(self) -> Tensor:
        """The logarithm, (columns, n)."""
        codes = self.codes.clamp(0, len(self.logits) - 1).long()
        log_probs = torch.log_softmax(self.logits, dim=0).gather(0, codes[None])[0]
        return log_probs.masked_fill(self.codes != codes, -torch.inf)

    def joined(self, others: Sequence[Any]) -> CategoricalTerm:
        """One term with the columns of this and of others of its group."""
        terms = [self, *others]
        most = max(len(term.logits) for term in terms)
        padded = [F.pad(p, (0, 0, 0, 0, 0, most - len(p)), value=-torch.inf) for p, _ in terms]
        return self._replace(logits=torch.cat(padded, dim=1), codes=torch.cat([term.codes for term in terms]))


Term = ScalarTerm | CategoricalTerm


class InTerms(NamedTuple):
    """A log-probability (columns, n) as a function of terms."""

    terms: Sequence[Term]
    combine: Callable[[Sequence[Tensor]], Tensor]
    """From the values of the terms."""

    def evaluate(self) -> Tensor:
        return self.combine([term.evaluate() for term in self.terms])


def evaluate_together(parts: Sequence[InTerms]) -> list[Tensor]:
    """`InTerms.evaluate` of each, where terms that have most in common take one call for all of their columns."""
    terms = [term for part in parts for term in part.terms]
    groups: dict[Hashable, list[int]] = {}
    for k, term in enumerate(terms):
        groups.setdefault(k if term.group is None else term.group, []).append(k)
    values: dict[int, Tensor] = {}
    for members in groups.values():
        first, *others = (terms[k] for k in members)
        whole = first.joined(others) if others else first
        sizes = [terms[k].columns for k in members]
        values.update(zip(members, whole.evaluate().split(sizes), strict=True))
    ordered = (values[k] for k in range(len(terms)))
    return [part.combine([next(ordered) for _ in part.terms]) for part in parts]
