"""`FlowAnomaly`: anomaly scores of the rows of a table, and the entries that explain them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.checks import at_least, one_of
from pushforward.data.inference import DECLARED
from pushforward.data.schema import Field, Schema
from pushforward.distributions import Constant, Continuous
from pushforward.estimators.density import FlowDensity
from pushforward.estimators.expected import expected_values, ranges_of
from pushforward.estimators.layout import TableRows, to_numpy
from pushforward.estimators.table import TableEstimator
from pushforward.univariate import LogisticMixtureCDF

__all__ = ["FlowAnomaly", "Reason"]

Array = NDArray[np.float64]
MEASURES = ("surprise", "composite", "density", "p_value", "radius", "typicality")
AUTO_SHARE = 0.01
"""Share of the training rows that are outliers with ``contamination="auto"``."""
COMPONENTS, LOG_WIDTHS = 4, 5.0
"""Components of the mixture of a smoothed column, which has no narrow peaks, and range of their log-widths."""
SPLITS, FEW_SPLITS = 16, 4
"""Pairs of random halves of the columns that entries are judged given, and for the mean over the training rows."""
REFERENCE_SAMPLES = 1_000
"""Samples of the model with whose log-densities those of rows are compared."""
REFERENCE_ROWS = 10_000
"""Largest number of training rows, evenly spaced, that determine the usual contributions and the threshold."""
BATCH_ENTRIES = 2**16
"""Rows times columns of a training step."""
STEPS = 250
"""Training steps: what most rows share is learned by then, and anomalies among the training rows are not yet."""


class Reason(NamedTuple):
    """One entry that makes a row anomalous.

    Attributes:
        column: name of the column.
        value: of the entry.
        surprise: by how many nats the entry is less plausible, by itself or given other columns, than entries of this
            column usually are.
        expected: the conditional median given all other columns, in the range of the column and with its decimals; of
            categories the likeliest. Values far beyond the range of their column are left out.
    """

    column: str
    value: Any
    surprise: float
    expected: Any


@dataclass(kw_only=True, eq=False, repr=False)
class FlowAnomaly(OutlierMixin, TableEstimator):
    r"""Anomaly detection in a table, with the entries that make a row anomalous.

    The model is that of `FlowDensity` of a smoothed distribution: every column of numbers gets Gaussian noise of
    ``smoothing`` standard deviations, as in a kernel density estimate, so that rounding makes no row anomalous.

    ``detector.save("d.safetensors")`` writes it to a file, ``FlowAnomaly.load("d.safetensors")`` reads it.

    The training rows may hold anomalies. A group of them that are alike is learned like any other rows, so that each of
    their entries is likely given the others; by itself it still lies in the tail of its column. The default ``measure``
    judges entries both ways, and training is short.

    A density is *per unit* of the columns: rows of a kind that was never seen can have a higher one than the training
    rows, if they are simpler (Nalisnick et al., 2018). Compare several measures, and read what `explain` says.

    Args:
        measure: the score that `score_samples` returns.
            ``"surprise"``: the sum over entries of how plausible each is: the mean of the log-density and of the
            logarithm of the two-sided tail probability. It is the smaller value of two, by itself and given half of the
            other columns (averaged over random halves). Where columns determine each other, values by themselves say
            little: with the weight ``dependence_`` it is that given others alone.
            ``"composite"``: the sum over entries of the log-density given half of the other columns, averaged over
            random halves. ``"density"``: the log-density of the row. ``"p_value"``: the share of samples of the model
            that are less likely than the row. ``"radius"``: minus half the squared norm in the latent space.
            ``"typicality"``: minus the distance of the log-density from the mean over samples of the model, on either
            side.
        smoothing: standard deviation of the noise relative to that of the column; 0 for the distribution of the table
            itself, with the column types that `FlowDensity` would infer.
        contamination: share of the training rows that `predict` calls outliers; ``"auto"`` for one in a hundred.
        novelty: whether all training rows are normal, so that training goes on while it improves; else they may hold
            the anomalies that are looked for, and training is short.

    The other parameters are those of `FlowDensity`. Rows may have missing entries. A value outside of the support of
    its column, such as a new category, gets the log-density -log(n + 1) after n training rows.

    Attributes:
        offset_: the score below which a row is an outlier.
        ranges_: the smallest and the largest value of each column in the training rows, without those that lie far
            beyond all others, (2, columns).
        usual_: mean of `contributions` for each column over the training rows.
        dependence_: how much the columns say about each other, from 0 to 1: 0 if half of the other columns hold at most
            half a nat of information about an entry, the mean over the training rows, and 1 from one nat on.
        reference_: log-densities of samples of the model, sorted; empty until a measure needs them.
        rows_: number of training rows of positive weight.

    References:
        | Do Deep Generative Models Know What They Don't Know? (Nalisnick et al., 2018), arXiv:1810.09136
        | ECOD: Unsupervised Outlier Detection Using Empirical Cumulative Distribution Functions (Li et al., 2022),
            arXiv:2201.00382, for tail probabilities
        | An Overview of Composite Likelihood Methods (Varin, Reid, Firth, 2011)

    >>> import numpy as np
    >>> from pushforward.estimators import FlowAnomaly
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=400)
    >>> X = np.stack([a, a + 0.3 * rng.normal(size=400)], axis=1)
    >>> model = FlowAnomaly(steps=60, random_state=0).fit(X)
    >>> model.predict([[1.0, 1.0], [2.5, -2.5]]).tolist()
    [1, -1]
    """

    measure: str = "surprise"
    smoothing: float = 0.35
    contamination: float | str = "auto"
    novelty: bool = False

    calibrates_temperature: ClassVar[bool] = False  # a smoothed distribution is not overconfident
    SAVED: ClassVar[tuple[str, ...]] = (
        *TableEstimator.SAVED,
        "offset_",
        "ranges_",
        "usual_",
        "dependence_",
        "reference_",
        "rows_",
    )

    # --- learning

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model to the rows of a table, most of which should be normal.

        Args:
            X: (rows, columns): a data frame of pandas, polars or pyarrow, or an array.
            y: ignored.
            sample_weight: weight of each row in the training loss, the usual contributions and the threshold, (rows,).
        """
        return self._learn(X, sample_weight, again=self.warm_start and hasattr(self, "model_"))

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Continue training with more rows of a stream. The first call decides the column types."""
        return self._learn(X, sample_weight, again=hasattr(self, "model_"), steps=self._partial_steps(X))

    def _learn(self, X: Any, sample_weight: Any, *, again: bool, steps: int | None = None) -> Self:
        one_of("FlowAnomaly", "measure", self.measure, MEASURES)
        share = self._share()
        x, weights = self._learned_from(X, sample_weight, again=again, types=self.types)
        if not again and self.smoothing:
            self.schema_ = Schema(tuple(self._smoothed(field) for field in self.schema_.fields), self.schema_.backend)
        self._train(TableRows(x, None, weights), self.schema_.fields, again=again, steps=steps)
        return self._refer_to(x, weights, share)

    @classmethod
    def of(cls, density: FlowDensity, X: Any, **parameters: Any) -> Self:
        """A detector that judges by a fitted mixed-type model, without training.

        Args:
            density: the model, with ``order="any"`` and no context.
            X: rows of which most are normal; they decide what is usual, and the threshold.
            **parameters: of `FlowAnomaly`, such as ``measure`` and ``contamination``.

        Raises:
            ValueError: the model cannot condition on any columns.
        """
        density.check_any_subset("FlowAnomaly")
        if density.context or density.order == "fixed":
            raise ValueError("FlowAnomaly: the model must have no context, and order='any'.")
        detector = cls(**parameters)
        detector.model_, detector.schema_ = density.model_, density.schema_
        detector.n_features_in_ = density.n_features_in_
        if hasattr(density, "feature_names_in_"):
            detector.feature_names_in_ = density.feature_names_in_
        return detector._refer_to(detector._numbers(X).cpu(), None, detector._share())

    def _share(self) -> float:
        """The share of outliers among the training rows."""
        share = AUTO_SHARE if self.contamination == "auto" else self.contamination
        if isinstance(share, str) or not 0 < share <= 0.5:
            raise ValueError(
                f'FlowAnomaly: contamination must be "auto" or a share of at most 0.5; got {self.contamination!r}.'
            )
        return share

    def _refer_to(self, x: Tensor, weights: Tensor | None, share: float) -> Self:
        """Decide by rows x (rows, columns) what is usual, and the threshold."""
        if weights is None:
            weights = torch.ones(len(x), dtype=torch.float64)
        x, weights = x[weights > 0], weights[weights > 0]
        self.rows_, self.ranges_ = len(x), ranges_of(to_numpy(x))
        chosen = torch.linspace(0, len(x) - 1, min(len(x), REFERENCE_ROWS)).long()
        x, row_weights = x[chosen].to(self.device), to_numpy(weights[chosen])
        self.reference_ = np.zeros(0)
        alone, conditional = self._both_ways(x, "log_prob", splits=FEW_SPLITS)
        entries = row_weights[:, None] * (~x.isnan()).cpu().numpy()
        information = (entries * (conditional - alone)).sum() / max(entries.sum(), 1e-300)
        self.dependence_ = float(np.clip(2 * information - 1, 0, 1))
        contributions = self._contributions(x)
        self.usual_ = np.average(contributions, axis=0, weights=row_weights)
        scores = contributions.sum(axis=1) if self.measure == "surprise" else self._scores(x)
        self.offset_ = _threshold(scores, row_weights, share)
        return self

    def _smoothed(self, field: Field) -> Field:
        if field.why == DECLARED or field.labels is not None or field.form == "bool":
            return field
        if isinstance(field.column_type, Constant):
            return field
        column_type = Continuous(LogisticMixtureCDF(COMPONENTS, log_widths=LOG_WIDTHS), smoothing=self.smoothing)
        return replace(field, column_type=column_type, why="numbers, smoothed")

    def _default_hidden(self, rows: int) -> tuple[int, ...]:
        return (128, 128)

    def _default_batch(self, rows: int, columns: int) -> int:
        return int(min(512, 2 ** round(math.log2(max(16, BATCH_ENTRIES / columns))), max(32, rows)))

    def _default_steps(self, rows: int, columns: int) -> int:
        return super()._default_steps(rows, columns) if self.novelty else STEPS

    def _default_lr(self, rows: int) -> float:
        return 3e-3

    # --- answers

    def score_samples(self, X: Any) -> Array:
        """The score of each row by ``measure``, (rows,); higher is more normal."""
        return self._scores(self._numbers(X))

    def decision_function(self, X: Any) -> Array:
        """`score_samples` minus ``offset_``, (rows,); negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """1 for normal rows, -1 for outliers, (rows,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def contributions(self, X: Any) -> Array:
        """How plausible each entry is, by itself and given half of the other columns, in nats, (rows, columns): the
        terms of ``measure="surprise"``; higher is more plausible."""
        return self._contributions(self._numbers(X))

    def explain(self, X: Any, top: int = 3) -> list[list[Reason]]:
        """The most surprising entries of each row: at most ``top`` per row, most surprising first.

        >>> import numpy as np
        >>> a = np.random.default_rng(0).normal(size=(400, 1))
        >>> X = np.concatenate([a, a, np.random.default_rng(1).normal(size=(400, 1))], axis=1)
        >>> reasons = FlowAnomaly(steps=60, random_state=0).fit(X).explain([[0.0, 0.0, 9.0]], top=1)
        >>> reasons[0][0].column
        'x2'
        """
        at_least("FlowAnomaly", "top", top, 1)
        x = self._numbers(X)
        surprise = np.where(x.isnan().cpu().numpy(), -np.inf, self.usual_ - self._contributions(x))
        ranked = np.argsort(-surprise, axis=1)[:, :top]
        values, expected = x.cpu().numpy(), self._expected(x, ranked)
        reasons = []
        for i, columns in enumerate(ranked):
            fields = [self.schema_.fields[j] for j in columns]
            reasons.append([
                Reason(field.name, field.entry(values[i, j]), float(surprise[i, j]), field.entry(expected[i, j]))
                for field, j in zip(fields, columns, strict=True)
                if surprise[i, j] > 0
            ])  # fmt: skip
        return reasons

    def _expected(self, x: Tensor, columns: NDArray[np.int64]) -> Array:
        """Expected values of some columns of each row given all others, (rows, all columns); NaN in other columns."""
        expected = np.full(tuple(x.shape), np.nan)
        for j in np.unique(columns):
            index = np.flatnonzero((columns == j).any(axis=1))
            rows = x[torch.from_numpy(index).to(x.device)]
            with torch.no_grad():
                expected[index, j] = expected_values(self.model_, self.schema_.fields, rows, int(j), self.ranges_)
        return expected

    def _contributions(self, x: Tensor) -> Array:
        alone, conditional = self._both_ways(x, "plausibility")
        return self.dependence_ * conditional + (1 - self.dependence_) * np.minimum(alone, conditional)

    def _both_ways(
        self, x: Tensor, method: Literal["log_prob", "plausibility"], splits: int = SPLITS
    ) -> tuple[Array, Array]:
        """A method at each entry by itself and given half of the other columns, each (rows, columns)."""
        alone = self._computed(lambda: self.model_.composite(x, 0, method=method))
        conditional = self._computed(lambda: self.model_.composite(x, splits, method=method))
        return self._finite(alone), self._finite(conditional)

    def _finite(self, terms: Array) -> Array:
        """Log-densities with -log(n + 1) in place of -inf."""
        return np.where(np.isneginf(terms), -math.log(self.rows_ + 1), terms)

    def _scores(self, x: Tensor) -> Array:
        check_is_fitted(self)
        one_of("FlowAnomaly", "measure", self.measure, MEASURES)
        if self.measure == "surprise":
            return self._contributions(x).sum(axis=1)
        if self.measure == "composite":
            return self._finite(self._computed(lambda: self.model_.composite(x, SPLITS))).sum(axis=1)
        if self.measure == "radius":
            u = self._computed(lambda: self.model_.mid_cdf(x))
            z = torch.special.ndtri(torch.as_tensor(u).clamp(1e-15, 1 - 1e-15)).numpy()
            return -0.5 * np.nansum(z**2, axis=1)
        density = self._finite(self._computed(lambda: self.model_.contributions(x))).sum(axis=1)
        if self.measure == "density":
            return density
        if not len(self.reference_):
            with torch.no_grad():
                samples = self.model_.sample((REFERENCE_SAMPLES,), generator=self._generator(0))
            self.reference_ = np.sort(self._computed(lambda: self.model_.log_marginal(samples)))
        if self.measure == "p_value":
            return (1 + np.searchsorted(self.reference_, density)) / (1 + len(self.reference_))
        return -np.abs(density - self.reference_.mean())


def _threshold(scores: Array, weights: Array, share: float) -> float:
    """A number above the lowest scores that together have at most this share of the weight, and above no others."""
    order = np.argsort(scores)
    cumulative = np.cumsum(weights[order]) / weights.sum()
    below = int((cumulative <= share * (1 + 1e-9)).sum())  # the factor is for rounding
    neighbours = scores[order[max(0, below - 1) : below + 1]]
    return float(neighbours.mean())
