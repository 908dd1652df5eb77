"""The answers about a table that need a model which conditions on any columns, and the latent space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.core.entries import holds_each
from pushforward.data.restore import restored_frame
from pushforward.data.schema import Field
from pushforward.distributions import Continuous, Flow, MixedFlow, MixedTypeModel
from pushforward.estimators.layout import ColumnLayout, TableRows, to_numpy
from pushforward.estimators.learners import check_complete
from pushforward.estimators.parameters import seed_of
from pushforward.estimators.table import TableEstimator

__all__ = ["TableAnswers"]

BATCH_SIZE = 4_000
"""Rows whose conditional distributions are in memory at once."""


@dataclass(kw_only=True, eq=False, repr=False)
class TableAnswers(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TableEstimator):
    """A model of the columns of a table, perhaps given some of them; the parameters are those of `FlowDensity`."""

    context: Sequence[str] = ()

    @property
    def layout_(self) -> ColumnLayout:
        """Which columns the model is of, and which it is conditioned on."""
        return ColumnLayout.of(self.schema_, self.context)

    @property
    def _features(self) -> list[str]:
        return [self.schema_.names[j] for j in self.layout_.context]

    def encode(self, X: Any) -> TableRows:
        """A table as rows of the model, refused where it cannot judge them."""
        return self.rows_of(self._numbers(X))

    def rows_of(self, x: Tensor) -> TableRows:
        """Encoded rows (rows, columns of the table) as rows of the model, refused where it cannot judge them."""
        if not self.model_.learns_from_missing:
            check_complete(self.model_name_, self.schema_.fields, x)
        rows, fields = self.layout_.batch(x), self.layout_.fields[0]
        if isinstance(self.model_, MixedFlow):
            rest = self.model_.rest
            check_complete(self.model_name_, [fields[j] for j in rest], rows.x[:, rest])
        return rows

    def _any_subset(self, question: str) -> MixedTypeModel:
        """The model, if it can condition on any columns.

        Raises:
            ValueError: it cannot.
        """
        check_is_fitted(self)
        if not isinstance(self.model_, MixedTypeModel):
            raise ValueError(
                f"{question}: {self.model_name_} cannot condition on any columns; a mixed-type model can. Fit one with "
                "the model 'mixed'."
            )
        return self.model_

    @property
    def conditions_on_any(self) -> bool:
        """Whether the model can condition on any columns."""
        return isinstance(self.model_, MixedTypeModel)

    def check_any_subset(self, question: str) -> None:
        """Raise a ValueError if the model cannot answer questions that need conditionals given any columns."""
        self._any_subset(question)

    def log_conditional(self, X: Any, column: Any) -> NDArray[np.float64]:
        """Log-density (of discrete columns log-probability) of the entry of one column in each row given the other
        observed entries, in nats, (rows,); NaN where it is missing."""
        model, rows, k = self._any_subset("log_conditional"), self.encode(X), self.layout_.place(column)

        def of_piece(x: Tensor, context: Tensor | None) -> Tensor:
            inside = holds_each(model.support, x)
            safe = torch.where(inside, x, model.support.anchor(x))[..., k]
            log_prob = torch.where(inside[..., k], model.full_conditional(x, k, context).log_prob(safe), -torch.inf)
            return torch.where(x[..., k].isnan(), torch.nan, log_prob)

        def compute() -> Tensor:
            pieces = rows.pieces(BATCH_SIZE)
            return torch.cat([of_piece(piece.x, piece.context) for piece in pieces])

        return self._computed(compute)

    def contributions(self, X: Any) -> NDArray[np.float64]:
        """log q(x_j | x_<j) of each entry, (rows, modelled columns), whose sum over columns is `score_samples`."""
        model, rows = self._any_subset("contributions"), self.encode(X)
        return self._computed(lambda: model.contributions(rows.x, context=rows.context))

    def order_spread(self, X: Any, orders: int = 8, random_state: Any = 0) -> NDArray[np.float64]:
        """Standard deviation of the log-density of each row between random column orders in nats, (rows,): how much the
        conditionals of a mixed-type model with ``order="any"`` disagree."""
        at_least("FlowDensity", "orders", orders, 2)
        model, rows = self._any_subset("order_spread"), self.encode(X)
        random = np.random.RandomState(seed_of(random_state))
        permutations = [random.permutation(*model.event_shape).tolist() for _ in range(orders)]
        return self._computed(lambda: model.order_spread(rows.x, permutations, rows.context))

    def intervals(self, X: Any, column: Any, probability: float = 0.9) -> Any:
        """Predict one column of each row from the other observed entries of the row.

        Args:
            X: the table; its values in the predicted column are ignored.
            column: name of the predicted column.
            probability: of the central interval.

        Returns:
            A table with the columns low, median and high, with the decimals of the column, the ends rounded outwards;
            for unordered categories likeliest and probability. Of a `Circular` column the shortest arc from low to
            high, where high is smaller than low if it passes the cut, and the circular median.
        """
        model, rows, k = self._any_subset("intervals"), self.encode(X), self.layout_.place(column)
        field = self.schema_.fields[self.schema_.place(column)]
        parts: list[NDArray[np.float64]] = []
        with torch.no_grad():
            for piece in rows.pieces(BATCH_SIZE):
                distribution = model.full_conditional(piece.x, k, piece.context)
                if distribution.column_type.ordered:
                    low, high = distribution.interval(probability).unbind(dim=-1)
                    parts.append(to_numpy(torch.stack([low, distribution.median(), high])))
                else:
                    largest = distribution.probabilities().max(dim=-1)
                    parts.append(to_numpy(torch.stack([largest.indices.double(), largest.values.double()])))
        results = np.concatenate(parts, axis=1)  # (2 or 3, rows)
        if len(results) == 3:
            low, median, high = results
            results[0], results[2] = field.rounded_outwards(low, high)
            results[1] = field.rounded(median)
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
        model, rows, layout = self._any_subset("impute"), self.encode(X), self.layout_
        with torch.no_grad():
            if n is None:
                return layout.filled(model.expected(rows.x, rows.context), rows.context, X)
            generator = self._generator(random_state)
            drawn = (model.impute(rows.x, generator, rows.context) for _ in range(n))
            return [layout.filled(x, rows.context, X) for x in drawn]

    def cdf(self, X: Any) -> NDArray[np.float64]:
        """F(x_j | x_<j) of each entry, (rows, modelled columns), for discrete columns the mid-distribution function:
        the probability integral transform, uniform on (0, 1) under the model."""
        model, rows = self._any_subset("cdf"), self.encode(X)
        return self._computed(lambda: model.mid_cdf(rows.x, rows.context))

    def transform(self, X: Any) -> NDArray[np.float64]:
        """X in the latent space, (rows, modelled columns): of a mixed-type model standard normal quantiles of `cdf`, of
        a flow its latent points."""
        rows = self.encode(X)
        if isinstance(self.model_, Flow):
            flow = self.model_
            return self._computed(lambda: flow.to_latent(rows.x, rows.context))
        u = torch.as_tensor(self.cdf(X))
        return torch.special.ndtri(u.clamp(1e-15, 1 - 1e-15)).numpy()

    def inverse_transform(self, X: Any) -> Any:
        """The inverse of `transform`: latent points (rows, columns) as a table like the one of `fit`."""
        check_is_fitted(self)
        z = torch.as_tensor(np.asarray(X, dtype=np.float64)).to(self.device)
        if self.context:
            raise ValueError("FlowDensity: latent points of a conditional model are no rows. Use given({...}).sample.")
        if z.ndim != 2 or z.shape[1] != self.n_features_in_:
            raise ValueError(
                f"FlowDensity: latent points must have shape (rows, {self.n_features_in_}); got {tuple(z.shape)}."
            )
        with torch.no_grad():
            if isinstance(self.model_, Flow):
                weights = next(self.model_.parameters())
                return self.schema_.decode(to_numpy(self.model_.to_data(z.to(weights.dtype))))
            return self.schema_.decode(to_numpy(self._any_subset("transform").from_mid_cdf(torch.special.ndtr(z))))

    @property
    def _n_features_out(self) -> int:
        return len(self.layout_.modelled)
