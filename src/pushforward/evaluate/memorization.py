"""What only the rows that were learned from can tell: whether drawn rows copy them, and whether they can stand in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data.schema import Schema
from pushforward.distributions import Circular, ColumnType, Constant
from pushforward.evaluate.arrays import Floats

__all__ = ["Copies", "Usefulness", "find_copies", "usefulness"]

NEAR_ROWS, LEARNED_ROWS = 2_000, 20_000  # rows whose nearest ones are looked for, and among how many
FOREST_ROWS, COLUMNS, LEVELS = 5_000, 16, 50  # of the comparison of usefulness: rows, columns and categories
NEAR = 0.05


@dataclass(frozen=True, eq=False)
class Copies:
    """How near drawn rows come to the rows that were learned from, beside how near new real rows come.

    Distances are means over columns: of the difference in rank where there is an order, and otherwise of being another.

    Attributes:
        drawn: distance of drawn rows to the nearest of some learned ones.
        real: the same of real rows that were not learned from.
        searched: how many learned rows were searched for the nearest.
        same_drawn, same_real: part of the rows that equal one of all learned rows in every column.
        exact: whether a drawn row that equals a learned one needs an explanation: some column is continuous, and no new
            real row equals one.
    """

    drawn: Floats
    real: Floats
    searched: int
    same_drawn: float
    same_real: float
    exact: bool

    @property
    def nearer(self) -> tuple[float, float]:
        """Part of the drawn rows that lie nearer to a learned one than all but 5 % of the real rows do, and its
        standard error; about 5 % where nothing is copied. Of rows as far as that limit the part counts that makes it
        5 % of the real ones."""
        limit = np.quantile(self.real, NEAR, method="higher")
        below, at = float((self.real < limit).mean()), float((self.real == limit).mean())
        part = float((self.drawn < limit).mean() + (NEAR - below) / at * (self.drawn == limit).mean())
        share = min(max(NEAR, at), 0.5)
        return part, math.sqrt(share * (1 - share) * (1 / len(self.real) + 1 / len(self.drawn)))


@dataclass(frozen=True)
class Usefulness:
    """How well a random forest predicts a column of new real rows from the others, trained on real or on drawn rows.

    Attributes:
        name: of the column.
        real: explained when trained on real rows: part of the variance of ranks, or of that of the indicators of
            categories (a Brier skill score).
        drawn: explained when trained on as many drawn rows.
    """

    name: str
    real: float
    drawn: float


def find_copies(schema: Schema, learned: Floats, drawn: Floats, real: Floats, *, seed: int = 0) -> Copies:
    """Distances of drawn rows and of new real rows to the nearest row that was learned from.

    Args:
        schema: of the columns.
        learned: (rows, columns) that the model was fitted on, NaN where an entry is missing.
        drawn: (rows, columns) of the model.
        real: (rows, columns) that the model has not seen.
        seed: of the choice among many rows, where the nearest are looked for; equal ones are looked for among all.
    """
    known = {row.tobytes() for row in learned + 0.0}  # no -0
    same = [float(np.mean([row.tobytes() in known for row in rows + 0.0])) for rows in (drawn, real)]
    some = [
        _some(rows, count, seed) for rows, count in ((learned, LEARNED_ROWS), (drawn, NEAR_ROWS), (real, NEAR_ROWS))
    ]
    own, *others = (_placed(schema, some[0], rows) for rows in some)
    kinds = [field.kind for field in schema.fields]
    near = [np.concatenate([_nearest(own, few, kinds) for few in _pieces(rows)]) for rows in others]
    exact = same[0] > 0 == same[1] and any(kind.is_density for kind in kinds)
    return Copies(near[0], near[1], len(own), same[0], same[1], exact)


def usefulness(
    schema: Schema,
    learned: Floats,
    drawn: Floats,
    real: Floats,
    *,
    gaps: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
    seed: int = 0,
) -> list[Usefulness]:
    """Train on synthetic, test on real: predict each column of new real rows by random forests trained on real
    or on drawn rows.

    Args:
        schema: of the columns; the first sixteen of them that vary, have a beginning and an end, and hold at most fifty
            categories are predicted.
        learned: (rows, columns) real rows to train on, NaN where an entry is missing.
        drawn: (rows, columns) of the model, at least as many.
        real: (rows, columns) other real rows to test on.
        gaps: where entries of learned and of real rows were filled in: they help to predict others, and are not
            predicted themselves.
        seed: of the choice of rows and of the forests.

    References:
        | Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (Esteban, Hyland, Rätsch, 2017),
          arXiv:1706.02633
    """
    count = min(len(learned), len(drawn), FOREST_ROWS)
    learned_gaps, real_gaps = gaps or (np.isnan(learned), np.isnan(real))
    learned, learned_gaps = _some(learned, count, seed), _some(learned_gaps, count, seed)
    real, real_gaps = _some(real, FOREST_ROWS, seed), _some(real_gaps, FOREST_ROWS, seed)
    drawn = _some(drawn, count, seed)
    found = []
    for j, field in enumerate(schema.fields):
        if isinstance(field.kind, Constant | Circular) or field.kind.levels > LEVELS or len(schema.fields) < 2:
            continue
        base, test = learned[~learned_gaps[:, j]], real[~real_gaps[:, j]]
        of_real, of_drawn = (_explained(schema, rows, base, test, j, seed) for rows in (base, drawn))
        if of_real is not None and of_drawn is not None:
            found.append(Usefulness(field.name, of_real, of_drawn))
        if len(found) == COLUMNS:
            break
    return found


def _explained(schema: Schema, rows: Floats, base: Floats, test: Floats, j: int, seed: int) -> float | None:
    """What a forest trained on rows explains of column j of test rows beyond what ``base`` says of it by itself."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    others = [k for k in range(rows.shape[1]) if k != j]
    options: Any = {"n_estimators": 60, "min_samples_leaf": 5, "max_features": 0.5, "random_state": seed}
    levels = 0 if schema.fields[j].kind.has_ranks else schema.fields[j].kind.levels
    rows, test, base = (own[_can_be_asked(own[:, j], levels)] for own in (rows, test, base))
    if min(len(rows), len(test), len(base)) < 10:
        return None
    x, new = (_placed(schema, base, own)[:, others] for own in (rows, test))
    if not levels:
        y, truth = (_ranks(base[:, j], own[:, j]) for own in (rows, test))
        left = np.square(truth - RandomForestRegressor(**options).fit(x, y).predict(new)).mean()
        whole = np.square(truth - _ranks(base[:, j], base[:, j]).mean()).mean()
        return 1 - float(left / whole) if whole > 0 else None
    y, truth = rows[:, j].astype(int), test[:, j].astype(int)
    share = np.bincount(base[:, j].astype(int), minlength=levels) / len(base)
    forest = RandomForestClassifier(**options).fit(x, y)
    given = np.zeros((len(new), levels))
    given[:, forest.classes_.astype(int)] = forest.predict_proba(new)
    left, whole = (np.square(np.eye(levels)[truth] - own).sum(axis=1).mean() for own in (given, share))
    return 1 - float(left / whole) if whole > 0 else None


