"""Do drawn rows look like real ones? Columns, pairs of columns, and what a classifier can tell apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data.schema import Schema
from pushforward.evaluate.arrays import Floats

__all__ = [
    "Distance",
    "TwoSampleTest",
    "associations",
    "column_distances",
    "pair_distances",
    "two_sample_test",
]

Codes = NDArray[np.int64]
BINS, MOST = 10, 20  # of an ordered column; categories of their own, where the others are taken together
SPLITS = 4  # of real and drawn rows together, to see what is chance
FOLDS = 3
TREE_LEVELS = 200  # categories that a classifier keeps apart
TREE_ROWS = 20_000


@dataclass(frozen=True)
class Distance:
    """How far the drawn rows are from the real ones in a column or a pair of columns.

    Attributes:
        names: of the columns.
        distance: 0 for the same, 1 for nothing in common.
        chance: what two such sets of one law differ by.
    """

    names: tuple[str, ...]
    distance: float
    chance: float


@dataclass(frozen=True, eq=False)
class TwoSampleTest:
    """How well a classifier tells drawn rows from real ones that it has not seen.

    Attributes:
        auc: area under its ROC curve: 0.5 where it cannot, 1 where it always can.
        error: standard error of ``auc`` if it cannot, that of the training included.
        accuracy: part of the rows that it takes for what they are, half of which are real.
        rows: real rows, and as many drawn ones.
        leaning: by how much ``auc`` falls where one column is shuffled, by the column's name, largest first.
    """

    auc: float
    error: float
    accuracy: float
    rows: int
    leaning: dict[str, float]

    @property
    def found_out(self) -> bool:
        """Whether the difference is more than chance."""
        return self.auc > 0.5 + 3 * self.error


def column_distances(schema: Schema, real: Floats, drawn: Floats) -> list[Distance]:
    """Of each column: the largest difference of the distribution functions (Kolmogorov and Smirnov) where there is an
    order, and otherwise the total variation distance.

    Args:
        schema: of the columns.
        real: (rows, columns), NaN where an entry is missing.
        drawn: the same number of rows and columns.
    """
    found = []
    for j, field in enumerate(schema.fields):
        steps = _steps if field.kind.has_ranks else _shares
        one, other = (rows[~np.isnan(rows[:, j]), j] for rows in (real, drawn))
        if len(one) > 1 and len(other):
            found.append(Distance((field.name,), steps(one, other), _by_chance(steps, one, other)))
    return found


def pair_distances(schema: Schema, real: Floats, drawn: Floats) -> list[Distance]:
    """Of each pair of columns the total variation distance between their tables of counts: ten bins an ordered column,
    with equal numbers of real rows, beside values that come often; the twenty most frequent categories, the others
    together. Missing is a value too."""
    a, sizes = _binned(schema, real, real)
    b, _ = _binned(schema, real, drawn)
    found = []
    for i, j in combinations(range(len(sizes)), 2):
        one, other = (own[:, i] * sizes[j] + own[:, j] for own in (a, b))
        names = (schema.names[i], schema.names[j])
        found.append(Distance(names, _shares(one, other), _by_chance(_shares, one, other)))
    return found


def associations(schema: Schema, real: Floats, rows: Floats) -> Floats:
    """How much columns say about each other, (columns, columns) from 0 to 1: √(1 - exp(-2 I)) of the mutual information
    I in nats of the tables that `pair_distances` looks at, less what chance adds to it. Of a Gaussian pair without bins
    it is the size of their correlation.

    References:
        | An Informational Measure of Correlation (Linfoot, 1957)
    """
    codes, sizes = _binned(schema, real, rows)
    found = np.eye(len(sizes))
    for i, j in combinations(range(len(sizes)), 2):
        table = np.zeros((sizes[i], sizes[j]))
        np.add.at(table, (codes[:, i], codes[:, j]), 1.0)
        table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0] / len(codes)
        ratio = table / np.outer(table.sum(axis=1), table.sum(axis=0))
        information = float((table * np.log(np.where(ratio > 0, ratio, 1.0))).sum())
        information -= (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * len(codes))
        found[i, j] = found[j, i] = math.sqrt(1 - math.exp(-2 * max(0.0, information)))
    return found


def _binned(schema: Schema, real: Floats, rows: Floats) -> tuple[Codes, list[int]]:
    """Rows as numbers of bins, which are laid out by the real rows; and how many bins each column has."""
    codes, sizes = np.zeros(rows.shape, dtype=np.int64), []
    for j in range(rows.shape[1]):
        own, values = real[~np.isnan(real[:, j]), j], rows[:, j]
        different, counts = np.unique(own, return_counts=True)
        if not schema.fields[j].kind.has_ranks or len(different) <= BINS:
            codes[:, j], size = _frequent(different, counts, values, MOST)
        else:
            often = different[counts >= len(own) / BINS]  # such as zeros: bins of their own
            others = own[~np.isin(own, often)]
            cuts = np.quantile(others, np.linspace(0, 1, BINS + 1)[1:-1]) if len(others) else often
            cuts = np.unique(np.concatenate([cuts, often, np.nextafter(often, np.inf)]))
            codes[:, j], size = np.searchsorted(cuts, values, side="right"), len(cuts) + 1
        codes[np.isnan(values), j] = size
        sizes.append(size + 1)
    return codes, sizes


def two_sample_test(schema: Schema, real: Floats, drawn: Floats, *, seed: int = 0) -> TwoSampleTest:
    """Train gradient boosted trees to tell drawn rows from real ones, three times on two thirds of both, and look at
    the others.

    Args:
        schema: of the columns.
        real: (rows, columns). NaN tells them apart as any value does, so gaps are better filled by draws.
        drawn: the same number of rows.
        seed: of the folds and the trees.

    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017), arXiv:1610.06545
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    count = min(len(real), len(drawn), TREE_ROWS)
    if count < 2 * FOLDS:
        raise ValueError(f"two_sample_test: needs at least {2 * FOLDS} rows; got {count}.")
    x = np.concatenate([_for_trees(schema, real, rows[:count]) for rows in (real, drawn)])
    x[:, np.isnan(x).all(axis=0)] = 0.0  # what no row holds tells nothing, and cannot be put into bins
    y = np.repeat([0, 1], count)
    random = np.random.default_rng(seed)
    score, fell, wholes = np.zeros(2 * count), np.zeros(x.shape[1]), []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        trees = HistGradientBoostingClassifier(
            categorical_features=[not schema.fields[j].kind.has_ranks for j in range(x.shape[1])], random_state=seed
        ).fit(x[train], y[train])
        score[test] = trees.predict_proba(x[test])[:, 1]
        whole = roc_auc_score(y[test], score[test])
        wholes.append(whole)
        for j in range(x.shape[1]):
            other = x[test].copy()
            other[:, j] = random.permutation(other[:, j])
            fell[j] += (whole - roc_auc_score(y[test], trees.predict_proba(other)[:, 1])) / FOLDS
    leaning = {schema.names[j]: float(fell[j]) for j in np.argsort(-fell)}
    # Of rows alone, by Mann and Whitney; where the trees differ from fold to fold there is more.
    error = math.sqrt(max((2 * count + 1) / (12 * count * count), np.var(wholes, ddof=1) / FOLDS))
    accuracy = float(((score > 0.5) == y).mean())
    return TwoSampleTest(float(roc_auc_score(y, score)), error, accuracy, count, leaning)


