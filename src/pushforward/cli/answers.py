"""``pushforward score``, ``sample``, ``impute`` and ``intervals``: what a model says, table in and table out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pushforward.cli.common import listed, say, suggestion
from pushforward.cli.options import parse_columns
from pushforward.cli.outputs import check_output, table_writer, write_blocks
from pushforward.cli.tables import BLOCK, Blocks, load_model, observed_values, options_named
from pushforward.data import column_names
from pushforward.data.frame import raw_columns
from pushforward.estimators import FlowDensity

__all__ = ["impute", "intervals", "sample", "score"]


def score(model: str, table: str, out: str, *, keep: Sequence[str] = (), force: bool = False) -> dict[str, Any]:
    """Write one column, ``log_density`` in nats, in the order of the rows."""
    check_output(out, model, table, force=force)
    fitted, kept = load_model(model), parse_columns("--keep", keep, column_names(table), table)
    rows, finite, total = 0, 0, 0.0
    pieces = Blocks(fitted, table, kept, out=out)

    def blocks() -> Iterator[Any]:
        nonlocal rows, finite, total
        for densities, beside in pieces.map(fitted.score_samples):
            good = np.isfinite(densities)
            rows, finite, total = rows + len(good), finite + int(good.sum()), total + float(densities[good].sum())
            yield beside.append_column("log_density", pa.array(densities))

    write_blocks(out, blocks(), table, pieces.types)
    if finite < rows:
        say(f"{rows - finite} of {rows} rows have no finite log-density.")
    mean = total / finite if finite else math.nan
    exactness = fitted.model_.exactness
    return {"out": out, "rows": rows, "finite": finite, "mean_log_density": mean, "exactness": exactness}


def sample(
    model: str,
    out: str,
    rows: int,
    conditions: Sequence[str] = (),
    seed: int = 0,
    *,
    keep_rules: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Write sampled rows, given values of columns, which are written beside the sampled ones."""
    check_output(out, model, force=force)
    fitted = load_model(model)
    values = observed_values(fitted, conditions, model)
    with options_named(model):
        distribution = fitted.given(values)
    size, undefined = max(256, min(2 * BLOCK, 2**18 // len(fitted.schema_.fields))), 0
    options: dict[str, Any] = {"whole": True, "keep_rules": keep_rules}
    first = distribution.sample(min(rows, size), seed, **options)
    with table_writer(out, first.schema) as writer:
        for start in range(0, rows, size):
            piece = first if not start else distribution.sample(min(size, rows - start), seed + start, **options)
            numbers = [raw.values for raw in raw_columns(piece) if raw.values is not None]
            undefined += int(np.any([np.isnan(n) for n in numbers], axis=0).sum()) if numbers else 0
            writer.write(piece)
    if undefined:
        say(f"{undefined} of {rows} rows hold NaN: the inverse of the flow did not converge there.")
    return {"out": out, "rows": rows, "columns": first.column_names, "given": values, "seed": seed}


def impute(
    model: str,
    table: str,
    out: str,
    seed: int,
    *,
    draw: bool = False,
    keep: Sequence[str] = (),
    force: bool = False,
) -> dict[str, Any]:
    """Write the table with missing entries filled by conditional means and modes, or by one random draw. Columns that
    the model does not have are written as they are: all, or those in ``keep``."""
    check_output(out, model, table, force=force)
    fitted, filled, block, names = load_model(model), 0, 0, list(column_names(table))
    wanted = [*fitted.schema_.names, *(parse_columns("--keep", keep, names, table) if keep else names)]
    beside = [name for name in names if name in wanted and name not in fitted.schema_.names]

    def answer(rows: Any) -> Any:
        nonlocal filled, block
        filled += sum(column.null_count for column in rows.columns)
        block += 1
        return fitted.impute(rows, n=1, random_state=seed + block - 1)[0] if draw else fitted.impute(rows)

    with options_named(model):
        fitted.check_any_subset("impute")
    order = [name for name in names if name in wanted]
    pieces = Blocks(fitted, table, beside, out=out)
    blocks = (_beside(left, right).select(order) for left, right in pieces.map(answer))
    rows = write_blocks(out, blocks, table, pieces.types)
    return {"out": out, "rows": rows, "filled": filled}


def intervals(
    model: str,
    table: str,
    column: str,
    out: str,
    probability: float,
    *,
    keep: Sequence[str] = (),
    force: bool = False,
) -> dict[str, Any]:
    """Write prediction intervals of a column in each row, given the other entries of the row."""
    check_output(out, model, table, force=force)
    fitted, kept = load_model(model), parse_columns("--keep", keep, column_names(table), table)
    with options_named(model):
        fitted.check_any_subset("intervals")
    if column not in fitted.schema_.names:
        raise ValueError(
            f"--column: {model} has no column {column!r}.{suggestion(column, fitted.schema_.names)} "
            f"The columns are {listed(fitted.schema_.names)}."
        )
    judge = _Judge(fitted, column)

    def answer(rows: Any) -> Any:
        predicted = fitted.intervals(rows, column, probability)
        judge.see(rows, predicted)
        return predicted

    pieces = Blocks(fitted, table, kept, absent=column, out=out)
    rows = write_blocks(out, (_beside(left, right) for right, left in pieces.map(answer)), table, pieces.types)
    return {"out": out, "rows": rows, "column": column, "probability": probability, **judge.result()}


def _beside(left: Any, right: Any) -> Any:
    for name in right.column_names:
        left = left.append_column(name, right.column(name))
    return left


class _Judge:
    """How good the predictions of a column are, where its values are in the table."""

    def __init__(self, model: FlowDensity, column: str) -> None:
        self.model, self.field = model, model.schema_.fields[model.schema_.place(column)]
        self.seen, self.right, self.loss = 0, 0, 0.0

    def see(self, rows: Any, predicted: Any) -> None:
        """Count one block."""
        x = self.field.encode(raw_columns(rows, [self.field.name])[0])
        present = ~np.isnan(x)
        if not present.any():
            return
        self.seen += int(present.sum())
        if self.field.column_type.ordered:
            low, high = (self.field.encode(raw) for raw in raw_columns(predicted, ["low", "high"]))
            self.right += int(self.field.between(low, x, high).sum())
            return
        likeliest = self.field.encode(raw_columns(predicted, ["likeliest"])[0])
        self.right += int((likeliest == x).sum())
        self.loss -= float(self.model.log_conditional(rows, self.field.name)[present].sum())

    def result(self) -> dict[str, float]:
        """The share of values inside the intervals, or the accuracy and the log loss in nats."""
        if not self.seen:
            return {}
        share = self.right / self.seen
        if self.field.column_type.ordered:
            return {"covered": share}
        return {"accuracy": share, "log_loss": self.loss / self.seen}
