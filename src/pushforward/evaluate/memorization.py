"""Memorization: whether samples lie closer to the training rows than held-out rows do, or even equal some of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pushforward.data.schema import Schema
from pushforward.distributions import ColumnType
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.ranks import subsample, to_ranks

__all__ = ["QUANTILE", "Memorization", "measure_memorization"]

QUERY_ROWS, TRAIN_ROWS = 2_000, 20_000  # rows whose distance is measured, and training rows searched for the closest
BATCH_SIZE = 100  # rows compared with all training rows at once
QUANTILE = 0.05
"""Of the distances of held-out rows: the limit below which a sample counts as close to a training row."""


@dataclass(frozen=True, eq=False)
class Memorization:
    """Distances of samples and of held-out rows to the closest training row.

    A distance is Gower's: the mean over columns of the difference in rank, or of whether categories differ.

    Attributes:
        samples: distance of each sample to the closest training row, (samples,).
        held_out: distance of each real row that was not trained on to the closest training row, (rows,).
        searched: number of training rows that were searched for the closest.
        equal_samples: share of the samples that equal a training row in every column.
        equal_held_out: share of the held-out rows that equal a training row in every column.
        continuous: whether some column is continuous, so that equal rows do not occur by chance.
    """

    samples: Floats
    held_out: Floats
    searched: int
    equal_samples: float
    equal_held_out: float
    continuous: bool

    @property
    def copied(self) -> bool:
        """Whether samples equal training rows although neither chance nor repeated real rows explain it."""
        return self.continuous and self.equal_samples > 0 == self.equal_held_out

    @property
    def close(self) -> tuple[float, float]:
        """Share of the samples closer to a training row than the 5 % quantile of the held-out rows, and the standard
        error of its difference to 5 %, which it is for a model that does not memorize.

        Samples at exactly that quantile count by the fraction at which the held-out rows would give 5 %.
        """
        limit = np.quantile(self.held_out, QUANTILE, method="higher")
        below, tied = float((self.held_out < limit).mean()), float((self.held_out == limit).mean())
        fraction = (QUANTILE - below) / tied
        share = float((self.samples < limit).mean() + fraction * (self.samples == limit).mean())
        p = max(QUANTILE, min(tied, 0.5))
        return share, math.sqrt(p * (1 - p) * (1 / len(self.held_out) + 1 / len(self.samples)))


def measure_memorization(
    schema: Schema, train: Floats, samples: Floats, held_out: Floats, *, seed: int = 0
) -> Memorization:
    """Compare the distances of samples and of held-out rows to the closest training row.

    Args:
        schema: of the columns.
        train: (rows, columns) that the model was trained on, NaN where an entry is missing.
        samples: (rows, columns) from the model.
        held_out: (rows, columns) that the model was not trained on.
        seed: of the subsamples for which distances are computed; equality is checked for all rows.

    References:
        | A General Coefficient of Similarity and Some of Its Properties (Gower, 1971)
    """
    train_rows = {row.tobytes() for row in train + 0.0}  # + 0.0 turns -0.0 into 0.0
    searched = subsample(train, TRAIN_ROWS, seed)
    reference = to_ranks(schema, searched, searched)
    types = [field.column_type for field in schema.fields]

    def compare(rows: Floats) -> tuple[Floats, float]:
        """Distances of a subsample to the closest training row, and the share of all rows that equal one."""
        ranks = to_ranks(schema, searched, subsample(rows, QUERY_ROWS, seed))
        equal = float(np.mean([row.tobytes() in train_rows for row in rows + 0.0]))
        return _distance_to_closest(ranks, reference, types), equal

    sample_distances, equal_samples = compare(samples)
    held_out_distances, equal_held_out = compare(held_out)
    return Memorization(
        samples=sample_distances,
        held_out=held_out_distances,
        searched=len(searched),
        equal_samples=equal_samples,
        equal_held_out=equal_held_out,
        continuous=any(column_type.is_density for column_type in types),
    )


def _distance_to_closest(rows: Floats, reference: Floats, types: Sequence[ColumnType]) -> Floats:
    """Gower's distance of each row of ranks and codes to the closest row of the reference, (rows,)."""
    batches = np.array_split(rows, max(1, len(rows) // BATCH_SIZE))
    return np.concatenate([_gower(batch, reference, types).min(axis=1) for batch in batches])


def _gower(rows: Floats, reference: Floats, types: Sequence[ColumnType]) -> Floats:
    """Gower's distance of every row to every row of the reference, (rows, reference rows)."""
    total = np.zeros((len(rows), len(reference)))
    for j, column_type in enumerate(types):
        difference = np.abs(rows[:, j, None] - reference[:, j])
        if column_type.circle is not None:
            difference = np.minimum(difference, np.abs(1 - difference))
        total += np.minimum(difference, 1.0) if column_type.has_ranks else difference != 0
    return total / len(types)
