"""What a training run tells about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["History", "Record", "TrainingError"]


class TrainingError(ValueError):
    """Training cannot start or go on; the message names the cause."""


@dataclass(frozen=True)
class Record:
    """One look at the run: mean log-likelihoods in nats, of the training rows seen since the last look and of the
    validation rows (None without validation)."""

    step: int
    epoch: float
    seconds: float
    train: float
    validation: float | None
    lr: float


@dataclass
class History:
    """The course of a training run, returned by `fit`."""

    records: list[Record] = field(default_factory=list)
    best_step: int = 0
    best_validation: float | None = None
    rollbacks: int = 0
    seconds: float = 0.0
    stopped: str = ""

    def to_dict(self) -> dict[str, Any]:
        """This history as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """The inverse of `to_dict`."""
        return cls(**{**values, "records": [Record(**record) for record in values["records"]]})
