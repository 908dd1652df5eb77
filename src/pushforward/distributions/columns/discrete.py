"""Column types with a probability for each value: categories, booleans and constants."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import Integers, Interval
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.columns.terms import CategoricalTerm, InTerms

__all__ = ["Boolean", "Categorical", "Constant", "Ordinal"]


@configurable
class Categorical(ColumnType):
    """One of several categories, each with a probability of its own.

    Args:
        levels: number of categories; values are 0 .. levels - 1.
        columns: how many such columns stand side by side.

    Raises:
        ValueError: there is no category.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"levels": 3}, {"levels": 100, "columns": 2})
    is_density = False
    ordered = False
    per_column = ("embedding",)
    MOST_ONE_HOT = 64
    EMBEDDING = 16

    def __init__(self, levels: int, *, columns: int = 1) -> None:
        super().__init__(columns)
        at_least(type(self).__name__, "levels", levels, 1)
        self.levels = self.num_params = levels
        self.domain = Integers(0, levels - 1)
        self.embedding: nn.Parameter | None = None
        self.num_inputs = levels
        if levels > self.MOST_ONE_HOT:
            self.num_inputs = self.EMBEDDING
            self.embedding = nn.Parameter(torch.randn(columns, levels, self.EMBEDDING) / math.sqrt(self.EMBEDDING))

    def temperature_scaling(self) -> tuple[Tensor, Tensor]:
        return torch.ones(self.num_params), torch.zeros(self.num_params)

    def encode(self, x: Tensor) -> Tensor:
        codes = self._codes(x)
        if self.embedding is None:
            return F.one_hot(codes, self.levels).movedim(-1, 1).to(self.like.dtype)
        wide = codes[..., None].expand(*codes.shape, self.EMBEDDING)
        return self.embedding.gather(1, wide).movedim(-1, 1)

    @property
    def shown_values(self) -> list[float] | None:
        return None if self.embedding is not None else [float(level) for level in range(self.levels)]

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return self.in_terms(x, params).evaluate()

    def in_terms(self, x: Tensor, params: Tensor, *, constant_place: bool = False) -> InTerms:
        return InTerms([CategoricalTerm(params, x)], itemgetter(0))

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        total = torch.softmax(params, dim=0).cumsum(dim=0).gather(0, self._codes(x.floor())[None])[0]
        return torch.where(x < 0, 0.0, torch.where(x >= self.levels - 1, 1.0, total))

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        sums = torch.softmax(params, dim=0).cumsum(dim=0)[:-1]  # the last is one, whatever it rounds to
        return (p > sums).sum(dim=0).to(torch.float64)

    def _measure(self, x: Tensor) -> Tensor:
        counts = torch.bincount(x.long(), minlength=self.levels).to(self.like.dtype)
        share = (counts + 0.5) / (counts.sum() + 0.5 * self.levels)
        return share.log() - share.log().mean()

    def _codes(self, x: Tensor) -> Tensor:
        return x.clamp(0, self.levels - 1).long()


@configurable
class Ordinal(Categorical):
    """One of several categories that have an order, such as school grades: `Categorical` with quantiles."""

    ordered = True


@configurable
class Boolean(Categorical):
    """False or true, as 0 and 1, in this order."""

    ordered = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"columns": 2})

    def __init__(self, *, columns: int = 1) -> None:
        super().__init__(2, columns=columns)


@configurable
class Constant(ColumnType):
    """The same value in every row: it has probability one, and there is nothing to learn.

    Args:
        value: of all rows.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"value": 2.5}, {"columns": 2})
    is_density = False
    num_params = num_inputs = 0

    def __init__(self, value: float = 0.0, *, columns: int = 1) -> None:
        super().__init__(columns)
        self.value = float(value)
        self.domain = Interval(self.value, math.nextafter(self.value, math.inf))  # as narrow as they get

    def encode(self, x: Tensor) -> Tensor:
        return self.like.new_zeros(x.shape[0], 0, x.shape[1])

    def holds(self, x: Tensor) -> Tensor:
        return x == self.value

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return torch.where(x == self.value, 0.0, -torch.inf).to(self.like.dtype)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        return (x >= self.value).to(self.like.dtype)

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        return torch.full(p.shape, self.value, dtype=torch.float64, device=p.device)

    def _measure(self, x: Tensor) -> Tensor:
        return self.like.new_zeros(0)
