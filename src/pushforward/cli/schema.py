"""``pushforward schema``: the column types of a table and what stands out in it, before anything is learned."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.cli.large import large_file, names_of, note_of, read_or_survey
from pushforward.cli.options import parse_assignments, parse_columns
from pushforward.cli.outputs import check_output, remember
from pushforward.cli.tables import TYPE_FORM, in_options, options_named, parse_types
from pushforward.core.files import atomic_path
from pushforward.data import TableError
from pushforward.data.findings import Finding, empty_columns, findings
from pushforward.data.orders import ORDINAL
from pushforward.data.schema import Schema

__all__ = ["read_schema_file", "table_schema"]

INFERRED = "inferred"


def table_schema(
    table: Any, drop: Sequence[str], types: Sequence[str], out: str | None, *, force: bool = False
) -> dict[str, Any]:
    """The schema of a table: printed lines, findings, and the number of missing values by column.

    Raises:
        ValueError: a column or type is unknown, or the table cannot be read.
    """
    if out is not None:
        check_output(out, table, force=force)
    names = list(names_of(table))
    dropped = parse_columns("--drop", drop, names, table)
    kept = [name for name in names if name not in dropped]
    texts = parse_assignments("--type", types, kept, where=table, form=TYPE_FORM)
    with options_named(table):
        large = large_file(table, kept)
        rows, survey = read_or_survey(table, kept, large)
        empty = empty_columns(rows)
        empty = [] if len(empty) == len(kept) else empty  # is refused
        filled = [name for name in kept if name not in empty]
        declared = parse_types([f"{name}={texts[name]}" for name in filled if name in texts], filled, table)
        schema = (
            Schema.infer(rows.select(filled), declared) if survey is None else survey.select(filled).schema(declared)
        )
        x = schema.encode(rows)
    seen = findings(schema.fields, x)
    count = rows.num_rows if large is None else large.rows
    seen_missing = dict(zip(schema.names, np.isnan(x).sum(axis=0).tolist(), strict=True))
    missing = (seen_missing if survey is None else survey.missing) | dict.fromkeys(empty, count)
    if out is not None:
        with atomic_path(out) as path:
            path.write_text(_as_toml(schema, missing, seen, [*dropped, *empty], texts), encoding="utf-8")
        remember(out)
    return {
        "rows": count,
        "note": note_of(table),
        "schema": "\n".join([schema.describe(), *(f"{name}  Empty  no value in any row; left out" for name in empty)]),
        "missing": {name: missing[name] for name in kept},
        "findings": [in_options(finding.sentence) for finding in seen],
    }


def _as_toml(
    schema: Schema,
    missing: dict[str, int],
    seen: Sequence[Finding],
    dropped: Sequence[str],
    declared: dict[str, str],
) -> str:
    lines = [
        "# Edit a type, or set drop = true, and fit with --schema. Types: inferred, continuous, positive, heavytailed,",
        "# integer, boolean, categorical, ordinal:low:middle:high (all values in their order, between : or <),",
        "# bounded:0:1, circular:24.",
    ]
    for field in schema.fields:
        lines += [
            "",
            *(
                f"# {' '.join(in_options(finding.sentence).split())}"
                for finding in seen
                if field.name in finding.columns
            ),
        ]
        lines += [f"[columns.{_quoted(field.name)}]"]
        typed = declared.get(field.name, INFERRED)
        if typed.lower() == "ordinal" and field.labels:  # in full, to be edited
            typed = f"{ORDINAL}{'<'.join(map(str, field.labels))}"
        lines += [
            f"type = {_quoted(typed)}  # {field.reason}",
            f"missing = {missing[field.name]}",
            "drop = false",
        ]
    for name in dropped:
        lines += ["", f"[columns.{_quoted(name)}]", f"type = {_quoted(INFERRED)}", "drop = true"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    )
    return f'"{escaped}"'


def read_schema_file(path: str, table: str, *, skip_bad: bool = False) -> tuple[list[str], dict[str, str]]:
    """The columns to leave out and the declared types of a file that `table_schema` wrote.

    Raises:
        ValueError: the file cannot be read, or names a column that the table lacks.
    """
    try:
        columns = tomllib.loads(Path(path).read_text("utf-8")).get("columns", {})
    except FileNotFoundError:
        raise TableError(f"--schema: {path}: there is no such file. Write one with pushforward schema.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"--schema: {path} cannot be read ({type(error).__name__}). Check the path.") from None
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"--schema: {path} is not a TOML file ({error}). Write one with pushforward schema.") from None
    names = names_of(table, skip_bad=skip_bad)
    if unknown := [name for name in columns if name not in names]:
        raise TableError(f"--schema: {path} names the column {unknown[0]!r}, which {table} lacks. Remove it.")
    dropped = [name for name, entry in columns.items() if entry.get("drop", False)]
    types = {name: str(entry.get("type", INFERRED)) for name, entry in columns.items() if name not in dropped}
    return dropped, {name: kind for name, kind in types.items() if kind != INFERRED}
