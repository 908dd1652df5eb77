"""`FlowConditional` and `FlowRegressor`: the conditional distribution of some columns given others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.data.frame import backend_of, column_names
from pushforward.data.schema import Schema
from pushforward.distributions import ColumnDistribution
from pushforward.estimators.layout import TableRows, to_numpy
from pushforward.estimators.parameters import check_probabilities
from pushforward.estimators.table import TableEstimator

__all__ = ["FlowConditional", "FlowRegressor"]

Array = NDArray[np.float64]
BATCH_SIZE = 4_000
"""Rows whose conditional distributions are in memory at once."""
TOLERANCE = 1e-9
"""Of a sum of weights, for rounding."""


@dataclass(kw_only=True, eq=False, repr=False)
class FlowConditional(TableEstimator):
    r"""The conditional distribution of y given X: numbers and categories, complete or with missing entries.

    .. math:: q(y \mid x) = \prod_k q(y_k \mid x, y_1, \dots, y_{k-1})

    One network gives densities, samples, quantiles and intervals. Of several outputs `predict`, `predict_quantiles`,
    `predict_interval`, `crps` and `cdf` concern the marginal distribution of each given X; `sample` and `log_prob`
    concern their joint distribution. ``model.save("m.safetensors")`` writes it to a file,
    ``FlowConditional.load("m.safetensors")`` reads it.

    Args:
        calibration: share of the rows held out to calibrate the intervals of `predict_interval`, which then cover at
            least their probability, on average over rows from the same source, for any model (split conformal
            prediction). None for uncalibrated intervals. Nothing else is affected.
        types: column types by name, as in `FlowDensity`, for the columns of X and y; those of an array y are called
            y0, y1, ... .

    The other parameters are those of `FlowDensity`.

    Attributes:
        schema_: the columns of X.
        target_schema_: the columns of y.
        model_: the `distributions.MixedTypeModel` of y, with X as its context.
        scores_: conformity scores ``|F(y | x) - ½|`` of the calibration rows, (rows, outputs), sorted in each column.
        score_weights_: weight of each score, (rows, outputs), with mean 1.

    References:
        | Distributional conformal prediction (Chernozhukov, Wüthrich, Zhu, 2021), arXiv:1909.07889

    >>> import numpy as np
    >>> from pushforward.estimators import FlowConditional
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 1))
    >>> y = np.where(X[:, 0] + 0.5 * rng.normal(size=400) > 0, "yes", "no")
    >>> model = FlowConditional(steps=60, random_state=0).fit(X, y)
    >>> model.predict([[2.0], [-2.0]]).tolist()
    ['yes', 'no']
    """

    calibration: float | None = None

    SAVED: ClassVar[tuple[str, ...]] = (
        *TableEstimator.SAVED, "target_schema_", "target_shape_", "scores_", "score_weights_",
    )  # fmt: skip

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    # --- learning

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the conditional distribution of y given X.

        Args:
            X: (rows, columns): a data frame of pandas, polars or pyarrow, or an array.
            y: (rows,) or (rows, outputs): an array, a series or a data frame.
            sample_weight: weight of each row in the training loss and in the calibration, (rows,).
        """
        return self._learn(X, y, sample_weight, again=self.warm_start and hasattr(self, "model_"))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Continue training with more rows of a stream. The first call decides the column types."""
        return self._learn(X, y, sample_weight, again=hasattr(self, "model_"), steps=self._partial_steps(X))

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, again: bool, steps: int | None = None) -> Self:
        if y is None:
            raise ValueError(f"{type(self).__name__}: requires y to be passed, but the target y is None.")
        if self.calibration is not None and not 0 < self.calibration < 1:
            raise ValueError(
                f"{type(self).__name__}: calibration must be a share between 0 and 1, or None; got {self.calibration}."
            )
        table, names, shape = self._targets(y)
        types = {} if isinstance(self.types, Schema) else dict(self.types or {})
        target_types = {name: types.pop(name) for name in names if name in types}
        context, weights = self._learned_from(X, sample_weight, again=again, types=types)
        if not again:
            self.target_schema_ = Schema.infer(table, target_types, names, draws=False)
            self._check_types(self.target_schema_)
            self.target_shape_ = shape
        targets = torch.as_tensor(self.target_schema_.encode(table))
        check_consistent_length(context, targets)
        order = torch.arange(len(targets))
        held_out = 0
        if self.calibration is not None:
            held_out = max(1, round(self.calibration * len(targets)))
            order = torch.randperm(len(targets), generator=self._generator(None, device="cpu"))
        training, calibrating = order[held_out:], order[:held_out]
        rows = TableRows(targets[training], context[training], None if weights is None else weights[training])
        self._train(rows, self.target_schema_.fields, self.schema_.fields, again=again, steps=steps)
        self._calibrate(context[calibrating], targets[calibrating], None if weights is None else weights[calibrating])
        return self

    def _calibrate(self, context: Tensor, targets: Tensor, weights: Tensor | None) -> None:
        """Keep the conformity scores of rows that the model was not trained on, sorted, with their weights."""
        weights = torch.ones(len(targets), dtype=torch.float64) if weights is None else weights
        complete = ~targets.isnan().any(dim=1) & (weights > 0)
        context, targets = context[complete].to(self.device), targets[complete].to(self.device)

        def score(distribution: ColumnDistribution, j: int, rows: slice) -> Tensor:
            return distribution.probability_from_median(targets[rows, j])

        scores, row_weights = self._predict_each(context, score), to_numpy(weights[complete])
        order = np.argsort(scores, axis=0)
        self.scores_ = np.take_along_axis(scores, order, axis=0)
        self.score_weights_ = row_weights[order] / row_weights.mean() if len(row_weights) else scores

    def _targets(self, y: Any) -> tuple[Any, list[str], tuple[int, ...]]:
        """y as a table with a column per output, their names, and the shape of one row of y."""
        if hasattr(y, "to_frame"):  # a series of pandas or polars
            y = y.to_frame(y.name or "y0")
            return y, column_names(y), ()
        if backend_of(y) != "numpy":
            names = column_names(y)
            return y, names, (len(names),)
        y = check_array(y, dtype=None, ensure_2d=False, ensure_all_finite=False, estimator=self, input_name="y")
        shape, y = y.shape[1:], y.reshape(len(y), -1)
        return y, [f"y{j}" for j in range(y.shape[1])], shape

    def _check_types(self, schema: Schema) -> None:
        """Raise a ValueError for outputs that this estimator does not support."""

    # --- answers

    @property
    def _features(self) -> list[str]:
        return self.schema_.names

    def log_prob(self, X: Any, y: Any) -> Array:
        """log q(y | X) of the observed outputs of each row in nats, (rows,)."""
        context, targets = self._pairs(X, y)
        return self._computed(lambda: self.model_.log_marginal(targets, context=context))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The mean of `log_prob`, weighted by ``sample_weight`` (rows,)."""
        return self._mean_score(self.log_prob(X, y), sample_weight)

    def predict(self, X: Any) -> Any:
        """A point prediction of each output given X, in the format of y: the mean of a continuous output, the mean
        direction on a circle, the median of integers, the most probable category."""
        centres = self._predict_each(self._numbers(X), lambda distribution, j, rows: distribution.centre())
        return self._like_y(centres, X)

    def predict_median(self, X: Any) -> Any:
        """The median of each output given X, in the format of y; on a circle the circular median."""
        medians = self._predict_each(self._numbers(X), lambda distribution, j, rows: distribution.median())
        return self._like_y(medians, X)

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
        """Quantiles of each output given X, (rows, quantiles) or (rows, outputs, quantiles); on a circle from
        the cut."""
        levels = check_probabilities(type(self).__name__, "quantiles", quantiles)

        def stacked(distribution: ColumnDistribution, j: int, rows: slice) -> Tensor:
            return torch.stack([distribution.quantile(p) for p in levels], dim=-1)

        return self._shaped(self._predict_each(self._numbers(X), stacked))

    def predict_interval(self, X: Any, probability: float = 0.9, *, shortest: bool = False) -> Array:
        """Ends of a prediction interval of each output given X, (rows, 2) or (rows, outputs, 2).

        On a circle intervals are arcs, whose end is smaller than their start where they pass the cut; the central one
        has as much probability on each side of the median.

        Args:
            X: the table.
            probability: of the interval. With ``calibration`` its coverage holds on average over rows; without, as far
                as the model is correct.
            shortest: whether to give the shortest interval, which is not calibrated, instead of the central one.
        """
        if not 0 < probability < 1:
            raise ValueError(f"{type(self).__name__}: probability must lie between 0 and 1; got {probability}.")
        halves = self._half_widths(probability)

        def interval(distribution: ColumnDistribution, j: int, rows: slice) -> Tensor:
            if shortest:
                return distribution.highest_density_interval(probability)
            return distribution.around_the_median(halves[j])

        return self._shaped(self._predict_each(self._numbers(X), interval))

    def _half_widths(self, probability: float) -> list[float]:
        """How far from the median, on the scale of probabilities, the ends of the interval of each output lie."""
        check_is_fitted(self)
        count, outputs = self.scores_.shape
        if not count:
            return [probability / 2] * outputs
        cumulative = self.score_weights_.cumsum(axis=0)  # the new row has the mean weight 1, hence count + 1
        below = (cumulative < (count + 1) * probability - TOLERANCE).sum(axis=0)
        # With too few rows the interval is the whole line.
        return [0.5 if place == count else float(self.scores_[place, j]) for j, place in enumerate(below)]

    def crps(self, X: Any, y: Any) -> Array:
        """The continuous ranked probability score of each row in the units of y, (rows,) or (rows, outputs); lower is
        better."""
        context, targets = self._pairs(X, y)
        scores = self._predict_each(context, lambda distribution, j, rows: distribution.crps(targets[rows, j]))
        return self._shaped(scores)

    def cdf(self, X: Any, y: Any) -> Array:
        """F(y | X) of each output, (rows,) or (rows, outputs), for discrete outputs the mid-distribution function:
        uniform on (0, 1) under the model."""
        context, targets = self._pairs(X, y)
        levels = self._predict_each(context, lambda distribution, j, rows: distribution.mid_cdf(targets[rows, j]))
        return self._shaped(levels)

    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> list[Any]:
        """Samples of all outputs jointly for each row of X: a list of ``n_samples`` tables in the format of y."""
        at_least(type(self).__name__, "n_samples", n_samples, 1)
        context, generator = self._numbers(X), self._generator(random_state)
        blank = context.new_full((len(context), *self.model_.event_shape), torch.nan)
        with torch.no_grad():
            samples = [self.model_.impute(blank, generator, context) for _ in range(n_samples)]
        return [self._like_y(to_numpy(sample), X) for sample in samples]

    def _pairs(self, X: Any, y: Any) -> tuple[Tensor, Tensor]:
        """X and y as numbers, with one row of y per row of X."""
        context = self._numbers(X)
        targets = torch.as_tensor(self.target_schema_.encode(self._targets(y)[0])).to(self.device)
        check_consistent_length(context, targets)
        return context, targets

    def _predict_each(self, context: Tensor, function: Callable[[ColumnDistribution, int, slice], Tensor]) -> Array:
        """Apply a function to the marginal distribution of each output given a batch of X, its number and the rows of
        the batch; (rows, outputs, ...)."""
        outputs = len(self.target_schema_.fields)

        def compute() -> Tensor:
            batches = []
            for start in range(0, max(1, len(context)), BATCH_SIZE):
                rows = slice(start, start + BATCH_SIZE)
                marginals = [self.model_.column_marginal(j, context[rows]) for j in range(outputs)]
                batches.append(
                    torch.stack([function(marginal, j, rows) for j, marginal in enumerate(marginals)], dim=1)
                )
            return torch.cat(batches)

        return self._computed(compute)

    def _shaped(self, values: Array) -> Array:
        """(rows, outputs, ...), without the axis of outputs if y has none."""
        return values if self.target_shape_ else values[:, 0]

    def _like_y(self, values: Array, X: Any) -> Any:
        """Numbers (rows, outputs) in the format of y, with the row labels of X: a series where y was one."""
        table = self.target_schema_.decode(values, like=X)
        if self.target_shape_:
            return table
        return table[:, 0] if self.target_schema_.backend == "numpy" else table[column_names(table)[0]]


