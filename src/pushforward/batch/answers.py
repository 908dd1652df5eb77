"""A model that answers tables in batches, wherever it is sent: in a loop, in Dask or polars, in Ray, in Spark."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from pushforward.core.threads import single_threaded
from pushforward.data import TableError
from pushforward.estimators.density import FlowDensity
from pushforward.estimators.model_files import read_model

__all__ = ["BatchModel", "answered_in_parts"]

REASON = "reason"
"""Column of the rows that cannot be answered."""
MOST_REFUSED = 2_000
"""Rows of a shard that are put into quarantine: finding each takes some calls of the model."""


class BatchModel:
    """A model file as a function of tables, which can be sent to other processes: it holds the bytes of the file, and
    each process reads them once.

    Args:
        content: the model file.

    >>> import numpy as np, tempfile
    >>> from pushforward.estimators import FlowDensity
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     FlowDensity(steps=5, random_state=0).fit(X).save(f"{folder}/m.safetensors")
    ...     model = BatchModel.of(f"{folder}/m.safetensors")
    >>> model.score_batch(pa.table({"x0": [0.1, 0.2], "x1": [0.0, 1.0]})).column_names
    ['log_density']
    """

    def __init__(self, content: bytes) -> None:
        self.content = content

    @classmethod
    def of(cls, path: str | Path) -> BatchModel:
        """The model of a file.

        Raises:
            OSError: it cannot be read.
        """
        return cls(Path(path).read_bytes())

    @property
    def density(self) -> FlowDensity:
        """The estimator, which answers Arrow tables."""
        return _opened(self.content)

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a table must have."""
        return self.density.schema_.names

    def score_batch(self, table: Any, keep: Sequence[str] = ()) -> Any:
        """The log-densities of the rows of a table, in nats, as a table, beside the columns to keep.

        Args:
            table: of pyarrow; or of pandas or polars, which gives a table of pyarrow as well.
            keep: names of columns of it.

        Raises:
            TableError: a value cannot be judged, or a column is missing.
        """
        table = _arrow(table)
        with warnings.catch_warnings(action="ignore"), single_threaded():
            scores = self.density.score_samples(self._columns_of(table))
        return table.select(list(keep)).append_column("log_density", pa.array(scores))

    def impute_batch(self, table: Any, keep: Sequence[str] = ()) -> Any:
        """The rows of a table without gaps, beside the columns to keep; see `score_batch`."""
        table = _arrow(table)
        density = self.density
        density.check_any_subset("impute")
        with warnings.catch_warnings(action="ignore"), single_threaded():
            filled = density.impute(self._columns_of(table))
        for name in keep:
            if name not in filled.column_names:
                filled = filled.append_column(name, table.column(name))
        return filled

    def sample_batch(
        self, rows: int, random_state: Any, conditions: Mapping[str, Any] | None = None, *, keep_rules: bool = False
    ) -> Any:
        """Rows of the model, given values of columns, which stand beside the others.

        Args:
            rows: how many.
            random_state: a seed, or a generator of numpy, which goes on.
            conditions: values of columns.
            keep_rules: whether rows keep the rules of the table that was learned from.
        """
        with warnings.catch_warnings(action="ignore"), single_threaded():
            return self.density.given(dict(conditions or {})).sample(
                rows, random_state, whole=True, keep_rules=keep_rules
            )

    def answer(self, question: str, table: Any, keep: Sequence[str] = ()) -> Any:
        """`score_batch` or `impute_batch`, by name."""
        methods: dict[str, Callable[..., Any]] = {"score": self.score_batch, "impute": self.impute_batch}
        return methods[question](table, keep)

    def _columns_of(self, table: Any) -> Any:
        if absent := next((name for name in self.columns if name not in table.column_names), None):
            raise TableError(f"there is no column {absent!r}, which the model has.")
        return table.select(self.columns)


@lru_cache(maxsize=2)
def _opened(content: bytes) -> FlowDensity:
    with tempfile.TemporaryDirectory(prefix="pushforward-") as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(content)
        density, _ = read_model(path)
    return density


def _arrow(table: Any) -> Any:
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, Mapping):
        return pa.table(table)
    if hasattr(table, "to_arrow"):  # polars
        return table.to_arrow()
    return pa.Table.from_pandas(table, preserve_index=False)


def answered_in_parts(answer: Callable[[Any], Any], table: Any, refused_before: int = 0) -> tuple[list[Any], list[Any]]:
    """The answers for the rows of a table that can be answered, in their order, and the others with their reasons.

    A table that cannot be answered as a whole is halved until the rows that are to blame stand alone, each beside the
    error about it: which values a model takes is known to the model alone.

    Args:
        answer: from a table to its answers.
        table: the rows.
        refused_before: rows of the same shard that could not be.

    Raises:
        ValueError: more than ``MOST_REFUSED`` rows cannot be answered: the shard itself is to blame.
    """
    answers: list[Any] = []
    refused: list[Any] = []
    waiting = [table]
    while waiting:
        part = waiting.pop()
        try:
            answers.append(answer(part))
        except (ValueError, pa.ArrowException) as error:
            if part.num_rows > 1:
                half = part.num_rows // 2
                waiting += [part.slice(half), part.slice(0, half)]
                continue
            reason = (str(error).removeprefix("row 1: ").splitlines() or [type(error).__name__])[0]
            if refused_before + len(refused) >= MOST_REFUSED:
                raise ValueError(
                    f"more than {MOST_REFUSED:,} rows cannot be answered, the last for: {reason}"
                ) from None
            refused.append(part.append_column(REASON, pa.array([reason])))
    return answers, refused
