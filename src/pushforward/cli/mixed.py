"""Commands for tables of mixed columns: numbers, categories, dates, with gaps or without."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pushforward.cli.common import listed, refuse_same_file, say, split_names, suggestion
from pushforward.cli.fit import FitRequest, choose_columns, part_or_path
from pushforward.cli.score import write_scores
from pushforward.core.files import check_writable
from pushforward.data import TableError, column_names, format_of
from pushforward.data.arrow import ArrowWriter, read_arrow, stream_arrow
from pushforward.data.frame import raw_columns
from pushforward.data.parquet import ParquetRows
from pushforward.distributions import Bounded, Circular, ColumnType, Positive
from pushforward.estimators import FlowAnomaly, FlowDensity
from pushforward.io import save

__all__ = ["anomalies", "fit_mixed", "impute", "intervals", "rows_of", "sample_mixed", "score_mixed", "types_of"]

Floats = NDArray[np.float64]
ROWS = 8192
OPTIONS = {"settings": "--set"}
LARGE = 2**21  # rows from where on a Parquet file is not read whole
WORTH = 1.0  # nats of surprise from which on an entry is a reason
PARTS: dict[str, Any] = {"circular": Circular, "bounded": Bounded, "positive": Positive}


def types_of(given: Sequence[str], names: Sequence[str]) -> dict[str, ColumnType | str]:
    """``hour=circular:24,grade=ordinal`` as kinds of columns.

    Raises:
        ValueError: a column or a kind is unknown.
    """
    found: dict[str, ColumnType | str] = {}
    for pair in (pair.strip() for text in given for pair in text.split(",")):
        name, equals, kind = pair.partition("=")
        if not equals or not kind:
            raise ValueError(f"--type: write COLUMN=KIND, such as hour=circular:24; got {pair!r}.")
        if name not in names:
            raise ValueError(f"--type: there is no column {name!r}.{suggestion(name, names)}")
        kind, *numbers = kind.split(":")
        if not numbers:
            found[name] = kind
            continue
        if kind.lower() not in PARTS:
            raise ValueError(f"--type: {kind!r} takes no numbers; {listed(sorted(PARTS))} do. Leave them out.")
        try:
            found[name] = PARTS[kind.lower()](*(float(v) for v in numbers))
        except (TypeError, ValueError) as error:
            raise ValueError(f"--type: {pair!r} is no kind of column: {error}") from None
    return found


def fit_mixed(request: FitRequest, types: Sequence[str], *, show: bool) -> dict[str, Any]:
    """Fit the joint density of a table as it is, and save it."""
    table, out = request.table, request.out
    unused = ("given", "settings", "epochs", "resume", "compile", "checkpoint")
    if wrong := [OPTIONS.get(name, f"--{name}") for name in unused if getattr(request, name)]:
        raise ValueError(f"{', '.join(wrong)}: not for a table of mixed columns. Leave it out.")
    validation = part_or_path(request.validation)
    if isinstance(validation, str):
        raise ValueError("--validation: of a table of mixed columns a part of the rows, such as 0.1.")
    refuse_same_file("--out", out, table)
    check_writable(out)
    kept, _, dropped = choose_columns(request)
    own = types_of(types, kept)
    source = ParquetRows(table, kept) if format_of(table)[0] == "parquet" else None
    large = source is not None and source.rows > LARGE
    rows: Any = source if large else read_arrow(table).select(kept)
    model = FlowDensity(
        types=own or None,
        steps=request.steps,
        seconds=request.seconds,
        validation=validation or None,
        batch_size=request.batch_size,
        random_state=request.seed,
        verbose=show,
    )
    if request.lr is not None:
        model.set_params(lr=request.lr)
    try:
        model.fit(rows)
    except TableError as error:
        raise TableError(str(error).replace("the table:", f"{table}:", 1)) from None
    first = next(_pieces(model, table)) if large else rows.slice(0, 20_000)
    history = model.history_ if hasattr(model, "history_") else None
    metadata = {
        "columns": model.schema_.names,
        "column_types": [type(field.kind).__name__ for field in model.schema_.fields],
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
    }


def _pieces(model: FlowDensity, table: str) -> Iterator[Any]:
    ignored = [name for name in column_names(table) if name not in model.schema_.names]
    if ignored:
        say(f"{table}: ignoring column{'s' if len(ignored) > 1 else ''} {listed(ignored)}, not part of the model.")
    return stream_arrow(table, model.schema_.names, ROWS, texts=model.schema_.texts)


def rows_of(known: FlowDensity, table: str) -> Floats:
    """The rows of a table as the numbers of a model."""
    pieces = [known.schema_.encode(piece) for piece in _pieces(known, table)]
    if not sum(map(len, pieces)):
        raise TableError(f"{table}: the table has a header but no rows.")
    return np.concatenate(pieces)


def score_mixed(model: str, table: str, out: str) -> dict[str, Any]:
    """Write the log-density of each row, of the entries that are there."""
    refuse_same_file("--out", out, model, table)
    check_writable(out)
    known = FlowDensity.load(model)
    return write_scores(out, map(known.score_samples, _pieces(known, table)))


def sample_mixed(model: str, out: str, rows: int, given: Sequence[str], seed: int) -> dict[str, Any]:
    """Write drawn rows, those with the given values beside them: any columns can be known."""
    refuse_same_file("--out", out, model)
    check_writable(out)
    known = FlowDensity.load(model)
    values = given_values(known, given)
    law = known.given(values) if values else None
    columns = known.schema_.names
    with ExitStack() as stack:
        writer: ArrowWriter | None = None
        for start in range(0, rows, ROWS):
            size = min(ROWS, rows - start)
            piece = (law or known).sample(size, random_state=seed + start)
            for name, value in values.items():
                piece = piece.append_column(name, pa.array([value] * size))
            piece = piece.select(columns)
            if writer is None:
                writer = stack.enter_context(ArrowWriter(out, piece.schema))
            writer.write_table(piece)
    return {"out": out, "rows": rows, "columns": columns, "given": values, "seed": seed}


def given_values(model: FlowDensity, given: Sequence[str]) -> dict[str, Any]:
    """``sex=F,age=40`` as values of columns.

    Raises:
        ValueError: a name is unknown or repeated, or a value cannot be the column's.
    """
    found: dict[str, Any] = {}
    names = model.schema_.names
    for pair in (pair.strip() for text in given for pair in text.split(",")):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value:
            raise ValueError(f"--given: write COLUMN=VALUE, several with commas; got {pair!r}.")
        if name not in names:
            raise ValueError(
                f"--given: there is no column {name!r}.{suggestion(name, names)} The columns are {listed(names)}."
            )
        if name in found:
            raise ValueError(f"--given: {name!r} has two values. Give one.")
        field = model.schema_.fields[model.schema_.place(name)]
        text = field.labels is not None and all(isinstance(label, str) for label in field.labels)
        if text or field.form in ("time", "day"):
            found[name] = value
            continue
        try:
            number = ast.literal_eval(value.capitalize() if field.form == "bool" else value)
            found[name] = bool(number) if field.form == "bool" else number
        except (ValueError, SyntaxError):
            raise ValueError(f"--given: {name!r} must be a number; got {value!r}.") from None
    return found


def impute(model: str, table: str, out: str, seed: int, *, draw: bool = False) -> dict[str, Any]:
    """Write the table with its gaps filled: by means and likeliest values, or by one draw."""
    refuse_same_file("--out", out, model, table)
    check_writable(out)
    known = FlowDensity.load(model)
    filled, rows, pieces = 0, 0, []
    for k, piece in enumerate(_pieces(known, table)):
        filled += sum(column.null_count for column in piece.columns)
        rows += piece.num_rows
        pieces.append(known.impute(piece, n=1, random_state=seed + k)[0] if draw else known.impute(piece))
    whole = pa.concat_tables(pieces, promote_options="permissive")
    with ArrowWriter(out, whole.schema) as target:
        target.write_table(whole)
    return {"out": out, "rows": rows, "filled": filled}


def intervals(model: str, table: str, column: str, out: str, probability: float) -> dict[str, Any]:
    """Write what a column should be in each row, given the row's other entries."""
    refuse_same_file("--out", out, model, table)
    check_writable(out)
    known = FlowDensity.load(model)
    field = known.schema_.fields[known.schema_.place(column)]
    inside, seen, found = 0, 0, []
    needed = [name for name in known.schema_.names if name != column or name in column_names(table)]
    for piece in stream_arrow(table, needed, ROWS, texts=known.schema_.texts):
        whole = piece if column in piece.column_names else piece.append_column(column, pa.nulls(piece.num_rows))
        answer = known.intervals(whole.select(known.schema_.names), column, probability)
        found.append(answer)
        if field.kind.ordered and column in piece.column_names:
            x = known.schema_.encode(whole.select(known.schema_.names))[:, known.schema_.place(column)]
            low, high = (field.encode(own) for own in raw_columns(answer, ["low", "high"]))
            there = ~np.isnan(x)
            inside, seen = inside + int(((low <= x) & (x <= high) & there).sum()), seen + int(there.sum())
    whole = pa.concat_tables(found, promote_options="permissive")
    with ArrowWriter(out, whole.schema) as target:
        target.write_table(whole)
    result = {"out": out, "rows": whole.num_rows, "column": column, "probability": probability}
    return {**result, "covered": inside / seen} if seen else result


