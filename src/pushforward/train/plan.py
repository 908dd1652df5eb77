"""The schedule worked out for the data at hand: all that decides the course of a run."""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import partial
from typing import Any

from pushforward.train.history import TrainingError

__all__ = ["BUDGET", "Plan", "described"]

BUDGET = {"steps", "seconds"}
"""The fields by which a run may be extended."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides the course of a run, as JSON: a resumed run must have the same. See `Schedule`."""

    batch_size: int
    steps: int | None
    seconds: float | None
    lr: float
    decay: str
    optimizer: str
    weight_decay: float
    clip: float | None
    patience: int | None
    validate_every: int
    ema: float | None
    seed: int
    loss: str
    data: str
    """Fingerprint of the training rows."""
    validation: str
    """Fingerprint of the validation rows."""
    compile: bool
    precision: str | None
    memory: str | None
    """Only where it changes the rounding of gradients."""
    accumulate: int = 1
    model: str = ""
    """Fingerprint of the config of the model: weights of the same shapes may belong to another function."""

    def check_resumes(self, other: dict[str, Any], path: Any) -> bool:
        """Whether a run with this plan goes on from a checkpoint with a larger or smaller budget.

        Args:
            other: the plan in the checkpoint.
            path: of the checkpoint.

        Raises:
            TrainingError: the plans differ in something else.
        """
        changed = [f.name for f in fields(self) if getattr(self, f.name) != _there(other, f)]
        if not (self.model and other.get("model")):
            changed = [name for name in changed if name != "model"]  # one of them has none
        # The rates of a default run may belong to a longer one: with another budget come others.
        extended = BUDGET | {"decay"} if BUDGET & set(changed) else BUDGET
        refused = [name for name in changed if name not in extended]
        if not refused:
            return bool(changed)
        what = ", ".join(self._difference(name, other) for name in refused)
        raise TrainingError(f"fit: {path} is the checkpoint of another run: it differs in {what}. Delete it first.")

    def _difference(self, name: str, other: dict[str, Any]) -> str:
        if name in ("data", "validation", "model"):
            return {"data": "data", "validation": "the validation rows", "model": "the model or its options"}[name]
        return f"{name} (there {other.get(name)}, here {getattr(self, name)})"


def _there(other: dict[str, Any], field: Field[Any]) -> Any:
    """What a checkpoint says of a field; one that was written before the field existed has its default."""
    return other.get(field.name, None if field.default is MISSING else field.default)


def described(thing: Any) -> str:
    """A name for a function, class or dataclass that is the same in every process."""
    if isinstance(thing, partial):
        options = [*map(repr, thing.args), *(f"{key}={value!r}" for key, value in thing.keywords.items())]
        return f"{described(thing.func)}({', '.join(options)})"
    if is_dataclass(thing) and not isinstance(thing, type):
        return repr(thing)
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"
