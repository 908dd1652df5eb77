"""How the text files that a command reads are written, where that is not to be detected."""

from __future__ import annotations

import codecs
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

__all__ = ["reads_tables"]

Function = TypeVar("Function", bound=Callable[..., None])


def _separator(text: str) -> str:
    """One character between columns; ``tab`` for a tab."""
    separator = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(separator) != 1 or separator in '"\n\r':
        raise typer.BadParameter(f"must be one character, or tab; got {text!r}.")
    return separator


def _encoding(text: str) -> str:
    try:
        return codecs.lookup(text).name
    except LookupError:
        raise typer.BadParameter(f"must be an encoding such as utf-8 or latin-1; got {text!r}.") from None


def _decimal(text: str) -> str:
    if text not in (".", ","):
        raise typer.BadParameter(f"must be . or , ; got {text!r}.")
    return text


def _option(kind: Any, default: Any, *names: str, **options: Any) -> tuple[Any, Any]:
    """Annotation and default of an option."""
    return Annotated[kind, typer.Option(*names, show_default=False, rich_help_panel="Text files", **options)], default


TEXT_OPTIONS: dict[str, tuple[Any, Any]] = {
    "sep": _option(
        str | None, None, parser=_separator, metavar="SIGN", help="Separator of columns; detected by default."
    ),
    "decimal": _option(str | None, None, parser=_decimal, metavar=".|,", help="Decimal sign; detected by default."),
    "encoding": _option(str | None, None, parser=_encoding, metavar="NAME", help="Encoding; detected by default."),
    "na": _option(list[str] | None, None, help="A further word for missing values, such as 999; may be repeated."),
    "no_header": _option(bool, False, "--no-header", help="The first line is a row; columns are called x0, x1, ... ."),
}
"""Options of all commands that read tables: annotation and default by name."""


def reads_tables(*arguments: str) -> Callable[[Function], Function]:
    """Add `TEXT_OPTIONS` to a command, whose ``arguments`` are paths of tables (or None, or numbers)."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            from pushforward.data import TableFile

            chosen = {name: kwargs.pop(name, default) for name, (_, default) in TEXT_OPTIONS.items()}
            if any(chosen.values()):
                for name in arguments:
                    if isinstance(kwargs.get(name), str):
                        kwargs[name] = TableFile(
                            kwargs[name], chosen["sep"], chosen["decimal"], chosen["encoding"],
                            tuple(chosen["na"] or ()), not chosen["no_header"],
                        )  # fmt: skip
            function(*args, **kwargs)

        signature = inspect.signature(function, eval_str=True)
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in TEXT_OPTIONS.items()
        ]
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *added]
        )
        run.__annotations__ = {**function.__annotations__, **{name: a for name, (a, _) in TEXT_OPTIONS.items()}}
        return run  # type: ignore[return-value]

    return decorate
