"""A model file that answers requests."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pushforward.data import TableError
from pushforward.data.fields import Field
from pushforward.data.json_entries import entry_json
from pushforward.distributions import Constant
from pushforward.estimators import FlowAnomaly
from pushforward.estimators.model_files import read_model

__all__ = ["ServedModel"]

USUAL_ROWS = 2_000
"""Rows drawn from the model, by which a detector knows what is usual."""


class ServedModel:
    """The model of the columns of a table, from a file; tables are Arrow tables with these columns.

    Args:
        path: of the file.

    Raises:
        ValueError: the file is damaged, or holds no model of a table.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.density, self.detector = read_model(path)
        self.schema = self.density.schema_

    is_alive = True
    """Whether it can answer."""

    @property
    def exactness(self) -> str:
        """Whether densities are exact, estimates or bounds."""
        exactness: str = self.density.model_.exactness
        return exactness

    def describe(self) -> dict[str, Any]:
        """Columns and what can be asked."""
        return {
            "model": self.name,
            "kind": self.density.model_name_,
            "exactness": self.exactness,
            "conditions_on_any": self.density.conditions_on_any,
            "given": list(self.density.context),
            "columns": [_described(field) for field in self.schema.fields],
        }

    def scores(self, tables: Sequence[pa.Table]) -> list[NDArray[np.float64] | Exception]:
        """Log-densities in nats of the rows of several tables, or what is wrong with one."""
        try:
            # One table takes hardly longer than one row.
            whole = pa.concat_tables(tables, promote_options="permissive")
            with warnings.catch_warnings(action="ignore"):
                together = self._scores(whole)
        except (ValueError, pa.ArrowException) as error:
            return [error] if len(tables) == 1 else [self.scores([table])[0] for table in tables]
        ends = np.cumsum([table.num_rows for table in tables])[:-1]
        return list(np.split(together, ends))

    def _scores(self, table: pa.Table) -> NDArray[np.float64]:
        """``score_samples`` without the checks of names, which a request has behind it, and without warnings, which
        nobody reads: they would take a sixth of the time."""
        if self.density.context:  # what is outside of a type counts as missing there
            return self.density.score_samples(table)
        numbers = torch.as_tensor(self.schema.encode(table)).to(self.density.device)
        return self.density.log_densities(self.density.rows_of(numbers))

    def sample(self, n: int, conditions: Mapping[str, Any], seed: int | None, keep_rules: bool) -> pa.Table:
        """Rows, the columns that are given among them."""
        with warnings.catch_warnings(action="ignore"):
            return self._given(conditions).sample(n, seed, whole=True, keep_rules=keep_rules)

    def conditional(self, conditions: Mapping[str, Any], probability: float) -> list[dict[str, Any]]:
        """The distribution of each other column, given some."""
        distribution = self._given(conditions)
        described = []
        for name in distribution.columns:
            marginal = distribution.marginal(name)
            field = marginal.field
            entry: dict[str, Any] = {"name": name, "likeliest": entry_json(marginal.mode())}
            if field.column_type.ordered and not isinstance(field.column_type, Constant):
                low, high = marginal.interval(probability)
                entry |= {"low": entry_json(low), "median": entry_json(marginal.median()), "high": entry_json(high)}
                if field.column_type.circle is not None:
                    entry["goes_around"] = True  # from low to high, through the end of the period where high < low
                if field.labels is None and field.form not in ("bool", "time", "day"):
                    entry["mean"] = entry_json(marginal.mean())
            if field.labels is not None or field.form == "bool":
                probabilities = marginal.probabilities()
                entry["probabilities"] = {str(entry_json(value)): p for value, p in probabilities.items()}
            described.append(entry)
        return described

    def impute(self, table: pa.Table, draw: bool, seed: int | None) -> pa.Table:
        """The table without gaps: by means and modes, or by one random draw."""
        self.density.check_any_subset("impute")
        with warnings.catch_warnings(action="ignore"):
            if draw:
                return self.density.impute(table, n=1, random_state=seed)[0]
            return self.density.impute(table)

    def explain(self, table: pa.Table, top: int) -> list[dict[str, Any]]:
        """The score of each row as an anomaly detector has it, and the entries that make it unlikely."""
        if self.detector is None:
            self.density.check_any_subset("explain")
            self.detector = FlowAnomaly.of(self.density, self.density.sample(USUAL_ROWS, 0))
        detector = self.detector
        with warnings.catch_warnings(action="ignore"):
            scores, reasons = detector.decision_function(table), detector.explain(table, top)
        return [
            {
                "score": float(score),
                "outlier": bool(score < 0),
                "reasons": [
                    {
                        "column": reason.column,
                        "value": entry_json(reason.value),
                        "surprise": reason.surprise,
                        "usual": entry_json(reason.expected),
                    }
                    for reason in why
                ],
            }
            for score, why in zip(scores, reasons, strict=True)
        ]

    def _given(self, values: Mapping[str, Any]) -> Any:
        for name, value in values.items():
            self.schema.place(name)
            if value is None or isinstance(value, list | dict):
                raise TableError(f"given: column {name!r} takes a text, a number, true or false.")
        return self.density.given(values)


def _described(field: Field) -> dict[str, Any]:
    described: dict[str, Any] = {"name": field.name, "type": type(field.column_type).__name__}
    if field.labels is not None:
        described["values"] = [entry_json(label) for label in field.labels]
    return described
