"""Utility of samples: how well models trained on them predict real rows (train on synthetic, test on real)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data.schema import Schema
from pushforward.distributions import Constant
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.ranks import mid_distribution, subsample, to_ranks

__all__ = ["Utility", "measure_utility"]

ROWS, COLUMNS, CATEGORIES = 5_000, 16, 50  # largest numbers of rows, of predicted columns and of their categories
FEWEST_ROWS = 10  # to train and to test a forest


@dataclass(frozen=True)
class Utility:
    """How well a random forest predicts one column of held-out rows from the others, trained on real rows or on
    samples.

    Attributes:
        name: of the column.
        real: R² of the ranks, or the Brier skill score of the categories, if trained on real rows.
        samples: the same if trained on as many samples.
    """

    name: str
    real: float
    samples: float


def measure_utility(
    schema: Schema,
    train: Floats,
    samples: Floats,
    held_out: Floats,
    *,
    imputed: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
    seed: int = 0,
) -> list[Utility]:
    """Predict each column of held-out rows by random forests trained on real rows or on samples.

    Args:
        schema: of the columns. Predicted are the first sixteen that vary, are not circular and have at most fifty
            categories.
        train: (rows, columns) real rows to train on, NaN where an entry is missing.
        samples: (rows, columns) from the model.
        held_out: (rows, columns) other real rows, to test on.
        imputed: where entries of ``train`` and of ``held_out`` were filled in: they serve as inputs, not as targets.
        seed: of the subsamples and of the forests.

    References:
        | Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (Esteban, Hyland, Rätsch, 2017),
          arXiv:1706.02633
    """
    count = min(len(train), len(samples), ROWS)
    train_gaps, held_out_gaps = imputed or (np.isnan(train), np.isnan(held_out))
    train, train_gaps = subsample(train, count, seed), subsample(train_gaps, count, seed)
    held_out, held_out_gaps = subsample(held_out, ROWS, seed), subsample(held_out_gaps, ROWS, seed)
    samples = subsample(samples, count, seed)
    utilities: list[Utility] = []
    for j, field in enumerate(schema.fields):
        predictable = not isinstance(field.column_type, Constant) and field.column_type.levels <= CATEGORIES
        if not predictable or field.column_type.circle is not None or len(schema.fields) < 2:
            continue
        real, test = train[~train_gaps[:, j]], held_out[~held_out_gaps[:, j]]
        of_real, of_samples = (_skill(schema, rows, real, test, j, seed) for rows in (real, samples))
        if of_real is not None and of_samples is not None:
            utilities.append(Utility(field.name, of_real, of_samples))
        if len(utilities) == COLUMNS:
            break
    return utilities


def _skill(schema: Schema, rows: Floats, real: Floats, test: Floats, j: int, seed: int) -> float | None:
    """1 - (squared error of a forest trained on rows) / (that of the marginal of real rows), for column j of test rows.

    None where there are too few rows or nothing to explain.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    options: Any = {"n_estimators": 60, "min_samples_leaf": 5, "max_features": 0.5, "random_state": seed}
    column_type = schema.fields[j].column_type
    levels = 0 if column_type.has_ranks else column_type.levels
    rows, test, real = (part[_is_target(part[:, j], levels)] for part in (rows, test, real))
    if min(len(rows), len(test), len(real)) < FEWEST_ROWS:
        return None
    inputs, test_inputs = (np.delete(to_ranks(schema, real, part), j, axis=1) for part in (rows, test))
    if levels:
        # One column per category: the squared error of probabilities is then Brier's score.
        targets, truth, marginal = (np.eye(levels)[part[:, j].astype(int)] for part in (rows, test, real))
        forest = RandomForestClassifier(**options).fit(inputs, targets.argmax(axis=1))
        predicted = np.zeros_like(truth)
        predicted[:, forest.classes_] = forest.predict_proba(test_inputs)
    else:
        targets, truth, marginal = (mid_distribution(real[:, j], part[:, j]) for part in (rows, test, real))
        predicted = RandomForestRegressor(**options).fit(inputs, targets).predict(test_inputs)
    error, baseline = (np.square(truth - guess).sum() for guess in (predicted, marginal.mean(axis=0)))
    return 1 - float(error / baseline) if baseline > 0 else None


def _is_target(values: Floats, levels: int) -> NDArray[np.bool_]:
    """Where a value is observed and, of a categorical column, one of its categories."""
    observed = ~np.isnan(values)
    return observed & (values >= 0) & (values < levels) if levels else observed
