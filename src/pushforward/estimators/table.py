"""The base class of the estimators: the schema of a table, the model of its columns, and its training."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from pushforward.core.random_state import seeded
from pushforward.data.frame import backend_of
from pushforward.data.schema import Schema
from pushforward.distributions import ColumnType, MixedTypeModel
from pushforward.estimators.parameters import check_training, seed_of
from pushforward.estimators.table_conditional import to_numpy
from pushforward.io import load, read_header
from pushforward.train import fit

__all__ = ["TableEstimator"]

FEWEST_HELD = 5
"""Validation rows that early stopping needs at least."""
HIDDEN = 0.4
"""Share of the training rows of which random features are hidden, so that rows with gaps can be answered."""
SMALL = 5_000
"""Training rows up to which a fitted model computes in float64, so that scores do not depend on the batch."""


@dataclass(kw_only=True, eq=False, repr=False)
class TableEstimator(BaseEstimator):
    """A mixed-type model of the columns of a table, and the parameters of its training.

    The parameters are those of `FlowDensity`. They are fields of a dataclass, so that subclasses inherit them and
    scikit-learn finds all of them in the signature of ``__init__``.
    """

    types: Mapping[str, ColumnType | str] | None = None
    hidden: tuple[int, ...] | None = None
    dropout: float = 0.0
    steps: int | None = None
    seconds: float | None = None
    batch_size: int | None = None
    lr: float = 3e-3
    validation: float | None = 0.1
    patience: int | None = 12
    warm_start: bool = False
    random_state: Any = None
    device: str | None = None
    n_jobs: int | None = None
    verbose: bool = False

    calibrates_temperature: ClassVar[bool] = True
    """Whether the temperature of each column is calibrated on the validation rows."""
    SAVED: ClassVar[tuple[str, ...]] = ("schema_",)
    """Names of the learned attributes in a saved file, besides the model: schemas, arrays and JSON-able values."""

    @property
    def _column_order(self) -> str:
        """The ``order`` of the `MixedTypeModel`."""
        return "any"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    # --- tables

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """X as a data frame or array, after scikit-learn's checks of the names and the number of columns."""
        if hasattr(X, "toarray"):
            raise TypeError(
                f"{type(self).__name__}: a sparse matrix was passed, but dense data is needed. Use toarray()."
            )
        if backend_of(X) == "numpy":
            X = check_array(X, dtype=None, ensure_all_finite=False, estimator=self, input_name="X")
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _numbers(self, X: Any) -> Tensor:
        """A table with the columns of `fit` as numbers, (rows, columns)."""
        check_is_fitted(self)
        x = self.schema_.encode(self._checked(X, reset=False))
        for field, column in zip(self.schema_.fields, x.T, strict=True):
            if field.labels is None:  # of categories `encode` has warned
                field.warn_outside(column)
        return torch.as_tensor(x).to(self.device)

    # --- files

    def as_saved(self) -> tuple[MixedTypeModel, dict[str, Any]]:
        """The model, and the metadata of the file that ``pf.save(estimator, path)`` writes."""
        check_is_fitted(self)
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in ("types", "random_state")}
        description = {"name": type(self).__name__, "parameters": parameters}
        return self.model_, {"estimator": description | {name: _to_json(getattr(self, name)) for name in self.SAVED}}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The estimator that ``pf.save(estimator, path)`` wrote. No code from the file is run.

        Raises:
            ValueError: the file is damaged, or holds no estimator of this class.
        """
        description = read_header(path).metadata.get("estimator", {})
        if description.get("name") != cls.__name__:
            raise ValueError(f"{os.fspath(path)}: this file holds no {cls.__name__}. Read it with pushforward.load.")
        stored: dict[str, Any] = description["parameters"]
        parameters: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        estimator = cls(**parameters)
        for name in cls.SAVED:
            setattr(estimator, name, _from_json(description[name]))
        estimator.model_ = load(path, device=estimator.device)
        estimator.n_features_in_ = len(estimator.schema_.fields)
        if estimator.schema_.backend != "numpy":
            estimator.feature_names_in_ = np.array(estimator.schema_.names, dtype=object)
        return estimator

    # --- training

    def _learned_from(
        self, X: Any, sample_weight: Any, *, again: bool, types: Mapping[str, ColumnType | str] | None
    ) -> tuple[Tensor, Tensor | None]:
        """X as numbers (rows, columns) and its weights (rows,). Without ``again`` the schema is inferred from X."""
        check_training(type(self).__name__, self.get_params(deep=False))
        X = self._checked(X, reset=not again)
        if not again:
            self.schema_ = Schema.infer(X, types)
        x = torch.as_tensor(self.schema_.encode(X))
        weights = None
        if sample_weight is not None:
            weights = torch.as_tensor(_check_sample_weight(sample_weight, x.numpy(), ensure_non_negative=True))
        return x, weights

    def _train(
        self,
        x: Tensor,
        weights: Tensor | None,
        column_types: Sequence[ColumnType],
        *,
        context: Tensor | None = None,
        context_types: Sequence[ColumnType] = (),
        passes: Callable[[int], Tensor] | None = None,
        rows: int | None = None,
        again: bool,
        steps: int | None = None,
    ) -> None:
        """Fit the model to the rows of x (rows, columns); ``again`` continues from the weights of the last fit.

        For a table of ``rows`` rows that is larger than memory, ``passes`` gives the training rows of each epoch, and x
        is the validation set.
        """
        if weights is not None:
            keep = weights > 0  # a row of weight zero counts as absent
            x, weights = x[keep], weights[keep]
            context = None if context is None else context[keep]
        if len(x) < 2:
            raise ValueError(
                f"{type(self).__name__}: Found array with n_samples={len(x)}; a density needs at least 2 rows."
            )
        seed = seed_of(self.random_state)
        with seeded(seed):
            if not again:
                self.model_ = MixedTypeModel(
                    column_types,
                    context=context_types,
                    order=self._column_order,
                    hidden=self.hidden or self._default_hidden(rows or len(x)),
                    dropout=self.dropout,
                    hide_context=HIDDEN if context_types else 0.0,
                )
            self.model_.to(device=self.device, dtype=torch.float32)
            self.model_.initialize(x.to(self.device), None if context is None else context.to(self.device))
            order = torch.randperm(len(x))
        if self.model_.is_constant:
            warnings.warn(f"{type(self).__name__}: all columns are constant; there is nothing to learn.", stacklevel=3)
            return
        held = round((self.validation or 0.0) * len(x))
        learned, held_out = (order[held:], order[:held]) if held >= FEWEST_HELD else (order, order[:0])

        def part(index: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
            return (
                x[index],
                None if context is None else context[index],
                None if weights is None else weights[index],
            )

        train, others = part(learned), part(held_out)
        if passes is not None:
            held_out, others = order, (x, None, None)
        self.history_ = fit(
            self.model_,
            train[0] if passes is None else passes,
            context=train[1],
            weights=train[2],
            validation=others if len(held_out) else None,
            steps=steps
            if steps is not None
            else self.steps or (None if self.seconds else self._default_steps(rows or len(x))),
            seconds=self.seconds,
            batch_size=self.batch_size or self._default_batch(rows or len(x), x.shape[1]),
            lr=self.lr,
            patience=self.patience,
            seed=seed,
            progress=self.verbose,
        )
        self.model_.eval()
        if len(held_out) and self.calibrates_temperature:
            targets, inputs, row_weights = others
            inputs, row_weights = (None if t is None else t.to(self.device) for t in (inputs, row_weights))
            self.model_.calibrate_temperature(targets.to(self.device), inputs, row_weights)
        self.model_.to(torch.float64 if (rows or len(x)) <= SMALL else torch.float32).eval()

    def _default_hidden(self, rows: int) -> tuple[int, ...]:
        """Widths of the network for this number of rows."""
        return (48, 48) if rows < 500 else (128, 128, 128)

    def _default_batch(self, rows: int, columns: int) -> int:
        """Rows per step."""
        return int(min(512, max(32, 2 ** round(np.log2(max(1, rows / 8))))))

    def _default_steps(self, rows: int) -> int:
        """Largest number of steps of a fit; early stopping ends most runs before."""
        return int(np.clip(2 * rows, 300, min(25_000, 3_000 + 4 * max(0, rows - 1_500) ** 0.8)))

    def _partial_steps(self, X: Any) -> int:
        """Steps of one call of ``partial_fit``."""
        return max(20, min(self.steps or 500, len(X)))

    # --- answers

    def _computed(self, function: Callable[[], Tensor]) -> NDArray[np.float64]:
        """The result of a function of the model, computed without gradients by ``n_jobs`` threads."""
        threads = torch.get_num_threads()
        try:
            if self.n_jobs is not None and self.n_jobs > 0:
                torch.set_num_threads(self.n_jobs)
            with torch.no_grad():
                return to_numpy(function())
        finally:
            torch.set_num_threads(threads)

    def _mean_score(self, scores: NDArray[np.float64], sample_weight: Any) -> float:
        """The weighted mean of scores (rows,). A row of weight zero counts as absent, even if its score is infinite."""
        if not len(scores):
            raise ValueError(f"{type(self).__name__}: X has no row, so there is no mean score.")
        weights = _check_sample_weight(sample_weight, scores, ensure_non_negative=True)
        return float(np.average(scores[weights > 0], weights=weights[weights > 0]))

    def _generator(self, random_state: Any, *, device: str | None = None) -> torch.Generator:
        source = self.random_state if random_state is None else random_state
        return torch.Generator(device=device or self.device or "cpu").manual_seed(seed_of(source))


def _to_json(value: Any) -> Any:
    if isinstance(value, Schema):
        return {"schema": value.to_config()}
    return {"array": value.tolist(), "shape": value.shape} if isinstance(value, np.ndarray) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and "schema" in value:
        return Schema.from_config(value["schema"])
    if isinstance(value, dict) and "array" in value:
        return np.array(value["array"], dtype=np.float64).reshape(value["shape"])
    return tuple(value) if isinstance(value, list) else value
