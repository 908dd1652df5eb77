"""The named flows by name, with complete signatures and docstrings."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Unpack, cast, get_type_hints

from pushforward.core.checks import one_of
from pushforward.core.shared_options import documented, expanded
from pushforward.distributions import Distribution, Flow
from pushforward.flows.options import DEFAULTS, DOCUMENTATION, DataOptions, NetworkOptions, Options
from pushforward.networks import CONV, DENSE, MASKED
from pushforward.networks.mlp import check_hidden

__all__ = ["FLOWS", "IMAGE_FLOWS", "SPACE_FLOWS", "data_options", "named_flow", "network_options"]

Builder = TypeVar("Builder", bound=Callable[..., Distribution])
Parameters = Mapping[str, inspect.Parameter]

PERCEPTRONS = ("plain", "residual")

FLOWS: dict[str, Callable[..., Flow]] = {}
"""Flows of vectors: any of them models a table."""
IMAGE_FLOWS: dict[str, Callable[..., Distribution]] = {}
"""Flows of events (channels, *spatial), and `pixels`, which is exact and no flow."""
SPACE_FLOWS: dict[str, Callable[..., Flow]] = {}
"""Flows on other spaces that share options with these."""


def named_flow(registry: dict[str, Any] = FLOWS, /, **defaults: Unpack[Options]) -> Callable[[Builder], Builder]:
    """Register a function ``build(features, context=0, *, ..., **options: Unpack[...]) -> Flow`` under its own name in
    ``registry``, that of the flows of vectors by default.

    ``inspect.signature`` and ``help`` show the shared options as ordinary keyword arguments with their default values,
    which ``defaults`` replaces for this flow, and with the documentation in `options.DOCUMENTATION`.
    """

    def register(build: Builder) -> Builder:
        signature = expanded(build, inspect.signature(build, eval_str=True), {**DEFAULTS, **defaults})
        cast(Any, build).__signature__ = signature
        if build.__doc__ is not None:  # python -OO removes docstrings
            build.__doc__ = _documented(build.__doc__, signature.parameters)
        registry[build.__name__] = build
        return build

    return register


def network_options(owner: str, options: Mapping[str, Any]) -> NetworkOptions:
    """The options of the flow's networks, default values included.

    Options of perceptrons are checked here: a flow of one feature without a context has no network that would do it.

    Raises:
        TypeError: the flow has no option of one of the names.
        ValueError: an option is out of its range.
    """
    network = _select(owner, options, NetworkOptions)
    conditioner = network.get("conditioner", PERCEPTRONS[0])
    one_of(owner, "conditioner", conditioner, tuple(dict.fromkeys([*DENSE, *MASKED, *CONV])))
    if conditioner in PERCEPTRONS and set(network) >= {"hidden", "activation", "dropout"}:
        check_hidden(owner, network["hidden"], conditioner == "residual", network["activation"], network["dropout"])
    return cast(NetworkOptions, network)


def data_options(owner: str, options: Mapping[str, Any]) -> DataOptions:
    """The options of the flow's data side, default values included.

    Raises:
        TypeError: the flow has no option of one of the names.
    """
    return cast(DataOptions, _select(owner, options, DataOptions))


def _select(owner: str, options: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    parameters = inspect.signature({**FLOWS, **IMAGE_FLOWS, **SPACE_FLOWS}[owner]).parameters
    for name in options:
        if name not in parameters:
            names = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
            close = difflib.get_close_matches(name, names, n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else f"Its options are {', '.join(names)}."
            raise TypeError(f"{owner}: there is no option {name!r}. {remedy}")
    chosen = {name: parameters[name].default for name in get_type_hints(kind) if name in parameters}
    return {name: options.get(name, default) for name, default in chosen.items()}


def _documented(doc: str, parameters: Parameters) -> str:
    """``doc`` with every parameter in its section ``Args``, and what an unknown option raises."""
    doc = documented(doc, parameters, DOCUMENTATION)
    if "Raises:\n" in doc:
        return doc.replace("Raises:\n", f"{_RAISES}\n", 1)
    head, args, rest = doc.partition("\nArgs:\n")
    section, blank, rest = rest.partition("\n\n")
    return f"{head}{args}{section}\n\n{_RAISES}\n    ValueError: an argument is out of its range.{blank}{rest}"


_RAISES = """\
Raises:
    TypeError: there is no option of that name."""
