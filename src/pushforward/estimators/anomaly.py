"""`FlowAnomaly`: rows that are unlike the others, and what makes them so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.checks import one_of
from pushforward.data.schema import Field, Schema
from pushforward.distributions import ColumnType, Constant, Continuous
from pushforward.estimators.table_model import TableModel
from pushforward.univariate import LogisticMixtureCDF

__all__ = ["FlowAnomaly", "Reason"]

Array = NDArray[np.float64]
MEASURES = ("composite", "density", "p_value", "radius", "typicality")
COMPONENTS, WIDTHS = 4, 5.0
"""Of the mixture of a smoothed column, which has no narrow parts."""
DRAWN = 1_000
"""Rows drawn from the model, beside whose densities others are seen."""
MOST = 10_000
"""Of the rows learned from, evenly spread, on which usual values and the threshold are measured."""
ENTRIES = 2**16
"""Of a step: rows times columns."""
FEW = 200
"""Rows below which the last steps change nothing."""


class Reason(NamedTuple):
    """Why a row is odd: one entry of it.

    Attributes:
        column: its name.
        value: what it holds.
        surprise: how many nats less likely it is, given other columns, than entries of this column usually are.
        expected: the mean there given all other columns, or the likeliest category.
    """

    column: str
    value: Any
    surprise: float
    expected: Any


class FlowAnomaly(OutlierMixin, TableModel):
    r"""Rows that are unlike those learned from, and what makes them so.

    The model is that of `FlowDensity`, but of a smoothed law: with noise of ``smoothing`` standard deviations on every
    column of numbers, as a kernel density estimate has it. So a row is not odd because its digits are.

    A density says how likely rows are *per unit*, in the units at hand: rows of a kind that was never seen can have a
    higher one than those learned from, where they are simpler (Nalisnick et al., 2018). Look at what `explain` says,
    and at more than one measure.

    Args:
        measure: what `score_samples` is.
            ``"composite"``: the log-density of each entry given half of the other columns, the mean over random halves,
            summed. ``"density"``: the log-density of the row. ``"p_value"``: the part of the model's own samples that
            are less likely than the row. ``"radius"``: minus half the squared length in the latent space.
            ``"typicality"``: minus how far the log-density lies from that of the model's own samples, on either side.
        smoothing: of columns of numbers, in standard deviations; 0 for the law of the table as it is, with the kinds of
            columns that `FlowDensity` would infer.
        contamination: part of the rows learned from that `predict` calls outliers; ``"auto"`` for one in a hundred.

    The other parameters are those of `FlowDensity`. Rows may have gaps. A value that its column cannot hold, such as a
    new category, counts as if one row in n + 1 had it.

    Attributes:
        offset_: the score below which a row is called an outlier.
        usual_: mean contribution of each column, of the rows learned from.
        reference_: log-densities of samples from the model, rising, once they were needed.

    References:
        | Do Deep Generative Models Know What They Don't Know? (Nalisnick et al., 2018), arXiv:1810.09136
        | An Overview of Composite Likelihood Methods (Varin, Reid, Firth, 2011)

    >>> import numpy as np
    >>> from pushforward.estimators import FlowAnomaly
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=400)
    >>> X = np.stack([a, a + 0.3 * rng.normal(size=400)], axis=1)
    >>> model = FlowAnomaly(steps=200, random_state=0).fit(X)
    >>> model.predict([[1.0, 1.0], [2.5, -2.5]]).tolist()
    [1, -1]
    """

    tempered = False  # a smoothed law is wide
    offset_: float
    usual_: Array
    reference_: Array
    rows_: int
    SAVED = (*TableModel.SAVED, "offset_", "usual_", "reference_", "rows_")

    def __init__(
        self,
        *,
        measure: str = "composite",
        smoothing: float = 0.35,
        contamination: float | str = "auto",
        types: Mapping[str, ColumnType | str] | None = None,
        hidden: tuple[int, ...] | None = None,
        dropout: float = 0.0,
        steps: int | None = None,
        seconds: float | None = None,
        batch_size: int | None = None,
        lr: float = 3e-3,
        validation: float | None = 0.1,
        patience: int | None = 12,
        warm_start: bool = False,
        random_state: Any = None,
        device: str | None = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.measure = measure
        self.smoothing = smoothing
        self.contamination = contamination
        super().__init__(
            types=types, hidden=hidden, dropout=dropout, steps=steps, seconds=seconds, batch_size=batch_size, lr=lr,
            validation=validation, patience=patience, warm_start=warm_start, random_state=random_state, device=device,
            n_jobs=n_jobs, verbose=verbose,
        )  # fmt: skip

    # --- learning

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from the rows of X, most of which should be normal.

        Args:
            X: (rows, columns): a data frame of pandas, polars or pyarrow, or an array.
            y: ignored.
            sample_weight: how much each row counts, (rows,).
        """
        return self._learn(X, sample_weight, again=self.warm_start and hasattr(self, "model_"))

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Go on with more rows, of a stream. The first call decides what the columns are."""
        return self._learn(X, sample_weight, again=hasattr(self, "model_"), steps=self._partial_steps(X))

    def _learn(self, X: Any, sample_weight: Any, *, again: bool, steps: int | None = None) -> Self:
        one_of("FlowAnomaly", "measure", self.measure, MEASURES)
        part = 0.01 if self.contamination == "auto" else self.contamination
        if isinstance(part, str) or not 0 < part <= 0.5:
            raise ValueError(
                f'FlowAnomaly: contamination must be "auto" or a part of at most 0.5; got {self.contamination!r}.'
            )
        x, weights = self._learned_from(X, sample_weight, again=again, types=self.types)
        if not again and self.smoothing:
            self.schema_ = Schema(tuple(self._smoothed(field) for field in self.schema_.fields), self.schema_.backend)
        self._train(x, weights, [field.kind for field in self.schema_.fields], again=again, steps=steps)
        self.rows_ = len(x)
        x = x[torch.linspace(0, len(x) - 1, min(len(x), MOST)).long()].to(self.device)
        self.reference_ = np.zeros(0)
        self.usual_ = self._contributions(x).mean(axis=0)
        self.offset_ = float(np.quantile(self._scores(x), part))
        return self

    def _smoothed(self, field: Field) -> Field:
        if field.name in (self.types or {}) or field.labels is not None or field.form == "bool":
            return field
        if isinstance(field.kind, Constant):
            return field
        kind = Continuous(LogisticMixtureCDF(COMPONENTS, log_widths=WIDTHS), smoothing=self.smoothing)
        return replace(field, kind=kind, why="numbers, smoothed")

    def _default_hidden(self, rows: int) -> tuple[int, ...]:
        return (128, 128)

    def _default_batch(self, rows: int, columns: int) -> int:
        return int(min(512, 2 ** round(math.log2(max(16, ENTRIES / columns))), max(32, rows)))

    def _default_steps(self, rows: int) -> int:
        return 350 if rows < FEW else 700

    # --- answers

    def score_samples(self, X: Any) -> Array:
        """How normal each row is by ``measure``, (rows,): higher is more normal."""
        return self._scores(self._numbers(X))

    def decision_function(self, X: Any) -> Array:
        """`score_samples` less ``offset_``: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """1 for rows like those learned from, -1 for outliers, (rows,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def contributions(self, X: Any) -> Array:
        """log q of each entry given half of the other columns, the mean over random halves, (rows, columns)."""
        return self._contributions(self._numbers(X))

    def explain(self, X: Any, top: int = 3) -> list[list[Reason]]:
        """The entries of each row that are most surprising, given others: at most ``top`` a row, the oddest first.

        >>> import numpy as np
        >>> a = np.random.default_rng(0).normal(size=(400, 1))
        >>> X = np.concatenate([a, a, np.random.default_rng(1).normal(size=(400, 1))], axis=1)
        >>> reasons = FlowAnomaly(steps=200, random_state=0).fit(X).explain([[0.0, 0.0, 9.0]], top=1)
        >>> reasons[0][0].column
        'x2'
        """
        x = self._numbers(X)
        surprise = np.where(x.isnan().cpu().numpy(), -np.inf, self.usual_ - self._contributions(x))
        order = np.argsort(-surprise, axis=1)[:, :top]
        values, expected = x.cpu().numpy(), self._expected(x, order)
        found = []
        for i, columns in enumerate(order):
            fields = [self.schema_.fields[j] for j in columns]
            found.append([
                Reason(field.name, field.entry(values[i, j]), float(surprise[i, j]), field.entry(expected[i, j]))
                for field, j in zip(fields, columns, strict=True)
                if surprise[i, j] > 0
            ])  # fmt: skip
        return found

    def _expected(self, x: Tensor, order: NDArray[np.int64]) -> Array:
        """What is expected at some columns of each row given all others, (rows, columns); NaN elsewhere."""
        found = np.full(tuple(x.shape), np.nan)
        for j in np.unique(order):
            rows = np.flatnonzero((order == j).any(axis=1))
            own = x[torch.from_numpy(rows).to(x.device)]
            found[rows, j] = self._computed(partial(self._centre, own, int(j)))
        return found

    def _centre(self, x: Tensor, j: int) -> Tensor:
        return self.model_.full_conditional(x, j).centre()

    def _contributions(self, x: Tensor) -> Array:
        return self._finite(self._computed(lambda: self.model_.composite(x)))

    def _finite(self, terms: Array) -> Array:
        """What has probability zero counts as if one row in n + 1 had it."""
        return np.where(np.isneginf(terms), -math.log(self.rows_ + 1), terms)

    def _scores(self, x: Tensor) -> Array:
        check_is_fitted(self)
        if self.measure == "composite":
            return self._contributions(x).sum(axis=1)
        if self.measure == "radius":
            u = self._computed(lambda: self.model_.mid_cdf(x))
            z = torch.special.ndtri(torch.as_tensor(u).clamp(1e-15, 1 - 1e-15)).numpy()
            return -0.5 * np.nansum(z**2, axis=1)
        density = self._finite(self._computed(lambda: self.model_.contributions(x))).sum(axis=1)
        if self.measure == "density":
            return density
        if not len(self.reference_):
            with torch.no_grad():
                drawn = self.model_.sample((DRAWN,), generator=self._generator(0))
            self.reference_ = np.sort(self._computed(lambda: self.model_.log_marginal(drawn)))
        if self.measure == "p_value":
            return (1 + np.searchsorted(self.reference_, density)) / (1 + len(self.reference_))
        return -np.abs(density - self.reference_.mean())
