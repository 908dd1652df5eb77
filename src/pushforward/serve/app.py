"""The answers of a model over HTTP, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pushforward._version import __version__
from pushforward.core.json_values import write_message
from pushforward.core.threads import single_threaded
from pushforward.serve.bodies import (
    Bodies,
    ExplainRequest,
    GivenRequest,
    ImputeRequest,
    RefusedError,
    RowsRequest,
    SampleRequest,
)
from pushforward.serve.documents import document
from pushforward.serve.limits import ServerLimits
from pushforward.serve.metrics import Metrics
from pushforward.serve.model import ServedModel
from pushforward.serve.model_process import ModelProcess
from pushforward.serve.queue import BUSY, BusyError, WorkQueue
from pushforward.serve.rows import ARROW, arrow_of_table, json_of_table

__all__ = ["Service", "check_token", "create_app"]

OPEN = ("/healthz", "/readyz")
"""Paths that need no token."""
RETRY_SECONDS = 1
LEAST_LETTERS = 8
"""Of a token."""
MANY_BYTES, MANY_ROWS = 2**16, 500
"""Of a body and of an answer, from which on reading and writing them must not keep others waiting."""
LOG = logging.getLogger("pushforward.serve")
Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")
R = TypeVar("R", bound=RowsRequest)


def create_app(
    model: str | os.PathLike[str], *, token: str | None = None, limits: ServerLimits | None = None
) -> Starlette:
    """The application that ``pushforward serve`` runs, for any server of ASGI applications.

    Args:
        model: file of a model of a table.
        token: that requests must bring, as ``Authorization: Bearer TOKEN``; None for none.
        limits: see `ServerLimits`.

    Raises:
        ValueError: the file is damaged, or holds no model of a table.
    """
    return Service(ServedModel(Path(model)), token, limits or ServerLimits()).app


def check_token(token: str | None) -> None:
    """Refuse a token that could be guessed.

    Raises:
        ValueError: it is too short.
    """
    if token is not None and len(token) < LEAST_LETTERS:
        raise ValueError(
            f"pushforward serve: the token is shorter than {LEAST_LETTERS} characters. Choose a longer one."
        )


class Service:
    """A model that answers, one request after the other.

    Args:
        model: that is asked, in this process or in one of its own.
        token: of the requests; None for none.
        limits: of requests and queues.

    Attributes:
        app: the application.
        drains: whether it is about to end, so that clients are told to connect elsewhere.
    """

    def __init__(self, model: ServedModel | ModelProcess, token: str | None, limits: ServerLimits) -> None:
        check_token(token)
        self.model, self.limits, self._token = model, limits, token
        self.drains = False
        self._bodies, self._queue = Bodies(limits), WorkQueue(model.scores, limits, single_threaded())
        self._metrics = Metrics(lambda: len(self._queue))
        self._alone = asyncio.Lock()
        posts: dict[str, Handler] = {
            "/score": self.score, "/sample": self.sample, "/given": self.given, "/impute": self.impute,
            "/explain": self.explain,
        }  # fmt: skip
        gets: dict[str, Handler] = {
            "/schema": self.describe, "/metrics": self.metrics, "/healthz": self.health, "/readyz": self.ready,
            "/openapi.json": self.openapi,
        }  # fmt: skip
        self._waiting_paths, self._busy = frozenset(posts), _plain(_error(503, BUSY))
        routes = [Route(path, self._around(answer), methods=["POST"]) for path, answer in posts.items()]
        routes += [Route(path, self._around(answer), methods=["GET"]) for path, answer in gets.items()]
        refusals = {404: "There is no such path; /openapi.json lists them.", 405: "Not by this method."}
        self.app = Starlette(
            routes=routes,
            exception_handlers={status: self._refuse(status, why) for status, why in refusals.items()},
            lifespan=self._lifespan,
        )

    def close(self) -> None:
        """Answer what waits, and end."""
        self._queue.close()

    # --- what can be asked

    async def score(self, request: Request) -> Response:
        """Log-densities of rows."""
        async with self._bodies.of(request) as body:
            table, _ = await self._rows(request, body, RowsRequest)
            values: np.ndarray[Any, Any] = await self._queue.ask(table=table)
        self._metrics.count_rows("score", len(values))
        if _wants_arrow(request):
            return _arrow(pa.table({"log_density": pa.array(values)}))
        return _json({"log_density": values.tolist(), "exactness": self.model.exactness})

    async def sample(self, request: Request) -> Response:
        """New rows."""
        async with self._bodies.of(request) as body:
            asked = self._bodies.read(SampleRequest, body)
            if asked.n > self.limits.rows:
                raise RefusedError(413, f"n is at most {self.limits.rows:,} here. Ask several times.")
            model = self.model
            table = await self._queue.ask(lambda: model.sample(asked.n, asked.conditions, asked.seed, asked.keep_rules))
        self._metrics.count_rows("sample", table.num_rows)
        return await self._table(request, table)

    async def given(self, request: Request) -> Response:
        """Distributions of columns, given others."""
        async with self._bodies.of(request) as body:
            asked = self._bodies.read(GivenRequest, body)
            columns = await self._queue.ask(lambda: self.model.conditional(asked.conditions, asked.probability))
        return _json({"columns": columns, "probability": asked.probability})

    async def impute(self, request: Request) -> Response:
        """Rows without gaps."""
        async with self._bodies.of(request) as body:
            table, asked = await self._rows(request, body, ImputeRequest)
            filled = await self._queue.ask(lambda: self.model.impute(table, asked.draw, asked.seed))
        self._metrics.count_rows("impute", filled.num_rows)
        return await self._table(request, filled)

    async def explain(self, request: Request) -> Response:
        """What is surprising in rows."""
        async with self._bodies.of(request) as body:
            table, asked = await self._rows(request, body, ExplainRequest)
            rows = await self._queue.ask(lambda: self.model.explain(table, asked.top))
        self._metrics.count_rows("explain", len(rows))
        return _json({"rows": rows})

    async def describe(self, request: Request) -> Response:
        """The columns of the model."""
        return _json({**self.model.describe(), "version": __version__})

    async def metrics(self, request: Request) -> Response:
        """Numbers for Prometheus."""
        text, kind = self._metrics.text()
        return Response(text, media_type=kind)

    async def health(self, request: Request) -> Response:
        """Whether the process answers."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Whether new requests are welcome."""
        if self.drains or not self.model.is_alive or len(self._queue) >= self.limits.waiting:
            return PlainTextResponse("busy\n", 503, headers={"retry-after": str(RETRY_SECONDS)})
        return PlainTextResponse("ready\n")

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document."""
        return _json(document(self.model.name, __version__, self._token is not None, self.model.schema.fields))

    def refusal(self, path: str) -> bytes | None:
        """The answer to a request to a path, as it is sent, when there are too many; None where the path has no answer
        that waits, or the server is about to end."""
        if path not in self._waiting_paths or self.drains:
            return None
        self._metrics.count(path, 503, 0.0)
        return self._busy

    # --- around all of it

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self.close)

    def _around(self, answer: Handler) -> Handler:
        """An answer with the token checked before it, errors turned into sentences, and counted."""

        async def answered(request: Request) -> Response:
            began, path = time.perf_counter(), request.url.path
            try:
                response = self._unauthorized(request)
                if response is None:
                    if request.method == "POST":
                        self._queue.refuse_if_full()  # before the body costs anything
                    response = await answer(request)
            except RefusedError as error:
                response = _error(error.status, str(error))
            except BusyError as error:
                response = _error(503, str(error))
            except ValueError as error:
                response = _error(422, str(error) or type(error).__name__)
            except ClientDisconnect:
                response = _error(408, "The client has gone.")
            except Exception as error:
                LOG.exception("%s", path)
                response = _error(500, f"internal error ({type(error).__name__}). This is a bug of pushforward.")
            return self._counted(response, path, time.perf_counter() - began)

        return answered

    def _refuse(self, status: int, why: str) -> Any:
        async def answer(request: Request, error: Exception) -> Response:
            refusal = _error(status, why)
            refusal.headers.update(getattr(error, "headers", None) or {})  # which methods there are
            return self._counted(refusal, request.url.path, 0.0)

        return answer

    def _counted(self, response: Response, path: str, seconds: float) -> Response:
        # After 413 what still comes is read for a while, else the client would see a broken pipe and not the sentence.
        if response.status_code == 408 or self.drains:
            response.headers["connection"] = "close"
        self._metrics.count(path, response.status_code, seconds)
        return response

    def _unauthorized(self, request: Request) -> Response | None:
        if self._token is None or request.url.path in OPEN:
            return None
        kind, _, brought = request.headers.get("authorization", "").partition(" ")
        expected = self._token.encode()
        if kind.lower() == "bearer" and secrets.compare_digest(brought.strip().encode("latin-1", "replace"), expected):
            return None
        response = _error(401, "The token is missing or wrong. Send the header Authorization: Bearer TOKEN.")
        response.headers["www-authenticate"] = "Bearer"
        return response

    async def _rows(self, request: Request, body: bytes, kind: type[R]) -> tuple[pa.Table, R]:
        """The table of a request, and its options."""
        return await self._apart(
            len(body) > MANY_BYTES, partial(self._bodies.table, self.model.schema, request, body, kind)
        )

    async def _table(self, request: Request, table: pa.Table) -> Response:
        if _wants_arrow(request):
            return _arrow(table)
        return await self._apart(table.num_rows > MANY_ROWS, lambda: _json({"rows": json_of_table(table)}))

    async def _apart(self, takes_long: bool, function: Callable[[], T]) -> T:
        """The result of a function; of one that takes long in another thread, one at a time."""
        if not takes_long:
            return function()
        async with self._alone:
            return await asyncio.to_thread(function)


def _wants_arrow(request: Request) -> bool:
    return ARROW in request.headers.get("accept", "").lower()


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(write_message(value), status, media_type="application/json")


def _arrow(table: pa.Table) -> Response:
    return Response(arrow_of_table(table), media_type=ARROW)


def _plain(response: Response) -> bytes:
    """A response as it is sent."""
    lines = [b"HTTP/1.1 %d " % response.status_code, *(b"%s: %s" % header for header in response.raw_headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)


def _error(status: int, sentence: str) -> Response:
    response = _json({"error": sentence}, status)
    if status == 503:
        response.headers["retry-after"] = str(RETRY_SECONDS)
    return response
