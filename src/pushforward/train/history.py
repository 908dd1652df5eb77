"""The record of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pushforward.core.exactness import Exactness, qualified

__all__ = ["History", "Record", "TrainingError"]


class TrainingError(ValueError):
    """Training cannot start or go on; the message names the cause."""


@dataclass(frozen=True)
class Record:
    """The state of a run at one validation."""

    step: int
    """Optimiser steps so far."""
    epoch: float
    """Passes over the training rows so far."""
    seconds: float
    """Time so far, earlier processes of a resumed run included."""
    train: float
    """The mean of the loss's metric over the training batches since the last validation."""
    validation: float | None
    """The mean of the loss's metric over the validation rows; None without validation."""
    lr: float
    """The learning rate."""


@dataclass(repr=False)
class History:
    """The course of a training run, returned by `fit`.

    ``metric`` names the numbers in ``records``, by default log-likelihoods in nats per row; ``exactness`` says whether
    they are exact, estimates or bounds.
    """

    records: list[Record] = field(default_factory=list)
    best_step: int = 0
    best_validation: float | None = None
    rollbacks: int = 0
    seconds: float = 0.0
    stopped: str = ""
    """Why the run ended, such as "step limit reached"."""
    metric: str = "log-likelihood"
    unit: str = "nats"
    greater_is_better: bool = True
    exactness: Exactness = "exact"

    def __repr__(self) -> str:
        name = qualified(f"validation {self.metric}", self.exactness)
        best = "" if self.best_validation is None else f", best {name} {self.best_validation:.4g} at {self.best_step}"
        steps = self.records[-1].step if self.records else 0
        reason = f", {self.stopped}" if self.stopped else ""
        return f"History({steps} steps in {self.seconds:.3g} s{best}{reason})"

    def to_dict(self) -> dict[str, Any]:
        """This history as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """The inverse of `to_dict`."""
        return cls(**{**values, "records": [Record(**record) for record in values["records"]]})
