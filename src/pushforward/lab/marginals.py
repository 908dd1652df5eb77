"""Densities of single columns of a model, given others: in closed form where the model has one, else from draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.fields import Field
from pushforward.data.json_entries import entry_json
from pushforward.distributions import ColumnDistribution, MixedConditional, MixedTypeModel
from pushforward.distributions.columns.inflated import Inflated
from pushforward.distributions.columns.repeated import Repeated
from pushforward.estimators.layout import to_numpy
from pushforward.estimators.table_conditional import TableConditional
from pushforward.lab.columns import kind_of, seconds_per_unit

__all__ = ["DRAWS", "marginal_densities"]

DRAWS, COLUMN_DRAWS = 1_000, 500
"""Rows from which densities of a flow are estimated, and draws of a single column."""
PLACES, MARGIN = 161, 0.06
"""Places at which a density is computed, and how far they reach beyond the range of the slider."""
BINS = 48
"""Of a histogram of a column with repeated values."""


def marginal_densities(conditional: TableConditional, ranges: Mapping[str, Any], seed: int = 0) -> list[dict[str, Any]]:
    """The marginal distribution of each column that is not conditioned on.

    Args:
        conditional: what `FlowDensity.given` returns.
        ranges: columns as `describe_column` describes them, by name; axes stay where they are while a user moves
            sliders.
        seed: of the draws.
    """
    fields = [conditional.schema.fields[conditional.schema.place(name)] for name in conditional.columns]
    generator = torch.Generator().manual_seed(seed)
    if isinstance(conditional.distribution, MixedTypeModel | MixedConditional):
        return [
            _of_column(field, conditional.marginal(field.name).distribution, ranges[field.name], generator)
            for field in fields
        ]
    with torch.no_grad():
        draws = to_numpy(conditional.distribution.sample((DRAWS,), generator=generator))
    return [_of_draws(field, draws[:, k], ranges[field.name]) for k, field in enumerate(fields)]


def _of_column(
    field: Field, column: ColumnDistribution, described: Mapping[str, Any], generator: torch.Generator
) -> dict[str, Any]:
    kind, column_type = kind_of(field), column.column_type
    with torch.no_grad():
        if kind in ("category", "boolean"):
            return _categories(field, kind, to_numpy(column.probabilities()))
        # Whole numbers have probabilities; of a density with repeated values draws show how often these come.
        if column_type.is_density and (isinstance(column_type, Inflated | Repeated) or column_type.num_params == 0):
            return _of_draws(field, to_numpy(column.sample(COLUMN_DRAWS, generator)), described)
        x = _places(field, described)
        return _shown(field, x, np.exp(to_numpy(column.log_prob(torch.as_tensor(x)))))


def _categories(field: Field, kind: str, probabilities: NDArray[np.float64]) -> dict[str, Any]:
    values = [False, True] if kind == "boolean" else [entry_json(label) for label in field.labels or ()]
    shares = probabilities.tolist()[: len(values)]
    return {"name": field.name, "kind": kind, "values": values, "probabilities": shares}


def _places(field: Field, described: Mapping[str, Any]) -> NDArray[np.float64]:
    """Where to compute the density of a column, in its units: whole numbers for columns that hold these."""
    unit = seconds_per_unit(field) if described["kind"] == "time" else 1.0
    low, high = described["low"] / unit, described["high"] / unit
    margin = MARGIN * (high - low)
    if not field.column_type.is_density:
        step = max(1, round((high - low + 2 * margin) / PLACES))
        return np.arange(np.floor(low - margin), np.ceil(high + margin) + 1, step, dtype=np.float64)
    return np.linspace(low - margin, high + margin, PLACES)


def _of_draws(field: Field, draws: NDArray[np.float64], described: Mapping[str, Any]) -> dict[str, Any]:
    kind, draws = described["kind"], draws[np.isfinite(draws)]
    if kind in ("category", "boolean"):
        count = 2 if kind == "boolean" else len(field.labels or ())
        shares = np.bincount(np.clip(draws, 0, count - 1).astype(int), minlength=count) / max(1, len(draws))
        return _categories(field, kind, shares)
    x = _places(field, described)
    if isinstance(field.column_type, Inflated | Repeated) or not field.column_type.is_density or len(draws) < 2:
        edges = np.linspace(x[0], x[-1], BINS + 1)
        heights = np.histogram(draws, edges)[0] / (max(1, len(draws)) * (edges[1] - edges[0]))
        return _shown(field, (edges[1:] + edges[:-1]) / 2, heights)
    spread = np.subtract(*np.quantile(draws, [0.75, 0.25])) / 1.34
    # Silverman's rule, with the smaller of two measures of the spread, so that two far peaks do not become one.
    deviation = min(draws.std(), spread) if spread > 0 else draws.std()
    width = max(0.9 * deviation * len(draws) ** -0.2, 1e-3 * (x[-1] - x[0]))
    heights = np.exp(-0.5 * ((x[:, None] - draws) / width) ** 2).mean(axis=1) / (width * np.sqrt(2 * np.pi))
    return _shown(field, x, heights)


def _shown(field: Field, x: NDArray[np.float64], density: NDArray[np.float64]) -> dict[str, Any]:
    """A density in the units of the page, in which time is counted in seconds."""
    kind = kind_of(field)
    unit = seconds_per_unit(field) if kind == "time" else 1.0
    density = np.nan_to_num(density, nan=0.0, posinf=0.0)
    return {"name": field.name, "kind": kind, "x": (x * unit).tolist(), "density": (density / unit).tolist()}
