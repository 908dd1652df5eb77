"""The law of some columns of a table given others, in the words of the table: names, labels, dates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.data.schema import Field, Schema
from pushforward.distributions import ColumnDistribution, MixedConditional

__all__ = ["ColumnGiven", "GivenColumns", "outward"]


class GivenColumns:
    """The law of the columns that are not known: what ``FlowDensity.given`` returns.

    It is exactly normalised in one order: what is known first, then the other columns as the table has them.
    """

    def __init__(self, schema: Schema, law: MixedConditional, generator: Callable[[Any], torch.Generator]) -> None:
        self.schema, self.law, self._generator = schema, law, generator

    @property
    def columns(self) -> list[str]:
        """The names of the columns that are left."""
        return [self.schema.names[j] for j in self.law.columns]

    def log_prob(self, X: Any) -> NDArray[np.float64]:
        """Log-density of rows of the columns that are left, (rows,), given the known ones. Other columns of X are not
        looked at."""
        part = Schema(tuple(self.schema.fields[j] for j in self.law.columns), self.schema.backend)
        with torch.no_grad():
            return outward(self.law.log_prob(torch.as_tensor(part.encode(X))))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Rows of the columns that are left, as a table."""
        drawn = self.law.sample((int(n_samples),), generator=self._generator(random_state))
        return self.schema.decode(outward(drawn), self.law.columns)

    def marginal(self, name: str) -> ColumnGiven:
        """The law of one column, given what is known and nothing else."""
        j = self.schema.place(name)
        if j not in self.law.columns:
            raise ValueError(f"column {name!r} is known. The others are {', '.join(map(repr, self.columns))}.")
        with torch.no_grad():
            return ColumnGiven(self.schema.fields[j], self.law.column_marginal(j))

    def marginal_discrepancy(self, name: str, draws: int = 4000, random_state: Any = None) -> tuple[float, float]:
        """How far `marginal` of a column is from what `log_prob` and `sample` imply, and the standard error of that.

        The network gives the marginal of a column directly, and learns to agree with the joint distribution. What it
        has not learned is the total variation distance of the two for categories, which no probability is off by more
        than, and otherwise the largest difference between distribution functions. See
        `distributions.MixedConditional.marginal_discrepancy`.
        """
        j = self.schema.place(name)
        found = self.law.marginal_discrepancy(j, draws, self._generator(random_state))
        return float(found.distance), float(found.standard_error)


class ColumnGiven:
    """One column's law: its distribution function, quantiles, mean and intervals, in the column's own values."""

    def __init__(self, field: Field, law: ColumnDistribution) -> None:
        self.field, self.law = field, law

    def log_prob(self, value: Any) -> float:
        """Log-density of a value; log-probability of a discrete column's."""
        return float(self.law.log_prob(self.field.value(value)))

    def cdf(self, value: Any) -> float:
        """The probability of this value or a smaller one."""
        return float(self.law.cdf(self.field.value(value)))

    def quantile(self, p: float) -> Any:
        """The smallest value that is not exceeded with probability p."""
        return self._value(self.law.quantile(p))

    def median(self) -> Any:
        """The quantile of ½."""
        return self.quantile(0.5)

    def mean(self) -> Any:
        """The mean."""
        found = self.law.mean()
        return float(found) if self.field.labels is not None or self.field.form == "bool" else self._value(found)

    def interval(self, probability: float = 0.9) -> tuple[Any, Any]:
        """The central interval of this probability."""
        low, high = self.law.interval(probability)
        return self._value(low), self._value(high)

    def highest_density_interval(self, probability: float = 0.9) -> tuple[Any, Any]:
        """The shortest interval of this probability."""
        low, high = self.law.highest_density_interval(probability)
        return self._value(low), self._value(high)

    def probabilities(self) -> dict[Any, float]:
        """The probability of each category, by its value as `mode` gives it."""
        return {self.field.entry(code): float(p) for code, p in enumerate(outward(self.law.probabilities()))}

    def mode(self) -> Any:
        """The likeliest value."""
        return self._value(self.law.mode())

    def _value(self, number: Tensor) -> Any:
        return self.field.entry(float(number))


def outward(values: Tensor) -> NDArray[np.float64]:
    """Numbers for numpy, in float64."""
    found: NDArray[np.float64] = values.detach().cpu().to(torch.float64).numpy()
    return found
