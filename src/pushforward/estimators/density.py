"""`FlowDensity`: the joint density of the columns of a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.core.domain import Product
from pushforward.core.entries import holds_each
from pushforward.core.files import check_writable
from pushforward.data.formats import TableError
from pushforward.data.parquet import ParquetRows, of_length
from pushforward.data.restore import restored_frame
from pushforward.data.schema import Field, Schema
from pushforward.distributions import Continuous
from pushforward.estimators.parameters import check_training, seed_of
from pushforward.estimators.table import TableEstimator
from pushforward.estimators.table_conditional import TableConditional, to_numpy

__all__ = ["FlowDensity"]

BATCH_SIZE = 4_000
"""Rows whose conditional distributions are in memory at once."""
PASS, HELD = 2**18, 20_000
"""Rows of a file in memory at once, and largest number of its validation rows."""


@dataclass(kw_only=True, eq=False, repr=False)
class FlowDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, TableEstimator):
    r"""The joint density of the columns of a table, numbers and categories, complete or with missing entries.

    One exact autoregressive model (`distributions.MixedTypeModel`) learns the distribution of each column given any
    subset of the others. Densities, samples, conditional distributions (`given`) and imputations come from one fit.

    A continuous column contributes a density in its own units, a discrete one a probability; `score_samples` is the
    logarithm of their product, in nats. The density of a row with missing entries (NaN, None) is that of the others.

    Args:
        types: column types by name, which override those that `data.schema.Schema` infers: ``{"hour": Circular(24),
            "class": "categorical"}``. The columns of an array are called x0, x1, ... .
        order: ``"any"`` to condition on any columns; ``"fixed"`` for the order of the table alone, where a density
            takes one pass of the network instead of one per column.
        hidden: widths of the network; by default chosen by the number of rows.
        dropout: probability of dropping a hidden unit in training.
        steps: largest number of optimiser steps; by default chosen by the number of rows.
        seconds: time limit of the training in seconds.
        batch_size: rows per step; by default chosen by the number of rows.
        lr: peak learning rate.
        validation: share of the rows held out for early stopping; None for no early stopping.
        patience: validations without improvement after which training stops.
        warm_start: whether `fit` continues from the last fit.
        random_state: seed or generator of numpy; equal seeds give equal fits.
        device: of torch, such as ``"cuda"``.
        n_jobs: threads of torch while scoring; None keeps the current number.
        verbose: whether to show a progress bar.

    Attributes:
        schema_: the type of each column and the rule that decided it; ``print(model.schema_.describe())``.
        model_: the `distributions.MixedTypeModel`.
        history_: of the training.
        n_features_in_: number of columns.

    References:
        | A Deep and Tractable Density Estimator (Uria, Murray, Larochelle, 2014), arXiv:1310.1757

    >>> import numpy as np
    >>> from pushforward.estimators import FlowDensity
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=300)
    >>> X = np.stack([a, a + 0.5 * rng.normal(size=300)], axis=1)
    >>> model = FlowDensity(random_state=0).fit(X)
    >>> bool(model.score([[1.0, 1.0]]) > model.score([[1.0, -1.0]]))
    True
    """

    order: str = "any"

    @property
    def _column_order(self) -> str:
        return self.order

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FlowDensity:
        """Fit the model to the rows of a table.

        Args:
            X: (rows, columns): a data frame of pandas, polars or pyarrow, or an array. Or the path of a Parquet file or
                of a folder of them, of any size: row groups are read in random order, every tenth row is held out for
                validation, and column types are inferred from a quarter of a million rows (categories from all).
            y: ignored.
            sample_weight: weight of each row in the training loss, (rows,).
        """
        again = self.warm_start and hasattr(self, "model_")
        if isinstance(X, str | os.PathLike | ParquetRows):
            if sample_weight is not None:
                raise ValueError("FlowDensity: the rows of a file have no sample_weight. Leave it out.")
            return self._learn_file(X if isinstance(X, ParquetRows) else ParquetRows(X), again=again)
        return self._learn(X, sample_weight, again=again)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FlowDensity:
        """Continue training with more rows of a stream. The first call decides the column types."""
        return self._learn(X, sample_weight, again=hasattr(self, "model_"), steps=self._partial_steps(X))

    def _learn(self, X: Any, sample_weight: Any, *, again: bool, steps: int | None = None) -> FlowDensity:
        x, weights = self._learned_from(X, sample_weight, again=again, types=self.types)
        self._train(x, weights, [field.column_type for field in self.schema_.fields], again=again, steps=steps)
        return self

    def _learn_file(self, source: ParquetRows, *, again: bool) -> FlowDensity:
        check_training("FlowDensity", self.get_params(deep=False))
        seed = seed_of(self.random_state)
        first = self._checked(source.draw(PASS, seed, held=False), reset=not again)
        if not again:
            schema = Schema.infer(first, self.types)
            self.schema_ = schema.with_labels(source.labels(schema.texts))
        rows = min(PASS, first.num_rows)
        support = Product(tuple(field.column_type.domain for field in self.schema_.fields))

        def numbers(table: Any) -> NDArray[np.float64]:
            """The rows in the support of the columns, whose types were inferred from other rows."""
            x = self.schema_.encode(table)
            inside = (holds_each(support, torch.as_tensor(x)).numpy() | np.isnan(x)).all(axis=1)
            if not inside.any():
                raise TableError(f"{source.path}: too few rows to hold some out. Read the table and fit it whole.")
            return x[inside]

        def passes(number: int) -> Tensor:
            x = numbers(source.draw(PASS, seed + number, held=False))
            return torch.as_tensor(of_length(x, rows, seed + number))

        held = torch.as_tensor(numbers(source.draw(HELD, seed, held=True)))
        types = [field.column_type for field in self.schema_.fields]
        self._train(held, None, types, passes=passes, rows=source.rows, again=again)
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Log-density of the observed entries of each row in nats, (rows,)."""
        x = self._numbers(X)
        return self._computed(lambda: self.model_.log_marginal(x))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The *mean* of `score_samples`, as in ``GaussianMixture``, weighted by ``sample_weight`` (rows,)."""
        return self._mean_score(self.score_samples(X), sample_weight)

    def contributions(self, X: Any) -> NDArray[np.float64]:
        """log q(x_j | x_<j) of each entry, (rows, columns), whose sum over columns is `score_samples`."""
        x = self._numbers(X)
        return self._computed(lambda: self.model_.contributions(x))

    def order_spread(self, X: Any, orders: int = 8, random_state: Any = 0) -> NDArray[np.float64]:
        """Standard deviation of the log-density of each row between random column orders in nats, (rows,): how much the
        conditionals of a model with ``order="any"`` disagree."""
        at_least("FlowDensity", "orders", orders, 2)
        x = self._numbers(X)
        random = np.random.RandomState(seed_of(random_state))
        permutations = [random.permutation(x.shape[1]).tolist() for _ in range(orders)]
        return self._computed(lambda: self.model_.order_spread(x, permutations))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Samples of the model, as a table like the one it was fitted to."""
        check_is_fitted(self)
        at_least("FlowDensity", "n_samples", n_samples, 1)
        samples = self.model_.sample((int(n_samples),), generator=self._generator(random_state))
        return self.schema_.decode(to_numpy(samples))

    def given(self, observed: Mapping[Any, Any]) -> TableConditional:
        """The distribution of the other columns given the values of some, by name.

        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 2)).cumsum(axis=1)
        >>> model = FlowDensity(random_state=0).fit(X)
        >>> low, high = model.given({"x0": 1.0}).marginal("x1").interval(0.9)
        >>> bool(low < 1.0 < high)
        True
        """
        check_is_fitted(self)
        places = {self.schema_.place(name): value for name, value in observed.items()}
        numbers = {j: self.schema_.fields[j].value(value) for j, value in places.items()}
        return TableConditional(self.schema_, self.model_.given(numbers), self._generator)

    def intervals(self, X: Any, column: Any, probability: float = 0.9) -> Any:
        """Predict one column of each row from the other observed entries of the row.

        Args:
            X: the table; its values in the predicted column are ignored.
            column: name of the predicted column.
            probability: of the central interval.

        Returns:
            A table with the columns low, median and high; for unordered categories likeliest and probability.
        """
        x, j = self._numbers(X), self.schema_.place(column)
        field = self.schema_.fields[j]
        batches: list[NDArray[np.float64]] = []
        with torch.no_grad():
            for rows in x.split(BATCH_SIZE):
                distribution = self.model_.full_conditional(rows, j)
                if distribution.column_type.ordered:
                    low, high = distribution.interval(probability).unbind(dim=-1)
                    batches.append(to_numpy(torch.stack([low, distribution.median(), high])))
                else:
                    largest = distribution.probabilities().max(dim=-1)
                    batches.append(to_numpy(torch.stack([largest.indices.double(), largest.values.double()])))
        results = np.concatenate(batches, axis=1)  # (2 or 3, rows)
        names = ("likeliest",) if len(results) == 2 else ("low", "median", "high")
        fields = [replace(field, name=name, label=None) for name in names]
        columns = [field.decode(row) for row in results[: len(names)]]
        if len(results) == 2:
            fields.append(Field("probability", Continuous(), "", "float64"))
            columns.append(results[1])
        return restored_frame(fields, columns, self.schema_.backend, X)

    def impute(self, X: Any, n: int | None = None, random_state: Any = None) -> Any:
        """X with its missing entries filled in.

        Args:
            X: the table.
            n: number of random imputations given the observed entries, returned as a list of n tables. None for one
                table with the conditional mean of each missing entry, or for discrete columns the median (ordered) or
                the most probable category.
            random_state: seed of the random imputations.
        """
        if n is not None:
            at_least("FlowDensity", "n", n, 1)
        x = self._numbers(X)
        with torch.no_grad():
            if n is None:
                return self.schema_.decode(to_numpy(self.model_.expected(x)), like=X)
            generator = self._generator(random_state)
            return [self.schema_.decode(to_numpy(self.model_.impute(x, generator)), like=X) for _ in range(n)]

    def cdf(self, X: Any) -> NDArray[np.float64]:
        """F(x_j | x_<j) of each entry, (rows, columns), for discrete columns the mid-distribution function: the
        probability integral transform, uniform on (0, 1) under the model."""
        x = self._numbers(X)
        return self._computed(lambda: self.model_.mid_cdf(x))

    def report(
        self, X: Any, path: str | os.PathLike[str] = "report.html", *, train: Any = None, random_state: Any = None
    ) -> dict[str, Any]:
        """Write one HTML page about the model and held-out rows: likelihood, calibration of intervals, and fidelity of
        samples.

        Args:
            X: the held-out rows.
            path: of the page.
            train: the rows of `fit`, to test also whether samples memorize them and can replace them in training.
            random_state: seed of the samples.

        Returns:
            The main numbers of the page, such as log-likelihoods, coverage, distances of columns and the AUC of the
            two-sample test.
        """
        from pushforward.evaluate.mixed_report import write_mixed_report

        check_writable(path)
        x = self._numbers(X).cpu().numpy()
        if not len(x):
            raise ValueError("FlowDensity: X has no row to report on.")
        train_x = None if train is None else self._numbers(train).cpu().numpy()
        history = getattr(self, "history_", None)
        return write_mixed_report(
            path, "FlowDensity", self.model_, self.schema_, x, train=train_x, history=history,
            seed=self._generator(random_state).initial_seed(),
        )  # fmt: skip

    def transform(self, X: Any) -> NDArray[np.float64]:
        """X in the latent space, (rows, columns): standard normal quantiles of `cdf`."""
        u = torch.as_tensor(self.cdf(X))
        return torch.special.ndtri(u.clamp(1e-15, 1 - 1e-15)).numpy()

    def inverse_transform(self, X: Any) -> Any:
        """The inverse of `transform`: latent points (rows, columns) as a table like the one of `fit`."""
        check_is_fitted(self)
        z = torch.as_tensor(np.asarray(X, dtype=np.float64))
        if z.ndim != 2 or z.shape[1] != self.n_features_in_:
            raise ValueError(
                f"FlowDensity: latent points must have shape (rows, {self.n_features_in_}); got {tuple(z.shape)}."
            )
        with torch.no_grad():
            x = self.model_.from_mid_cdf(torch.special.ndtr(z).to(self.device))
        return self.schema_.decode(to_numpy(x))

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_
