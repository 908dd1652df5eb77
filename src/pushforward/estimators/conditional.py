"""`FlowConditional` and `FlowRegressor`: the law of some columns given others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.data.frame import backend_of, column_names
from pushforward.data.schema import Schema
from pushforward.distributions import ColumnDistribution, ColumnType
from pushforward.estimators.given import outward
from pushforward.estimators.table_model import TableModel

__all__ = ["FlowConditional", "FlowRegressor"]

Array = NDArray[np.float64]
AT_ONCE = 4_000
"""Rows whose laws are held at once."""


class FlowConditional(TableModel):
    r"""The law of y given X, of whatever kinds their columns are, with missing entries or without.

    .. math:: q(y \mid x) = \prod_k q(y_k \mid x, y_1, \dots, y_{k-1})

    One network gives all of it: densities, samples, quantiles, intervals. Of several outputs `predict`,
    `predict_quantiles`, `predict_interval`, `crps` and `cdf` are about each by itself, given X alone; `sample` and
    `log_prob` are about all of them together.

    Args:
        calibration: part of the rows that is not learned from but says how wide intervals must be. Those of
            `predict_interval` then hold at least their probability, on average over rows from the same source, however
            good the model is (split conformal prediction). None for none. Everything else is the model's alone.
        types: as of `FlowDensity`, of the columns of X and y; those of an array y are called y0, y1, ... .

    The other parameters are those of `FlowDensity`.

    Attributes:
        schema_: the columns of X.
        target_schema_: the columns of y.
        model_: the `distributions.MixedTypeModel` of y, with X as its context.
        scores_: how far outputs lie from the middle of their law, |F(y | x) - ½|, of the rows that calibrate,
            (rows, outputs), rising.

    References:
        | Distributional conformal prediction (Chernozhukov, Wüthrich, Zhu, 2021), arXiv:1909.07889

    >>> import numpy as np
    >>> from pushforward.estimators import FlowConditional
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 1))
    >>> y = np.where(X[:, 0] + 0.5 * rng.normal(size=400) > 0, "yes", "no")
    >>> model = FlowConditional(random_state=0).fit(X, y)
    >>> model.predict([[2.0], [-2.0]]).tolist()
    ['yes', 'no']
    """

    target_schema_: Schema
    target_shape_: tuple[int, ...]
    scores_: Array
    SAVED = (*TableModel.SAVED, "target_schema_", "target_shape_", "scores_")

    def __init__(
        self,
        *,
        calibration: float | None = None,
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
        self.calibration = calibration
        super().__init__(
            types=types, hidden=hidden, dropout=dropout, steps=steps, seconds=seconds,
            batch_size=batch_size, lr=lr, validation=validation, patience=patience, warm_start=warm_start,
            random_state=random_state, device=device, n_jobs=n_jobs, verbose=verbose,
        )  # fmt: skip

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    # --- learning

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn the law of y given X.

        Args:
            X: (rows, columns): a data frame of pandas, polars or pyarrow, or an array.
            y: (rows,) or (rows, outputs): an array, a series or a data frame.
            sample_weight: how much each row counts, (rows,).
        """
        return self._learn(X, y, sample_weight, again=self.warm_start and hasattr(self, "model_"))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go on with more rows, of a stream. The first call decides what the columns are."""
        return self._learn(X, y, sample_weight, again=hasattr(self, "model_"), steps=self._partial_steps(X))

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, again: bool, steps: int | None = None) -> Self:
        if y is None:
            raise ValueError(f"{type(self).__name__}: requires y to be passed, but the target y is None.")
        if self.calibration is not None and not 0 < self.calibration < 1:
            raise ValueError(
                f"{type(self).__name__}: calibration must be a part between 0 and 1, or None; got {self.calibration}."
            )
        table, names, shape = self._targets(y)
        types = dict(self.types or {})
        of_targets = {name: types.pop(name) for name in names if name in types}
        context, weights = self._learned_from(X, sample_weight, again=again, types=types)
        if not again:
            self.target_schema_ = Schema.infer(table, of_targets, names)
            self._check_kinds(self.target_schema_)
            self.target_shape_ = shape
        targets = torch.as_tensor(self.target_schema_.encode(table))
        check_consistent_length(context, targets)
        order = torch.arange(len(targets))
        held = 0
        if self.calibration is not None:
            held = max(1, round(self.calibration * len(targets)))
            order = torch.from_numpy(np.random.default_rng(0).permutation(len(targets)))
        learned = order[held:]
        self._train(
            targets[learned],
            None if weights is None else weights[learned],
            [field.kind for field in self.target_schema_.fields],
            context=context[learned],
            context_kinds=[field.kind for field in self.schema_.fields],
            again=again,
            steps=steps,
        )
        held_out = order[:held][~targets[order[:held]].isnan().any(dim=1)]
        context, targets = context[held_out].to(self.device), targets[held_out].to(self.device)
        middles = self._of_each(context, lambda law, j, rows: law.mid_cdf(targets[rows, j]))
        self.scores_ = np.sort(np.abs(middles - 0.5), axis=0)
        return self

    def _targets(self, y: Any) -> tuple[Any, list[str], tuple[int, ...]]:
        """y as a table, with a column for each output, their names, and the shape of one row of y."""
        if hasattr(y, "to_frame"):  # a series, of pandas or polars
            y = y.to_frame(y.name or "y0")
            return y, column_names(y), ()
        if backend_of(y) != "numpy":
            names = column_names(y)
            return y, names, (len(names),)
        y = check_array(y, dtype=None, ensure_2d=False, ensure_all_finite=False, estimator=self, input_name="y")
        shape, y = y.shape[1:], y.reshape(len(y), -1)
        return y, [f"y{j}" for j in range(y.shape[1])], shape

    def _check_kinds(self, schema: Schema) -> None:
        """Refuse outputs that this estimator is not for."""

    # --- answers

    def log_prob(self, X: Any, y: Any) -> Array:
        """log q(y | X) of each row in nats, (rows,); of the outputs that are there."""
        context, targets = self._numbers(X), self._numbers_of(y)
        return self._computed(lambda: self.model_.log_marginal(targets, context=context))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The mean of `log_prob`."""
        return float(np.average(self.log_prob(X, y), weights=sample_weight))

    def predict(self, X: Any) -> Any:
        """The mean of each output given X; of whole numbers the median, of categories the likeliest. Like y."""
        return self._like_y(self._of_each(self._numbers(X), lambda law, j, rows: law.centre()))

    def predict_median(self, X: Any) -> Any:
        """The median of each output given X, like y."""
        return self._like_y(self._of_each(self._numbers(X), lambda law, j, rows: law.median()))

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
        """Quantiles of each output given X, (rows, quantiles) or (rows, outputs, quantiles)."""
        levels = [float(p) for p in quantiles]
        context = self._numbers(X)
        return self._shaped(
            self._of_each(context, lambda law, j, rows: torch.stack([law.quantile(p) for p in levels], dim=-1))
        )

    def predict_interval(self, X: Any, probability: float = 0.9, *, shortest: bool = False) -> Array:
        """Lower and upper end of an interval of each output given X, (rows, 2) or (rows, outputs, 2).

        Args:
            X: the table.
            probability: of the interval. With ``calibration`` it is held on average over rows; otherwise as far as the
                model is right.
            shortest: the shortest interval instead of the one with as much below it as above. It is not calibrated.
        """
        if not 0 < probability < 1:
            raise ValueError(f"{type(self).__name__}: probability must lie between 0 and 1; got {probability}.")
        context = self._numbers(X)
        if shortest:
            return self._shaped(self._of_each(context, lambda law, j, rows: law.highest_density_interval(probability)))
        halves = self._halves(probability)
        return self._shaped(self._of_each(context, lambda law, j, rows: law.around_the_median(halves[j])))

    def _halves(self, probability: float) -> list[float]:
        """How far from ½, in probability, the ends of an interval of each output lie."""
        count, outputs = self.scores_.shape
        if not count:
            return [probability / 2] * outputs
        place = math.ceil((count + 1) * probability)  # too few rows: the whole line
        return [0.5] * outputs if place > count else self.scores_[place - 1].tolist()

    def crps(self, X: Any, y: Any) -> Array:
        """The continuous ranked probability score of each row in the units of y, (rows,) or (rows, outputs): smaller
        is better."""
        context, targets = self._numbers(X), self._numbers_of(y)
        return self._shaped(self._of_each(context, lambda law, j, rows: law.crps(targets[rows, j])))

    def cdf(self, X: Any, y: Any) -> Array:
        """F(y | X) of each output, (rows,) or (rows, outputs): uniform on (0, 1) where the model is right. Of a
        discrete output the middle of its step."""
        context, targets = self._numbers(X), self._numbers_of(y)
        return self._shaped(self._of_each(context, lambda law, j, rows: law.mid_cdf(targets[rows, j])))

    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> list[Any]:
        """So many draws of all outputs for each row of X: a list of n_samples tables like y."""
        context, generator = self._numbers(X), self._generator(random_state)
        blank = context.new_full((len(context), *self.model_.event_shape), torch.nan)
        with torch.no_grad():
            drawn = [self.model_.impute(blank, generator, context) for _ in range(n_samples)]
        return [self._like_y(outward(own)) for own in drawn]

    def _numbers_of(self, y: Any) -> Tensor:
        check_is_fitted(self)
        return torch.as_tensor(self.target_schema_.encode(self._targets(y)[0])).to(self.device)

    def _of_each(self, context: Tensor, function: Callable[[ColumnDistribution, int, slice], Tensor]) -> Array:
        """What a function makes of the law of each output given X, its number and the rows, (rows, outputs, ...)."""
        outputs = len(self.target_schema_.fields)

        def every() -> Tensor:
            pieces = []
            for start in range(0, max(1, len(context)), AT_ONCE):
                rows = slice(start, start + AT_ONCE)
                laws = [self.model_.column_marginal(j, context[rows]) for j in range(outputs)]
                pieces.append(torch.stack([function(law, j, rows) for j, law in enumerate(laws)], dim=1))
            return torch.cat(pieces)

        return self._computed(every)

    def _shaped(self, values: Array) -> Array:
        """(rows, outputs, ...) without the axis of outputs where y had none."""
        return values if self.target_shape_ else values[:, 0]

    def _like_y(self, values: Array) -> Any:
        """Numbers (rows, outputs) as y had them."""
        table = self.target_schema_.decode(values)
        return table if self.target_shape_ or self.target_schema_.backend != "numpy" else table[:, 0]


