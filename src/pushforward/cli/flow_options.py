"""The options of a named flow, from ``--set depth=5 --set hidden=128,128`` to keyword arguments."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from pushforward.cli.common import listed, suggestion
from pushforward.cli.options import parse_assignments
from pushforward.distributions import Flow
from pushforward.flows import FLOWS
from pushforward.train import fit_triangular

__all__ = ["build_flow", "parse_flow_options", "wrong_value"]

FIXED = {"features", "context", "data_dtype", "dtype", "orders", "seed"}  # set by the table or by other options
CONSTANTS = {"true": True, "false": False, "none": None}


def parse_flow_options(flow: str, settings: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of a flow, numbers as numbers and lists as lists.

    Raises:
        ValueError: the flow or an option is unknown.

    >>> parse_flow_options("nsf", ["depth=3", "hidden=64", "layer=coupling"])
    {'depth': 3, 'hidden': [64], 'layer': 'coupling'}
    """
    if flow not in FLOWS:
        raise ValueError(
            f"--flow: there is no flow {flow!r}.{suggestion(flow, [*FLOWS, 'mixed'])} "
            f"Choose one of {listed([*sorted(FLOWS), 'mixed'], 20)}."
        )
    defaults = _defaults(flow)
    form = "NAME=VALUE, such as depth=5 or hidden=128,128"
    texts = parse_assignments("--set", settings, list(defaults), where=flow, noun="option", form=form)
    values = {name: _parse(text) for name, text in texts.items()}
    # One number for a list of widths is a list of one width.
    lists = {
        name for name, value in values.items() if isinstance(defaults[name], tuple) and not isinstance(value, list)
    }
    return {name: [value] if name in lists else value for name, value in values.items()}


def build_flow(flow: str, features: int, context: int, options: dict[str, Any]) -> Flow:
    """The named flow for the columns of a table, with densities in the units of the table.

    Raises:
        ValueError: an option has a value of the wrong type.
    """
    try:
        return FLOWS[flow](features, context, data_dtype="float64", **options)
    except (TypeError, RuntimeError, OverflowError) as error:
        raise wrong_value(f"{flow} cannot be built", options, error) from None


def wrong_value(what: str, options: dict[str, Any], error: Exception) -> ValueError:
    """The error for an option whose value has a type that the flow cannot use."""
    shown = ", ".join(f"{name}={value}" for name, value in options.items())
    return ValueError(f"--set: {what} with {shown} ({error}).")


def _defaults(flow: str) -> dict[str, Any]:
    """Names and defaults of the options of a flow; for a triangular map, those of `fit_triangular`."""
    source = fit_triangular if flow == "triangular_map" else FLOWS[flow]
    parameters = inspect.signature(source).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in FIXED}


def _parse(text: str) -> Any:
    if "," in text:
        return [_parse(part.strip()) for part in text.split(",") if part.strip()]
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
