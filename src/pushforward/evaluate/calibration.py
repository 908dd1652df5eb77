"""Calibration of a model of columns: coverage of intervals, PIT histograms and reliability of probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.distributions import ColumnDistribution, Constant
from pushforward.evaluate.abilities import KnowsColumns, distribution_functions
from pushforward.evaluate.arrays import Floats, Rows, evaluation_mode, to_model
from pushforward.evaluate.metrics import mean_and_error

__all__ = [
    "CALIBRATED",
    "LEVELS",
    "ColumnCalibration",
    "Reliability",
    "coverage",
    "measure_calibration",
    "pit_band",
    "pit_histogram",
]

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities of the central intervals whose coverage is reported."""
CALIBRATED = "calibrated"
"""The verdict on a column whose PIT histogram stays within its band."""
BATCH_SIZE = 2_000  # rows whose conditional distributions are in memory at once
BINS = 10  # of the reliability diagram
NEGLIGIBLE = 0.02  # a difference of coverage below this is called "slight"


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities of categories compared with observed frequencies.

    Attributes:
        accuracy: share of the values that are the likeliest category.
        confidence: mean probability of the likeliest category; equals ``accuracy`` for a calibrated model.
        predicted: mean predicted probability in each of ten equal bins of [0, 1], NaN in empty bins.
        observed: observed frequency of the predicted categories in each bin, NaN in empty bins.
        counts: number of predictions in each bin; every value gives one for each category.
    """

    accuracy: float
    confidence: float
    predicted: Floats
    observed: Floats
    counts: Floats


@dataclass(frozen=True, eq=False)
class ColumnCalibration:
    """Held-out values of one column under their conditional distributions.

    Attributes:
        name: of the column.
        rows: number of values in the support of the column.
        outside: number of values outside of the support, such as unknown categories. They count as outside of every
            interval and as misclassified.
        lower, upper: F(x-) = P(X < x) and F(x) = P(X ≤ x) of each value, (rows,), equal where the distribution is
            continuous; None for columns without an order and for those of two categories. On a circle they count from
            the point across from the median, which has F = ½, wherever the circle is cut; then F(x) exceeds 1 for a
            value of positive probability in which that point lies.
        reliability: of a column of categories, else None.
        log_prob: conditional log-density (log-probability) of each value, (rows,); empty for a model that has none.
        marginal_log_prob: the same under the marginal distribution, (rows,); None for a model of a fixed column order.
    """

    name: str
    rows: int
    outside: int
    lower: Floats | None = field(repr=False)
    upper: Floats | None = field(repr=False)
    reliability: Reliability | None
    log_prob: Floats = field(repr=False)
    marginal_log_prob: Floats | None = field(repr=False)

    @property
    def gain(self) -> tuple[float, float]:
        """Mean of log q(x | others) - log q(x) in nats, which estimates mutual information, and its standard error."""
        if self.marginal_log_prob is None:
            return math.nan, math.nan
        with np.errstate(invalid="ignore"):  # -inf under both: the difference is undefined
            return mean_and_error(self.log_prob - self.marginal_log_prob)

    def coverage(self, probability: float) -> tuple[float, float]:
        """`coverage` of this column; values outside of the support are in no interval. On a circle the intervals are
        arcs with as much probability on each side of the median."""
        return coverage(*self._steps(), probability, outside=self.outside)

    def pit(self, bins: int = 20) -> Floats:
        """`pit_histogram` of this column."""
        return pit_histogram(*self._steps(), bins)

    def verdict(self, bins: int = 20) -> str:
        """``"calibrated"`` if the whole PIT histogram lies within its 99 % band; otherwise how it deviates."""
        low, high = pit_band(self.rows, bins)
        heights = self.pit(bins)
        if ((low <= heights) & (heights <= high)).all():
            return CALIBRATED
        lower, upper = self._steps()
        largest = max(abs(self.coverage(level)[0] - level) for level in LEVELS)
        middle = (lower + upper) / 2
        shift = (np.where(middle > 1, middle - 1, middle).mean() - 0.5) / math.sqrt(
            1 / 12
        )  # in standard deviations of a uniform variable
        excess = self.coverage(0.5)[0] + self.coverage(0.9)[0] - 1.4
        slightly = "slightly " if largest < NEGLIGIBLE and abs(shift) < 3 * NEGLIGIBLE else ""
        if abs(shift) > abs(excess):
            return f"values are {slightly}{'higher' if shift > 0 else 'lower'} than predicted"
        return f"{slightly}too {'narrow' if excess < 0 else 'wide'}"

    def _steps(self) -> tuple[Floats, Floats]:
        if self.lower is None or self.upper is None:
            raise ValueError(f"Column {self.name!r} has unordered categories or only two, and so no intervals.")
        return self.lower, self.upper


def measure_calibration(
    model: Distribution, x: Rows, names: Sequence[str], context: Rows | None = None
) -> list[ColumnCalibration]:
    """Compare the value of every column in every row with its distribution given all other entries of the row (given
    the entries before it, for a model of a fixed column order or a triangular flow).

    Args:
        model: of the columns.
        x: (rows, columns) held-out rows, NaN where an entry is missing.
        names: of the columns.
        context: (rows, context columns), for a conditional model.

    Returns:
        One entry per column, except constant columns and those without a value in their support; none for a model
        without distributions of single columns.

    References:
        | Predictive Model Assessment for Count Data (Czado, Gneiting, Held, 2009): the PIT of a discrete value is
          uniform from P(X < x) to P(X ≤ x)
    """
    columns = []
    with torch.no_grad(), evaluation_mode(model):
        rows, contexts = to_model(model, x, context)
        if not isinstance(model, KnowsColumns):
            levels = distribution_functions(model, rows, contexts)
            return [] if levels is None else _of_levels(levels.double().cpu().numpy(), names)
        for j, name in enumerate(names):
            column_type, values = model.column_type(j), rows[:, j]
            inside = column_type.holds(values[None])[0] & values.isfinite()
            if inside.any() and not isinstance(column_type, Constant):
                outside = int((~inside & ~values.isnan()).sum())
                part = None if contexts is None else contexts[inside]
                columns.append(_measure_column(model, rows[inside], part, j, name, outside))
    return columns


def _of_levels(levels: Floats, names: Sequence[str]) -> list[ColumnCalibration]:
    """From F(x_j | x_<j) of each entry, (rows, columns)."""
    usable = [(name, column[~np.isnan(column)]) for name, column in zip(names, levels.T, strict=True)]
    return [
        ColumnCalibration(name, len(u), 0, lower=u, upper=u, reliability=None, log_prob=u[:0], marginal_log_prob=None)
        for name, u in usable
        if len(u)
    ]


def coverage(lower: Floats, upper: Floats, probability: float, *, outside: int = 0) -> tuple[float, float]:
    """Share of the values inside the central interval of a probability, and its standard error. A value of positive
    probability counts by the part of its step, from P(X < x) to P(X ≤ x), inside the interval.

    Args:
        lower: P(X < x) of each value, (rows,).
        upper: P(X ≤ x) of each value, (rows,).
        probability: of the interval.
        outside: number of further values that are in no interval.

    >>> u = np.linspace(0.005, 0.995, 100)
    >>> round(coverage(u, u, 0.9)[0], 2)
    0.9
    """
    low, high = (1 - probability) / 2, (1 + probability) / 2
    point_mass = upper - lower
    # On a circle a step may pass 1, beyond which it begins anew at 0.
    overlap = np.clip(np.minimum(upper, high) - np.maximum(lower, low), 0, None)
    overlap += np.clip(np.minimum(upper - 1, high) - np.maximum(lower - 1, low), 0, None)
    share = np.where(
        point_mass > 0, overlap / np.where(point_mass > 0, point_mass, 1.0), (low <= upper) & (upper <= high)
    )
    return mean_and_error(np.concatenate([share, np.zeros(outside)]))


def pit_histogram(lower: Floats, upper: Floats, bins: int = 20) -> Floats:
    """Heights (bins,) of the histogram of the probability integral transform, all one for a calibrated model.

    Args:
        lower: P(X < x) of each value, (rows,).
        upper: P(X ≤ x) of each value, (rows,); the mass of a discrete value is spread evenly between the two.
        bins: number of equal bins of [0, 1].

    >>> pit_histogram(np.array([0.0, 0.25]), np.array([1.0, 0.25]), 2)
    array([1.5, 0.5])
    """
    edges = np.linspace(0, 1, bins + 1)
    point_mass = upper - lower
    discrete = point_mass > 0
    heights = np.histogram(upper[~discrete], edges)[0].astype(np.float64)
    if discrete.any():
        past = (edges - lower[discrete, None]) / point_mass[discrete, None]  # (rows, edges)
        again = np.clip(past + 1 / point_mass[discrete, None], 0, 1)  # of a step on a circle that passes 1
        heights += np.diff((np.clip(past, 0, 1) + again).sum(axis=0))
    return heights * bins / len(upper)


@cache
def pit_band(rows: int, bins: int = 20, probability: float = 0.99) -> tuple[float, float]:
    """Simultaneous band (low, high) that contains all heights of the PIT histogram of a calibrated model with this
    probability (for discrete columns a higher one), from 4,000 simulated histograms."""
    simulated = np.random.default_rng(0).multinomial(rows, np.full(bins, 1 / bins), size=4_000) * bins / rows
    half_width = float(np.quantile(np.abs(simulated - 1).max(axis=1), probability))
    return max(0.0, 1 - half_width), 1 + half_width


def _measure_column(
    model: KnowsColumns, rows: Tensor, context: Tensor | None, j: int, name: str, outside: int
) -> ColumnCalibration:
    """`ColumnCalibration` of column j from rows (n, columns) whose entry of it is in its support."""
    column_type: Any = model.column_type(j)
    conditional = model.full_conditional if model.order == "any" else model.next_conditional
    batches: dict[str, list[Tensor]] = {}
    bin_sums = torch.zeros(3, BINS, dtype=torch.float64)
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        batch_context = None if context is None else context[start : start + BATCH_SIZE]
        distribution, values = conditional(batch, j, batch_context), batch[:, j]
        results = {"log_prob": distribution.log_prob(values)}
        if column_type.has_ranks:
            results["upper"] = distribution.cdf(values)
            results["lower"] = 2 * distribution.mid_cdf(values) - results["upper"]
            if column_type.circle is not None:
                results["middle"] = distribution.median_level()
        if column_type.levels:
            results["confidence"], results["correct"] = _add_predictions(distribution, values, bin_sums)
        for key, result in results.items():
            batches.setdefault(key, []).append(result)
    whole = {key: torch.cat(parts).double().cpu().numpy() for key, parts in batches.items()}
    lower, upper = whole.get("lower"), whole.get("upper")
    if lower is not None and upper is not None:  # in float32 rounding may put lower above upper
        lower, upper = np.clip(lower, 0, 1), np.clip(upper, 0, 1)
        lower = np.where(upper - lower < 1e-6, upper, lower)
        if "middle" in whole:
            point_mass, lower = upper - lower, np.mod(lower - whole["middle"] + 0.5, 1.0)
            upper = lower + point_mass
    reliability = None
    if column_type.levels:
        counts, predicted, observed = bin_sums.numpy()
        accuracy = float(whole["correct"].sum()) / (len(rows) + outside)
        with np.errstate(invalid="ignore"):  # 0 / 0 in empty bins
            predicted, observed = predicted / counts, observed / counts
        reliability = Reliability(accuracy, float(whole["confidence"].mean()), predicted, observed, counts)
    marginal = None
    if model.order == "any":
        marginal = model.column_marginal(j, context).log_prob(rows[:, j]).double().cpu().numpy()
    return ColumnCalibration(name, len(rows), outside, lower, upper, reliability, whole["log_prob"], marginal)


def _add_predictions(distribution: ColumnDistribution, codes: Tensor, bin_sums: Tensor) -> tuple[Tensor, Tensor]:
    """Add the predicted probabilities of all categories to the bins of a reliability diagram.

    Args:
        distribution: of each row.
        codes: categories observed, (rows,).
        bin_sums: (3, bins): number of predictions, sum of their probabilities, number that came true; changed in place.

    Returns:
        The probability of the likeliest category of each row, (rows,), and whether it was observed, (rows,).
    """
    probabilities = distribution.probabilities().double().cpu()  # (rows, levels)
    observed = torch.nn.functional.one_hot(codes.long().cpu(), probabilities.shape[1]).double()
    bins = (probabilities * BINS).long().clamp(max=BINS - 1).flatten()
    for total, terms in zip(bin_sums, (torch.ones_like(probabilities), probabilities, observed), strict=True):
        total.index_add_(0, bins, terms.flatten())
    confidence, likeliest = probabilities.max(dim=1)
    return confidence, likeliest == codes.cpu()
