"""Answers as they are sent: JSON, streams of Arrow, and refusals of one sentence."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

from pushforward.core.json_values import write_message
from pushforward.serve.rows import ARROW, arrow_of_table

__all__ = ["RETRY_SECONDS", "arrow_response", "error_response", "json_response", "on_the_wire", "wants_arrow"]

RETRY_SECONDS = 1
"""After which a client that was refused may try again."""


def wants_arrow(request: Request) -> bool:
    """Whether a client accepts a stream of Arrow."""
    return ARROW in request.headers.get("accept", "").lower()


def json_response(value: dict[str, Any], status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(write_message(value), status, media_type="application/json")


def arrow_response(table: pa.Table) -> Response:
    """A table as a stream of Arrow."""
    return Response(arrow_of_table(table), media_type=ARROW)


def error_response(status: int, sentence: str) -> Response:
    """A refusal, with what the client may do about it in the headers."""
    response = json_response({"error": sentence}, status)
    if status == 503:
        response.headers["retry-after"] = str(RETRY_SECONDS)
    elif status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def on_the_wire(response: Response) -> bytes:
    """A response as it is sent."""
    lines = [b"HTTP/1.1 %d " % response.status_code, *(b"%s: %s" % header for header in response.raw_headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)
