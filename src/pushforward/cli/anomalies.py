"""``pushforward anomalies``: the rows that a mixed-type model finds least likely, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pushforward.cli.options import parse_columns
from pushforward.cli.outputs import check_output, table_writer
from pushforward.cli.tables import options_named, parse_types
from pushforward.data import TableError, column_names, read_arrow
from pushforward.estimators import FlowAnomaly
from pushforward.estimators.anomaly import AUTO_SHARE

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
        keep: columns to copy into ``out``.
        force: whether ``out`` may replace any file.
        seed: of the fit.
        show: whether to show the progress of training.
    """
    if out is not None:
        check_output(out, table, learn_from, force=force)
    source = learn_from or table
    names = list(column_names(source))
    kept_beside = parse_columns("--keep", keep, column_names(table), str(table))
    dropped = parse_columns("--drop", drop, names, source)
    kept = [name for name in names if name not in dropped]
    if not kept:
        raise ValueError(f"--drop: no column of {source} is left. Leave at least one out of --drop.")
    column_types = parse_types(types, kept, source)
    training = read_arrow(source).select(kept)
    rows = read_arrow(table) if learn_from else training
    for name in kept:
        if name not in rows.column_names:
            raise TableError(f"{table}: there is no column {name!r}, which {source} has. Add it, or --drop {name}.")
    rows = rows.select(kept)
    model = FlowAnomaly(
        types=column_types or None,
        measure=measure,
        contamination="auto" if contamination is None else contamination,
        steps=steps,
        seconds=seconds,
        random_state=seed,
        verbose=show,
    )
    with options_named(source):
        model.fit(training)
    with options_named(table):
        scores = model.score_samples(rows)
    if out is not None:
        beside = read_arrow(table, kept_beside) if kept_beside else pa.table({})
        columns = {name: beside.column(name) for name in kept_beside}
        written = pa.table({**columns, "score": scores, "outlier": scores < model.offset_})
        with table_writer(out, written.schema) as target:
            target.write(written)
    order = np.argsort(scores)[:top]
    reasons = model.explain(rows.take(order)) if len(order) else []
    return {
        "rows": rows.num_rows,
        "outliers": int((scores < model.offset_).sum()),
        "measure": measure,
        "threshold": model.offset_,
        "contamination": AUTO_SHARE if contamination is None else contamination,
        "learned_from": source,
        "top": [
            {
                "row": int(i) + 1,
                "score": float(scores[i]),
                "reasons": [
                    {**reason._asdict(), "value": _jsonable(reason.value), "expected": _jsonable(reason.expected)}
                    for reason in row_reasons
                    if reason.surprise > MIN_SURPRISE
                ],
            }
            for i, row_reasons in zip(order, reasons, strict=True)
        ],
    }


def _jsonable(value: Any) -> Any:
    """A value for JSON, numbers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if value is None or isinstance(value, str | int | bool) else str(value)
