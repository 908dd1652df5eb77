"""What an entry of a row should have been, given the others: a possible value, whatever errors stand beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.data.fields import Field
from pushforward.distributions import MixedTypeModel
from pushforward.estimators.layout import to_numpy

__all__ = ["expected_values", "ranges_of"]

Array = NDArray[np.float64]
FAR, JUMP = 5.0, 3.0
"""Interquartile ranges beyond the quartiles from which on a number may be a gross error, and how many times farther
from the median than the number before it lies."""


def ranges_of(x: Array) -> Array:
    """The smallest and the largest value of each column of x (rows, columns), (2, columns), without those that lie far
    beyond all others on their side.

    A column without values has no limits.
    """
    largest = np.finfo(np.float64).max  # a file holds finite numbers only
    ranges = np.tile(np.array([[-largest], [largest]]), (1, x.shape[1]))
    for j, column in enumerate(x.T):
        present = np.sort(column[~np.isnan(column)])
        if len(present):
            ranges[:, j] = -_last_usual(-present[::-1]), _last_usual(present)
    return ranges


def _last_usual(values: Array) -> float:
    """The largest of sorted values, without those far beyond the others."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    if not high > low:  # half of the values are equal, so that there is no scale
        return float(values[-1])
    beyond = values[max(1, np.searchsorted(values, high + FAR * (high - low), side="right")) - 1 :] - median
    jumps = beyond[1:] > JUMP * beyond[:-1]
    return float(median + beyond[int(jumps.argmax()) if jumps.any() else -1])


def expected_values(model: MixedTypeModel, fields: Sequence[Field], x: Tensor, j: int, ranges: Array) -> Array:
    """The conditional median of column j given the others in each row of x (rows, columns), of categories the likeliest
    value; (rows,), with the decimals of the column.

    The mean of a few gross errors and of what is usual may be a value that no row can have; the median is not. Numbers
    far beyond the range of their column count as missing, since what would follow from an error is not expected.

    Args:
        model: of the columns.
        fields: the columns.
        x: the rows.
        j: the column.
        ranges: of the columns, by `ranges_of`.
    """
    low, high = (torch.as_tensor(end).to(x) for end in ranges)
    reach = (high / 2 - low / 2).clamp(min=0)
    codes = torch.tensor([field.labels is not None for field in fields], device=x.device)
    plausible = x.where(((x >= low - reach) & (x <= high + reach)) | codes, torch.nan)
    distribution = model.full_conditional(plausible, j)
    if distribution.column_type.levels:
        return to_numpy(distribution.mode())
    return fields[j].rounded(to_numpy(distribution.median()).clip(*ranges[:, j]))
