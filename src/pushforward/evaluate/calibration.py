"""Does a model of mixed columns know how sure it may be? What it says of each entry beside what was there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.distributions import ColumnDistribution, Constant, MixedTypeModel
from pushforward.evaluate.arrays import Floats, Rows, evaluation_mode, to_model
from pushforward.evaluate.metrics import mean_and_error

__all__ = ["LEVELS", "ColumnCalibration", "Reliability", "calibrate", "coverage", "pit_band", "pit_histogram"]

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities of the intervals that are looked at."""
AT_ONCE = 2_000  # rows whose laws are held at once
BINS = 10  # of probabilities of categories
LITTLE = 0.02  # a coverage that far off does not matter much


@dataclass(frozen=True, eq=False)
class Reliability:
    """Of all probabilities that a model gave to categories, how often the category was there.

    Attributes:
        hits: part of the rows whose likeliest category was there.
        sure: mean probability of the likeliest category; equal to ``hits`` for a calibrated model.
        said: mean probability in each of ten equal parts of [0, 1], NaN in empty ones.
        seen: how often the category was there, of as many.
        counts: how many probabilities lie in each part.
    """

    hits: float
    sure: float
    said: Floats
    seen: Floats
    counts: Floats


@dataclass(frozen=True, eq=False)
class ColumnCalibration:
    """What a model says of one column in every row, given other entries of the row, beside what was there.

    Attributes:
        name: of the column.
        rows: how many values were looked at: those that are there and that the column can hold.
        outside: how many are there that the column cannot hold, such as categories that are not known. They count as
            outside of every interval, and as not foreseen.
        lower, upper: P(X < x) and P(X ≤ x) of each, (rows,), equal where there is a density; None without an order or
            with two values alone.
        reliability: of a column of categories.
        log_density: log q of each value given others, (rows,).
        alone: log q of each value given nothing, (rows,); None where the model has one order.
    """

    name: str
    rows: int
    outside: int
    lower: Floats | None = field(repr=False)
    upper: Floats | None = field(repr=False)
    reliability: Reliability | None
    log_density: Floats = field(repr=False)
    alone: Floats | None = field(repr=False)

    @property
    def gain(self) -> tuple[float, float]:
        """How much better the values are known given the others, in nats, and its standard error."""
        if self.alone is None:
            return math.nan, math.nan
        with np.errstate(invalid="ignore"):  # -inf for both: there is no difference
            return mean_and_error(self.log_density - self.alone)

    def coverage(self, probability: float) -> tuple[float, float]:
        """`coverage` of this column."""
        part, error = coverage(*self._steps(), probability)
        return part * self.rows / (self.rows + self.outside), error

    def pit(self, bins: int = 20) -> Floats:
        """`pit_histogram` of this column."""
        return pit_histogram(*self._steps(), bins)

    def _steps(self) -> tuple[Floats, Floats]:
        if self.lower is None or self.upper is None:
            raise ValueError(f"{self.name!r} has no order, or two values alone, and so no intervals.")
        return self.lower, self.upper

    def verdict(self, bins: int = 20) -> str:
        """In words, whether the law of the column fits: all of its PIT histogram lies in the band, as it does for 99
        in 100 right laws, or how not."""
        low, high = pit_band(self.rows, bins)
        heights = self.pit(bins)
        if ((low <= heights) & (heights <= high)).all():
            return "as it should be"
        off = max(abs(self.coverage(level)[0] - level) for level in LEVELS)
        lower, upper = self._steps()
        middle = (lower + upper) / 2
        shift = (middle.mean() - 0.5) / math.sqrt(1 / 12)
        width = self.coverage(0.5)[0] + self.coverage(0.9)[0] - 1.4
        size = "a little " if off < LITTLE and abs(shift) < 3 * LITTLE else ""
        if abs(shift) > abs(width):
            return f"values lie {size}{'higher' if shift > 0 else 'lower'} than expected"
        return f"laws are {size}too {'narrow' if width < 0 else 'wide'}"


def calibrate(model: MixedTypeModel, x: Rows, names: Sequence[str]) -> list[ColumnCalibration]:
    """Ask for the law of every column in every row, given all other entries of the row; of a model with one order given
    those before it.

    Args:
        model: of the columns.
        x: (rows, columns) held-out rows, NaN where an entry is missing.
        names: of the columns.

    Returns:
        One entry a column; none of constant columns and of those without a usable value.

    References:
        | Predictive Model Assessment for Count Data (Czado, Gneiting, Held, 2009): a discrete value is spread evenly
          from P(X < x) to P(X ≤ x)
    """
    found = []
    with torch.no_grad(), evaluation_mode(model):
        values, _ = to_model(model, x, None)
        for j, name in enumerate(names):
            kind, own = model.column_type(j), values[:, j]
            usable = kind.holds(own[None])[0] & own.isfinite()
            rows = values[usable]
            if len(rows) and not isinstance(kind, Constant):
                outside = int((~usable & ~own.isnan()).sum())
                found.append(_of_column(model, rows, j, name, outside))
    return found


