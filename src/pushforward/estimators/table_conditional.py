"""Conditional distributions of the columns of a table, in the table's names, labels and dates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.core.distribution import Distribution
from pushforward.data.rules import broken, draw_keeping, draw_within
from pushforward.data.schema import Field, Schema
from pushforward.distributions import ColumnDistribution, MixedConditional, MixedTypeModel
from pushforward.estimators.layout import ColumnLayout, to_numpy

__all__ = ["ColumnConditional", "TableConditional"]


class TableConditional:
    """The joint distribution of the other columns of a table given some: what ``FlowDensity.given`` returns.

    It is exactly normalised: the other columns follow the observed ones in the order of the table.
    """

    def __init__(
        self,
        layout: ColumnLayout,
        distribution: Distribution,
        observed: Mapping[int, float],
        generator: Callable[[Any], torch.Generator],
    ) -> None:
        self.schema, self.distribution, self._generator = layout.schema, distribution, generator
        self._observed = dict(observed)
        self._modelled = layout.modelled
        self._others = [j for j in layout.modelled if j not in observed]

    @property
    def columns(self) -> list[str]:
        """The names of the columns that are not conditioned on."""
        return [self.schema.names[j] for j in self._others]

    def log_prob(self, X: Any) -> NDArray[np.float64]:
        """Conditional log-density of each row of ``columns``, (rows,). X may hold other columns, which are ignored."""
        part = Schema(tuple(self.schema.fields[j] for j in self._others), self.schema.backend)
        x = torch.as_tensor(part.encode(X)).to(self.distribution.dtype)
        with torch.no_grad():
            return to_numpy(self.distribution.log_prob(x))

    def sample(
        self, n_samples: int = 1, random_state: Any = None, *, whole: bool = False, keep_rules: bool = False
    ) -> Any:
        """Samples of ``columns`` as a table, with the decimals of the columns. Rows of a flow that leave the limits of
        a column are drawn anew.

        Args:
            n_samples: how many rows.
            random_state: seed of the samples.
            whole: whether to add the columns that are conditioned on.
            keep_rules: whether every row is to keep the orders of columns that held in all rows of the table,
                ``schema.rules``: rows that break one are drawn anew.
        """
        at_least("FlowDensity", "n_samples", n_samples, 1)
        generator, rules = self._generator(random_state), self.schema.rules

        types = [field.column_type for field in self.schema.fields]
        ends = np.array([column_type.domain.ends for column_type in types], dtype=np.float64).T
        ends[:, [not column_type.is_density for column_type in types]] += [[-0.5], [0.5]]  # before they are rounded
        ends[:, list(self._observed)] = [[-math.inf], [math.inf]]

        def draw_any(count: int) -> NDArray[np.float64]:
            with torch.no_grad():
                samples = self.distribution.sample((count,), generator=generator)
            values = np.full((count, len(self.schema.fields)), math.nan)
            values[:, self._others] = to_numpy(samples)
            for j, value in self._observed.items():
                values[:, j] = value
            return values

        def draw(count: int) -> NDArray[np.float64]:
            return draw_within(draw_any, ends, count)

        def rounded(count: int) -> NDArray[np.float64]:
            values = draw(count)
            values[:, self._others] = self.schema.rounded(values)[:, self._others]
            return values

        if keep_rules and rules:
            values = draw_keeping(rounded, self.schema.fields, rules, int(n_samples), self._others)
        else:
            values = draw(int(n_samples))
        columns = sorted([*self._others, *self._observed]) if whole else self._others
        if keep_rules and (wrong := int(broken(self.schema.fields, rules, values).any(axis=1).sum())):
            warnings.warn(
                f"{wrong:,} of {n_samples:,} rows break a rule, which the values they are conditioned on leave no room "
                "for.",
                UserWarning,
                stacklevel=2,
            )
        return self.schema.decode(values[:, columns], columns, exact=self._observed)

    def marginal(self, name: str) -> ColumnConditional:
        """The distribution of one column given the observed ones alone."""
        conditional, j = self._conditional("marginal"), self.schema.place(name)
        if j not in self._others:
            others = ", ".join(map(repr, self.columns))
            raise ValueError(f"column {name!r} is conditioned on. Ask for one of the others: {others}.")
        with torch.no_grad():
            return ColumnConditional(self.schema.fields[j], conditional.column_marginal(self._modelled.index(j)))

    def marginal_discrepancy(self, name: str, draws: int = 4000, random_state: Any = None) -> tuple[float, float]:
        """How far `marginal` of a column is from that of the joint distribution, and the standard error.

        The network gives the marginal of a column directly and has learned to agree with the joint distribution, which
        `log_prob` and `sample` stand for, only approximately. For categories the measure is the total variation
        distance, a bound on the error of every probability; for numbers the largest difference between distribution
        functions. See `distributions.MixedConditional.marginal_discrepancy`.
        """
        conditional, j = self._conditional("marginal_discrepancy"), self._modelled.index(self.schema.place(name))
        result = conditional.marginal_discrepancy(j, draws, self._generator(random_state))
        return float(result.distance), float(result.standard_error)

    def _conditional(self, question: str) -> MixedConditional:
        if isinstance(self.distribution, MixedTypeModel):
            return self.distribution.given({})
        if isinstance(self.distribution, MixedConditional):
            return self.distribution
        raise ValueError(
            f"{question}: this flow gives joint densities alone. Fit the model 'mixed' for those of columns."
        )


class ColumnConditional:
    """The conditional distribution of one column: densities, quantiles, mean and intervals in the column's values."""

    def __init__(self, field: Field, distribution: ColumnDistribution) -> None:
        self.field, self.distribution = field, distribution

    def log_prob(self, value: Any) -> float:
        """Log-density of a value, or log-probability in a discrete column."""
        return float(self.distribution.log_prob(self.field.value(value)))

    def cdf(self, value: Any) -> float:
        """P(X ≤ value)."""
        return float(self.distribution.cdf(self.field.value(value)))

    def quantile(self, p: float) -> Any:
        """The smallest value x with P(X ≤ x) ≥ p; on a circle counted from the cut."""
        return self._value(self.distribution.quantile(p))

    def median(self) -> Any:
        """The quantile of ½; on a circle the circular median, the value with the smallest mean distance to others."""
        return self._value(self.distribution.median())

    def mean(self) -> Any:
        """The mean, on a circle the mean direction; of ordered categories and booleans in terms of their codes 0, 1,
        ... ."""
        mean = self.distribution.mean()
        return float(mean) if self.field.labels is not None or self.field.form == "bool" else self._value(mean)

    def interval(self, probability: float = 0.9) -> tuple[Any, Any]:
        """The central interval of a probability. Of a `Circular` column the shortest arc that holds it, (start, end),
        where the end is smaller than the start if the arc passes the cut: (20, 2) for hours around 23."""
        low, high = self.distribution.interval(probability)
        return self._value(low), self._value(high)

    def highest_density_interval(self, probability: float = 0.9) -> tuple[Any, Any]:
        """The shortest interval of a probability; of a `Circular` column the shortest arc, as `interval`."""
        low, high = self.distribution.highest_density_interval(probability)
        return self._value(low), self._value(high)

    def probabilities(self) -> dict[Any, float]:
        """The probability of each category, by its value as `mode` gives it."""
        probabilities = to_numpy(self.distribution.probabilities())
        return {self.field.entry(code): float(p) for code, p in enumerate(probabilities)}

    def mode(self) -> Any:
        """The most probable value."""
        return self._value(self.distribution.mode())

    def _value(self, number: Tensor) -> Any:
        return self.field.entry(float(number))
