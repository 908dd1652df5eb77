"""A model file of a named flow: the distribution, and the names of the columns that it was fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pushforward.cli.common import listed, say
from pushforward.core.distribution import Distribution
from pushforward.data import Table, column_names, read_table
from pushforward.io import load, read_header

__all__ = ["TableModel", "as_tensors", "block_rows", "is_mixed", "note_ignored"]


@dataclass(frozen=True)
class TableModel:
    """A distribution over named numeric columns.

    Attributes:
        path: the model file.
        flow: the distribution.
        columns: names of the columns of x.
        context_columns: names of the columns of the context.
        metadata: the metadata of the file.
    """

    path: str
    flow: Distribution
    columns: list[str]
    context_columns: list[str]
    metadata: dict[str, Any]

    @classmethod
    def load(cls, path: str) -> TableModel:
        """Read a model file with column names.

        Raises:
            ValueError: the file is damaged, or has no column names.
        """
        flow = load(path)
        metadata = read_header(path).metadata
        columns, context_columns = metadata.get("columns"), metadata.get("given", [])
        size = flow.event_shape if isinstance(flow, Distribution) else ()
        if not (_are_names(columns, size) and _are_names(context_columns, flow.context_shape or (0,))):
            raise ValueError(
                f"{path}: the model was saved without the names of its columns. Save it with "
                "pf.save(flow, path, metadata={'columns': [...], 'given': [...]}), or use it from Python."
            )
        return cls(path, flow, columns, context_columns, metadata)

    @property
    def names(self) -> list[str]:
        """The columns that a table must have: those of x, then those of the context."""
        return [*self.columns, *self.context_columns]

    def read(self, path: str) -> Table:
        """The rows of a table, with the columns in the order of `names`."""
        note_ignored(path, self.names)
        return read_table(path, self.names)

    def split(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Split rows (rows, names) into x (rows, features) and the context, None for an unconditional model."""
        features = len(self.columns)
        return values[:, :features], values[:, features:] if self.context_columns else None

    def tensors(self, values: NDArray[np.float64]) -> tuple[Tensor, Tensor | None]:
        """x and context as tensors of the dtypes of the model."""
        return as_tensors(self.flow, *self.split(values))


def is_mixed(model: str) -> bool:
    """Whether a model file holds a mixed-type model."""
    return "estimator" in read_header(model).metadata


def as_tensors(
    flow: Distribution, x: NDArray[np.float64], context: NDArray[np.float64] | None
) -> tuple[Tensor, Tensor | None]:
    """x and context as tensors of the dtypes of the flow."""
    context_tensor = None if context is None else torch.from_numpy(context).to(flow.context_dtype)
    return torch.from_numpy(x).to(flow.dtype), context_tensor


def block_rows(flow: Distribution) -> int:
    """Rows to score or sample at a time: fewer for wide tables, to bound memory."""
    features = flow.event_shape[0] + (flow.context_shape or (0,))[0]
    return max(256, min(16384, (1 << 18) // features))


def note_ignored(path: str, names: list[str]) -> None:
    """Print which columns of a table are not used."""
    ignored = [name for name in column_names(path) if name not in names]
    if ignored:
        say(f"{path}: ignoring column{'s' if len(ignored) > 1 else ''} {listed(ignored)}, not part of the model.")


def _are_names(names: object, shape: tuple[int, ...]) -> TypeGuard[list[str]]:
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and (len(names),) == shape