def anomalies(
    table: str,
    *,
    learn_from: str | None = None,
    top: int = 20,
    drop: Sequence[str] = (),
    types: Sequence[str] = (),
    out: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    show: bool = True,
) -> dict[str, Any]:
    """Learn what rows are usual, and list those that are least so with what makes them odd."""
    if out is not None:
        refuse_same_file("--out", out, table, *([learn_from] if learn_from else []))
        check_writable(out)
    names = list(column_names(learn_from or table))
    dropped = split_names("--drop", drop, names, learn_from or table)
    own = types_of(types, [name for name in names if name not in dropped])
    usual = read_arrow(learn_from or table).drop_columns(dropped)
    model = FlowAnomaly(types=own or None, steps=steps, random_state=seed, verbose=show)
    try:
        model.fit(usual)
        rows = read_arrow(table).select(usual.column_names) if learn_from else usual
    except (TableError, KeyError) as error:
        raise TableError(str(error).strip("'\"").replace("the table:", f"{table}:", 1)) from None
    scores = model.score_samples(rows)
    if out is not None:
        with ArrowWriter(out, pa.schema([("score", pa.float64()), ("outlier", pa.bool_())])) as target:
            target.write_table(pa.table({"score": scores, "outlier": scores < model.offset_}))
    order = np.argsort(scores)[:top]
    reasons = model.explain(rows.take(order)) if len(order) else []
    return {
        "rows": rows.num_rows,
        "outliers": int((scores < model.offset_).sum()),
        "top": [
            {
                "row": int(i) + 1,
                "score": float(scores[i]),
                "reasons": [{**reason._asdict(), "value": _shown(reason.value), "expected": _shown(reason.expected)}
                            for reason in own_reasons
                    if reason.surprise > WORTH],
            }
            for i, own_reasons in zip(order, reasons, strict=True)
        ],
    }  # fmt: skip


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if value is None or isinstance(value, str | int | bool) else str(value)
