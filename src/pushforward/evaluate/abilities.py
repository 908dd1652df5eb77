"""What a distribution over the columns of a table can do beyond densities and samples: callers ask here, not for
classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pushforward.core.bijection import NotInvertibleError
from pushforward.core.distribution import Distribution
from pushforward.distributions import ColumnDistribution, ColumnType, Continuous

__all__ = ["HasMarginals", "KnowsColumns", "column_types", "conditions_on_any", "distribution_functions"]


@runtime_checkable
class HasColumnTypes(Protocol):
    """A distribution that knows the type of each column."""

    def column_type(self, j: int) -> ColumnType: ...


@runtime_checkable
class HasMarginals(Protocol):
    """A distribution that takes NaN for a missing entry, of any column or of some, and gives the marginal density of
    the observed entries."""

    def log_marginal(self, x: Tensor, *, context: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class KnowsColumns(HasColumnTypes, Protocol):
    """A distribution that knows the type of each column and its distribution given other entries of the row, takes NaN
    for a missing entry, and fills it in. With ``order`` other than "any" a column is conditioned on those before it."""

    order: str

    def log_marginal(self, x: Tensor, observed: Tensor | None = None, context: Tensor | None = None) -> Tensor: ...
    def column_marginal(self, j: int, context: Tensor | None = None) -> ColumnDistribution: ...
    def full_conditional(self, x: Tensor, j: int, context: Tensor | None = None) -> ColumnDistribution: ...
    def next_conditional(self, x: Tensor, j: int, context: Tensor | None = None) -> ColumnDistribution: ...
    def order_spread(self, x: Tensor, orders: Sequence[Sequence[int]], context: Tensor | None = None) -> Tensor: ...
    def impute(self, x: Tensor, generator: torch.Generator | None = None, context: Tensor | None = None) -> Tensor: ...


def column_types(model: Distribution, columns: int) -> list[ColumnType]:
    """How a model sees its columns, where it has densities and where probabilities: by the types that it knows, or
    else as real numbers with densities."""
    if isinstance(model, HasColumnTypes):
        knows: HasColumnTypes = model  # for mypy, which takes attributes of a module for tensors
        return [knows.column_type(j) for j in range(columns)]
    return [Continuous() for _ in range(columns)]


def conditions_on_any(model: object) -> bool:
    """Whether a column can be conditioned on any of the others."""
    return isinstance(model, KnowsColumns) and model.order == "any"


def distribution_functions(model: Distribution, x: Tensor, context: Tensor | None) -> Tensor | None:
    """F(x_j | x_<j) of each entry of x (rows, columns), NaN where it cannot be computed; None if the model has no
    distribution functions."""
    if not hasattr(model, "cdf"):
        return None
    flow: Any = model
    try:
        levels: Tensor = flow.cdf(x, context)
        return levels
    except NotInvertibleError:
        return None
