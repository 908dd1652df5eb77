"""Weights, their average and the optimiser's state at one moment: to return to, and to write to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.train.averaging import WeightAverage, clone

__all__ = ["Snapshot"]

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Snapshot:
    """What a rollback or a resumed run puts back."""

    model: Tensors
    optimizer: Tensors
    """The optimiser's state by parameter number, such as moments and step counts."""
    optimizer_values: dict[str, Any]
    """The part of it that is no tensor."""
    average: Tensors | None

    @classmethod
    def take(cls, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> Snapshot:
        """The present state. It shares memory with what it was taken from; see `copy`."""
        tensors: Tensors = {}
        values: dict[str, Any] = {}
        for k, entry in optimizer.state_dict()["state"].items():
            for name, value in entry.items():
                (tensors if isinstance(value, Tensor) else values)[f"{k}.{name}"] = value
        return cls(model.state_dict(), tensors, values, None if average is None else average.means)

    def copy(self) -> Snapshot:
        """A snapshot in memory of its own, which later steps do not change."""
        average = None if self.average is None else clone(self.average)
        return Snapshot(clone(self.model), clone(self.optimizer), dict(self.optimizer_values), average)

    def put_back(self, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> None:
        """The inverse of `take`.

        Raises:
            RuntimeError: the weights are those of another model.
        """
        model.load_state_dict(self.model)
        state: dict[int, dict[str, Any]] = {}
        for key, value in [*self.optimizer.items(), *self.optimizer_values.items()]:
            k, _, name = key.partition(".")
            state.setdefault(int(k), {})[name] = value.clone() if isinstance(value, Tensor) else value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        if average is not None and self.average is not None:
            average.restore(self.average)

    def groups(self, name: str) -> dict[str, Tensors]:
        """The tensors for `write_checkpoint`."""
        groups = {f"{name} model": self.model, f"{name} optimizer": self.optimizer}
        return groups if self.average is None else groups | {f"{name} average": self.average}

    @classmethod
    def from_groups(cls, name: str, groups: dict[str, Tensors], values: dict[str, Any]) -> Snapshot:
        """The inverse of `groups`."""
        return cls(groups[f"{name} model"], groups[f"{name} optimizer"], values, groups.get(f"{name} average"))
