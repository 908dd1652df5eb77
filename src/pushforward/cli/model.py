"""A model file as the commands see it: the distribution and the names of the columns that it was fitted to."""

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
    """A distribution over named columns.

    Attributes:
        path: its file.
        flow: the distribution.
        columns: names of the columns of x.
        given: names of the columns of the context.
        metadata: all that was saved beside it.
    """

    path: str
    flow: Distribution
    columns: list[str]
    given: list[str]
    metadata: dict[str, Any]

    @classmethod
    def load(cls, path: str) -> TableModel:
        """Read a model that knows its columns.

        Raises:
            ValueError: it does not, or is no intact model file.
        """
        flow = load(path)
        metadata = read_header(path).metadata
        columns, given = metadata.get("columns"), metadata.get("given", [])
        size = flow.event_shape if isinstance(flow, Distribution) else ()
        if not (_are_names(columns, size) and _are_names(given, flow.context_shape or (0,))):
            raise ValueError(
                f"{path}: the model was saved without the names of its columns. Save it with "
                "metadata={'columns': [...], 'given': [...]}, or use it from Python."
            )
        return cls(path, flow, columns, given, metadata)

    @property
    def names(self) -> list[str]:
        """The columns that a table must have: those of x, then those of the context."""
        return [*self.columns, *self.given]

    def read(self, path: str) -> Table:
        """The rows of a table, columns in the model's order whatever their order in the file."""
        note_ignored(path, self.names)
        return read_table(path, self.names)

    def split(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """x and context out of rows with the columns `names`."""
        known = len(self.columns)
        return values[:, :known], values[:, known:] if self.given else None

    def tensors(self, values: NDArray[np.float64]) -> tuple[Tensor, Tensor | None]:
        """The same as tensors of the model's own dtypes."""
        return as_tensors(self.flow, *self.split(values))


def is_mixed(model: str) -> bool:
    """Whether a model file holds a model of a table of mixed columns."""
    return "estimator" in read_header(model).metadata


def as_tensors(
    flow: Distribution, x: NDArray[np.float64], context: NDArray[np.float64] | None
) -> tuple[Tensor, Tensor | None]:
    """Rows of a table as tensors of the dtypes that the flow takes."""
    known = None if context is None else torch.from_numpy(context).to(flow.context_dtype)
    return torch.from_numpy(x).to(flow.dtype), known


def block_rows(flow: Distribution) -> int:
    """Rows to score or draw at a time: few enough for memory, many enough for speed, whatever the width."""
    features = flow.event_shape[0] + (flow.context_shape or (0,))[0]
    return max(256, min(16384, (1 << 18) // features))


def note_ignored(path: str, names: list[str]) -> None:
    """Say once which columns of a table are not used."""
    ignored = [name for name in column_names(path) if name not in names]
    if ignored:
        say(f"{path}: ignoring column{'s' if len(ignored) > 1 else ''} {listed(ignored)}, not part of the model.")


def _are_names(names: object, shape: tuple[int, ...]) -> TypeGuard[list[str]]:
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and (len(names),) == shape
