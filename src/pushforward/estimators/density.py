"""`FlowDensity`: the joint density of the columns of a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.domain import Product, holds_each
from pushforward.core.files import check_writable
from pushforward.data.formats import TableError
from pushforward.data.frame import build_frame
from pushforward.data.parquet import ParquetRows, of_length
from pushforward.data.schema import Schema
from pushforward.distributions import ColumnType
from pushforward.estimators.given import GivenColumns, outward
from pushforward.estimators.table_model import TableModel

__all__ = ["FlowDensity"]

AT_ONCE = 4_000
"""Rows whose laws are held at once."""
PASS, HELD = 2**18, 20_000
"""Rows of a file in memory at a time, and at most held out."""


class FlowDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, TableModel):
    r"""The joint density of the columns of a table, of whatever kinds they are, with missing entries or without.

    One exact autoregressive model (`distributions.MixedTypeModel`) learns the distribution of each column given any
    set of others. So densities, samples, conditionals on any columns (`given`) and imputations come from one fit.

    A continuous column contributes a density in its own units, a discrete one a probability, and their product is what
    `score_samples` gives, as a logarithm in nats. A row with gaps gets the density of what is there. NaN and None are
    missing.

    Args:
        types: kinds of columns by name, instead of what `data.schema.Schema` infers: ``{"hour": Circular(24),
            "class": "categorical"}``. Columns of an array are called x0, x1, ... .
        order: ``"any"`` for conditionals on any columns, ``"fixed"`` for the order of the columns alone: one pass a
            density instead of one a column.
        hidden: width and depth of the network; by default from the number of rows.
        dropout: probability of dropping a hidden unit in training.
        steps: budget in optimiser steps; by default from the number of rows.
        seconds: budget in seconds.
        batch_size: rows of a step.
        lr: the highest learning rate.
        validation: part of the rows on which early stopping looks; None for none.
        patience: looks at validation without a new best before the run ends.
        warm_start: whether `fit` goes on from the last fit.
        random_state: seed or generator of numpy; the same one gives the same fit.
        device: of torch, such as ``"cuda"``.
        n_jobs: threads of torch while scoring; None leaves them as they are.
        verbose: whether to show a progress bar.

    Attributes:
        schema_: the kinds of the columns and why; ``print(model.schema_.describe())``.
        model_: the `distributions.MixedTypeModel`.
        history_: of the fit.
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

    def __init__(
        self,
        *,
        types: Mapping[str, ColumnType | str] | None = None,
        order: str = "any",
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
        self.order = order
        super().__init__(
            types=types, hidden=hidden, dropout=dropout, steps=steps, seconds=seconds, batch_size=batch_size, lr=lr,
            validation=validation, patience=patience, warm_start=warm_start, random_state=random_state, device=device,
            n_jobs=n_jobs, verbose=verbose,
        )  # fmt: skip

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FlowDensity:
        """Learn from the rows of X: a data frame of pandas, polars or pyarrow, or an array.

        Args:
            X: (rows, columns). Or the path of a Parquet file, or of a folder of them, of any size: row groups are read
                in random order, some at a time, every tenth row is held out, and what columns are is inferred from a
                quarter of a million rows (categories from all).
            y: ignored.
            sample_weight: how much each row counts, (rows,).
        """
        again = self.warm_start and hasattr(self, "model_")
        if isinstance(X, str | os.PathLike | ParquetRows):
            if sample_weight is not None:
                raise ValueError("FlowDensity: rows of a file have no sample_weight. Leave it out.")
            return self._learn_file(X if isinstance(X, ParquetRows) else ParquetRows(X), again=again)
        return self._learn(X, sample_weight, again=again)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FlowDensity:
        """Go on with more rows, of a stream. The first call decides what the columns are."""
        return self._learn(X, sample_weight, again=hasattr(self, "model_"), steps=self._partial_steps(X))

    def _learn(self, X: Any, sample_weight: Any, *, again: bool, steps: int | None = None) -> FlowDensity:
        x, weights = self._learned_from(X, sample_weight, again=again, types=self.types)
        self._train(x, weights, [field.kind for field in self.schema_.fields], again=again, steps=steps)
        return self

    def _learn_file(self, source: ParquetRows, *, again: bool) -> FlowDensity:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        first = self._checked(source.draw(PASS, seed, held=False), reset=not again)
        if not again:
            schema = Schema.infer(first, self.types)
            self.schema_ = schema.with_labels(source.labels(schema.texts))
        rows = min(PASS, first.num_rows)
        support = Product(tuple(field.kind.domain for field in self.schema_.fields))

        def numbers(table: Any) -> NDArray[np.float64]:
            """Those rows that the columns, inferred from other rows, can hold."""
            x = self.schema_.encode(table)
            fits = holds_each(support, torch.as_tensor(x)).numpy() | np.isnan(x)
            if not fits.all(axis=1).any():
                raise TableError(f"{source.path}: too few rows to hold some out. Read the table and fit it whole.")
            return x[fits.all(axis=1)]

        def passes(number: int) -> Tensor:
            x = numbers(source.draw(PASS, seed + number, held=False))
            return torch.as_tensor(of_length(x, rows, seed + number))

        held = torch.as_tensor(numbers(source.draw(HELD, seed, held=True)))
        kinds = [field.kind for field in self.schema_.fields]
        self._train(held, None, kinds, passes=passes, rows=source.rows, again=again)
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Log-density of each row in nats, (rows,), of the entries that are there."""
        x = self._numbers(X)
        return self._computed(lambda: self.model_.log_marginal(x))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The *mean* of `score_samples`, as of ``GaussianMixture``."""
        found = self.score_samples(X)
        return float(np.average(found, weights=sample_weight))

    def contributions(self, X: Any) -> NDArray[np.float64]:
        """log q of each entry given those before it, (rows, columns); they add up to `score_samples`."""
        x = self._numbers(X)
        return self._computed(lambda: self.model_.contributions(x))

    def order_spread(self, X: Any, orders: int = 8, random_state: Any = 0) -> NDArray[np.float64]:
        """How far the log-density of each row differs between random orders of the columns: the standard deviation,
        (rows,). A measure of what ``order="any"`` leaves undecided."""
        x = self._numbers(X)
        random = check_random_state(random_state)
        drawn = [random.permutation(x.shape[1]).tolist() for _ in range(orders)]
        return self._computed(lambda: self.model_.order_spread(x, drawn))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Rows drawn from the model, as a table like the one it was fitted on."""
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"FlowDensity: n_samples must be at least 1; got {n_samples}.")
        drawn = self.model_.sample((int(n_samples),), generator=self._generator(random_state))
        return self.schema_.decode(outward(drawn))

    def given(self, known: Mapping[str, Any]) -> GivenColumns:
        """The law of the other columns, given values of some by name: exact, whatever columns are known.

        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 2)).cumsum(axis=1)
        >>> model = FlowDensity(random_state=0).fit(X)
        >>> low, high = model.given({"x0": 1.0}).marginal("x1").interval(0.9)
        >>> bool(low < 1.0 < high)
        True
        """
        check_is_fitted(self)
        places = {self.schema_.place(name): value for name, value in known.items()}
        numbers = {j: self.schema_.fields[j].value(value) for j, value in places.items()}
        return GivenColumns(self.schema_, self.model_.given(numbers), self._generator)

    def intervals(self, X: Any, column: str, probability: float = 0.9) -> Any:
        """What one column should be in each row, given the row's other entries, whatever of them is there.

        Args:
            X: the table; what it holds in this column is not looked at.
            column: its name.
            probability: of the interval, of which as much lies below as above.

        Returns:
            A table of columns low, median and high; of a column of categories likeliest and probability.
        """
        x, j = self._numbers(X), self.schema_.place(column)
        field = self.schema_.fields[j]
        found: list[NDArray[np.float64]] = []
        with torch.no_grad():
            for rows in x.split(AT_ONCE):
                law = self.model_.full_conditional(rows, j)
                if law.kind.ordered:
                    low, high = law.interval(probability).unbind(dim=-1)
                    found.append(outward(torch.stack([low, law.median(), high])))
                else:
                    share = law.probabilities().max(dim=-1)
                    found.append(outward(torch.stack([share.indices.double(), share.values.double()])))
        values = np.concatenate(found, axis=1)
        if len(values) == 2:
            parts = {"likeliest": field.decode(values[0]), "probability": values[1]}
        else:
            parts = {name: field.decode(own) for name, own in zip(("low", "median", "high"), values, strict=True)}
        return build_frame(parts, self.schema_.backend)

    def impute(self, X: Any, n: int | None = None, random_state: Any = None) -> Any:
        """X with its missing entries filled in.

        Args:
            X: the table.
            n: how many times each is drawn given what is there, one column after the other; a list of n tables comes
                back. None: one table, with the mean of each missing entry given what is there, or its likeliest value
                where there is no mean or the column is discrete.
            random_state: seed of the draws.
        """
        x = self._numbers(X)
        with torch.no_grad():
            if n is None:
                return self.schema_.decode(outward(self.model_.expected(x)))
            generator = self._generator(random_state)
            return [self.schema_.decode(outward(self.model_.impute(x, generator))) for _ in range(n)]

    def cdf(self, X: Any) -> NDArray[np.float64]:
        """F(x_j | x_<j) of each entry, (rows, columns): uniform on (0, 1) where the model is right (the probability
        integral transform). Of a discrete column the middle of its step."""
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
        train_x = None if train is None else self._numbers(train).cpu().numpy()
        history = getattr(self, "history_", None)
        return write_mixed_report(
            path, "FlowDensity", self.model_, self.schema_, x, train=train_x, history=history,
            seed=self._generator(random_state).initial_seed(),
        )  # fmt: skip

    def transform(self, X: Any) -> NDArray[np.float64]:
        """X in the latent space: `cdf` as standard normal numbers, (rows, columns)."""
        u = torch.as_tensor(self.cdf(X))
        return torch.special.ndtri(u.clamp(1e-15, 1 - 1e-15)).numpy()

    def inverse_transform(self, X: Any) -> Any:
        """The rows that `transform` takes to these numbers, as a table like the one that was fitted."""
        check_is_fitted(self)
        z = torch.as_tensor(np.asarray(X, dtype=np.float64))
        with torch.no_grad():
            x = self.model_.from_middle_cdf(torch.special.ndtr(z).to(self.device))
        return self.schema_.decode(outward(x))

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_
