"""A model file that is open: what it says about its columns, given some of them, and about the rows of a table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pushforward.core.threads import quiet, single_threaded
from pushforward.data import TableError
from pushforward.data.fields import Field
from pushforward.data.json_entries import entry_json
from pushforward.data.writing import TableWriter
from pushforward.distributions import Constant, Flow, Ordinal
from pushforward.estimators import FlowAnomaly
from pushforward.estimators.layout import to_numpy
from pushforward.estimators.model_files import loader_of, read_model
from pushforward.evaluate.abilities import KnowsColumns
from pushforward.evaluate.calibration import measure_calibration
from pushforward.io import read_header
from pushforward.lab.arguments import LabError
from pushforward.lab.columns import given_values
from pushforward.lab.marginals import marginal_densities
from pushforward.lab.ranges import described_columns

__all__ = ["MOST_ROWS", "OpenModel"]

MOST_ROWS = 20_000
"""Rows of a table that are judged."""
DRAWS, SHOWN_ROWS = 2_000, 2_000
"""Rows of the model that stand for usual rows, and sampled rows that are shown as points."""
BINS = 20
"""Of a PIT histogram."""


class OpenModel:
    """A model of the columns of a table, from a file.

    Args:
        path: of the file.

    Raises:
        ValueError: the file is damaged, or holds no model of a table.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.density, self.detector = read_model(path)
        except ValueError as error:
            raise LabError(str(error)) from None
        header, names = read_header(path), self.density.schema_.names
        self.rows = header.metadata.get("train_rows")
        self.loader = loader_of(header.metadata)
        self.description = f"{self.density.model_name_}: {len(names)} columns, {header.parameters:,} parameters"
        self.columns = described_columns(self.density)

    def describe(self) -> dict[str, Any]:
        """Columns, what the file is, what loads it, and whether any of the columns may be given."""
        return {
            "columns": self.columns,
            "description": self.description,
            "rows": self.rows,
            "loader": self.loader,
            "conditions_on_any": self.density.conditions_on_any,
        }

    def marginals(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        """The density of each other column, given values of some."""
        ranges = {column["name"]: column for column in self.columns}
        with single_threaded():  # the operations are too small to share, and users wait for each of them
            return marginal_densities(self._given(values), ranges)

    def sample(self, n: int, values: dict[str, Any], seed: int) -> dict[str, Any]:
        """Rows as CSV, and the first of them as values by column."""
        table = self._given(values).sample(n, seed, whole=True)
        with tempfile.TemporaryDirectory(prefix="flow-lab-") as folder:
            path = Path(folder, "samples.csv")
            with TableWriter(path, table.schema) as writer:
                writer.write(table)
            csv = path.read_text("utf-8")
        head = table.slice(0, SHOWN_ROWS)
        points = {name: [entry_json(v) for v in head.column(name).to_pylist()] for name in head.column_names}
        return {"csv": csv, "points": points}

    def anomalies(self, table: Any, count: int) -> list[dict[str, Any]]:
        """The least likely rows of a table, or of rows of the model if there is none, with reasons where the model
        can condition on any columns."""
        self._refuse_nan()
        rows = self._rows(table)
        explains = self.detector is not None or (self.density.conditions_on_any and not self.density.context)
        with quiet():
            if explains and self.detector is None:
                self.detector = FlowAnomaly.of(self.density, self._usual())
            judge = self.density if self.detector is None else self.detector
            scores = judge.score_samples(rows)
            order = np.argsort(np.where(np.isnan(scores), np.inf, scores))[:count]
            chosen = rows.take(order)
            reasons = judge.explain(chosen) if isinstance(judge, FlowAnomaly) else [[] for _ in order]
        entries = chosen.to_pylist()
        return [
            {
                "number": int(i) + 1,
                "row": {name: entry_json(value) for name, value in row.items()},
                "score": float(scores[i]),
                "reasons": [
                    {"column": r.column, "value": entry_json(r.value), "surprise": r.surprise,
                     "usual": entry_json(r.expected)}
                    for r in why
                ],
            }
            for i, row, why in zip(order, entries, reasons, strict=True)
        ]  # fmt: skip

    def pit(self, table: Any) -> list[dict[str, Any]]:
        """Histograms of the probability integral transform of each column, uniform under the model, and the p-value of
        a χ² test that they are; of a flow without distribution functions, of each latent variable."""
        from scipy.stats import chisquare

        self._refuse_nan()
        with quiet():
            rows = self.density.encode(self._rows(table))
        model, layout = self.density.model_, self.density.layout_
        x, names = to_numpy(rows.x), [self.density.schema_.names[j] for j in layout.modelled]
        context = None if rows.context is None else to_numpy(rows.context)
        try:
            columns = measure_calibration(model, x, names, context)
        except ValueError:  # a flow that mixes the order of its columns has no distribution function of each
            columns = []
        pits = [(c.name, c.pit(BINS) * c.rows / BINS) for c in columns if c.lower is not None]
        if not columns and isinstance(model, Flow):
            with torch.no_grad():
                told = None if rows.context is None else rows.context.to(model.context_dtype)
                u = to_numpy(torch.special.ndtr(model.to_latent(rows.x.to(model.dtype), told).double()))
            pits = [(f"z{k + 1}", np.histogram(u[:, k], BINS, (0, 1))[0].astype(float)) for k in range(u.shape[1])]
        fields = [self.density.schema_.fields[j] for j in layout.modelled]
        if not pits and isinstance(model, KnowsColumns) and any(_has_order(field) for field in fields):
            raise LabError("No column of numbers or times in the table holds a value that this model can draw.")
        if not pits:
            raise LabError("This model has no distribution function of a column, so its calibration cannot be shown.")
        return [{"name": n, "counts": c.tolist(), "p_value": float(chisquare(c).pvalue)} for n, c in pits if c.sum()]

    def _given(self, values: dict[str, Any]) -> Any:
        absent = [name for name in self.density.context if name not in values]
        if absent and not self.density.conditions_on_any:
            raise LabError(f"A value of {absent[0]!r} is missing: the model is conditioned on it.")
        return self.density.given(given_values(self.density.schema_.fields, values))

    def _usual(self) -> Any:
        rows = self.density.sample(DRAWS, 0)
        try:
            usable = bool(np.isfinite(self.density.schema_.encode(rows)).all())
        except TableError:  # of infinite values
            usable = False
        if not usable:
            raise LabError("Rows drawn from this model hold entries that are no numbers, so they cannot be judged.")
        return rows

    def _refuse_nan(self) -> None:
        model: Any = self.density.model_
        if any(bool(weights.isnan().any()) for weights in model.parameters()):
            raise LabError("This model has weights that are no numbers (NaN). Train it again.")

    def _rows(self, table: Any) -> Any:
        """The columns of the model in a table, or rows of the model."""
        names = self.density.schema_.names
        if table is None:
            if self.density.context:
                raise LabError("This model is one of columns given others. Upload a table that holds them all.")
            return self._usual()
        if absent := [name for name in names if name not in table.column_names]:
            raise TableError(f"The table has no column {absent[0]!r}, which the model has.")
        if table.num_rows > MOST_ROWS:
            raise LabError(f"The table has {table.num_rows:,} rows; Flow Lab judges at most {MOST_ROWS:,}.")
        return table.select(names)


def _has_order(field: Field) -> bool:
    """Whether a column has a distribution function: that of unordered or of two categories has none."""
    if isinstance(field.column_type, Constant) or field.form == "bool":
        return False
    return field.labels is None or (isinstance(field.column_type, Ordinal) and len(field.labels) > 2)
