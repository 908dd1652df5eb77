"""What all commands share: how they end, where their words go, and the state of torch that they leave behind."""

from __future__ import annotations

import csv
import difflib
import functools
import json
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

__all__ = [
    "Interrupted",
    "command",
    "emit",
    "finish",
    "print_table",
    "refuse_same_file",
    "say",
    "split_names",
    "torch_scope",
]

MISTAKE, INTERNAL, INTERRUPTED, CLOSED_PIPE = 1, 70, 130, 141

Function = TypeVar("Function", bound=Callable[..., None])


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a sentence about what was kept."""


def command(function: Function) -> Function:
    """Turn every way in which a command may fail into one sentence and an exit code, and warnings into one each.

    A `ValueError` or `OSError` is a mistake in what was asked or given: its message is the sentence, the code is 1. An
    error of any other kind is ours: code 70. With ``--debug`` the stack trace comes first.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: say(f"Warning: {message}")  # without lines of the source
                function(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # Whoever read the output has gone (`| head`): stop without a word, at the end of the process too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(CLOSED_PIPE) from None
        except KeyboardInterrupt as error:
            _fail(str(error) or "Interrupted.", INTERRUPTED, label="")
        except Exception as error:
            if kwargs.get("debug"):
                traceback.print_exc()
            if isinstance(error, MemoryError):
                _fail("there is not enough memory for this. Use a smaller table or batch.", MISTAKE)
            if isinstance(error, ValueError | OSError):
                _fail(str(error) or type(error).__name__, MISTAKE)
            _fail(
                f"something went wrong that should not have ({type(error).__name__}: {error}). "
                "Please report it, with what --debug prints.",
                INTERNAL,
            )

    return run  # type: ignore[return-value]


def _fail(message: str, code: int, label: str = "Error: ") -> None:
    typer.secho(f"{label}{message}", err=True, fg=typer.colors.RED if label else None)
    raise typer.Exit(code)


def say(message: str) -> None:
    """A remark to the person at the terminal; standard output stays free for the result."""
    typer.echo(message, err=True)


def emit(result: dict[str, Any]) -> None:
    """The result as one line of JSON on standard output; numbers that are not finite become null."""
    typer.echo(json.dumps(_finite(result), allow_nan=False))
    sys.stdout.flush()


def finish(result: dict[str, Any], json: bool, sentence: str) -> None:
    """The result of a command as JSON, or what it did in a sentence."""
    if json:
        emit(result)
    else:
        say(sentence)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def print_table(rows: Sequence[Sequence[str]], header: Sequence[str] = (), title: str = "") -> None:
    """A small table on standard output; the first column is text, the others are numbers where there is a header."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None, title_justify="left", box=box.SIMPLE_HEAD if header else None, show_header=bool(header)
    )
    for k, name in enumerate(header or [""] * len(rows[0])):
        table.add_column(name, justify="right" if header and k else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a column called "[red]" is a name, not markup
    console = Console()
    with console.capture() as text:  # rich would answer a closed pipe with an exit code of its own
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in text.get().rstrip().splitlines()))
    sys.stdout.flush()


@contextmanager
def torch_scope(seed: int, threads: int | None = None) -> Iterator[None]:
    """A seed and a number of threads for the block; torch is then as it was."""
    import torch

    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if threads is not None:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.set_num_threads(before)


def split_names(option: str, values: Sequence[str], known: Sequence[str], where: str) -> list[str]:
    """Column names out of ``a,b`` or a repeated option, in the order given; a name with a comma goes in quotes.

    Raises:
        ValueError: the table has no such column.
    """
    names: list[str] = []
    for value in values:
        found = [value] if value in known else [n.strip() for n in next(csv.reader([value], skipinitialspace=True), [])]
        names += [name for name in found if name and name not in names]
    for name in names:
        if name not in known:
            raise ValueError(
                f"{option}: {where} has no column {name!r}.{suggestion(name, known)} The columns are {listed(known)}."
            )
    return names


def suggestion(name: str, known: Sequence[str]) -> str:
    """``" Did you mean 'x'?"`` where something similar is known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Names in quotes, the first ones of many."""
    shown = ", ".join(map(repr, names[:limit]))
    return shown + (f", ... ({len(names)} in all)" if len(names) > limit else "")


def refuse_same_file(option: str, out: str, *others: str) -> None:
    """Refuse to write what the same command reads, or writes under another name."""
    for path in others:
        if os.path.realpath(out) == os.path.realpath(path):
            raise ValueError(f"{option}: {out} has another part in this command; it would be overwritten. Rename it.")
