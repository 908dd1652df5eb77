"""The commands on mixed-type models: `fit`, `score`, `sample`, `impute` and `intervals`."""

from __future__ import annotations

import ast
import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray

from pushforward.cli.common import listed, refuse_same_file, say, suggestion
from pushforward.cli.fit import FitRequest, choose_columns
from pushforward.cli.model import is_mixed, note_ignored
from pushforward.cli.options import parse_assignments
from pushforward.cli.score import write_scores
from pushforward.core.files import check_writable
from pushforward.data import TableError, column_names, format_of
from pushforward.data.arrow import ArrowWriter, read_arrow, stream_arrow
from pushforward.data.fields import Field
from pushforward.data.findings import findings
from pushforward.data.frame import raw_columns
from pushforward.data.parquet import ParquetRows
from pushforward.data.schema import Schema
from pushforward.distributions import Bounded, Circular, ColumnType, Positive
from pushforward.estimators import FlowDensity
from pushforward.estimators.density import PASS
from pushforward.io import save

__all__ = [
    "fit_mixed",
    "impute",
    "intervals",
    "named_table",
    "parse_types",
    "read_rows",
    "sample_mixed",
    "score_mixed",
    "unsupported_options",
]

Floats = NDArray[np.float64]

BLOCK = 8192
"""Rows that are read, scored or sampled at a time."""
IN_MEMORY = 2**21
"""Rows up to which a Parquet file is read whole."""
SCORED = 20_000
"""Training rows whose mean log-density is printed after a fit."""
UNSUPPORTED = {
    "context": "--given",
    "settings": "--set",
    "epochs": "--epochs",
    "resume": "--resume",
    "compile": "--compile",
    "checkpoint": "--checkpoint",
}
"""Options of `fit` that a mixed-type model does not take, by their fields in `FitRequest`."""
TYPE_FORM = "COLUMN=TYPE, such as hour=circular:24"
PARAMETRIC: dict[str, Any] = {
    "bounded": Bounded,
    "circular": lambda period, low=0.0: Circular(period, low=low),
    "positive": Positive,
}
"""Column types that take numbers, such as ``circular:24``."""


def unsupported_options(request: FitRequest) -> list[str]:
    """The options in use that a mixed-type model does not take."""
    return [option for name, option in UNSUPPORTED.items() if getattr(request, name)]


def parse_types(values: Sequence[str], columns: Sequence[str], table: str) -> dict[str, ColumnType | str]:
    """``hour=circular:24,grade=ordinal`` as column types by name.

    Raises:
        ValueError: a column or a type is unknown.
    """
    texts = parse_assignments("--type", values, columns, where=table, form=TYPE_FORM)
    return {name: _parse_type(name, text) for name, text in texts.items()}


def _parse_type(column: str, text: str) -> ColumnType | str:
    kind, *numbers = text.split(":")
    if not numbers:
        return kind  # checked when the schema is inferred
    if kind.lower() not in PARAMETRIC:
        raise ValueError(
            f"--type: column {column!r}: {kind!r} takes no numbers, only {listed(sorted(PARAMETRIC))} do. "
            f"Write {column}={kind}."
        )
    try:
        column_type: ColumnType = PARAMETRIC[kind.lower()](*(float(number) for number in numbers))
    except (TypeError, ValueError) as error:
        raise ValueError(f"--type: column {column!r}: {text!r} is not a column type ({error}).") from None
    return column_type


