"""`FlowDensity`: the joint density of the columns of a table, or of some given others."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.files import check_writable
from pushforward.data.formats import TableError, format_of
from pushforward.data.parquet import ParquetRows
from pushforward.data.reader import read_arrow
from pushforward.data.schema import Field, Schema
from pushforward.distributions import Continuous, MixedFlow, MixedTypeModel
from pushforward.estimators.choice import choose_model, not_for_a_flow
from pushforward.estimators.files import MOST_VALIDATION_ROWS, PASS, file_passes, file_schema
from pushforward.estimators.layout import TableRows
from pushforward.estimators.learners import Learner, MixedLearner, chosen_by, learner_of
from pushforward.estimators.parameters import check_training, seed_of
from pushforward.estimators.table import Prepared, TableEstimator
from pushforward.estimators.table_answers import TableAnswers
from pushforward.estimators.table_conditional import TableConditional
from pushforward.evaluate.training_rows import TrainingRows
from pushforward.io import load, read_header

__all__ = ["FlowDensity"]

BATCH_ENTRIES = 2**18
"""Rows times columns that are scored or sampled at once."""


@dataclass(kw_only=True, eq=False, repr=False)
class FlowDensity(DensityMixin, TableAnswers):
    r"""The joint density of the columns of a table, numbers and categories, complete or with missing entries.

    By default one exact autoregressive model (`distributions.MixedTypeModel`) learns the distribution of each column
    given any subset of the others. Densities, samples, conditional distributions (`given`) and imputations come from
    one fit. Any named flow of `pushforward.flows` can take its place in a table of complete numbers; it answers
    densities and samples, and has one sentence for the questions that it cannot answer.

    ``model.save("people.safetensors")`` writes it to a file, ``FlowDensity.load("people.safetensors")`` reads it.

    A continuous column contributes a density in its own units, a discrete one a probability; `score_samples` is the
    logarithm of their product, in nats. The density of a row with missing entries (NaN, None) is that of the others.

    Args:
        model: ``"mixed"``; the name of a flow, such as ``"nsf"``; or ``"auto"`` to choose between these two by the
            types of the columns.
        options: of the model, such as ``{"depth": 8}`` for ``"nsf"``.
        context: names of columns to condition on: the model is that of the other columns given these.
        types: column types by name, which override those that `data.schema.Schema` infers: ``{"hour": "circular:24",
            "class": "categorical", "size": ["S", "M", "L"]}``, where a list, or ``"ordinal:S<M<L"``, is an order; or a
            whole `Schema`. The columns of an array are called x0, x1, ... .
        order: of a mixed-type model: ``"any"`` to condition on any columns; ``"fixed"`` for the order of the table
            alone, where a density takes one pass of the network instead of one per column.
        hidden: widths of the network of a mixed-type model; by default chosen by the number of rows.
        dropout: probability of dropping a hidden unit in training, of a mixed-type model.
        steps: largest number of optimiser steps; by default chosen by the number of rows.
        epochs: largest number of passes over the training rows.
        seconds: time limit of the training in seconds.
        batch_size: rows per step; by default chosen by the number of rows.
        lr: peak learning rate; by default that of the model.
        validation: share of the rows held out for early stopping, or a table of such rows; None for no early stopping.
        patience: validations without improvement after which training stops; None for no early stopping.
        compile: whether to train with compiled kernels; see `pushforward.fit`.
        shard: whether each of several processes keeps a part of the weights; see `pushforward.fit`.
        checkpoint: file for the state of the training, written twice a minute and when it is interrupted.
        resume: whether to go on from the checkpoint if it exists, perhaps with a larger budget.
        warm_start: whether `fit` continues from the last fit.
        random_state: seed or generator of numpy; equal seeds give equal fits.
        device: of torch, such as ``"cuda"``.
        n_jobs: threads of torch while scoring; None keeps the current number.
        verbose: whether to show a progress bar.

    Attributes:
        schema_: the type of each column and the rule that decided it; ``print(model.schema_.describe())``.
        model_: the distribution, of the columns that are not conditioned on.
        model_name_: the kind of model.
        history_: of the training.
        training_rows_: hashes of rows that were trained on, by which `report` recognises them.
        n_features_in_: number of columns.

    References:
        | A Deep and Tractable Density Estimator (Uria, Murray, Larochelle, 2014), arXiv:1310.1757

    >>> import numpy as np
    >>> from pushforward.estimators import FlowDensity
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=300)
    >>> X = np.stack([a, a + 0.5 * rng.normal(size=300)], axis=1)
    >>> model = FlowDensity(steps=60, random_state=0).fit(X)
    >>> bool(model.score([[1.0, 1.0]]) > model.score([[1.0, -1.0]]))
    True
    """

    model: str = "mixed"
    options: Mapping[str, Any] | None = None
    order: str = "any"

    SAVED: ClassVar[tuple[str, ...]] = (*TableEstimator.SAVED, "model_name_")

    def _mixed(self) -> MixedLearner:
        mixed = super()._mixed()
        return replace(mixed, options={**mixed.options, "order": self.order})

    def _learner(self) -> Learner:
        others = self._others if hasattr(self, "_others") else getattr(self.model_, "places", ())
        return learner_of(self.model_name_, self.options or {}, self._mixed(), others)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The estimator that `save` wrote; or a distribution over vectors, saved with names of
        its columns: ``pf.save(flow, path, metadata={"columns": [...], "given": [...]})``. No code from the file is run.

        Raises:
            ValueError: the file is damaged, or holds neither.
        """
        metadata = read_header(path).metadata
        if "estimator" in metadata or not isinstance(names := metadata.get("columns"), list):
            estimator = super().load(path)
            if "training_hashes" in metadata:
                estimator.training_rows_ = TrainingRows.from_dict(metadata["training_hashes"])
            return estimator
        context = metadata.get("given") or []
        fields = [Field(str(name), Continuous(), "numbers", "Float64") for name in (*names, *context)]
        estimator = cls(model="auto", context=tuple(context))
        estimator.model_, estimator.schema_ = load(path), Schema(tuple(fields), "pyarrow")
        estimator.model_name_ = metadata.get("model", "this flow")
        estimator.n_features_in_, estimator.feature_names_in_ = len(fields), np.array([f.name for f in fields], object)
        return estimator

    def as_saved(self) -> tuple[Distribution, dict[str, Any]]:
        model, metadata = super().as_saved()
        rows: TrainingRows | None = getattr(self, "training_rows_", None)
        return model, metadata if rows is None else {**metadata, "training_hashes": rows.to_dict()}

    # --- learning

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, prepared: Callable[[Prepared], None] | None = None
    ) -> FlowDensity:
        """Fit the model to the rows of a table.

        Args:
            X: (rows, columns): a data frame of pandas, polars or pyarrow, or an array; or the path of a table. A
                `ParquetRows`, or the path of a folder of Parquet files, a pattern or an address (``s3://...``), may be
                of any size: one pass over it finds the types of the columns, then row groups are read in random order;
                every tenth row is held out for validation, and all others are seen once before one is seen again.
            y: ignored.
            sample_weight: weight of each row in the training loss, (rows,).
            prepared: called with what is about to be learned from, before the training.
        """
        again = self.warm_start and hasattr(self, "model_")
        if isinstance(X, str | os.PathLike):
            in_part = os.path.isdir(X) or format_of(X)[0] == "parquet"
            X = ParquetRows(X) if in_part else read_arrow(X)
        if isinstance(X, ParquetRows):
            if sample_weight is not None:
                raise ValueError("FlowDensity: the rows of a file have no sample_weight. Leave it out.")
            return self._learn_file(X, again=again, prepared=prepared)
        return self._learn(X, sample_weight, again=again, prepared=prepared)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FlowDensity:
        """Continue training with more rows of a stream. The first call decides the column types."""
        return self._learn(X, sample_weight, again=hasattr(self, "model_"), steps=self._partial_steps(X))

    def _learn(self, X: Any, sample_weight: Any, *, again: bool, **options: Any) -> FlowDensity:
        lasting = self.warm_start or "steps" in options  # other rows may come, beyond the limits of these
        x, weights = self._learned_from(X, sample_weight, again=again, types=self.types, draws=not lasting)
        why, rows, held_out = "" if again else self._choose(x), self.layout_.batch(x, weights), None
        self._check_rows(rows)
        if hasattr(self.validation, "shape"):
            held_out = self.layout_.batch(self.schema_.encode(self.validation))
            self._check_rows(held_out)
            held_out = self._learner().usable(held_out, self.layout_.fields[0])
        self._train(rows, *self.layout_.fields, held_out=held_out, why=why, again=again, **options)
        return self

    def _learn_file(self, source: ParquetRows, *, again: bool, **options: Any) -> FlowDensity:
        check_training("FlowDensity", self.get_params(deep=False))
        seed, why = seed_of(self.random_state), ""
        survey = source.survey(PASS, MOST_VALIDATION_ROWS, seed)
        if not again:
            self.schema_ = file_schema(survey, self.types)
            why = self._choose(torch.as_tensor(self.schema_.encode(survey.shown)))
        self._checked(survey.random, reset=not again)
        rows = min(PASS, survey.random.num_rows)
        if self.batch_size is not None and rows > self.batch_size:
            rows -= rows % self.batch_size  # the rows of a pass that fill no batch would be left out
        passes, random, held = file_passes(source, survey, self.schema_, rows, seed)
        held_out = self.layout_.batch(held)

        def parts(number: int) -> Any:
            batch = self.layout_.batch(passes(number))
            self._check_rows(batch)
            return batch.x if batch.context is None else (batch.x, batch.context)

        self._train(
            self.layout_.batch(random), *self.layout_.fields, passes=parts, size=source.learned, held_out=held_out,
            why=why, again=again, **options,
        )  # fmt: skip
        return self

    def _train(
        self, *table: Any, again: bool, prepared: Callable[[Prepared], None] | None = None, **options: Any
    ) -> None:
        def note(about: Prepared) -> None:
            rows = TrainingRows.of(about.train.x, about.train.context)
            earlier: TrainingRows | None = getattr(self, "training_rows_", None) if again else None
            self.training_rows_ = rows if earlier is None else earlier.joined(rows)
            if prepared is not None:
                prepared(about)

        super()._train(*table, again=again, prepared=note, **options)

    def _choose(self, x: Tensor) -> str:
        """Decide the kind of model; returns the reason, if it was left to the table."""
        name, why, asked = self.model, "", None
        if self.model == "auto":
            context = self.layout_.fields[1]
            places = [*self.layout_.modelled, *self.layout_.context]
            fields = [self.schema_.fields[j] for j in places]
            name, why = choose_model(fields, x[:, places].numpy(), context)
            asked = chosen_by(self.options or {})
        # Columns are looked at once, and only for flows.
        others = self._not_for_a_flow(x) if name != "mixed" or (asked is not None and asked[0] != "mixed") else []
        has_real = len(others) < len(self.layout_.modelled)
        if asked is not None and asked[0] != name and (asked[0] == "mixed" or has_real):
            name, why = asked
        self.model_name_ = name
        # Of codes alone a flow learns numbers, if asked to.
        self._others: list[int] = others if name != "mixed" and has_real else []
        return why

    def _not_for_a_flow(self, x: Tensor) -> list[int]:
        """The modelled columns of which a flow needs another model."""
        columns, rows = self.layout_.fields[0], x[:, self.layout_.modelled].numpy().T
        return [j for j, field in enumerate(columns) if not_for_a_flow(field, rows[j]) is not None]

    def _check_rows(self, rows: TableRows) -> None:
        self._learner().check(rows, *self.layout_.fields)

    # --- answers

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Log-density of the observed entries of each row in nats, (rows,); with a context given its columns."""
        return self.log_densities(self.encode(X))

    def log_densities(self, rows: TableRows) -> NDArray[np.float64]:
        """`score_samples` of rows as numbers: ``x`` (rows, columns of the model) and ``context``."""
        model, size = self.model_, max(256, BATCH_ENTRIES // len(self.schema_.fields))

        def density(x: Tensor, context: Tensor | None) -> Tensor:
            if isinstance(model, MixedTypeModel | MixedFlow):
                return model.log_marginal(x, context=context)
            return model.log_prob(x.to(model.dtype), None if context is None else context.to(model.context_dtype))

        def compute() -> Tensor:
            parts = [density(piece.x, piece.context).double() for piece in rows.pieces(size)]
            return torch.cat(parts) if parts else torch.empty(0)

        return self._computed(compute)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The *mean* of `score_samples`, as in ``GaussianMixture``, weighted by ``sample_weight`` (rows,)."""
        return self._mean_score(self.score_samples(X), sample_weight)

    def sample(self, n_samples: int = 1, random_state: Any = None, *, keep_rules: bool = False) -> Any:
        """Samples of the model, as a table like the one it was fitted to; with a context ``given({...}).sample(n)``.
        ``keep_rules`` as in `TableConditional.sample`."""
        return self.given({}).sample(n_samples, random_state, keep_rules=keep_rules)

    def given(self, observed: Mapping[Any, Any]) -> TableConditional:
        """The distribution of the other columns given the values of some, by name: those of the context and, where the
        model is a mixed-type one, any others.

        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 2)).cumsum(axis=1)
        >>> model = FlowDensity(steps=60, random_state=0).fit(X)
        >>> low, high = model.given({"x0": 1.0}).marginal("x1").interval(0.9)
        >>> bool(low < 1.0 < high)
        True
        """
        check_is_fitted(self)
        places = {self.schema_.place(name): value for name, value in observed.items()}
        numbers = {j: self.schema_.fields[j].value(value) for j, value in places.items()}
        layout = self.layout_
        others = {layout.modelled.index(j): value for j, value in numbers.items() if j not in layout.context}
        absent = [self.schema_.names[j] for j in layout.context if j not in numbers]
        if absent and not self.model_.learns_from_missing:
            raise TableError(f"a value of {', '.join(map(repr, absent))} is missing: the model is conditioned on it.")
        context = None
        if layout.context:
            context = torch.tensor([numbers.get(j, math.nan) for j in layout.context], dtype=torch.float64)
            context = context.to(device=self.device, dtype=self.model_.context_dtype)
        distribution: Distribution = self.model_
        if isinstance(self.model_, MixedTypeModel):
            distribution = self.model_.given(others, context) if observed or layout.context else self.model_
        elif others:
            names = ", ".join(repr(self.schema_.names[layout.modelled[k]]) for k in others)
            raise TableError(
                f"{names}: {self.model_name_} is a model of all its columns together and takes no value of them. Fit "
                "with these columns as its context, or fit the model 'mixed', which can condition on any."
            )
        elif context is not None:
            distribution = self.model_.condition(context)
        return TableConditional(layout, distribution, numbers, self._generator)

    def report(
        self, X: Any, path: str | os.PathLike[str] = "report.html", *, train: Any = None, random_state: Any = None
    ) -> dict[str, Any]:
        """Write one HTML page about the model and held-out rows: likelihood, calibration of intervals, and fidelity of
        samples.

        Args:
            X: the held-out rows. Rows of `fit` are recognised, and not judged by.
            path: of the page.
            train: the rows of `fit`, to test also whether samples memorize them and can replace them in training.
            random_state: seed of the samples.

        Returns:
            The main numbers of the page: log-likelihoods, coverage, distances of columns, AUC, and the verdict.
        """
        from pushforward.evaluate.report import write_model_report

        check_writable(path)
        rows = self.encode(X)
        if not len(rows):
            raise ValueError("FlowDensity: X has no row to report on.")
        schema, conditions = self.layout_.schemas
        numbers = write_model_report(
            path, "FlowDensity", self.model_, schema, rows.x, context=rows.context, context_schema=conditions,
            train=None if train is None else self.encode(train).x, trained_on=getattr(self, "training_rows_", None),
            history=getattr(self, "history_", None), seed=self._generator(random_state).initial_seed(),
        )  # fmt: skip
        if not numbers["verdict"]["held_out"]:
            warnings.warn(f"FlowDensity.report: {numbers['verdict']['headline']}", UserWarning, stacklevel=2)
        return numbers
