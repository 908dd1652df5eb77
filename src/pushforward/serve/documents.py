"""The OpenAPI document of a served model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from pushforward.data.fields import Field
from pushforward.data.json_entries import entry_json
from pushforward.serve.bodies import ExplainRequest, GivenRequest, ImputeRequest, RowsRequest, SampleRequest
from pushforward.serve.rows import ARROW

__all__ = ["document"]

NUMBER: dict[str, Any] = {"type": ["number", "null"]}
MOST_VALUES = 200
"""Of a column of categories, that are listed."""
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
    "403": "A page of another server asks, without a token.",
    "408": "The body came too slowly.",
    "413": "There are too many bytes or rows.",
    "421": "The request was sent to a name of another machine, without a token.",
    "422": "A value, a column or an option cannot be used, or the model cannot answer this.",
    "503": "Too many requests wait; see Retry-After.",
}
POSTS: dict[str, tuple[str, type[BaseModel], dict[str, Any] | None, bool, bool]] = {
    "/score": ("Log-densities of rows, in nats.", RowsRequest, SCORES, True, True),
    "/sample": ("New rows.", SampleRequest, None, False, True),
    "/given": ("The distribution of each column, given values of others.", GivenRequest, CONDITIONALS, False, False),
    "/impute": ("Rows whose missing entries are filled.", ImputeRequest, None, True, True),
    "/explain": ("How unusual rows are, and which of their entries.", ExplainRequest, REASONS, True, False),
}
"""Summary, request, answer (None for rows), and whether Arrow is taken and given."""
GETS = {
    "/schema": ("The columns of the model, and what it can be asked.", "application/json", True),
    "/metrics": ("Numbers for Prometheus.", "text/plain", True),
    "/healthz": ("Whether the process answers.", "text/plain", False),
    "/readyz": ("Whether new requests are welcome; 503 if not.", "text/plain", False),
}


def document(name: str, version: str, has_token: bool, fields: Iterable[Field]) -> dict[str, Any]:
    """The document.

    Args:
        name: of the model file.
        version: of the library.
        has_token: whether requests need one.
        fields: the columns of the model.
    """
    entries = {field.name: _entry(field) for field in fields}
    row = {"type": "object", "properties": entries, "additionalProperties": False}
    rows = {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": row}}}
    security: list[dict[str, Any]] = [{"bearer": []}] if has_token else []
    paths: dict[str, Any] = {}
    for path, (summary, kind, answer, takes_arrow, gives_arrow) in POSTS.items():
        request: dict[str, Any] = {"application/json": {"schema": _asked(kind, row)}}
        response: dict[str, Any] = {"application/json": {"schema": answer or rows}}
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


def _asked(kind: type[BaseModel], row: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request, with the columns of the model."""
    asked = kind.model_json_schema()
    properties = asked["properties"]
    if "rows" in properties:
        properties["rows"]["items"] = row
    if "given" in properties:
        values = {name: _without_null(entry) for name, entry in row["properties"].items()}
        properties["given"] = {
            "description": properties["given"]["description"], "default": {}, **row, "properties": values,
        }  # fmt: skip
    return asked


def _entry(field: Field) -> dict[str, Any]:
    """What a column holds."""
    if field.form == "bool":
        return {"type": ["boolean", "null"]}
    if field.labels is not None and len(field.labels) <= MOST_VALUES:
        return {"enum": [*(entry_json(label) for label in field.labels), None]}
    if field.labels is not None or field.notation is not None or field.form in ("time", "day", "label"):
        return {"type": ["string", "null"]}
    return dict(NUMBER)


def _without_null(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [value for value in values if value not in (None, "null")] if isinstance(values, list) else values
        for name, values in entry.items()
    }


def _refusals() -> dict[str, Any]:
    content = {"application/json": {"schema": ERROR}}
    return {status: {"description": why, "content": content} for status, why in REFUSALS.items()}
