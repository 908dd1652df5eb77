"""What requests hold, read within bounds and checked, and the types of it in the OpenAPI document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StrictBool, StrictInt, ValidationError
from starlette.requests import Request

from pushforward.core.json_values import read_message
from pushforward.data import Schema, TableError
from pushforward.serve.limits import ServerLimits
from pushforward.serve.rows import (
    ARROW,
    TooManyRowsError,
    check_conditions,
    quoted,
    table_of_arrow,
    table_of_rows,
)

__all__ = [
    "Bodies", "ConditionsRequest", "ExplainRequest", "GivenRequest", "ImputeRequest", "RefusedError", "RowsRequest",
    "SampleRequest", "most_of_conditions",
]  # fmt: skip

Scalar = str | int | float | bool | None
Values = dict[str, Scalar]
"""By column. They are checked by the columns of the model: pydantic would collect an error for each wrong one."""
CONDITIONS_BYTES, COLUMN_BYTES = 2**16, 2**10
"""Of a body with values of columns, and for each column of the model where it has many."""
SEED = Field(None, ge=0, le=2**32 - 1, description="The same seed gives the same answer.")


class Asked(BaseModel):
    """A request: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class RowsRequest(Asked):
    """Rows with a value, or null, for each column."""

    rows: Annotated[list[SkipValidation[Values]], Field(min_length=1)]


class ImputeRequest(RowsRequest):
    """Rows whose gaps are filled: by means and modes, or by one random draw."""

    draw: StrictBool = False
    seed: StrictInt | None = SEED


class ExplainRequest(RowsRequest):
    """Rows of which the most surprising entries are asked for."""

    top: StrictInt = Field(3, ge=1, le=100)


class ConditionsRequest(Asked):
    """Values of columns, and a question about the others."""

    conditions: dict[SkipValidation[str], SkipValidation[Scalar]] = Field(
        {}, alias="given", description="Values by column."
    )


class SampleRequest(ConditionsRequest):
    """How many rows to draw, and what values of columns they have."""

    n: StrictInt = Field(1, ge=1, le=1_000_000)
    seed: StrictInt | None = SEED
    keep_rules: StrictBool = False


class GivenRequest(ConditionsRequest):
    """Values of columns, given which the distributions of the others are asked for."""

    probability: float = Field(0.9, gt=0, lt=1, description="Of the intervals.")


A = TypeVar("A", bound=Asked)
R = TypeVar("R", bound=RowsRequest)
C = TypeVar("C", bound=ConditionsRequest)


class RefusedError(Exception):
    """A request that is not answered, with its status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Bodies:
    """The bodies of all requests that are being answered.

    Args:
        limits: of their sizes, and of the time in which they arrive.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self.limits, self.held = limits, 0

    @asynccontextmanager
    async def of(self, request: Request, most: int | None = None) -> AsyncIterator[bytes]:
        """The body of a request, which counts as long as the block runs.

        Args:
            request: whose body is read.
            most: bytes, if fewer than any request may have.

        Raises:
            RefusedError: it is too large or too slow, or others hold too much.
        """
        limits, pieces, size = self.limits, [], 0
        largest = limits.request_bytes if most is None else min(most, limits.request_bytes)
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > largest:
            raise self._too_large(largest)
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for piece in request.stream():
                    self.held, size = self.held + len(piece), size + len(piece)
                    if size > largest:
                        raise self._too_large(largest)
                    if self.held > limits.held_bytes:
                        raise RefusedError(503, "Other requests hold too much data. Try again later.")
                    pieces.append(piece)
            yield b"".join(pieces)
        except TimeoutError:
            raise RefusedError(408, f"The body did not arrive within {limits.body_seconds:g} seconds.") from None
        finally:
            self.held -= size

    def _too_large(self, most: int) -> RefusedError:
        remedy = " Send fewer rows at once." if most == self.limits.request_bytes else ""
        return RefusedError(413, f"The body is larger than {most:,} bytes.{remedy}")

    def _too_many_rows(self) -> RefusedError:
        return RefusedError(413, f"The request has more than {self.limits.rows:,} rows. Send fewer at once.")

    def conditions(self, schema: Schema, body: bytes, kind: type[C]) -> C:
        """A request with values of columns, in JSON.

        Raises:
            RefusedError: it is no JSON, or no such request.
            TableError: there is no such column, or a value is no scalar.
        """
        asked = _validated(kind, _message(body))
        check_conditions(schema, asked.conditions)
        return asked

    def table(self, schema: Schema, request: Request, body: bytes, kind: type[R]) -> tuple[pa.Table, R]:
        """The rows of a request, in JSON or, by its content type, as a stream of Arrow, with the other options; those
        of a stream are in the query.

        Raises:
            RefusedError: there are too many rows, or none, or an option is wrong.
            TableError: a column or a value cannot be used.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != ARROW:
            value = _message(body)
            rows = value.get("rows") if isinstance(value, dict) else None
            if isinstance(rows, list) and len(rows) > self.limits.rows:  # before each of them is checked
                raise self._too_many_rows()
            asked = _validated(kind, value)
            return table_of_rows(schema, asked.rows), asked
        options = {name: read_option(text) for name, text in request.query_params.items()}
        asked = _validated(kind, {**options, "rows": [{}]})
        try:
            table = table_of_arrow(schema, body, self.limits.rows)
        except TooManyRowsError:
            raise self._too_many_rows() from None
        if not table.num_rows:
            raise TableError("The stream of Arrow has no rows.")
        return table, asked


def most_of_conditions(schema: Schema) -> int:
    """Bytes that a body with values of columns may have."""
    return max(CONDITIONS_BYTES, COLUMN_BYTES * len(schema.names))


def _message(body: bytes) -> Any:
    try:
        return read_message(body)
    except (ValueError, UnicodeError):
        raise RefusedError(400, "The body is no JSON.") from None


def _validated(kind: type[A], value: Any) -> A:
    """A request of this kind.

    Raises:
        RefusedError: it is none, said of the first fault.
    """
    names = {field.alias or name for name, field in kind.model_fields.items()}
    if isinstance(value, dict) and not value.keys() <= names:  # pydantic would collect an error for each
        other = next(name for name in value if name not in names)
        raise RefusedError(422, f"{quoted(other)[1:-1]}: Extra inputs are not permitted.")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RefusedError(422, f"{place or 'the body'}: {first['msg'][:200]}.") from None


def read_option(text: str) -> Any:
    """An option of the query: true, false and numbers as such."""
    try:
        return read_message(text)
    except ValueError:
        return text
