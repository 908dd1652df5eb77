"""A model behind HTTP: ``pushforward serve``, and the same as an ASGI application or a flavour of MLflow."""

from __future__ import annotations

from typing import Any

__all__ = ["ServerLimits", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    """The parts, loaded when they are asked for: they need the extra ``serve``."""
    if name == "ServerLimits":
        from pushforward.serve.limits import ServerLimits

        return ServerLimits
    if name == "create_app":
        from pushforward.serve.app import create_app

        return create_app
    if name == "serve":
        from pushforward.serve.server import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
