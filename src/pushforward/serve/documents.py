"""The OpenAPI document of a served model."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pushforward.serve.bodies import ExplainRequest, GivenRequest, ImputeRequest, RowsRequest, SampleRequest
from pushforward.serve.rows import ARROW

__all__ = ["document"]

NUMBER: dict[str, Any] = {"type": ["number", "null"]}
ROW: dict[str, Any] = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
ROWS: dict[str, Any] = {
    "type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": ROW}},
}  # fmt: skip
SCORES: dict[str, Any] = {
    "type": "object",
    "required": ["log_density", "exactness"],
    "properties": {"log_density": {"type": "array", "items": NUMBER}, "exactness": {"type": "string"}},
}
CONDITIONALS: dict[str, Any] = {
    "type": "object",
    "required": ["columns"],
    "properties": {"columns": {"type": "array", "items": {"type": "object"}}, "probability": {"type": "number"}},
}
REASONS: dict[str, Any] = {
    "type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": {"type": "object"}}},
}  # fmt: skip
ERROR: dict[str, Any] = {
    "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}},
}  # fmt: skip
REFUSALS = {
    "400": "The body is no JSON.",
    "401": "The token is missing or wrong.",
    "408": "The body came too slowly.",
    "413": "There are too many bytes or rows.",
    "422": "A value, a column or an option cannot be used, or the model cannot answer this.",
    "503": "Too many requests wait; see Retry-After.",
}
POSTS: dict[str, tuple[str, type[BaseModel], dict[str, Any], bool, bool]] = {
    "/score": ("Log-densities of rows, in nats.", RowsRequest, SCORES, True, True),
    "/sample": ("New rows.", SampleRequest, ROWS, False, True),
    "/given": ("The distribution of each column, given values of others.", GivenRequest, CONDITIONALS, False, False),
    "/impute": ("Rows whose missing entries are filled.", ImputeRequest, ROWS, True, True),
    "/explain": ("How unusual rows are, and which of their entries.", ExplainRequest, REASONS, True, False),
}
"""Summary, request, answer, and whether Arrow is taken and given."""
GETS = {
    "/schema": ("The columns of the model, and what it can be asked.", "application/json", True),
    "/metrics": ("Numbers for Prometheus.", "text/plain", True),
    "/healthz": ("Whether the process answers.", "text/plain", False),
    "/readyz": ("Whether new requests are welcome; 503 if not.", "text/plain", False),
}


def document(name: str, version: str, has_token: bool) -> dict[str, Any]:
    """The document.

    Args:
        name: of the model file.
        version: of the library.
        has_token: whether requests need one.
    """
    security: list[dict[str, Any]] = [{"bearer": []}] if has_token else []
    paths: dict[str, Any] = {}
    for path, (summary, kind, answer, takes_arrow, gives_arrow) in POSTS.items():
        request: dict[str, Any] = {"application/json": {"schema": kind.model_json_schema()}}
        response: dict[str, Any] = {"application/json": {"schema": answer}}
        stream = {"schema": {"type": "string", "format": "binary"}}
        paths[path] = {
            "post": {
                "summary": summary,
                "operationId": path[1:],
                "security": security,
                "requestBody": {"required": True, "content": request | ({ARROW: stream} if takes_arrow else {})},
                "responses": {
                    "200": {
                        "description": "The answer.",
                        "content": response | ({ARROW: stream} if gives_arrow else {}),
                    },
                    **_refusals(),
                },
            }
        }
    for path, (summary, media, needs_token) in GETS.items():
        of_text: dict[str, Any] = {media: {"schema": {"type": "object" if media.endswith("json") else "string"}}}
        responses: dict[str, Any] = {"200": {"description": "The answer.", "content": of_text}}
        if needs_token:
            responses["401"] = _refusals()["401"]
        if path == "/readyz":
            responses["503"] = {"description": "Not now.", "content": of_text}
        paths[path] = {
            "get": {
                "summary": summary, "operationId": path[1:], "security": security if needs_token else [],
                "responses": responses,
            }
        }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": f"pushforward: {name}", "version": version},
        "paths": paths,
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }


def _refusals() -> dict[str, Any]:
    content = {"application/json": {"schema": ERROR}}
    return {status: {"description": why, "content": content} for status, why in REFUSALS.items()}