class FlowRegressor(RegressorMixin, FlowConditional):
    """Numbers y given X, with the whole law of each: its mean, quantiles, intervals, density, samples.

    As `FlowConditional`, but y must be numbers, predictions are means, arrays of numbers, and `score` is R², as of
    scikit-learn's regressors.

    >>> import numpy as np
    >>> from pushforward.estimators import FlowRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 1))
    >>> y = X[:, 0] + 0.5 * rng.normal(size=400)
    >>> model = FlowRegressor(calibration=0.2, random_state=0).fit(X, y)
    >>> low, high = model.predict_interval([[1.0]], 0.9)[0]
    >>> bool(low < 1.0 < high)
    True
    """

    def _targets(self, y: Any) -> tuple[Any, list[str], tuple[int, ...]]:
        if backend_of(y) == "numpy" and not hasattr(y, "to_frame"):
            y = check_array(y, dtype="numeric", ensure_2d=False, ensure_all_finite=True, estimator=self, input_name="y")
        return super()._targets(y)

    def _check_kinds(self, schema: Schema) -> None:
        if strange := [field.name for field in schema.fields if not field.kind.ordered]:
            raise ValueError(
                f"FlowRegressor: y must be numbers, but column {strange[0]!r} holds categories. Use FlowConditional."
            )

    def predict(self, X: Any) -> Array:
        """The mean of each output given X, (rows,) or (rows, outputs)."""
        return self._shaped(self._of_each(self._numbers(X), lambda law, j, rows: law.mean()))