def fit_mixed(request: FitRequest, types: Sequence[str], *, show: bool) -> dict[str, Any]:
    """Fit a mixed-type model to a table, and save it.

    Raises:
        ValueError: an option, a column or the table cannot be used.
    """
    table, out = request.table, request.out
    if unsupported := unsupported_options(request):
        raise ValueError(f"{', '.join(unsupported)}: not available for a mixed-type model. Leave the option out.")
    validation = request.validation
    if isinstance(validation, str):
        raise ValueError(
            f"--validation: a mixed-type model takes a fraction of the rows, such as 0.1; got the table {validation}."
        )
    refuse_same_file("--out", out, table)
    check_writable(out)
    kept, _, dropped = choose_columns(request)
    column_types = parse_types(types, kept, table)
    source = large_file(table, kept)
    large = source is not None
    rows: Any = source if large else read_arrow(table).select(kept)
    model = FlowDensity(
        types=column_types or None,
        steps=request.steps,
        seconds=request.seconds,
        validation=validation or None,
        batch_size=request.batch_size,
        random_state=request.seed,
        verbose=show,
    )
    if request.lr is not None:
        model.set_params(lr=request.lr)
    with named_table(table):
        if show:
            announce(rows.draw(PASS, 0, held=False) if large else rows, column_types)
        model.fit(rows)
    first = next(_blocks(model, table)) if large else rows.slice(0, SCORED)
    history = getattr(model, "history_", None)
    metadata = {
        "columns": model.schema_.names,
        "column_types": [type(field.column_type).__name__ for field in model.schema_.fields],
        "dropped": dropped,
        "flow": "mixed",
        "seed": request.seed,
        "train_rows": rows.rows if large else rows.num_rows,
        **({} if history is None else {"history": history.to_dict()}),
    }
    save(model, out, metadata=metadata)
    return {
        "out": out,
        **{k: v for k, v in metadata.items() if k != "history"},
        "schema": model.schema_.describe(),
        "parameters": sum(p.numel() for p in model.model_.parameters()),
        "seconds": 0.0 if history is None else history.seconds,
        "train": model.score(first),
        "validation": None if history is None else history.best_validation,
        "stopped": "" if history is None else history.stopped,
    }


def announce(rows: Any, column_types: dict[str, ColumnType | str]) -> None:
    """Print how the columns of an Arrow table are read, and what stands out in them."""
    schema = Schema.infer(rows, column_types)
    typer.echo(schema.describe())
    for finding in findings(schema.fields, schema.encode(rows)):
        say(f"Note: {finding.sentence}")


def large_file(table: str, columns: list[str]) -> ParquetRows | None:
    """A Parquet file that is read row group by row group; None for a table that is read whole."""
    source = ParquetRows(table, columns) if format_of(table)[0] == "parquet" else None
    return source if source is not None and source.rows > IN_MEMORY else None


def first_rows(table: str, columns: list[str]) -> Any:
    """The rows that the types of the columns are inferred from, as an Arrow table."""
    source = large_file(table, columns)
    return read_arrow(table).select(columns) if source is None else source.draw(PASS, 0, held=False)


@contextmanager
def named_table(table: str) -> Iterator[None]:
    """Name the file and the command-line option in errors about a data frame within the block."""
    try:
        yield
    except TableError as error:
        message = str(error).replace("the table:", f"{table}:", 1)
        message = message.replace("an object such as Circular(24)", "a type with numbers, such as circular:24")
        raise TableError(re.sub("^types:", f"--type: {table}:", message)) from None


def _load(model: str) -> FlowDensity:
    if not is_mixed(model):
        raise ValueError(f"{model}: this command needs a mixed-type model. Fit one with --flow mixed.")
    return FlowDensity.load(model)


def _blocks(model: FlowDensity, table: str) -> Iterator[Any]:
    """The columns of the model as Arrow tables of at most `BLOCK` rows."""
    note_ignored(table, model.schema_.names)
    return stream_arrow(table, model.schema_.names, BLOCK, texts=model.schema_.texts)


def read_rows(model: FlowDensity, table: str) -> Floats:
    """The rows of a table as the model encodes them, (rows, columns).

    Raises:
        TableError: the table has no rows, lacks a column, or holds a value that the model cannot encode.
    """
    with named_table(table):
        blocks = [model.schema_.encode(block) for block in _blocks(model, table)]
    if not sum(map(len, blocks)):
        raise TableError(f"{table}: the table has a header but no rows. Add rows below it.")
    return np.concatenate(blocks)


def score_mixed(model: str, table: str, out: str) -> dict[str, Any]:
    """Write the log-density of the observed entries of each row."""
    refuse_same_file("--out", out, model, table)
    check_writable(out)
    fitted = _load(model)
    with named_table(table):
        return write_scores(out, map(fitted.score_samples, _blocks(fitted, table)))


def sample_mixed(model: str, out: str, rows: int, conditions: Sequence[str], seed: int) -> dict[str, Any]:
    """Write sampled rows, given values of any columns, which are written beside the sampled ones."""
    refuse_same_file("--out", out, model)
    check_writable(out)
    fitted = _load(model)
    values = observed_values(fitted, conditions, model)
    try:
        distribution = fitted.given(values) if values else fitted
    except TableError as error:
        raise TableError(f"--given: {error}") from None
    columns = fitted.schema_.names
    with ExitStack() as stack:
        writer: ArrowWriter | None = None
        for start in range(0, rows, BLOCK):
            size = min(BLOCK, rows - start)
            piece = distribution.sample(size, random_state=seed + start)
            for name, value in values.items():
                piece = piece.append_column(name, pa.array([value] * size))
            piece = piece.select(columns)
            if writer is None:
                writer = stack.enter_context(ArrowWriter(out, piece.schema))
            writer.write_table(piece)
    return {"out": out, "rows": rows, "columns": columns, "given": values, "seed": seed}


