"""The named flows by name: what the command line and the tests draw from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pushforward.distributions import Flow

__all__ = ["FLOWS", "named_flow"]

Builder = TypeVar("Builder", bound=Callable[..., Flow])

FLOWS: dict[str, Callable[..., Flow]] = {}


def named_flow(build: Builder) -> Builder:
    """Register a function ``build(features, context=0, *, ...) -> Flow`` under its own name."""
    FLOWS[build.__name__] = build
    return build
