"""A model file and the tables that a command applies it to, in the sentences of the command line."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import torch

from pushforward.cli.common import listed, say
from pushforward.cli.options import parse_assignments
from pushforward.core.distribution import Distribution
from pushforward.data import TableError, column_names, stream_arrow
from pushforward.data.fields import Field
from pushforward.data.formats import format_of
from pushforward.data.orders import ORDINAL, TypeSpec
from pushforward.data.parquet import ParquetRows
from pushforward.data.reader import named_table, open_source
from pushforward.data.storage import is_several
from pushforward.data.type_names import parametric_type
from pushforward.data.writing import STANDARD_OUTPUT
from pushforward.estimators import FlowDensity
from pushforward.estimators.layout import TableRows
from pushforward.estimators.model_files import of_arrow
from pushforward.io import read_header
from pushforward.train import TrainingError

__all__ = [
    "TYPE_FORM",
    "Blocks",
    "in_options",
    "load_model",
    "observed_values",
    "options_named",
    "parse_types",
    "read_rows",
    "types_of_rows",
]

BLOCK = 8192
"""Rows that are read, scored or sampled at a time."""
TYPE_FORM = "COLUMN=TYPE, such as hour=circular:24"
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
OPTIONS = {
    "types:": "--type:",
    "context:": "--given:",
    "options:": "--set:",
    "model:": "--model:",
    "FlowAnomaly: measure": "--measure",
}
"""How parameters of an estimator are called here."""
DROP_CALL = re.compile(r'drop\(columns=(\["(?:[^"\\]|\\.)*"(?:, "(?:[^"\\]|\\.)*")*\])\)')


def load_model(path: str) -> FlowDensity:
    """The model of a table.

    Raises:
        ValueError: the file is damaged, or holds no such model.
    """
    metadata = read_header(path).metadata
    kind = metadata.get("estimator", {}).get("name", "FlowDensity")
    if kind != "FlowDensity":
        raise ValueError(f"{path}: this file holds a {kind}. Use it from Python, with {kind}.load.")
    if "estimator" not in metadata and "columns" not in metadata:
        raise ValueError(
            f"{path}: the model was saved without the names of its columns. Save it with "
            "pf.save(flow, path, metadata={'columns': [...], 'given': [...]}), or use it from Python."
        )
    model = FlowDensity.load(path)
    model.schema_ = of_arrow(model.schema_)  # whatever library it learned from in Python
    shape = model.model_.event_shape if isinstance(model.model_, Distribution) else ()
    if shape != (len(model.layout_.modelled),) or (model.model_.context_shape or (0,)) != (len(model.context),):
        raise ValueError(f"{path}: the model was saved without the names of its columns, or with others.")
    return model


class Blocks:
    """The rows of a table with the columns of a model, and others to keep, as Arrow tables of `BLOCK` rows at most.

    Args:
        model: whose columns are read; columns of the table that it does not have are named once.
        path: of the table.
        keep: names of columns to carry along, as text where the file declares no types.
        absent: a column of the model that the table may lack; its entries are missing then.
        out: the table that is written; where its format holds types, columns to keep have those of all of their rows.

    Attributes:
        types: of the columns to keep whose type is known: as a file declares it, or as all rows have it.
    """

    def __init__(
        self, model: FlowDensity, path: Any, keep: Sequence[str] = (), absent: str | None = None, out: str = "-"
    ) -> None:
        self.model, self.path, self.keep = model, path, list(keep)
        self.names, there = model.schema_.names, column_names(path)
        self.lacks = absent is not None and absent not in there
        self.read = [name for name in self.names if name != absent or not self.lacks]
        if ignored := [name for name in there if name not in self.names and name not in self.keep]:
            columns = "columns" if len(ignored) > 1 else "column"
            say(f"{self.path}: ignoring {columns} {listed(ignored)}, not part of the model.")

        kept = [name for name in self.keep if name not in model.schema_.texts]
        self.types = types_of_rows(path, kept, scan=out != STANDARD_OUTPUT and format_of(out)[0] not in ("csv", "tsv"))

    def map(self, answer: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        """The answers for the columns of the model, block by block, and beside them the columns to keep.

        Errors about a block name the table, and count rows from its first one.
        """
        wanted = [*self.read, *(name for name in self.keep if name not in self.read)]
        texts, first = {*self.model.schema_.texts, *(set(self.keep) - set(self.names) - set(self.types))}, 0
        for block in stream_arrow(self.path, wanted, BLOCK, texts=texts):
            rows = block.select(self.read)
            for name in set(self.names) - set(self.read):
                rows = rows.append_column(name, pa.nulls(block.num_rows))
            with options_named(self.path, first):
                answers = answer(rows.select(self.names))
            beside = block.select(self.keep)
            if self.types:
                beside = beside.cast(pa.schema([(f.name, self.types.get(f.name, f.type)) for f in beside.schema]))
            yield answers, beside
            first += block.num_rows


def types_of_rows(path: Any, names: Sequence[str], *, scan: bool) -> dict[str, Any]:
    """The types of columns of a table, of those for which they are known: of a file that declares no types, numbers
    and booleans, if all rows are read for it."""
    if not names:
        return {}
    source = open_source(path)
    declared = {name: stored for name, stored in zip(source.names, source.types, strict=True) if name in names}
    if not scan or all(stored is not None for stored in declared.values()):
        plain = {name: t for name, t in declared.items() if t is not None and pa.types.is_integer(t)}
        return plain
    seen: dict[str, set[Any]] = {name: set() for name in names}
    for block in stream_arrow(path, names, BLOCK):
        for name in names:
            if block.column(name).null_count < block.num_rows:
                seen[name].add(block.column(name).type)
    numbers = {name: pa.float64() for name, types in seen.items() if types == {pa.int64(), pa.float64()}}
    single = {name: t for name, types in seen.items() if len(types) == 1 for t in types if not pa.types.is_string(t)}
    return numbers | single


def read_rows(model: FlowDensity, path: str) -> TableRows:
    """The rows of a table as numbers.

    Raises:
        TableError: the table has no rows, lacks a column, or holds a value that the model cannot judge.
    """
    if is_several(str(path)):
        parts = [model.encode(table) for table in ParquetRows(str(path), model.schema_.names).tables()]
    else:
        parts = [batch for batch, _ in Blocks(model, path).map(model.encode)]
    contexts = [part.context for part in parts if part.context is not None]
    context = torch.cat(contexts) if contexts else None
    return TableRows(torch.cat([p.x for p in parts]), context)


def parse_types(values: Sequence[str], columns: Sequence[str], table: str) -> dict[str, TypeSpec]:
    """``hour=circular:24,size=ordinal:S:M:L`` as column types by name.

    Raises:
        ValueError: a column or a type is unknown.
    """
    texts = parse_assignments("--type", values, columns, where=str(table), form=TYPE_FORM)
    return {name: _parse_type(name, text) for name, text in texts.items()}


def _parse_type(column: str, text: str) -> TypeSpec:
    if text.lower().startswith(ORDINAL):
        return text  # checked when the schema is inferred, as names without numbers are
    try:
        return parametric_type(column, text) or text
    except TableError as error:
        raise ValueError(str(error).replace("types:", "--type:", 1)) from None


def in_options(message: str) -> str:
    """A sentence for Python with options of the command line in place of parameters."""
    message = message.replace("the model 'mixed'", "--model mixed").replace("validation=None", "--validation 0")
    return DROP_CALL.sub(lambda call: f"--drop {shlex.quote(','.join(json.loads(call[1])))}", message)


@contextmanager
def options_named(table: str | os.PathLike[str], first_row: int = 0) -> Iterator[None]:
    """Name the table, and options as on the command line, in errors of an estimator within the block."""
    try:
        with named_table(table, first_row):
            yield
    except ValueError as error:
        message = in_options(str(error))
        for parameter, option in OPTIONS.items():
            message = re.sub(f"^{parameter}", option, message)
        raise (type(error) if isinstance(error, TableError | TrainingError) else ValueError)(message) from None


def observed_values(model: FlowDensity, conditions: Sequence[str], path: str) -> dict[str, Any]:
    """``sex=F,age=40`` as values by column.

    Raises:
        ValueError: a column is unknown or repeated, or a value is not of its type.
    """
    names, noun = (model.schema_.names, "column") if model.conditions_on_any else (model.context, "conditioning column")
    if conditions and not names:
        raise ValueError(
            f"--given: {path} is a model of all its columns together and takes no values of them. To sample some "
            "columns given others, fit with --given, or fit --model mixed, which can condition on any."
        )
    form = "COLUMN=VALUE, several separated by commas"
    texts = parse_assignments("--given", conditions, names, where=path, noun=noun, form=form)
    if absent := [] if model.conditions_on_any else [name for name in names if name not in texts]:
        every = ",".join(f"{name}=VALUE" for name in names)
        raise ValueError(f"--given: a value of {listed(absent)} is missing. Write --given {every}.")
    fields = {field.name: field for field in model.schema_.fields}
    return {name: _parse_value(fields[name], text) for name, text in texts.items()}


def _parse_value(field: Field, text: str) -> Any:
    has_text = field.labels is not None and all(isinstance(label, str) for label in field.labels)
    if has_text:
        return text  # checked by the model
    if field.notation is not None and field.notation.read(text) is not None:
        return text  # as the table writes it
    if field.form in ("time", "day"):
        try:
            dt.datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"--given: {field.name!r} must be a date such as 2024-01-31; got {text!r}.") from None
        return text
    if field.form == "bool":
        if text.lower() not in BOOLEANS:
            raise ValueError(f"--given: {field.name!r} must be true or false; got {text!r}.")
        return BOOLEANS[text.lower()]
    try:
        number = float(text)
    except ValueError:
        number = _with_comma(field.name, text)
    if not math.isfinite(number):
        raise ValueError(f"--given: {field.name!r} must be a finite number; got {text!r}.")
    return int(number) if number.is_integer() else number


def _with_comma(name: str, text: str) -> float:
    """A number with a decimal comma, as tables that are written so have it.

    Raises:
        ValueError: it is no such number, or the comma may separate thousands.
    """
    whole, comma, fraction = text.partition(",")
    if not comma or not (fraction.isdecimal() and re.fullmatch(r"[+-]?\d*", whole)):
        raise ValueError(f"--given: {name!r} must be a number; got {text!r}.")
    if len(fraction) == 3 and whole.lstrip("+-") not in ("", "0"):
        raise ValueError(
            f"--given: {name!r} must be a number; got {text!r}. Write {whole}.{fraction} or {whole}{fraction}."
        )
    return float(f"{whole}.{fraction}")
