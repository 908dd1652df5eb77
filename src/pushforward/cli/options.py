"""Options of a named flow, as they are typed: ``--set depth=5 --set hidden=128,128``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from pushforward.cli.common import listed, suggestion
from pushforward.distributions import Flow
from pushforward.flows import FLOWS
from pushforward.train import fit_triangular

__all__ = ["build_flow", "parse_options"]

OURS = {"features", "context", "data_dtype", "dtype", "orders", "seed"}  # decided by the table or elsewhere
WORDS = {"true": True, "false": False, "none": None}


def parse_options(flow: str, given: Sequence[str]) -> dict[str, Any]:
    """Options by name, with numbers as numbers and lists as lists.

    Raises:
        ValueError: the flow or an option is unknown.

    >>> parse_options("nsf", ["depth=3", "hidden=64", "layer=coupling"])
    {'depth': 3, 'hidden': [64], 'layer': 'coupling'}
    """
    if flow not in FLOWS:
        raise ValueError(
            f"--flow: there is no flow {flow!r}.{suggestion(flow, list(FLOWS))} Known: {listed(sorted(FLOWS), 20)}."
        )
    known = _known(flow)
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name or not value.strip():
            raise ValueError(f"--set: write NAME=VALUE, such as depth=5 or hidden=128,128; got {text!r}.")
        if name not in known:
            names = list(known)
            raise ValueError(
                f"--set: {flow} has no option {name!r}.{suggestion(name, names)} It has {listed(names, 20)}."
            )
        if name in options:
            raise ValueError(f"--set: {name} is given twice. Give it once.")
        parsed = _parse(value.strip())
        options[name] = [parsed] if isinstance(known[name], tuple) and not isinstance(parsed, list) else parsed
    return options


def build_flow(flow: str, features: int, context: int, options: dict[str, Any]) -> Flow:
    """The named flow for a table's columns, in the table's own units."""
    try:
        return FLOWS[flow](features, context, data_dtype="float64", **options)
    except (TypeError, RuntimeError, OverflowError) as error:
        raise wrong_kind(f"{flow} cannot be built", options, error) from None


def wrong_kind(what: str, options: dict[str, Any], error: Exception) -> ValueError:
    """What to say of an option of the wrong kind, found out deep inside."""
    shown = ", ".join(f"{name}={value}" for name, value in options.items())
    return ValueError(f"--set: {what} with {shown} ({error}).")


def _known(flow: str) -> dict[str, Any]:
    """Names and defaults of the options of a flow; of a triangular map those of the fit that chooses its terms."""
    source = fit_triangular if flow == "triangular_map" else FLOWS[flow]
    parameters = inspect.signature(source).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in OURS}


def _parse(text: str) -> Any:
    if "," in text:
        return [_parse(part.strip()) for part in text.split(",") if part.strip()]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