def _for_trees(schema: Schema, real: Floats, rows: Floats) -> Floats:
    """Rows as scikit-learn's trees take them: categories beyond the 200 most frequent real ones taken together."""
    found = rows.copy()
    for j in range(rows.shape[1]):
        if not schema.fields[j].kind.has_ranks:
            different, counts = np.unique(real[~np.isnan(real[:, j]), j], return_counts=True)
            codes, _ = _frequent(different, counts, rows[:, j], TREE_LEVELS)
            found[:, j] = np.where(np.isnan(rows[:, j]), np.nan, codes)
    return found


def _frequent(different: Floats, counts: Codes, values: Floats, most: int) -> tuple[Codes, int]:
    """Values as numbers of the most frequent ones, all others as one more; and how many numbers there are."""
    kept = np.append(np.sort(different[np.argsort(-counts, kind="stable")[:most]]), np.inf)
    place = np.searchsorted(kept, values).clip(max=len(kept) - 1)
    return np.where(kept[place] == values, place, len(kept) - 1), len(kept)


def _steps(one: Floats, other: Floats) -> float:
    """The largest difference of two distribution functions."""
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    upto = [np.searchsorted(own, places, side="right") / len(own) for own in (one, other)]
    return float(np.abs(upto[0] - upto[1]).max())


def _shares(one: Floats | Codes, other: Floats | Codes) -> float:
    """The total variation distance of two lists of codes."""
    different, codes = np.unique(np.concatenate([one, other]), return_inverse=True)
    shares = [np.bincount(own, minlength=len(different)) / len(own) for own in np.split(codes, [len(one)])]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _by_chance(distance: Callable[[Any, Any], float], one: NDArray[Any], other: NDArray[Any]) -> float:
    """What the distance is, on average, of two such sets of one law: of both together, shuffled and dealt out again."""
    random, whole = np.random.default_rng(0), np.concatenate([one, other])
    deals = [np.split(random.permutation(whole), [len(one)]) for _ in range(SPLITS)]
    return float(np.mean([distance(*deal) for deal in deals]))
