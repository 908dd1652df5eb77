"""How much a server takes on."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pushforward.core.checks import positive

__all__ = ["ServerLimits"]


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Bounds on requests, so that memory and waiting times have bounds.

    Raises:
        ValueError: a limit is not positive.
    """

    rows: int = 10_000
    """Of one request, and of one answer."""
    request_bytes: int = 16 * 2**20
    """Of the body of one request."""
    held_bytes: int = 128 * 2**20
    """Of the bodies of all requests that are not answered yet, and again of all answers that are not read yet."""
    waiting: int = 256
    """Requests that wait for the model; further ones are refused with status 503."""
    seconds: float = 30.0
    """That a request may wait; then it is answered with status 503."""
    body_seconds: float = 10.0
    """In which the body of a request must arrive, and in which its headers must."""
    batch_rows: int = 4096
    """Rows of neighbouring requests that are scored together."""

    def __post_init__(self) -> None:
        for field in fields(self):
            positive("ServerLimits", field.name, getattr(self, field.name))
