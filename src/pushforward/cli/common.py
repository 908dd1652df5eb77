"""What all commands share: exit codes and error messages, output as text or JSON, seeds and threads."""

from __future__ import annotations

import difflib
import functools
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

from pushforward.core.json_values import finite
from pushforward.core.rank import is_first_process
from pushforward.core.signals import end_by_interrupt

__all__ = [
    "Interrupted",
    "command",
    "emit",
    "finish",
    "listed",
    "print_table",
    "refuse_same_file",
    "say",
    "suggestion",
    "torch_scope",
]

MISTAKE, INTERNAL, INTERRUPTED, CLOSED_PIPE = 1, 70, 130, 141

Function = TypeVar("Function", bound=Callable[..., None])


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a message about what was saved."""


def command(function: Function) -> Function:
    """Turn every error into one message and an exit code, and every warning into one message.

    A `ValueError` or `OSError` is a mistake in the input, with code 1. Any other error is a bug of the program, with
    code 70. With ``--debug`` the stack trace is printed first. SIGTERM is as good as Ctrl-C.
    """

    @functools.wraps(function)
    @end_by_interrupt()
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _each_once()
                function(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # The reader of the output is gone (`| head`): stop silently, also when the process flushes its buffers.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(CLOSED_PIPE) from None
        except KeyboardInterrupt as error:
            _fail(str(error) or "Interrupted.", INTERRUPTED, label="")
        except Exception as error:
            if kwargs.get("debug"):
                traceback.print_exc()
            if isinstance(error, MemoryError):
                _fail("out of memory. Use a smaller table or batch.", MISTAKE)
            if isinstance(error, OSError) and error.strerror and error.filename is None:
                _fail(error.strerror, MISTAKE)  # without the system's number
            if isinstance(error, ValueError | OSError):
                # A mistake in the arguments is one in every process of torchrun.
                _fail(str(error) or type(error).__name__, MISTAKE, everywhere=isinstance(error, OSError))
            _fail(
                f"internal error ({type(error).__name__}: {error}). This is a bug of pushforward: "
                "please report it with the output of --debug.",
                INTERNAL,
            )

    return run  # type: ignore[return-value]


def _each_once() -> Callable[..., None]:
    """A function that shows warnings, without file and line, each of them once."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            say(f"Warning: {message}")

    return show


def _fail(message: str, code: int, label: str = "Error: ", *, everywhere: bool = True) -> None:
    if is_first_process():
        typer.secho(f"{label}{message}", err=True, fg=typer.colors.RED if label else None)
    elif everywhere and label:
        typer.echo(f"Process {os.environ.get('RANK')}: {message}", err=True)
    raise typer.Exit(code)


def say(message: str) -> None:
    """Print a message to standard error; standard output is for the result. Of several processes the first speaks."""
    if is_first_process():
        typer.echo(message, err=True)


def emit(result: dict[str, Any]) -> None:
    """Print the result as one line of JSON on standard output; NaN and infinities become null."""
    typer.echo(json.dumps(finite(result), allow_nan=False))
    sys.stdout.flush()


def finish(result: dict[str, Any], json: bool, sentence: str) -> None:
    """Print the result of a command as JSON, or a sentence about it, which may begin with the name of a file."""
    if json:
        emit(result)
    else:
        say(f"standard output{sentence[1:]}" if sentence.startswith("-: ") else sentence)


def print_table(rows: Sequence[Sequence[str]], header: Sequence[str] = (), title: str = "") -> None:
    """Print a small table on standard output. With a header, all columns but the first are right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:  # not as that of the table, which would break it at the width of the table
        typer.echo(title)
    table = Table(box=box.SIMPLE_HEAD if header else None, show_header=bool(header))
    for k, name in enumerate(header or [""] * len(rows[0])):
        table.add_column(name, justify="right" if header and k else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a column called "[red]" is a name, not markup
    console = Console()
    with console.capture() as text:  # rich would exit with its own code on a closed pipe
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in text.get().rstrip().splitlines()))
    sys.stdout.flush()


@contextmanager
def torch_scope(seed: int, threads: int | None = None) -> Iterator[None]:
    """Set torch's seed and number of threads within the block, and restore both after it."""
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


def suggestion(name: str, options: Sequence[str]) -> str:
    """``" Did you mean 'x'?"`` with the most similar option, or ``""``."""
    close = difflib.get_close_matches(name, options, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Names in quotes; of many, the first ``limit``."""
    shown = ", ".join(map(repr, names[:limit]))
    return shown + (f", ... ({len(names)} in all)" if len(names) > limit else "")


def refuse_same_file(option: str, out: str, *others: str) -> None:
    """Refuse an output file that the same command reads, or writes for another purpose.

    Raises:
        ValueError: ``out`` is one of the other files.
    """
    for path in others:
        if os.path.realpath(out) == os.path.realpath(path):
            raise ValueError(
                f"{option}: {out} is also read or written by this command and would be overwritten. "
                "Choose another name."
            )