def coverage(lower: Floats, upper: Floats, probability: float) -> tuple[float, float]:
    """Part of the values inside the central interval of this probability, and its standard error. A value with a
    probability of its own counts by the part of that probability which lies inside.

    >>> u = np.linspace(0.005, 0.995, 100)
    >>> round(coverage(u, u, 0.9)[0], 2)
    0.9
    """
    low, high = (1 - probability) / 2, (1 + probability) / 2
    jump = upper - lower
    share = np.clip(np.minimum(upper, high) - np.maximum(lower, low), 0, None) / np.where(jump > 0, jump, 1.0)
    return mean_and_error(np.where(jump > 0, share, (low <= upper) & (upper <= high)))


def pit_histogram(lower: Floats, upper: Floats, bins: int = 20) -> Floats:
    """Heights (bins,) of the histogram of the probability integral transform: all are one where the model is right.

    >>> pit_histogram(np.array([0.0, 0.25]), np.array([1.0, 0.25]), 2)
    array([1.5, 0.5])
    """
    edges = np.linspace(0, 1, bins + 1)
    jump = upper - lower
    steps = jump > 0
    heights = np.histogram(upper[~steps], edges)[0].astype(np.float64)
    if steps.any():
        inside = np.clip((edges - lower[steps, None]) / jump[steps, None], 0, 1)  # part of each value below each edge
        heights += np.diff(inside.sum(axis=0))
    return heights * bins / len(upper)


@cache
def pit_band(rows: int, bins: int = 20, probability: float = 0.99) -> tuple[float, float]:
    """Between what heights the whole histogram of a right model lies, with this probability; of discrete columns with
    more. Found by 4,000 draws."""
    drawn = np.random.default_rng(0).multinomial(rows, np.full(bins, 1 / bins), size=4_000) * bins / rows
    reach = float(np.quantile(np.abs(drawn - 1).max(axis=1), probability))
    return max(0.0, 1 - reach), 1 + reach


def _of_column(model: MixedTypeModel, values: Tensor, j: int, name: str, outside: int) -> ColumnCalibration:
    """Of rows (n, columns) that all hold a value of column j."""
    kind: Any = model.column_type(j)
    levels = kind.levels
    ordered = kind.has_ranks
    conditional = model.next_conditional if model.order == "fixed" else model.full_conditional
    parts: dict[str, list[Tensor]] = {"log": [], "lower": [], "upper": [], "top": [], "hit": []}
    sums = torch.zeros(3, BINS, dtype=torch.float64)
    for rows in values.split(AT_ONCE):
        law = conditional(rows, j)
        own = rows[:, j]
        parts["log"].append(law.log_prob(own))
        if ordered:
            upper = law.cdf(own)
            parts["lower"].append(2 * law.mid_cdf(own) - upper)
            parts["upper"].append(upper)
        if levels:
            top, hit = _count(law, own, sums)
            parts["top"].append(top)
            parts["hit"].append(hit)
    whole = {key: torch.cat(own).double().cpu().numpy() for key, own in parts.items() if own}
    alone = None
    if model.order == "any":
        alone = model.column_marginal(j).log_prob(values[:, j]).double().cpu().numpy()
    reliability = None
    if levels:
        counts, said, seen = sums.numpy()
        with np.errstate(invalid="ignore"):
            reliability = Reliability(
                float(whole["hit"].sum() / (len(values) + outside)), float(whole["top"].mean()), said / counts,
                seen / counts, counts,
            )  # fmt: skip
    lower, upper_ends = whole.get("lower"), whole.get("upper")
    if lower is not None and upper_ends is not None:  # rounding in float32 may cross the ends
        lower, upper_ends = np.clip(lower, 0, 1), np.clip(upper_ends, 0, 1)
        lower = np.where(upper_ends - lower < 1e-6, upper_ends, lower)
    return ColumnCalibration(name, len(values), outside, lower, upper_ends, reliability, whole["log"], alone)


def _count(law: ColumnDistribution, own: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Add probabilities of categories to ``sums`` (how many, their sum, how many were there; parts of [0, 1]); gives
    the largest of each row and whether its category was there."""
    share = law.probabilities().double().cpu()
    truth = torch.nn.functional.one_hot(own.long().cpu(), share.shape[1]).double()
    part = (share * BINS).long().clamp(max=BINS - 1).flatten()
    for total, what in zip(sums, (torch.ones_like(share), share, truth), strict=True):
        total.index_add_(0, part, what.flatten())
    top = share.max(dim=1)
    return top.values, top.indices == own.cpu()
