"""A model file as a model of MLflow, whose servers and batch jobs then score tables with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pushforward.core.extras import need_packages

__all__ = ["save_mlflow"]

QUESTIONS = ("score", "impute", "explain")


def save_mlflow(model: str | os.PathLike[str], folder: str | os.PathLike[str], **options: Any) -> None:
    """Write a model file as a ``pyfunc`` model of MLflow.

    Its ``predict`` takes a data frame and the parameter ``question``: ``"score"`` (the default) gives log-densities in
    nats, ``"impute"`` the rows without gaps, ``"explain"`` scores and reasons.

    Args:
        model: file of a model of a table.
        folder: for the model of MLflow, which must not exist.
        options: of ``mlflow.pyfunc.save_model``.

    Raises:
        ImportError: MLflow is not installed.
        ValueError: the file holds no model of a table.
    """
    need_packages("save_mlflow", "mlflow", "mlflow")
    import mlflow
    import pandas as pd
    import pyarrow as pa
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec

    from pushforward.serve.model import ServedModel

    ServedModel(Path(model))

    class PushforwardModel(mlflow.pyfunc.PythonModel):
        """Loads the file once, and answers."""

        def load_context(self, context: Any) -> None:
            self.served = ServedModel(Path(context.artifacts["model"]))

        def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
            question = (params or {}).get("question", "score")
            if question not in QUESTIONS:
                raise ValueError(f"question must be one of {', '.join(QUESTIONS)}; got {question!r}.")
            table = pa.Table.from_pandas(model_input, preserve_index=False).select(self.served.schema.names)
            if question == "impute":
                return self.served.impute(table, False, None).to_pandas()
            if question == "explain":
                return pd.DataFrame(self.served.explain(table, 3))
            scores = self.served.scores([table])[0]
            if isinstance(scores, Exception):
                raise scores
            return pd.DataFrame({"log_density": scores})

    # MLflow hands on only the parameters that the signature names.
    signature = ModelSignature(params=ParamSchema([ParamSpec("question", "string", "score")]))
    mlflow.pyfunc.save_model(
        path=os.fspath(folder),
        python_model=PushforwardModel(),
        artifacts={"model": os.fspath(model)},
        **{"signature": signature, **options},
    )