def _can_be_asked(values: Floats, levels: int) -> NDArray[np.bool_]:
    """Where a value is there, and of so many categories one that is known."""
    there = ~np.isnan(values)
    return there & (values >= 0) & (values < levels) if levels else there


def _ranks(base: Floats, values: Floats) -> Floats:
    """Values as the part of the base that lies below, halves of what is equal, from 0 to 1."""
    if not len(base):
        return np.full(len(values), 0.5)
    order = np.sort(base)
    return (np.searchsorted(order, values, side="left") + np.searchsorted(order, values, side="right")) / (
        2 * len(base)
    )


def _placed(schema: Schema, learned: Floats, rows: Floats) -> Floats:
    """Rows as ranks and codes, -1 where an entry is missing. Equal ranks are equal values, as a rank between those of
    two learned values is no other's."""
    found = rows.copy()
    for j in range(rows.shape[1]):
        if schema.fields[j].kind.has_ranks:
            found[:, j] = _ranks(learned[~np.isnan(learned[:, j]), j], rows[:, j])
    found[np.isnan(rows)] = -1.0
    return found


def _nearest(own: Floats, rows: Floats, kinds: Sequence[ColumnType]) -> Floats:
    """The distance of each row to the nearest one of its own."""
    total = np.zeros((len(rows), len(own)))
    for j, kind in enumerate(kinds):
        apart = np.abs(rows[:, j, None] - own[:, j])
        if isinstance(kind, Circular):
            apart = np.minimum(apart, np.abs(1 - apart))
        total += np.minimum(apart, 1.0) if kind.has_ranks else apart != 0
    nearest: Floats = total.min(axis=1) / len(kinds)
    return nearest


def _pieces(rows: Floats) -> list[Floats]:
    return np.array_split(rows, max(1, len(rows) // 100))


def _some(rows: NDArray[Any], count: int, seed: int) -> NDArray[Any]:
    """At most so many of the rows, in random order."""
    return rows[np.random.default_rng(seed).permutation(len(rows))[:count]]
