"""Files that a command writes: never onto one that it reads, nor, without ``--force``, onto one that nobody here wrote.

What commands wrote is remembered, by path, size and time of the last change, in the user's cache folder. Where that is
not possible, ``--force`` is needed to replace a file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from pushforward.cli.common import listed, refuse_same_file
from pushforward.core.files import atomic_path, check_writable
from pushforward.core.locks import InUseError, held
from pushforward.core.rank import is_first_process
from pushforward.data import TableError, TableWriter
from pushforward.data.writing import STANDARD_OUTPUT
from pushforward.io import read_header, save

__all__ = [
    "check_checkpoint",
    "check_model_output",
    "check_output",
    "only_run_to",
    "remember",
    "table_writer",
    "write_blocks",
    "write_model",
]

REMEMBERED = 5_000
"""Number of files."""


def check_output(out: str, *inputs: str | os.PathLike[str] | None, force: bool, option: str = "--out") -> None:
    """Refuse a file that cannot be written, that is also read, or that no command wrote.

    Raises:
        ValueError, OSError: with a remedy.
    """
    if out == STANDARD_OUTPUT:
        return
    refuse_same_file(option, out, *(os.fspath(path) for path in inputs if path is not None))
    check_writable(out)
    if os.path.exists(out) and not force and not _is_remembered(out):
        raise ValueError(
            f"{option}: {out} exists, and is not a file that an earlier command wrote. Choose another name, or replace "
            "it with --force."
        )


def check_checkpoint(path: str, *others: str) -> None:
    """Refuse a checkpoint that cannot be written, or is another of the files of a run; the first of several processes
    writes it.

    Raises:
        ValueError, OSError: with a remedy.
    """
    refuse_same_file("--checkpoint", path, *others)
    if is_first_process():
        check_writable(path)


@contextmanager
def only_run_to(out: str) -> Iterator[None]:
    """Within the block no other command fits a model to the same file, on this machine.

    Raises:
        ValueError: one does already.
    """
    with ExitStack() as stack:
        if is_first_process():
            try:
                stack.enter_context(held(out))
            except InUseError as error:
                raise ValueError(f"--out: {error} Choose another name.") from None
        yield


def write_model(model: Any, out: str, metadata: dict[str, Any]) -> None:
    """Write a model file; of several processes that learned it together the first one does."""
    if is_first_process():
        save(model, out, metadata=metadata)


def check_model_output(out: str, *inputs: str, force: bool, columns: Iterable[str] | None = None) -> None:
    """The same for a model file, which may replace a model of the same ``columns``; of any, while these are not known.

    Raises:
        ValueError, OSError: with a remedy.
    """
    refuse_same_file("--out", out, *inputs)
    if not is_first_process():  # only the first of several processes writes
        return
    check_writable(out)
    if force or not os.path.exists(out):
        return
    try:
        metadata = read_header(out).metadata
    except ValueError:
        raise ValueError(
            f"--out: {out} exists and is not a model. Choose another name, or replace it with --force."
        ) from None
    there = [*metadata.get("columns", []), *metadata.get("given", [])]
    if columns is not None and set(there) != set(columns):
        others = f"other columns, {listed(there)}" if there else "something else"
        raise ValueError(f"--out: {out} is a model of {others}. Choose another name, or replace it with --force.")


@contextmanager
def table_writer(out: str, schema: Any) -> Iterator[TableWriter]:
    """A `TableWriter` whose file is remembered."""
    with TableWriter(out, schema) as writer:
        yield writer
    remember(out)


def write_blocks(out: str, blocks: Iterable[Any], table: str | os.PathLike[str], whole: Collection[str] = ()) -> int:
    """Write Arrow tables one after the other, in constant memory; returns the number of rows.

    The first block decides the types. Whole numbers are written as numbers, since a later block may hold others,
    but for the columns in ``whole``.
    """
    rows, pieces = 0, iter(blocks)
    first = next(pieces, None)
    if first is None or not first.num_rows:
        raise TableError(f"{os.fspath(table)}: the table has a header but no rows. Add rows below it.")

    def written(field: Any) -> Any:
        changes = pa.types.is_null(field.type) or (pa.types.is_integer(field.type) and field.name not in whole)
        return pa.float64() if changes else field.type

    schema = pa.schema([(field.name, written(field)) for field in first.schema])
    with table_writer(out, schema) as writer:
        for block in chain([first], pieces):
            writer.write(block)
            rows += block.num_rows
    return rows


def remember(path: str) -> None:
    """Note a file that this command wrote."""
    if path == STANDARD_OUTPUT:
        return
    with suppress(OSError):
        entries = _remembered()
        entries.pop(os.path.realpath(path), None)
        entries[os.path.realpath(path)] = _state(path)
        _memory().parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(_memory()) as temporary:
            temporary.write_text(json.dumps(dict(list(entries.items())[-REMEMBERED:])), encoding="utf-8")


def _is_remembered(path: str) -> bool:
    return _remembered().get(os.path.realpath(path)) == _state(path)


def _state(path: str) -> list[int]:
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]


def _remembered() -> dict[str, Any]:
    try:
        entries = json.loads(_memory().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _memory() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "pushforward", "written.json")
