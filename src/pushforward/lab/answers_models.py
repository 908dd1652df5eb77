"""Answers about the table that a user uploaded and the model that a user opened."""

from __future__ import annotations

from typing import Any

from pushforward.lab.arguments import Arguments, LabError
from pushforward.lab.folder import ModelFolder
from pushforward.lab.models import OpenModel
from pushforward.lab.tables import MOST_BYTES, OpenTable, read_table

__all__ = ["ModelAnswers"]

MOST_SAMPLES, MOST_LISTED = 50_000, 200


class ModelAnswers:
    """Answers to ``table.*`` and ``model.*``.

    Args:
        files: of models that may be opened.
    """

    def __init__(self, files: ModelFolder) -> None:
        self._files = files
        self._table: OpenTable | None = None
        self._model: OpenModel | None = None

    def open_table(self, arguments: Arguments) -> dict[str, Any]:
        """Read a table, and name its columns of numbers."""
        name = arguments.text("name")
        table = OpenTable.of(name, read_table(name, arguments.content("content", MOST_BYTES)))
        self._table = table
        return {"columns": list(table.columns), "rows": table.rows}

    def columns(self, arguments: Arguments) -> dict[str, Any]:
        """Two columns of the table as points."""
        if self._table is None:
            raise LabError("table.columns: no table is open. Open one first.")
        x, y = arguments.text("x", longest=10_000), arguments.text("y", longest=10_000)
        points, left_out = self._table.points(x, y)
        return {"points": points.tolist(), "left_out": left_out}

    def open_model(self, arguments: Arguments) -> dict[str, Any]:
        """Open a model file of the folder."""
        name = arguments.text("name")
        model = OpenModel(self._files.file(name))
        self._model = model
        return model.describe() | {"path": self._files.path_of(name)}

    def marginals(self, arguments: Arguments) -> dict[str, Any]:
        """The densities of columns, given others."""
        return {"columns": self._open(arguments).marginals(arguments.mapping("given"))}

    def sample(self, arguments: Arguments) -> dict[str, Any]:
        """Rows of the model, given values of columns."""
        model = self._open(arguments)
        n, seed = arguments.whole("n", 1, MOST_SAMPLES, 1_000), arguments.whole("seed", 0, 2**31 - 1, 0)
        return model.sample(n, arguments.mapping("given"), seed)

    def anomalies(self, arguments: Arguments) -> dict[str, Any]:
        """The least likely rows of a table, or of the model."""
        model, count = self._open(arguments), arguments.whole("count", 1, MOST_LISTED, 20)
        return {"rows": model.anomalies(self._uploaded(arguments), count)}

    def pit(self, arguments: Arguments) -> dict[str, Any]:
        """Whether the model is calibrated on a table, or on rows of its own."""
        return {"columns": self._open(arguments).pit(self._uploaded(arguments))}

    def _open(self, arguments: Arguments) -> OpenModel:
        if self._model is None:
            raise LabError(f"{arguments.call}: no model is open. Open one first.")
        return self._model

    def _uploaded(self, arguments: Arguments) -> Any:
        if not arguments.has("content"):
            return None
        name = arguments.text("name") if arguments.has("name") else "table.csv"
        return read_table(name, arguments.content("content", MOST_BYTES))
