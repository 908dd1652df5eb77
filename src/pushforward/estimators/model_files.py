"""Model files of every kind as an estimator that answers questions about the columns of a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.core.distribution import Distribution
from pushforward.data.schema import Field, Schema
from pushforward.distributions import Continuous
from pushforward.estimators.anomaly import FlowAnomaly
from pushforward.estimators.density import FlowDensity
from pushforward.io import load, read_header

__all__ = ["loader_of", "of_arrow", "read_model"]

LOADABLE = ("FlowAnomaly", "FlowConditional", "FlowDensity", "FlowImages", "FlowRegressor")
"""Estimators that are written to files."""


def read_model(path: Path) -> tuple[FlowDensity, FlowAnomaly | None]:
    """The model in a file, whose answers are Arrow tables; and the detector, if the file holds one.

    Raises:
        ValueError: the file is damaged, or holds no model of a table.
    """
    try:
        density, detector = _read(path)
        model = density.model_
        shape = model.event_shape if isinstance(model, Distribution) else ()
        if shape != (len(density.layout_.modelled),):
            raise _no_model(path)
        density.schema_ = of_arrow(density.schema_)
    except ValueError as error:  # with the name alone: the path is nobody's business but the server's
        raise ValueError(str(error).replace(str(path), path.name)) from None
    except (AttributeError, IndexError, KeyError, TypeError):  # the metadata are another program's
        raise _no_model(path) from None
    density.feature_names_in_ = np.array(density.schema_.names, dtype=object)
    if detector is not None:
        detector.schema_, detector.feature_names_in_ = density.schema_, density.feature_names_in_
    return density, detector


def loader_of(metadata: dict[str, Any]) -> str:
    """The public function that loads a file with this metadata, without ``pf.`` before a class."""
    if "estimator" in metadata:
        stored = metadata["estimator"]
        name = stored.get("name") if isinstance(stored, dict) else None
        return f"{name}.load" if name in LOADABLE else "pushforward.load"
    return "FlowDensity.load" if isinstance(metadata.get("columns"), list) else "pushforward.load"


def _no_model(path: Path) -> ValueError:
    return ValueError(f"{path.name}: this file holds no model of the columns of a table.")


def _read(path: Path) -> tuple[FlowDensity, FlowAnomaly | None]:
    metadata = read_header(path).metadata
    loader = loader_of(metadata)
    if loader == "FlowAnomaly.load":
        detector = FlowAnomaly.load(path)
        density = FlowDensity()
        density.model_, density.schema_ = detector.model_, detector.schema_
        density.n_features_in_, density.model_name_ = detector.n_features_in_, "anomaly detector"
        return density, detector
    if loader == "FlowDensity.load":
        return FlowDensity.load(path), None
    if loader == "pushforward.load" and "estimator" in metadata:
        raise _no_model(path)
    if loader == "pushforward.load":
        return _of_plain_flow(path), None
    raise ValueError(
        f"{path.name}: this file holds a {loader.removesuffix('.load')}. Use it from Python, with {loader}."
    )


def _of_plain_flow(path: Path) -> FlowDensity:
    """A flow that was saved without names of its columns, which get some."""
    flow = load(path)
    if not isinstance(flow, Distribution) or len(flow.event_shape) != 1 or flow.context_shape is not None:
        raise _no_model(path)
    names = [f"x{j + 1}" for j in range(flow.event_shape[0])]
    density = FlowDensity(model="auto")
    density.model_, density.model_name_ = flow, type(flow).__name__
    density.schema_ = Schema(tuple(Field(name, Continuous(), "numbers", "Float64") for name in names), "pyarrow")
    density.n_features_in_ = len(names)
    return density


def of_arrow(schema: Schema) -> Schema:
    """A schema whose answers are Arrow tables, whatever library the model learned from. Data types of others have other
    names; of these, whole numbers alone make a difference."""
    if schema.backend in ("pyarrow", "polars"):
        return replace(schema, backend="pyarrow")
    fields = (replace(field, stored="Int64" if "int" in field.stored.lower() else "") for field in schema.fields)
    return replace(schema, fields=tuple(fields), backend="pyarrow")