def observed_values(model: FlowDensity, conditions: Sequence[str], path: str) -> dict[str, Any]:
    """``sex=F,age=40`` as values by column.

    Raises:
        ValueError: a column is unknown or repeated, or a value is not of its type.
    """
    form = "COLUMN=VALUE, several separated by commas"
    texts = parse_assignments("--given", conditions, model.schema_.names, where=path, form=form)
    fields = {field.name: field for field in model.schema_.fields}
    return {name: _parse_value(fields[name], text) for name, text in texts.items()}


def _parse_value(field: Field, text: str) -> Any:
    has_text = field.labels is not None and all(isinstance(label, str) for label in field.labels)
    if has_text:
        return text  # checked by the model
    if field.form in ("time", "day"):
        try:
            dt.datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"--given: {field.name!r} must be a date such as 2024-01-31; got {text!r}.") from None
        return text
    try:
        number = ast.literal_eval(text.capitalize() if field.form == "bool" else text)
    except (ValueError, SyntaxError):
        number = None
    if not isinstance(number, int | float):
        what = "true or false" if field.form == "bool" else "a number"
        raise ValueError(f"--given: {field.name!r} must be {what}; got {text!r}.")
    return bool(number) if field.form == "bool" else number


def impute(model: str, table: str, out: str, seed: int, *, draw: bool = False) -> dict[str, Any]:
    """Write the table with missing entries filled by conditional means and modes, or by one random draw."""
    refuse_same_file("--out", out, model, table)
    check_writable(out)
    fitted = _load(model)
    count, imputed = 0, []
    with named_table(table):
        for k, block in enumerate(_blocks(fitted, table)):
            count += sum(column.null_count for column in block.columns)
            imputed.append(fitted.impute(block, n=1, random_state=seed + k)[0] if draw else fitted.impute(block))
    whole = _write_blocks(out, imputed, table)
    return {"out": out, "rows": whole.num_rows, "filled": count}


def intervals(model: str, table: str, column: str, out: str, probability: float) -> dict[str, Any]:
    """Write prediction intervals of a column in each row, given the other entries of the row."""
    refuse_same_file("--out", out, model, table)
    check_writable(out)
    fitted = _load(model)
    schema = fitted.schema_
    if column not in schema.names:
        raise ValueError(
            f"--column: {model} has no column {column!r}.{suggestion(column, schema.names)} "
            f"The columns are {listed(schema.names)}."
        )
    field = schema.fields[schema.place(column)]
    inside, observed, predicted = 0, 0, []
    has_column = column in column_names(table)
    needed = [name for name in schema.names if name != column or has_column]
    with named_table(table):
        for block in stream_arrow(table, needed, BLOCK, texts=schema.texts):
            if not has_column:
                block = block.append_column(column, pa.nulls(block.num_rows))
            block = block.select(schema.names)
            predicted.append(fitted.intervals(block, column, probability))
            if field.column_type.ordered and has_column:
                x = schema.encode(block)[:, schema.place(column)]
                low, high = (field.encode(raw) for raw in raw_columns(predicted[-1], ["low", "high"]))
                inside += int(((low <= x) & (x <= high)).sum())  # false where x is NaN
                observed += int((~np.isnan(x)).sum())
    whole = _write_blocks(out, predicted, table)
    result = {"out": out, "rows": whole.num_rows, "column": column, "probability": probability}
    return {**result, "covered": inside / observed} if observed else result


def _write_blocks(out: str, blocks: Sequence[Any], table: str) -> Any:
    """Write Arrow tables as one, with the data types that hold the values of all of them."""
    if not sum(block.num_rows for block in blocks):
        raise TableError(f"{table}: the table has a header but no rows. Add rows below it.")
    whole = pa.concat_tables(blocks, promote_options="permissive")
    with ArrowWriter(out, whole.schema) as target:
        target.write_table(whole)
    return whole
