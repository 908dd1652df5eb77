"""What users pass to estimators, and its validation: numpy's numbers count as numbers, and messages name a remedy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from pushforward.core.checks import at_least, positive
from pushforward.data.schema import Schema

__all__ = ["TrainedEstimator", "check_probabilities", "check_training", "from_json", "seed_of", "to_json"]


@dataclass(kw_only=True, eq=False, repr=False)
class TrainedEstimator(BaseEstimator):
    """The parameters of training that all estimators have: fields of a dataclass, so that subclasses inherit them and
    scikit-learn finds all in the signature of ``__init__``."""

    steps: int | None = None
    epochs: float | None = None
    seconds: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    validation: Any = 0.1
    patience: int | str | None = "auto"
    checkpoint: str | os.PathLike[str] | None = None
    resume: bool = False
    random_state: Any = None
    device: str | None = None
    verbose: bool = False


def seed_of(random_state: Any) -> int:
    """A seed drawn from a ``random_state``: None, a whole number, or a ``RandomState`` or ``Generator`` of numpy."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def check_probabilities(owner: str, name: str, values: Any) -> list[float]:
    """The values as floats; a ValueError unless they are one or more numbers between 0 and 1."""
    listed = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else []
    if not listed or not all(isinstance(p, Real) and 0 < float(p) < 1 for p in listed):
        raise ValueError(f"{owner}: {name} must list numbers between 0 and 1, such as (0.05, 0.95); got {values!r}.")
    return [float(p) for p in listed]


def check_training(owner: str, parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError for a parameter of `TableEstimator` that training cannot use."""
    for name in ("steps", "batch_size", "patience"):
        if parameters[name] is not None and parameters[name] != "auto":
            at_least(owner, name, parameters[name], 1)
    for name in ("epochs", "seconds", "lr"):
        if parameters[name] is not None:
            positive(owner, name, parameters[name])
    validation = parameters["validation"]
    is_share = validation is None or (isinstance(validation, Real) and 0 <= float(validation) < 1)
    if not is_share and not hasattr(validation, "shape"):
        raise ValueError(
            f"{owner}: validation must be a share of the rows below 1, a table of rows, or None; got {validation!r}."
        )
    if parameters["types"] is not None and not isinstance(parameters["types"], Mapping | Schema):
        raise ValueError(f'{owner}: types must map column names to types, such as {{"x0": "integer"}}; '
                         f"got {parameters['types']!r}.")  # fmt: skip
    if parameters["n_jobs"] is not None and not isinstance(parameters["n_jobs"], Integral):
        raise ValueError(f"{owner}: n_jobs must be a whole number of threads, or None; got {parameters['n_jobs']!r}.")
    if parameters["device"] is not None:
        try:
            torch.empty(0, device=parameters["device"])
        except (AssertionError, RuntimeError, TypeError):
            raise ValueError(
                f"{owner}: the device {parameters['device']!r} is not available. Use None for the CPU."
            ) from None


def to_json(value: Any) -> Any:
    """What an estimator stores in a file, as JSON can hold it."""
    if isinstance(value, Schema):
        return {"schema": value.to_config()}
    return {"array": value.tolist(), "shape": value.shape} if isinstance(value, np.ndarray) else value


def from_json(value: Any) -> Any:
    """The inverse of `to_json`."""
    if isinstance(value, dict) and "schema" in value:
        return Schema.from_config(value["schema"])
    if isinstance(value, dict) and "array" in value:
        return np.array(value["array"], dtype=np.float64).reshape(value["shape"])
    return tuple(value) if isinstance(value, list) else value
