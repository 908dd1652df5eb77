"""The density of one column by itself: probabilities of single values, a smoothed histogram of others, and tails."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.distributions import ColumnType, Constant, Inflated, Repeated
from pushforward.evaluate.arrays import Floats

__all__ = ["ColumnDensity"]

Codes = NDArray[np.int64]
HISTOGRAMS = ((5, 4), (10, 4), (20, 4), (40, 4), (160, 1))  # (bins, shifts) to choose from
MAX_ROWS = 50_000  # rows that decide the bins
FEWEST = 8  # other values from which on their histogram is made of them alone
FEW = 40  # different values up to which each gets a step
OFTEN = 4  # rows from which on a whole number can have a step of its own
HEAVIEST = 0.9  # largest shape of a tail: heavier ones have no mean


@dataclass(frozen=True, eq=False)
class ColumnDensity:
    """A density of one column in the sense of its type: a probability for each value of a discrete column, also for
    single frequent values of a continuous one, and a density for all others.

    Attributes:
        values: those with a probability of their own, rising, (values,).
        edges: of the steps of the histogram of all other values, (steps + 1,), at ½, 3/2, ... for whole numbers; empty
            where there are no others.
        masses: probabilities of the cells: values, lower tail, steps and upper tail, (values + steps + 2,), or of the
            values alone.
        tails: (scale, shape) of the generalised Pareto distribution of the lower and of the upper tail.
        whole: whether the other values are whole numbers, which have probabilities.
        low, high: the ends of the support of the other values.

    References:
        | Averaged Shifted Histograms (Scott, 1985)
        | Parameter and Quantile Estimation for the Generalized Pareto Distribution (Hosking and Wallis, 1987)
    """

    values: Floats
    edges: Floats
    masses: Floats
    tails: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (1.0, 0.0))
    whole: bool = False
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def fit(cls, column_type: ColumnType, x: Floats) -> ColumnDensity:
        """From the values x (rows,) of a column of this type, NaN where one is missing.

        Each category and each value with a probability of its own counts half a row more than it was seen.
        """
        x = x[np.isfinite(x)]
        if isinstance(column_type, Constant):
            return cls(np.array([column_type.value]), np.empty(0), np.ones(1))
        inner, values = column_type, np.empty(0)
        if column_type.levels:
            values = np.arange(float(column_type.levels))
        elif isinstance(column_type, Inflated | Repeated):
            inner, values = column_type.inner, column_type.values.double().cpu().numpy().ravel()
        place, hit = _search(values, x)
        counts = np.bincount(place[hit], minlength=len(values)) + 0.5
        if column_type.levels:
            return cls(values, np.empty(0), counts / counts.sum())
        others = x[~hit]
        rest, total = len(others) + 0.5 * bool(len(values)), len(others) + 0.5 + counts.sum()
        shares = np.append(counts, rest or 1.0) / (total if len(values) else rest or 1.0)
        reference = others if len(others) >= FEWEST else x
        low, high = (float(end) for end in inner.domain.ends)
        if not len(reference):
            middle = np.clip(0.0, low, high)
            reference = np.array([middle])
        whole = not inner.is_density
        edges, masses, tails = _best_histogram(reference, values if whole else values[:0], whole, low, high)
        if not masses.any():  # all that the support holds has a probability of its own
            shares = np.append(shares[:-1] / shares[:-1].sum(), 0.0)
        return cls(values, edges, np.append(shares[:-1], shares[-1] * masses), tails, whole, low, high)

    def log_prob(self, x: Floats) -> Floats:
        """Log-density or log-probability of each value, (rows,): ``-inf`` outside of the support, NaN where missing."""
        cells = self.cells(x)
        with np.errstate(divide="ignore"):
            log_prob: Floats = np.where(cells >= 0, np.log(self.masses)[cells], -np.inf)
        first = len(self.values)
        if len(self.edges):
            inside = (cells > first) & (cells < first + len(self.edges))
            sizes = np.maximum(_sizes(self.edges, self.values, self.whole), 1e-300)  # empty steps have no mass
            log_prob[inside] -= np.log(sizes)[cells[inside] - first - 1]
            for cell, side in ((first, 0), (first + len(self.edges), 1)):
                if self.masses[cell] > 0:
                    log_prob[cells == cell] += self._log_tail(x[cells == cell], side)
        return np.where(np.isnan(x), np.nan, log_prob)

    def cells(self, x: Floats) -> Codes:
        """The cell of each value, numbered as ``masses`` is, (rows,); -1 outside of the support and where missing."""
        cells = np.full(len(x), -1, dtype=np.int64)
        if len(self.edges):
            inside = (x >= self.low) & (x <= self.high) & np.isfinite(x)
            inside &= (x == np.round(x)) | (not self.whole)
            steps = np.searchsorted(self.edges, x[inside], side="right")
            if self.edges[-1] >= self.high:  # no tail: the last step holds the end of the support
                steps = np.minimum(steps, len(self.edges) - 1)
            cells[inside] = len(self.values) + steps
        place, hit = _search(self.values, x)
        cells[hit] = place[hit]
        return cells

    def bins(self, count: int) -> Codes:
        """A coarser division: the bin of each cell, at most ``count`` bins of other values, as equally likely as cells
        allow, and as many of the most frequent values of which the last one holds all rarer ones, (cells,)."""
        order = np.argsort(-self.masses[: len(self.values)], kind="stable")
        bins = np.empty(len(self.masses), dtype=np.int64)
        bins[order] = np.minimum(np.arange(len(order)), count - 1)
        others = self.masses[len(self.values) :]
        if len(others):
            middle = (np.cumsum(others) - others / 2) / max(others.sum(), 1e-300)
            coarse = np.unique(np.minimum((middle * count).astype(np.int64), count - 1), return_inverse=True)[1]
            bins[len(self.values) :] = coarse + min(len(order), count)
        return bins

    def _log_tail(self, x: Floats, side: int) -> Floats:
        """Log-density of values x in a tail, or the log-probability of whole numbers, given that they are in it."""
        scale, shape = self.tails[side]
        edge, bound = (self.edges[-1], self.high) if side else (self.edges[0], self.low)
        excess = np.abs(x - edge)
        # The part of the tail that lies inside of the support.
        log_inside = np.log(-np.expm1(_log_survival(abs(bound - edge) + 0.5 * self.whole, scale, shape)))
        if not self.whole:
            return _log_survival(excess, scale, shape) - np.log(scale + shape * excess) - log_inside
        near, far = (_log_survival(excess + half, scale, shape) for half in (-0.5, 0.5))
        return near + np.log(-np.expm1(far - near)) - log_inside

    def to_dict(self) -> dict[str, Any]:
        """As JSON: a few thousand numbers at most, beside one for each category."""
        lists = {name: getattr(self, name).tolist() for name in ("values", "edges", "masses")}
        ends = [None if math.isinf(end) else end for end in (self.low, self.high)]
        return {**lists, "tails": [list(tail) for tail in self.tails], "whole": self.whole, "ends": ends}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ColumnDensity:
        """The inverse of `to_dict`."""
        values, edges, masses = (np.array(stored[name], dtype=np.float64) for name in ("values", "edges", "masses"))
        if len(masses) != len(values) + (len(edges) + 1 if len(edges) else 0):
            raise ValueError("lengths differ")
        (a, b), (c, d) = stored["tails"]
        low, high = stored["ends"]
        ends = -math.inf if low is None else float(low), math.inf if high is None else float(high)
        return cls(values, edges, masses, ((float(a), float(b)), (float(c), float(d))), bool(stored["whole"]), *ends)


def _search(values: Floats, x: Floats) -> tuple[Codes, NDArray[np.bool_]]:
    """The index of each x among rising values, and whether it is one of them."""
    if not len(values):
        return np.zeros(len(x), dtype=np.int64), np.zeros(len(x), dtype=bool)
    place = np.searchsorted(values, x).clip(max=len(values) - 1)
    return place, values[place] == x


def _best_histogram(x: Floats, values: Floats, whole: bool, low: float, high: float) -> Any:
    """`_histogram` with the number of bins that scores best on every tenth row."""
    x = np.random.default_rng(0).permutation(x)[:MAX_ROWS]
    if len(np.unique(x)) <= min(FEW, len(x) / 4):
        return _histogram(x, values, HISTOGRAMS[-1], whole, low, high)
    held, rest = x[::10], np.delete(x, np.s_[::10])
    best, most = HISTOGRAMS[0], -math.inf
    for candidate in HISTOGRAMS if len(rest) >= FEWEST else ():
        edges, masses, tails = _histogram(rest, values, candidate, whole, low, high)
        masses = np.append(np.zeros(len(values)), masses)
        density = ColumnDensity(values, edges, masses, tails, whole, low, high)
        if (score := float(density.log_prob(held).mean())) > most:
            best, most = candidate, score
    return _histogram(x, values, best, whole, low, high)


def _histogram(
    x: Floats, values: Floats, size: tuple[int, int], whole: bool, low: float, high: float
) -> tuple[Floats, Floats, tuple[tuple[float, float], tuple[float, float]]]:
    """Edges, masses of lower tail, steps and upper tail, and the two tails, of bins that are about equally likely."""
    (count, shifts), atoms = size, values
    edges = np.quantile(x, np.linspace(0.5 / count, 1 - 0.5 / count, count * shifts + 1))
    if whole:
        edges = np.floor(edges) + 0.5
        if shifts == 1:  # numbers that are seen often get a step of their own
            different, seen = np.unique(x, return_counts=True)
            values = np.union1d(values, different[seen >= max(OFTEN, len(x) / (2 * count))])
        edges = np.concatenate([edges, [edges[0] - 1], values - 0.5, values + 0.5])
    edges = np.unique(edges)
    if len(edges) == 1:
        edges = edges[0] + np.array([-0.5, 0.5]) * (1e-3 * abs(edges[0]) or 1.0)
    edges = np.unique(edges.clip(low - 0.5 * whole, high + 0.5 * whole))
    fine = _sizes(edges, atoms, whole)
    heights = np.zeros(len(fine))
    for shift in range(shifts):
        coarse = np.unique(np.concatenate([edges[[0, -1]], edges[shift::shifts]]))
        counts = np.histogram(x, coarse)[0] + 0.5
        heights += (counts / np.diff(coarse))[np.searchsorted(coarse, edges[:-1], side="right") - 1]
    inside = heights * fine
    below, above = (x < edges[0]), (x >= edges[-1])
    masses = np.concatenate(
        [[below.sum() + 0.5], inside / max(inside.sum(), 1e-300) * (~below & ~above).sum(), [above.sum() + 0.5]]
    )
    reach = max(float(edges[-1] - edges[0]), 1e-300)
    tails = tuple(_tail(excess, reach) for excess in (edges[0] - x[below], x[above] - edges[-1]))
    # A bound close by ends the histogram: the tail becomes a step, which is empty where the bound is an edge already.
    for side, bound in ((0, low - 0.5 * whole), (-1, high + 0.5 * whole)):
        if abs(bound - edges[side]) <= reach:
            steps = [0.0, masses[side]] if bound != edges[side] else [0.0]
            edges = np.unique(np.append(edges, bound))
            masses = np.concatenate([masses[:-1], steps[::-1]] if side else [steps, masses[1:]])
    return edges, masses / max(masses.sum(), 1e-300), tails  # type: ignore[return-value]


def _sizes(edges: Floats, values: Floats, whole: bool) -> Floats:
    """Length of each step, or how many whole numbers it holds beside those with a probability of their own."""
    return np.diff(edges) - np.histogram(values, edges)[0] if whole else np.diff(edges)


def _tail(excess: Floats, reach: float) -> tuple[float, float]:
    """Scale and shape of a tail, by probability-weighted moments of the distances to its edge."""
    mean = float(excess.mean()) if len(excess) else 0.0
    if not mean > 0:
        return 0.05 * reach, 0.0
    ordered, size = np.sort(excess), len(excess)
    weighted = float((ordered * (size - np.arange(size) - 0.35) / size).mean())  # of the probability to be larger
    shape = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted and size >= FEWEST else 0.0
    shape = min(max(shape, 0.0), HEAVIEST)
    return mean * (1 - shape), shape


def _log_survival(excess: Any, scale: float, shape: float) -> Any:
    """log P(Y > y) of the generalised Pareto distribution."""
    return -excess / scale if shape < 1e-9 else -np.log1p(shape * excess / scale) / shape