class FlowRegressor(RegressorMixin, FlowConditional):
    """Regression with the whole conditional distribution: mean, quantiles, intervals, density and samples.

    As `FlowConditional`, but y must be numbers, predictions are arrays of means, and `score` is R², as for the
    regressors of scikit-learn. ``model.save("m.safetensors")`` writes it to a file,
    ``FlowRegressor.load("m.safetensors")`` reads it.

    >>> import numpy as np
    >>> from pushforward.estimators import FlowRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 1))
    >>> y = X[:, 0] + 0.5 * rng.normal(size=400)
    >>> model = FlowRegressor(calibration=0.2, steps=60, random_state=0).fit(X, y)
    >>> low, high = model.predict_interval([[1.0]], 0.9)[0]
    >>> bool(low < 1.0 < high)
    True
    """

    def _targets(self, y: Any) -> tuple[Any, list[str], tuple[int, ...]]:
        if backend_of(y) == "numpy" and not hasattr(y, "to_frame"):
            y = check_array(y, dtype="numeric", ensure_2d=False, ensure_all_finite=True, estimator=self, input_name="y")
        return super()._targets(y)

    def _check_types(self, schema: Schema) -> None:
        if unordered := [field.name for field in schema.fields if not field.column_type.ordered]:
            raise ValueError(
                f"FlowRegressor: y must be numbers, but column {unordered[0]!r} holds categories. Use FlowConditional."
            )

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predicted means.

        Raises:
            ValueError: an output lies on a circle, where there is no R².
        """
        check_is_fitted(self)
        if around := [field.name for field in self.target_schema_.fields if field.column_type.circle is not None]:
            raise ValueError(
                f"FlowRegressor: column {around[0]!r} goes around a circle, for which R² is not defined. Judge by crps "
                "or log_prob instead."
            )
        return float(super().score(X, y, sample_weight))

    def predict(self, X: Any) -> Array:
        """The mean of each output given X, (rows,) or (rows, outputs); on a circle the mean direction."""
        return self._shaped(self._predict_each(self._numbers(X), lambda distribution, j, rows: distribution.mean()))
