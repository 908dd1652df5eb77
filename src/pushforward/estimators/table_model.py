"""What the estimators share: a table's schema, the model of its columns, and how that is trained."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from pushforward.data.frame import backend_of
from pushforward.data.schema import Schema
from pushforward.distributions import Column, Mixed
from pushforward.io import load, read_header
from pushforward.train import fit

__all__ = ["TableModel"]

SMALL = 5_000
"""Rows up to which weights are float64: there time does not count, and scores do not depend on how rows are grouped."""


class TableModel(BaseEstimator):
    """A model of the joint law of all columns of a table, and the parameters that say how it is trained.

    Parameters are those of `FlowDensity`.
    """

    schema_: Schema
    model_: Mixed
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        *,
        types: Mapping[str, Column | str] | None = None,
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
        self.types = types
        self.order = order
        self.hidden = hidden
        self.dropout = dropout
        self.steps = steps
        self.seconds = seconds
        self.batch_size = batch_size
        self.lr = lr
        self.validation = validation
        self.patience = patience
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    # --- tables

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """X as something with columns, after scikit-learn's own checks of names and counts."""
        if hasattr(X, "toarray"):
            raise TypeError(
                f"{type(self).__name__}: a sparse matrix was passed, but dense data is needed. Use toarray()."
            )
        if backend_of(X) == "numpy":
            X = check_array(X, dtype=None, ensure_all_finite=False, estimator=self, input_name="X")
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _numbers(self, X: Any) -> Tensor:
        """A table like the one seen in `fit` as numbers, (rows, columns)."""
        check_is_fitted(self)
        return torch.as_tensor(self.schema_.encode(self._checked(X, reset=False)))

    # --- files

    def as_saved(self) -> tuple[Mixed, dict[str, Any]]:
        """What ``pf.save(estimator, path)`` writes: the model, and what the columns are."""
        check_is_fitted(self)
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in ("types", "random_state")}
        own = {"name": type(self).__name__, "parameters": parameters, "schema": self.schema_.to_config()}
        return self.model_, {"estimator": own}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The estimator that ``pf.save(estimator, path)`` wrote. No code from the file is run.

        Raises:
            ValueError: the file is damaged, or holds no estimator of this class.
        """
        own = read_header(path).metadata.get("estimator", {})
        if own.get("name") != cls.__name__:
            raise ValueError(f"{os.fspath(path)}: this file holds no {cls.__name__}. Read it with pushforward.load.")
        parameters: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in own["parameters"].items()}
        found = cls(**parameters)
        found.schema_ = Schema.from_config(own["schema"])
        found.model_ = load(path, device=found.device)
        found.n_features_in_ = len(found.schema_.fields)
        if found.schema_.backend != "numpy":
            found.feature_names_in_ = np.array(found.schema_.names, dtype=object)
        return found

    # --- training

    def _train(self, X: Any, sample_weight: Any, *, again: bool, steps: int | None) -> None:
        """Fit the model to the rows of X; ``again`` goes on from what is there."""
        X = self._checked(X, reset=not again)
        if not again:
            self.schema_ = Schema.infer(X, self.types)
        x = torch.as_tensor(self.schema_.encode(X))
        weights = None
        if sample_weight is not None:
            weights = torch.as_tensor(_check_sample_weight(sample_weight, x.numpy(), ensure_non_negative=True))
            keep = weights > 0  # a row without weight is as one that is not there
            x, weights = x[keep], weights[keep]
        if len(x) < 2:
            raise ValueError(
                f"{type(self).__name__}: Found array with n_samples={len(x)}; a density needs at least 2 rows."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if not again:
                self.model_ = Mixed(
                    [field.kind for field in self.schema_.fields],
                    order=self.order,
                    hidden=self.hidden or default_hidden(len(x)),
                    dropout=self.dropout,
                )
                self.model_.to(torch.float64 if len(x) <= SMALL else torch.float32)
            self.model_.to(self.device)
            self.model_.initialize(x.to(self.device))
            if not any(p.numel() for p in self.model_.starts):
                warnings.warn(
                    f"{type(self).__name__}: all columns are constant; there is nothing to learn.", stacklevel=3
                )
                return
            held = self.validation if self.validation and len(x) * self.validation >= 5 else None
            self.history_ = fit(
                self.model_,
                x,
                weights=weights,
                validation=held,
                steps=steps if steps is not None else self.steps or (None if self.seconds else default_steps(len(x))),
                seconds=self.seconds,
                batch_size=self.batch_size or default_batch(len(x)),
                lr=self.lr,
                patience=self.patience,
                seed=seed,
                progress=self.verbose,
            )
        self.model_.eval()


def default_hidden(rows: int) -> tuple[int, ...]:
    """Width and depth of the network for so many rows."""
    return (48, 48) if rows < 500 else (128, 128, 128)


def default_batch(rows: int) -> int:
    """Rows of a step."""
    return int(min(512, max(32, 2 ** round(np.log2(max(1, rows / 8))))))


def default_steps(rows: int) -> int:
    """Steps of a fit; early stopping ends many before."""
    return int(np.clip(2 * rows, 300, min(25_000, 3_000 + 4 * max(0, rows - 1_500) ** 0.8)))
