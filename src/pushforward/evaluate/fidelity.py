"""Fidelity of samples: distances of columns and of pairs, associations, and a classifier two-sample test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp, kstwobign
from scipy.stats.contingency import crosstab

from pushforward.data.schema import Schema
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.ranks import frequent_codes

__all__ = [
    "Distance",
    "TwoSampleTest",
    "associations",
    "column_distances",
    "pair_distances",
    "two_sample_test",
]

Codes = NDArray[np.int64]
BINS = 10  # of an ordered column in tables of two columns
CATEGORIES = 20  # most frequent categories with a bin of their own there
PERMUTATIONS = 4  # of the pooled rows, for the distance expected by chance
FOLDS = 3
TREE_CATEGORIES = 200  # most frequent categories that the classifier tells apart; its limit is 255
TREE_ROWS = 20_000


@dataclass(frozen=True)
class Distance:
    """The distance between real rows and samples in a column or a pair of columns.

    Attributes:
        names: of the columns.
        distance: from 0, equal distributions, to 1, disjoint ones.
        chance: the distance expected by chance between two sets of rows of these sizes from one distribution.
        p_value: the probability of at least this distance by chance; NaN for a pair, which is not tested.
    """

    names: tuple[str, ...]
    distance: float
    chance: float
    p_value: float = math.nan


@dataclass(frozen=True, eq=False)
class TwoSampleTest:
    """How well a classifier tells samples from real rows that it was not trained on.

    Attributes:
        auc: area under its ROC curve: ½ if it cannot tell them apart, 1 if it always can.
        standard_error: of ``auc`` where the rows cannot be told apart.
        accuracy: share of the rows that it classifies correctly; half of the rows are real.
        rows: number of real rows, and of samples.
        importances: decrease of ``auc`` when a column is permuted, by column name, largest first.
    """

    auc: float
    standard_error: float
    accuracy: float
    rows: int
    importances: dict[str, float]

    @property
    def distinguishable(self) -> bool:
        """Whether ``auc`` is more than three standard errors above ½."""
        return self.auc > 0.5 + 3 * self.standard_error

    @property
    def ease(self) -> str:
        """How well the classifier does, as an adverb."""
        return "easily" if self.auc > 0.8 else "sometimes" if self.auc > 0.6 else "barely"

    @property
    def telling(self) -> list[str]:
        """The columns, three at most, that the classifier needs most."""
        return [name for name, drop in self.importances.items() if drop > 0.1 * (self.auc - 0.5)][:3]


def column_distances(schema: Schema, real: Floats, samples: Floats) -> list[Distance]:
    """The Kolmogorov-Smirnov distance of each ordered column and the total variation distance of each other one, with
    the p-values of the Kolmogorov-Smirnov test and of the χ² test of homogeneity.

    Args:
        schema: of the columns.
        real: (rows, columns), NaN where an entry is missing.
        samples: (rows, columns) from the model.
    """
    distances = []
    for j, field in enumerate(schema.fields):
        ranked = field.column_type.has_ranks
        distance = _kolmogorov_smirnov if ranked else _total_variation
        a, b = (rows[~np.isnan(rows[:, j]), j] for rows in (real, samples))
        if len(a) > 1 and len(b):
            value = distance(a, b)
            p_value = kstwobign.sf(value * math.sqrt(len(a) * len(b) / (len(a) + len(b)))) if ranked else _chi2(a, b)
            distances.append(Distance((field.name,), value, _expected_by_chance(distance, a, b), float(p_value)))
    return distances


def pair_distances(schema: Schema, real: Floats, samples: Floats) -> list[Distance]:
    """The total variation distance between the contingency tables of each pair of columns.

    Ordered columns are binned at the deciles of the real rows, with bins of their own for values that are frequent;
    unordered ones keep their twenty most frequent categories, and the others share a bin. A missing entry is a value.

    Args:
        schema: of the columns.
        real: (rows, columns), NaN where an entry is missing.
        samples: (rows, columns) from the model.
    """
    real_codes, sizes = _bin(schema, real, real)
    sample_codes, _ = _bin(schema, real, samples)
    distances = []
    for i, j in combinations(range(len(sizes)), 2):
        a, b = (codes[:, i] * sizes[j] + codes[:, j] for codes in (real_codes, sample_codes))
        chance = _expected_by_chance(_total_variation, a, b)
        distances.append(Distance((schema.names[i], schema.names[j]), _total_variation(a, b), chance))
    return distances


def associations(schema: Schema, real: Floats, rows: Floats) -> Floats:
    """The informational coefficient of correlation of all pairs of columns, (columns, columns) from 0 to 1.

    It is √(1 - exp(-2 I)) with the mutual information I in nats of the contingency tables of `pair_distances`, less the
    bias of a finite sample (Miller and Madow). For a Gaussian pair without binning it is the absolute correlation.

    Args:
        schema: of the columns.
        real: (rows, columns), whose deciles and frequent values define the bins.
        rows: (rows, columns), whose associations are measured.

    References:
        | An Informational Measure of Correlation (Linfoot, 1957)
    """
    from sklearn.metrics import mutual_info_score

    codes, sizes = _bin(schema, real, rows)
    coefficients = np.eye(len(sizes))
    for i, j in combinations(range(len(sizes)), 2):
        counts = crosstab(codes[:, i], codes[:, j]).count
        bias = (counts.shape[0] - 1) * (counts.shape[1] - 1) / (2 * len(codes))
        information = max(0.0, mutual_info_score(None, None, contingency=counts) - bias)
        coefficients[i, j] = coefficients[j, i] = math.sqrt(-math.expm1(-2 * information))
    return coefficients


def two_sample_test(schema: Schema, real: Floats, samples: Floats, *, seed: int = 0) -> TwoSampleTest:
    """Cross-validate gradient-boosted trees that classify rows as real or sampled.

    Args:
        schema: of the columns.
        real: (rows, columns). Missing entries tell real rows from samples, so fill them by draws first.
        samples: (rows, columns) from the model; as many rows are used as there are of both.
        seed: of the folds, the trees and the permutations.

    Raises:
        ValueError: there are fewer than six rows.

    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017), arXiv:1610.06545
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold, cross_validate

    count = min(len(real), len(samples), TREE_ROWS)
    if count < 2 * FOLDS:
        raise ValueError(f"two_sample_test: needs at least {2 * FOLDS} rows; got {count}.")
    x = np.concatenate([_encode_for_trees(schema, real, rows[:count]) for rows in (real, samples)])
    x[:, np.isnan(x).all(axis=0)] = 0.0  # the trees cannot bin a column without a value
    y = np.repeat([0, 1], count)
    # Real row i and sample i, which may share a context, are in one fold: else trees would recognise it.
    pairs = KFold(FOLDS, shuffle=True, random_state=seed).split(x[:count])
    folds_of_pairs = [tuple(np.concatenate([rows, rows + count]) for rows in fold) for fold in pairs]
    unordered = [not field.column_type.has_ranks for field in schema.fields]
    folds = cross_validate(
        HistGradientBoostingClassifier(categorical_features=unordered, random_state=seed),
        x, y, scoring=("roc_auc", "accuracy"), cv=folds_of_pairs,
        return_estimator=True, return_indices=True, error_score="raise",
    )  # fmt: skip
    drops = [
        permutation_importance(trees, x[test], y[test], scoring="roc_auc", n_repeats=1, random_state=seed)
        for trees, test in zip(folds["estimator"], folds["indices"]["test"], strict=True)
    ]
    importance = np.mean([drop.importances_mean for drop in drops], axis=0)
    auc = folds["test_roc_auc"]
    # The variance of Mann and Whitney's statistic; where the trees differ between folds there is more.
    error = math.sqrt(max((2 * count + FOLDS) / (12 * count * count), np.var(auc, ddof=1) / FOLDS))
    importances = {schema.names[j]: float(importance[j]) for j in np.argsort(-importance)}
    return TwoSampleTest(float(auc.mean()), error, float(folds["test_accuracy"].mean()), count, importances)


