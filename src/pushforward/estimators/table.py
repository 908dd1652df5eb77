"""The base class of the estimators: the schema of a table, the model of its columns, and its training."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.random_state import seeded
from pushforward.data.frame import backend_of
from pushforward.data.orders import TypeSpec
from pushforward.data.schema import Field, Schema
from pushforward.estimators.layout import TableRows, to_numpy
from pushforward.estimators.learners import Learner, MixedLearner
from pushforward.estimators.parameters import TrainedEstimator, check_training, from_json, seed_of, to_json
from pushforward.estimators.support import refuse_outside, warn_identifiers
from pushforward.io import load, read_header, save
from pushforward.train import History, Started

__all__ = ["Prepared", "TableEstimator"]

FEWEST_HELD, ENOUGH_TO_HOLD = 5, 20
"""Validation rows that early stopping needs at least."""
FEW = 200
"""With fewer rows each step takes all of them: one with a part takes as long, since its operations are small. A third
of the steps at a higher rate then learns as much."""


class Prepared(NamedTuple):
    """A table as it is about to be learned from, for a function that is called then.

    Attributes:
        schema: the type of each column.
        model: the kind of model.
        why: the reason for this kind, as the beginning of a sentence; empty where the user asked for it.
        train: the training rows as numbers; of a table larger than memory a part of them.
        validation: the rows that are held out, or None.
        rows: how many training rows there are.
    """

    schema: Schema
    model: str
    why: str
    train: TableRows
    validation: TableRows | None
    rows: int


@dataclass(kw_only=True, eq=False, repr=False)
class TableEstimator(TrainedEstimator):
    """A model of the columns of a table, and the parameters of its training, those of `FlowDensity`."""

    types: Mapping[str, TypeSpec] | Schema | None = None
    hidden: tuple[int, ...] | None = None
    dropout: float = 0.0
    compile: bool = False
    shard: bool = False
    warm_start: bool = False
    n_jobs: int | None = None

    calibrates_temperature: ClassVar[bool] = True
    """Whether the temperature of each column is calibrated on the validation rows."""
    SAVED: ClassVar[tuple[str, ...]] = ("schema_",)
    """Names of the learned attributes in a saved file, besides the model: schemas, arrays and JSON-able values."""

    def _mixed(self) -> MixedLearner:
        """How a mixed-type model is built for these parameters and trained."""
        options: dict[str, Any] = {"dropout": self.dropout}
        options |= {"hidden": self.hidden} if self.hidden else {}
        return MixedLearner(
            options, self._default_hidden, self._default_batch, self._default_steps, self.calibrates_temperature,
            self._default_lr,
        )  # fmt: skip

    def _learner(self) -> Learner:
        """The kind of model that is fitted."""
        return self._mixed()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    # --- tables

    @property
    def _features(self) -> list[str]:
        """The names of the columns that are only conditioned on."""
        return []

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
        features = self._features if self.model_.learns_from_missing else []
        x = self.schema_.encode(self._checked(X, reset=False), features=features)
        for field, column in zip(self.schema_.fields, x.T, strict=True):
            if field.labels is None:  # of categories `encode` has warned
                field.warn_outside(column, feature=field.name in features)
        return torch.as_tensor(x).to(self.device)

    # --- files

    def as_saved(self) -> tuple[Distribution, dict[str, Any]]:
        """The model, and the metadata of the file that ``pf.save(estimator, path)`` writes."""
        check_is_fitted(self)
        left_out = ("types", "random_state", "checkpoint", "resume", "validation")
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in left_out}
        history = getattr(self, "history_", None)
        description = {"name": type(self).__name__, "parameters": parameters}
        return self.model_, {
            "estimator": description | {name: to_json(getattr(self, name)) for name in self.SAVED},
            **({} if history is None else {"history": history.to_dict()}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write model, column types and parameters to a safetensors file, without pickle, which `load` reads."""
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The estimator that `save` wrote. No code from the file is run.

        Raises:
            ValueError: the file is damaged, or holds no estimator of this class.
        """
        metadata = read_header(path).metadata
        description = metadata.get("estimator", {})
        if description.get("name") != cls.__name__:
            raise ValueError(f"{os.fspath(path)}: this file holds no {cls.__name__}. Read it with pushforward.load.")
        stored: dict[str, Any] = description["parameters"]
        parameters: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        estimator = cls(**parameters)
        if "history" in metadata:
            estimator.history_ = History.from_dict(metadata["history"])
        if missing := [name for name in cls.SAVED if name not in description]:
            raise ValueError(
                f"{os.fspath(path)}: this {cls.__name__} was saved by an earlier version, without {missing[0]!r}. Fit "
                "it again."
            )
        for name in cls.SAVED:
            setattr(estimator, name, from_json(description[name]))
        estimator.model_ = load(path, device=estimator.device)
        estimator.n_features_in_ = len(estimator.schema_.fields)
        if estimator.schema_.backend != "numpy":
            estimator.feature_names_in_ = np.array(estimator.schema_.names, dtype=object)
        return estimator

    # --- training

    def _learned_from(
        self,
        X: Any,
        sample_weight: Any,
        *,
        again: bool,
        types: Mapping[str, TypeSpec] | Schema | None,
        draws: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """X as numbers (rows, columns) and its weights (rows,). Without ``again`` the schema is inferred from X, with
        the limits and repeated numbers that ``draws`` of a model are to have."""
        check_training(type(self).__name__, self.get_params(deep=False))
        X = self._checked(X, reset=not again)
        if not again:
            self.schema_ = types if isinstance(types, Schema) else Schema.infer(X, types, draws=draws)
        x = torch.as_tensor(self.schema_.encode(X))
        if again:
            refuse_outside(self.schema_.fields, x)
        elif not isinstance(types, Schema):
            warn_identifiers(self.schema_, x.numpy())
        weights = None
        if sample_weight is not None:
            weights = torch.as_tensor(_check_sample_weight(sample_weight, x.numpy(), ensure_non_negative=True))
        return x, weights

    def _train(
        self,
        rows: TableRows,
        columns: Sequence[Field],
        context: Sequence[Field] = (),
        *,
        passes: Callable[[int], Any] | None = None,
        size: int | None = None,
        held_out: TableRows | None = None,
        again: bool,
        steps: int | None = None,
        why: str = "",
        prepared: Callable[[Prepared], None] | None = None,
    ) -> None:
        """Fit the model to rows; ``again`` continues from the weights of the last fit.

        Args:
            rows: the rows of the table, of which some are held out for validation.
            columns: the modelled columns, those of ``rows.x``.
            context: the columns that are conditioned on, those of ``rows.context``.
            passes: the training rows of each epoch, where ``rows`` are only a part of them.
            size: how many rows there are, by default those of ``rows``.
            held_out: the validation rows, where they are not to be drawn from ``rows``.
            again: whether to go on from the weights of the last fit.
            steps: largest number of steps of this call.
            why: the reason for this kind of model.
            prepared: called before the training.
        """
        if rows.weights is not None:
            rows = rows.take(rows.weights.nonzero()[:, 0])  # a row of weight zero counts as absent
        if len(rows) < 2:
            raise ValueError(
                f"{type(self).__name__}: Found array with n_samples={len(rows)}; a density needs at least 2 rows."
            )
        learner, seed, size = self._learner(), seed_of(self.random_state), size or len(rows)
        self.model_name_ = learner.name
        with seeded(seed):
            if not again:
                self.model_: Any = learner.build(columns, context, size)
            rows, held_out = rows.to(self.device), None if held_out is None else held_out.to(self.device)
            learner.initialize(self.model_.to(device=self.device), rows)
        # The same rows are held out whatever is learned, so that models can be compared.
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).to(rows.x.device)
        count = round((self.validation or 0.0) * len(rows)) if held_out is None and passes is None else 0
        if count and len(rows) >= ENOUGH_TO_HOLD:
            count = max(count, FEWEST_HELD)
        train = rows
        if count >= FEWEST_HELD:
            train, held_out = rows.take(order[count:]), rows.take(order[:count])
        learner.check_varies(columns, train.x, None if held_out is None else held_out.x)
        if prepared is not None:
            prepared(Prepared(self.schema_, learner.name, why, train, held_out, len(train) if passes is None else size))
        if getattr(self.model_, "is_constant", False):
            warnings.warn(f"{type(self).__name__}: all columns are constant; there is nothing to learn.", stacklevel=3)
            return
        limits = {"steps": self.steps if steps is None else steps, "epochs": self.epochs, "seconds": self.seconds}
        limited = any(limit is not None for limit in limits.values())
        chosen = {"batch_size": self.batch_size, "lr": self.lr, **limits}
        options = learner.schedule(self.model_, size, len(columns), limited=limited)
        options |= {name: value for name, value in chosen.items() if value is not None}
        options |= {} if self.patience == "auto" else {"patience": self.patience}
        runs: list[History] = []
        try:
            self.model_, self.history_ = learner.learn(
                self.model_,
                train.x if passes is None else passes,
                None if passes is not None else train.context,
                weights=None if passes is not None else train.weights,
                validation=None if held_out is None else (held_out.x, held_out.context, held_out.weights),
                seed=seed,
                progress=self.verbose,
                compile=self.compile,
                shard=self.shard,
                checkpoint=self.checkpoint,
                resume=self.resume,
                callbacks=lambda event: runs.append(event.history) if isinstance(event, Started) else None,
                **options,
            )
        except KeyboardInterrupt:  # the best weights so far are a model as well
            if runs:
                seconds = runs[0].records[-1].seconds if runs[0].records else 0.0
                self.history_ = replace(runs[0], seconds=seconds, stopped="interrupted")
                learner.finish(self.model_, train, held_out, size)
            raise
        learner.finish(self.model_, train, held_out, size)

    def _default_hidden(self, rows: int) -> tuple[int, ...]:
        """Widths of the network for this number of rows."""
        return (48, 48) if rows < 500 else (128, 128, 128)

    def _default_batch(self, rows: int, columns: int) -> int:
        """Rows per step."""
        if rows < FEW:
            return FEW
        return int(min(512, max(32, 2 ** round(np.log2(max(1, rows / 8))))))

    def _default_steps(self, rows: int, columns: int) -> int:
        """Largest number of steps of a fit; early stopping ends most runs before."""
        if rows < ENOUGH_TO_HOLD:
            return 20  # without validation there is no telling when to stop
        if rows < FEW:
            return min(400, max(100, 25 * columns))
        return int(np.clip(2 * rows, 300, min(25_000, 3_000 + 4 * max(0, rows - 1_500) ** 0.8)))

    def _default_lr(self, rows: int) -> float:
        """The highest learning rate."""
        return 5e-3 if rows < FEW else 3e-3

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
        # Of as many tables as one draws from a generator, no two may have one seed.
        seed = int(source.integers(2**63 - 1)) if isinstance(source, np.random.Generator) else seed_of(source)
        return torch.Generator(device=device or self.device or "cpu").manual_seed(seed)
