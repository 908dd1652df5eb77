"""The answers of a model over HTTP, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
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
from pushforward.core.threads import single_threaded
from pushforward.serve.access import Access
from pushforward.serve.bodies import (
    Bodies,
    ConditionsRequest,
    ExplainRequest,
    GivenRequest,
    ImputeRequest,
    RefusedError,
    RowsRequest,
    SampleRequest,
    most_of_conditions,
)
from pushforward.serve.documents import document
from pushforward.serve.limits import ServerLimits
from pushforward.serve.metrics import Metrics
from pushforward.serve.model import ServedModel
from pushforward.serve.model_process import ModelProcess
from pushforward.serve.queue import BUSY, BusyError, WorkQueue
from pushforward.serve.responses import (
    RETRY_SECONDS,
    arrow_response,
    error_response,
    json_response,
    on_the_wire,
    wants_arrow,
)
from pushforward.serve.rows import json_of_table

__all__ = ["Service", "create_app"]

MANY_BYTES, MANY_ROWS = 2**16, 500
"""Of a body and of an answer, from which on reading and writing them must not keep others waiting."""
LOG = logging.getLogger("pushforward.serve")
Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")
R = TypeVar("R", bound=RowsRequest)
C = TypeVar("C", bound=ConditionsRequest)


def create_app(
    model: str | os.PathLike[str],
    *,
    token: str | None = None,
    limits: ServerLimits | None = None,
    hosts: Collection[str] = (),
) -> Starlette:
    """The application that ``pushforward serve`` runs, for any server of ASGI applications.

    Args:
        model: file of a model of a table.
        token: that requests must bring, as ``Authorization: Bearer TOKEN``; None for none.
        limits: see `ServerLimits`.
        hosts: values of the header ``Host`` at which it may be asked without a token, such as ``example.com``, besides
            the names of this machine.

    Raises:
        ValueError: the file is damaged, or holds no model of a table, or the token is too short.
    """
    return Service(ServedModel(Path(model)), token, limits or ServerLimits(), hosts).app


class Service:
    """A model that answers, one request after the other.

    Args:
        model: that is asked, in this process or in one of its own.
        token: of the requests; None for none.
        limits: of requests and queues.
        hosts: at which it may be asked without a token, besides the names of this machine.

    Attributes:
        access: who may ask.
        app: the application.
        drains: whether it is about to end, so that clients are told to connect elsewhere.
    """

    def __init__(
        self, model: ServedModel | ModelProcess, token: str | None, limits: ServerLimits, hosts: Collection[str] = ()
    ) -> None:
        self.model, self.limits, self.access = model, limits, Access(token, hosts)
        self.drains = False
        self._bodies, self._queue = Bodies(limits), WorkQueue(model.scores, limits, single_threaded())
        self._metrics = Metrics(lambda: len(self._queue))
        self._alone = asyncio.Lock()
        self._revival: asyncio.Task[None] | None = None
        posts: dict[str, Handler] = {
            "/score": self.score, "/sample": self.sample, "/given": self.given, "/impute": self.impute,
            "/explain": self.explain,
        }  # fmt: skip
        gets: dict[str, Handler] = {
            "/schema": self.describe, "/metrics": self.metrics, "/openapi.json": self.openapi,
        }  # fmt: skip
        for_all: dict[str, Handler] = {"/healthz": self.health, "/readyz": self.ready}
        self._waiting_paths, self._busy = frozenset(posts), on_the_wire(error_response(503, BUSY))
        routes = [Route(path, self._around(path, answer), methods=["POST"]) for path, answer in posts.items()]
        routes += [Route(path, self._around(path, answer), methods=["GET"]) for path, answer in gets.items()]
        routes += [Route(path, self._around(path, answer, True), methods=["GET"]) for path, answer in for_all.items()]
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
        if wants_arrow(request):
            return arrow_response(pa.table({"log_density": pa.array(values)}))
        return json_response({"log_density": values.tolist(), "exactness": self.model.exactness})

    async def sample(self, request: Request) -> Response:
        """New rows."""
        async with self._bodies.of(request, most_of_conditions(self.model.schema)) as body:
            asked = await self._conditions(body, SampleRequest)
            if asked.n > self.limits.rows:
                raise RefusedError(413, f"n is at most {self.limits.rows:,} here. Ask several times.")
            model = self.model
            table = await self._queue.ask(lambda: model.sample(asked.n, asked.conditions, asked.seed, asked.keep_rules))
        self._metrics.count_rows("sample", table.num_rows)
        return await self._table(request, table)

    async def given(self, request: Request) -> Response:
        """Distributions of columns, given others."""
        async with self._bodies.of(request, most_of_conditions(self.model.schema)) as body:
            asked = await self._conditions(body, GivenRequest)
            columns = await self._queue.ask(lambda: self.model.conditional(asked.conditions, asked.probability))
        return json_response({"columns": columns, "probability": asked.probability})

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
        return json_response({"rows": rows})

    async def describe(self, request: Request) -> Response:
        """The columns of the model."""
        return json_response({**self.model.describe(), "version": __version__})

    async def metrics(self, request: Request) -> Response:
        """Numbers for Prometheus."""
        text, kind = self._metrics.text()
        return Response(text, media_type=kind)

    async def health(self, request: Request) -> Response:
        """Whether the process answers."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Whether new requests are welcome."""
        if isinstance(self.model, ModelProcess) and not self.model.is_alive and not len(self._queue):
            self._revival = asyncio.create_task(self._revive(self.model))  # else no question might ever come again
        if self.drains or not self.model.is_alive or len(self._queue) >= self.limits.waiting:
            return PlainTextResponse("busy\n", 503, headers={"retry-after": str(RETRY_SECONDS)})
        return PlainTextResponse("ready\n")

    async def _revive(self, model: ModelProcess) -> None:
        with suppress(BusyError):
            await self._queue.ask(model.revive)

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document."""
        return json_response(document(self.model.name, __version__, self.access.needs_token, self.model.schema.fields))

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

    def _around(self, path: str, answer: Handler, is_open: bool = False) -> Handler:
        """An answer with errors turned into sentences, counted, and unless it is open to all, with a check of who
        asks."""

        async def answered(request: Request) -> Response:
            began = time.perf_counter()
            try:
                if not is_open and (refusal := self.access.refusal(request.scope["headers"])):
                    raise RefusedError(*refusal)
                if request.method == "POST":
                    self._queue.refuse_if_full()  # before the body costs anything
                response = await answer(request)
            except RefusedError as error:
                response = error_response(error.status, str(error))
            except BusyError as error:
                response = error_response(503, str(error))
            except ValueError as error:
                response = error_response(422, str(error) or type(error).__name__)
            except ClientDisconnect:
                response = error_response(408, "The client has gone.")
            except Exception as error:
                LOG.exception("%s", path)
                response = error_response(
                    500, f"internal error ({type(error).__name__}). This is a bug of pushforward."
                )
            return self._counted(response, path, time.perf_counter() - began)

        return answered

    def _refuse(self, status: int, why: str) -> Any:
        async def answer(request: Request, error: Exception) -> Response:
            refusal = error_response(status, why)
            refusal.headers.update(getattr(error, "headers", None) or {})  # which methods there are
            return self._counted(refusal, request.scope["path"], 0.0)

        return answer

    def _counted(self, response: Response, path: str, seconds: float) -> Response:
        # After 413 what still comes is read for a while, else the client would see a broken pipe and not the sentence.
        if response.status_code == 408 or self.drains:
            response.headers["connection"] = "close"
        self._metrics.count(path, response.status_code, seconds)
        return response

    async def _rows(self, request: Request, body: bytes, kind: type[R]) -> tuple[pa.Table, R]:
        """The table of a request, and its options."""
        return await self._apart(
            len(body) > MANY_BYTES, partial(self._bodies.table, self.model.schema, request, body, kind)
        )

    async def _conditions(self, body: bytes, kind: type[C]) -> C:
        """A request with values of columns."""
        return await self._apart(
            len(body) > MANY_BYTES, partial(self._bodies.conditions, self.model.schema, body, kind)
        )

    async def _table(self, request: Request, table: pa.Table) -> Response:
        if wants_arrow(request):
            return arrow_response(table)
        return await self._apart(table.num_rows > MANY_ROWS, lambda: json_response({"rows": json_of_table(table)}))

    async def _apart(self, takes_long: bool, function: Callable[[], T]) -> T:
        """The result of a function; of one that takes long in another thread, one at a time."""
        if not takes_long:
            return function()
        async with self._alone:
            return await asyncio.to_thread(function)
