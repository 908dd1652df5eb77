"""``pushforward anomalies``: the rows that a mixed-type model finds least likely, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pushforward.cli.left_out import without_empty, without_identifiers
from pushforward.cli.options import parse_columns
from pushforward.cli.outputs import check_output, remember, table_writer
from pushforward.cli.tables import load_model, options_named, parse_types
from pushforward.data import Schema, TableError, column_names, read_arrow
from pushforward.estimators import FlowAnomaly, FlowDensity
from pushforward.estimators.anomaly import AUTO_SHARE
from pushforward.io import read_header, save

__all__ = ["anomalies"]

MIN_SURPRISE = 1.0
"""Nats of surprise from which on an entry is listed as a reason."""


def anomalies(
    table: str,
    *,
    learn_from: str | None = None,
    top: int = 20,
    drop: Sequence[str] = (),
    types: Sequence[str] = (),
    out: str | None = None,
    contamination: float | None = None,
    measure: str = "surprise",
    steps: int | None = None,
    seconds: float | None = None,
    model: str | None = None,
    save_as: str | None = None,
    novelty: bool = False,
    keep: Sequence[str] = (),
    force: bool = False,
    seed: int = 0,
    show: bool = True,
) -> dict[str, Any]:
    """Fit a mixed-type model, and list the least likely rows with the entries that make them so.

    Args:
        table: the rows to judge.
        learn_from: the table to fit to; by default ``table``.
        top: number of rows to list.
        drop: columns to leave out.
        types: column types, as typed after ``--type``.
        out: a table of all scores to write.
        contamination: share of the rows fitted to that lie below the threshold; by default that of `FlowAnomaly`.
        measure: the score, one of those of `FlowAnomaly`.
        steps: largest number of training steps.
        seconds: time limit of the training.
        model: a file with a model to judge by, a detector or a mixed-type model, instead of fitting one.
        save_as: a file for the detector.
        novelty: whether all rows of ``learn_from`` are normal.
        keep: columns to show beside the rows that are listed, and to copy into ``out``.
        force: whether ``out`` may replace any file.
        seed: of the fit.
        show: whether to show the progress of training.
    """
    if out is not None:
        check_output(out, table, learn_from, force=force)
    if save_as is not None:
        check_output(save_as, table, learn_from, model, out, force=force, option="--save")
    if model is not None and (learn_from or types or steps or seconds or novelty):
        raise ValueError("--model: the model is fitted already. Leave out the options of a fit.")
    source = learn_from or table
    loaded = None if model is None else load_detector(model)
    names = list(column_names(source)) if loaded is None else loaded.schema_.names
    kept_beside = parse_columns("--keep", keep, column_names(table), str(table))
    dropped = parse_columns("--drop", drop, names, source)
    kept = [name for name in names if name not in dropped]
    if not kept:
        raise ValueError(f"--drop: no column of {source} is left. Leave at least one out of --drop.")
    training = read_arrow(source, kept)
    if loaded is None:
        training = without_empty(training, source, [])
    rows = read_arrow(table) if learn_from else training
    for name in training.column_names:
        if name not in rows.column_names:
            raise TableError(f"{table}: there is no column {name!r}, which {source} has. Add it, or --drop {name}.")
    options: dict[str, Any] = {"measure": measure, "contamination": contamination or "auto", "random_state": seed}
    with options_named(source):
        if loaded is None:
            schema = Schema.infer(training, parse_types(types, training.column_names, str(source)))
            remedy = "declare its type, such as --type {}=categorical, to take it in"
            schema = without_identifiers(schema, schema.encode(training), [], remedy, silent=kept_beside)
            limits: dict[str, Any] = {"steps": steps, "seconds": seconds}
            detector = FlowAnomaly(types=schema, novelty=novelty, verbose=show, **limits, **options)
            detector.fit(training.select(schema.names))
        elif isinstance(loaded, FlowDensity):
            detector = FlowAnomaly.of(loaded, training, **options)
        else:
            detector = loaded
    rows = rows.select(detector.schema_.names)
    if save_as is not None:
        save(detector, save_as)
        remember(save_as)
    with options_named(table):
        scores = detector.score_samples(rows)
    beside = read_arrow(table, kept_beside) if kept_beside else pa.table({})
    if out is not None:
        columns = {name: beside.column(name) for name in kept_beside}
        written = pa.table({**columns, "score": scores, "outlier": scores < detector.offset_})
        with table_writer(out, written.schema) as target:
            target.write(written)
    order = np.argsort(scores)[:top]
    reasons = detector.explain(rows.take(order)) if len(order) else []
    shown = beside.take(order).to_pylist() if kept_beside else [{}] * len(order)
    return {
        "rows": rows.num_rows,
        "outliers": int((scores < detector.offset_).sum()),
        "measure": detector.measure,
        "threshold": detector.offset_,
        "contamination": AUTO_SHARE if detector.contamination == "auto" else detector.contamination,
        "learned_from": str(source) if model is None else model,
        "top": [
            {
                "row": int(i) + 1,
                "score": float(scores[i]),
                "kept": {name: _jsonable(values[name]) for name in kept_beside},
                "reasons": [
                    {**reason._asdict(), "value": _jsonable(reason.value), "expected": _jsonable(reason.expected)}
                    for reason in row_reasons
                    if reason.surprise > MIN_SURPRISE
                ],
            }
            for i, row_reasons, values in zip(order, reasons, shown, strict=True)
        ],
    }


def load_detector(path: str) -> FlowAnomaly | FlowDensity:
    """The detector of a file, or a mixed-type model to make one of.

    Raises:
        ValueError: the file holds something else.
    """
    if read_header(path).metadata.get("estimator", {}).get("name") == "FlowAnomaly":
        return FlowAnomaly.load(path)
    model = load_model(path)
    with options_named(path):
        model.check_any_subset("anomalies")
    return model


def _jsonable(value: Any) -> Any:
    """A value for JSON, numbers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if value is None or isinstance(value, str | int | bool) else str(value)