def _bin(schema: Schema, real: Floats, rows: Floats) -> tuple[Codes, list[int]]:
    """The bin of every entry of rows, (rows, columns), and the number of bins of each column, defined by real rows."""
    codes, sizes = np.zeros(rows.shape, dtype=np.int64), []
    for j, field in enumerate(schema.fields):
        reference, values = real[~np.isnan(real[:, j]), j], rows[:, j]
        different, counts = np.unique(reference, return_counts=True)
        if not field.column_type.has_ranks or len(different) <= BINS:
            codes[:, j], size = frequent_codes(reference, values, CATEGORIES)
        else:
            frequent = different[counts >= len(reference) / BINS]  # such as zeros: bins of their own
            others = reference[~np.isin(reference, frequent)]
            cuts = np.quantile(others, np.linspace(0, 1, BINS + 1)[1:-1]) if len(others) else frequent
            cuts = np.unique(np.concatenate([cuts, frequent, np.nextafter(frequent, np.inf)]))
            codes[:, j], size = np.searchsorted(cuts, values, side="right"), len(cuts) + 1
        codes[np.isnan(values), j] = size
        sizes.append(size + 1)
    return codes, sizes


def _encode_for_trees(schema: Schema, real: Floats, rows: Floats) -> Floats:
    """Rows with categories as codes small enough for scikit-learn's trees; NaN stays."""
    encoded = rows.copy()
    for j, field in enumerate(schema.fields):
        if not field.column_type.has_ranks:
            codes, _ = frequent_codes(real[~np.isnan(real[:, j]), j], rows[:, j], TREE_CATEGORIES)
            encoded[:, j] = np.where(np.isnan(rows[:, j]), np.nan, codes)
    return encoded


def _kolmogorov_smirnov(a: Floats, b: Floats) -> float:
    """The largest difference of the empirical distribution functions."""
    return float(ks_2samp(a, b, method="asymp").statistic)  # the exact p-value, which is not used, is slow


def _chi2(a: Floats, b: Floats) -> float:
    """The p-value of the χ² test of homogeneity of two arrays of categories, the rare ones as one."""
    both, (codes, size) = np.repeat([0, 1], [len(a), len(b)]), frequent_codes(a, np.concatenate([a, b]), CATEGORIES)
    counts = np.bincount(both * size + codes, minlength=2 * size).reshape(2, size)
    counts = counts[:, counts.sum(axis=0) > 0]
    return float(chi2_contingency(counts, correction=False).pvalue) if counts.shape[1] > 1 else 1.0


def _total_variation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The total variation distance of the empirical distributions of two arrays of codes."""
    different, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    shares = [np.bincount(part, minlength=len(different)) / len(part) for part in np.split(codes, [len(a)])]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _expected_by_chance(distance: Callable[[Any, Any], float], a: NDArray[Any], b: NDArray[Any]) -> float:
    """The mean distance under the null hypothesis: between random splits of the pooled rows."""
    random, pooled = np.random.default_rng(0), np.concatenate([a, b])
    splits = [np.split(random.permutation(pooled), [len(a)]) for _ in range(PERMUTATIONS)]
    return float(np.mean([distance(*split) for split in splits]))
