"""Columns of a table on a common scale for comparisons: ranks of ordered values, codes of categories."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data.schema import Schema
from pushforward.evaluate.arrays import Floats

__all__ = ["MISSING", "frequent_codes", "mid_distribution", "subsample", "to_ranks"]

MISSING = -1.0
"""The code of a missing entry, at a distance of at least one from every rank and code."""


def mid_distribution(reference: Floats, values: Floats) -> Floats:
    """The empirical mid-distribution function P(X < x) + P(X = x) / 2 of a sample at each value; ½ for an empty sample.

    >>> mid_distribution(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 2.0, 2.5, 9.0])).tolist()
    [0.0, 0.5, 0.75, 1.0]
    """
    if not len(reference):
        return np.full(len(values), 0.5)
    ordered = np.sort(reference)
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + upto) / (2 * len(ordered))


def to_ranks(schema: Schema, reference: Floats, rows: Floats) -> Floats:
    """Rows (rows, columns) with ordered columns as ranks within the reference rows and missing entries as `MISSING`.

    Equal ranks mean equal values: a value between two neighbours of the reference has a rank that neither of them has.
    """
    ranks = rows.copy()
    for j, field in enumerate(schema.fields):
        if field.column_type.has_ranks:
            ranks[:, j] = mid_distribution(reference[~np.isnan(reference[:, j]), j], rows[:, j])
    ranks[np.isnan(rows)] = MISSING
    return ranks


def frequent_codes(reference: Floats, values: Floats, limit: int) -> tuple[NDArray[np.int64], int]:
    """Codes 0, 1, ... of the ``limit`` most frequent reference values, in rising order, and one more code for all
    others.

    Returns:
        The code of each value, and the number of codes.

    >>> frequent_codes(np.array([5.0, 5.0, 7.0, 7.0, 6.0]), np.array([7.0, 6.0, 5.0, 9.0]), 2)
    (array([1, 2, 0, 2]), 3)
    """
    different, counts = np.unique(reference, return_counts=True)
    frequent = np.append(np.sort(different[np.argsort(-counts, kind="stable")[:limit]]), np.inf)
    place = np.searchsorted(frequent, values).clip(max=len(frequent) - 1)
    return np.where(frequent[place] == values, place, len(frequent) - 1), len(frequent)


def subsample(rows: NDArray[Any], limit: int, seed: int) -> NDArray[Any]:
    """At most ``limit`` of the rows, in random order; arrays of equal length keep their rows paired."""
    return rows[np.random.default_rng(seed).permutation(len(rows))[:limit]]
