"""The columns of a model with the ranges of their sliders, from draws of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.bijections import Standardize
from pushforward.core.distribution import Distribution
from pushforward.estimators import FlowDensity
from pushforward.estimators.layout import to_numpy
from pushforward.lab.columns import describe_column, given_values

__all__ = ["DRAWS", "described_columns"]

DRAWS = 2_000
"""Rows of the model."""


def described_columns(density: FlowDensity) -> list[dict[str, Any]]:
    """Each column as `describe_column` describes it; those that the model is conditioned on are ``required``."""
    layout, fields = density.layout_, density.schema_.fields
    draws = np.full((DRAWS, len(fields)), np.nan)
    if layout.context:
        draws[:, layout.context] = _range_of_context(density)
        described = {j: describe_column(fields[j], draws[:, j]) | {"required": True} for j in layout.context}
        middle = {fields[j].name: _middle(column) for j, column in described.items()}
        distribution = density.given(given_values(fields, middle)).distribution
    else:
        described, distribution = {}, density.model_
    draws[:, layout.modelled] = _draws(distribution)
    described |= {j: describe_column(fields[j], draws[:, j]) for j in layout.modelled}
    return [described[j] for j in range(len(fields))]


def _draws(distribution: Distribution) -> NDArray[np.float64]:
    with torch.no_grad():
        return to_numpy(distribution.sample((DRAWS,), generator=torch.Generator().manual_seed(0)))


def _middle(column: dict[str, Any]) -> Any:
    return column["values"][0] if "values" in column else (column["low"] + column["high"]) / 2


def _range_of_context(density: FlowDensity) -> Any:
    """Three deviations around the mean of each column of the context, where the flow standardises them; NaN where
    nothing is known."""
    context_map: Any = getattr(density.model_, "context_map", None)
    if not isinstance(context_map, Standardize):
        return np.nan
    steps = np.linspace(-3, 3, DRAWS)[:, None]
    mean, scale = np.asarray(to_numpy(context_map.mean)), np.asarray(to_numpy(context_map.scale))
    return mean + steps * scale
