"""Which rows of a table a model was trained on, by hashes of a random part of the training rows."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.evaluate.arrays import Rows, as_rows

__all__ = ["TrainingRows"]

MOST = 4_096  # hashes that are kept
LAST = 2**64 - 1


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The smallest hashes of the training rows, which stand for a random part of them.

    A row whose hash is at most ``limit`` was trained on if and only if its hash is among these. They tell whether a row
    that somebody has was trained on, but not what the rows are.

    Attributes:
        hashes: rising, (at most 4,096,).
        limit: hashes up to here were kept.
        repeated: share of the training rows that equal another one: as many new rows equal one by chance.

    References:
        | Counting Distinct Elements in a Data Stream (Bar-Yossef et al., 2002): the smallest hashes as a sample
    """

    hashes: NDArray[np.uint64]
    limit: int
    repeated: float

    @classmethod
    def of(cls, x: Rows, context: Rows | None = None) -> TrainingRows:
        """From the training rows.

        Args:
            x: (rows, columns), NaN where an entry is missing.
            context: (rows, context columns), for a conditional model.
        """
        different, counts = np.unique(_hashes(x, context), return_counts=True)
        repeated = float(counts[counts > 1].sum() / counts.sum())
        limit = LAST if len(different) <= MOST else int(different[MOST - 1])
        return cls(different[:MOST], limit, repeated)

    def joined(self, other: TrainingRows) -> TrainingRows:
        """Of a model that was trained on the rows of both."""
        limit = min(self.limit, other.limit)
        different = np.union1d(self.hashes, other.hashes)
        different = different[different <= np.uint64(limit)]
        limit = limit if len(different) <= MOST else int(different[MOST - 1])
        return TrainingRows(different[:MOST], limit, max(self.repeated, other.repeated))

    def recognised(self, x: Rows, context: Rows | None = None) -> tuple[float, float]:
        """Share of rows that were trained on, and its standard error; (0, inf) where no row can be looked up."""
        hashes = _hashes(x, context)
        hashes = hashes[hashes <= np.uint64(self.limit)]
        if not len(hashes):
            return 0.0, math.inf
        share = float(np.isin(hashes, self.hashes).mean())
        return share, math.sqrt(max(share * (1 - share), 0.25 / len(hashes)) / len(hashes))

    def to_dict(self) -> dict[str, Any]:
        """As JSON, at most 44 kB."""
        text = base64.b64encode(self.hashes.astype("<u8").tobytes()).decode("ascii")
        return {"hashes": text, "limit": str(self.limit), "repeated": self.repeated}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TrainingRows:
        """The inverse of `to_dict`.

        Raises:
            ValueError: an entry is missing or damaged.
        """
        try:
            hashes = np.frombuffer(base64.b64decode(stored["hashes"]), dtype="<u8").astype(np.uint64)
            return cls(hashes, int(stored["limit"]), float(stored["repeated"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"TrainingRows: the stored description cannot be read ({error}).") from None


def _hashes(x: Rows, context: Rows | None) -> NDArray[np.uint64]:
    """A 64-bit hash of each row, (rows,): SplitMix64 (Steele, Lea, Flood, 2014) of one entry after the other."""
    parts = [x] if context is None else [x, context]
    values = np.hstack([as_rows("TrainingRows", "x", part) for part in parts]) + 0.0  # no -0
    bits = np.where(np.isnan(values), np.nan, values).view(np.uint64)
    state = np.zeros(len(values), dtype=np.uint64)
    for column in bits.T:
        state = (state ^ column) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        state ^= state >> np.uint64(31)
    return state
