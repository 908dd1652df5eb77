"""Keyword arguments that several constructors or functions share: types, default values and documentation in one place.

A function takes them as ``**options: Unpack[Kind]`` with a ``TypedDict`` as their kind; its signature and its docstring
then show each of them as an ordinary keyword argument.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Unpack, get_args, get_origin, get_type_hints

__all__ = ["documented", "expanded", "share_options", "shared_defaults", "shared_documentation"]

SHARED: dict[Any, tuple[Mapping[str, Any], Mapping[str, str]]] = {}
"""Default values and documentation by the ``TypedDict`` that gives the types."""

WIDTH = 116
"""Of documented lines, beside the indentation of their docstring."""


def share_options(kind: Any, *, defaults: Any, documentation: Mapping[str, str]) -> None:
    """State default values and documentation of options, by which constructors of `configurable` classes show them."""
    SHARED[kind] = defaults, documentation


def expanded(function: Callable[..., Any], signature: inspect.Signature, defaults: Mapping[str, Any]) -> Any:
    """The signature of ``function`` with the keys of its ``**options: Unpack[Kind]`` as keyword arguments; their
    default values are those of ``defaults`` or else those that are shared."""
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        kind = _kind_of(function, parameter)
        if kind is None:
            parameters.append(parameter)
            continue
        values = {**SHARED.get(kind, ({}, {}))[0], **defaults}
        for name, annotation in get_type_hints(kind).items():
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, keyword, default=values[name], annotation=annotation))
    return signature.replace(parameters=parameters)


def shared_documentation(function: Callable[..., Any]) -> Mapping[str, str]:
    """What each shared option of a function means; nothing where it has none."""
    kinds = [_kind_of(function, parameter) for parameter in inspect.signature(function).parameters.values()]
    return {name: text for kind in kinds if kind is not None for name, text in SHARED.get(kind, ({}, {}))[1].items()}


def shared_defaults(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the shared default values of those that were not given."""
    return {**SHARED[kind][0], **options}


def documented(doc: str, parameters: Mapping[str, inspect.Parameter], documentation: Mapping[str, str]) -> str:
    """A docstring with every parameter in its section ``Args``, in the order of the signature."""
    before, args, after = inspect.cleandoc(doc).partition("\nArgs:\n")
    if not args:
        return doc
    section, blank, rest = after.partition("\n\n")
    # An entry begins with four spaces, its further lines with eight.
    written = {entry.split(":")[0].strip(): entry for entry in re.split(r"\n(?= {4}\S)", section)}
    entries = [written[p] if p in written else _entry(p, documentation[p]) for p in parameters]
    return "\n".join([before, "Args:", *entries, *(["", rest] if blank else [])])


def _entry(name: str, text: str) -> str:
    return textwrap.fill(f"{name}: {text}", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)


def _kind_of(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The ``TypedDict`` of ``**options: Unpack[Kind]``; None for any other parameter."""
    annotation = parameter.annotation
    if parameter.kind is not parameter.VAR_KEYWORD:
        return None
    if isinstance(annotation, str):
        if not annotation.startswith("Unpack["):
            return None
        annotation = eval(annotation, vars(sys.modules[function.__module__]))
    return get_args(annotation)[0] if get_origin(annotation) is Unpack else None
