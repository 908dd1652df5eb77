"""The page, its files and its sockets, as an ASGI application."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from html import escape
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse

from pushforward.core.json_values import read_message, write_message
from pushforward.lab.guard import Guard, security_headers
from pushforward.lab.outbox import Outbox
from pushforward.lab.session import LabSession

__all__ = ["MOST_SESSIONS", "STATIC", "LabApp"]

STATIC = Path(__file__).parent / "static"
"""The built page."""
MOST_SESSIONS = 40
LARGE = 1_000_000
"""Characters from which on a message is read in a thread, while other tabs go on."""
TYPES = {
    ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".map": "application/json",
    ".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2", ".woff": "font/woff", ".ttf": "font/ttf",
}  # fmt: skip
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Flow Lab</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/lab.css?token={token}">
</head>
<body>
<div id="flow-lab" data-socket="/socket?token={token}"></div>
<noscript>Flow Lab needs JavaScript.</noscript>
<script type="module" src="/static/lab.js?token={token}"></script>
</body>
</html>
"""


class LabApp:
    """Flow Lab for one user: each socket is one session, which ends with it.

    Args:
        folder: of model files.
        port: where the server listens.
        token: that every request must have.
        static: folder of the built page.

    Attributes:
        asgi: the application.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, port: int, token: str, *, static: str | os.PathLike[str] = STATIC
    ) -> None:
        self.folder, self.port, self.token, self.static = folder, port, token, Path(static).resolve()
        self._sessions = 0
        api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        api.add_api_route("/", self._page, methods=["GET", "HEAD"])
        api.add_api_route("/static/{name:path}", self._file, methods=["GET", "HEAD"])
        api.add_api_websocket_route("/socket", self._socket)
        api.add_exception_handler(404, _no_file)
        self.asgi = Guard(api, token)

    @property
    def address(self) -> str:
        """Where to open the page."""
        return f"http://127.0.0.1:{self.port}/?token={quote(self.token)}"

    async def _page(self, request: Request) -> Response:
        text = PAGE.format(token=escape(quote(self.token)))
        return HTMLResponse(text, headers=security_headers(request.headers["host"]))

    async def _file(self, request: Request, name: str) -> Response:
        """A file of the static folder, by a name from its listing: no path is ever made of what a request says."""
        files = {path.relative_to(self.static).as_posix(): path for path in self.static.rglob("*") if path.is_file()}
        path = files.get(name)
        if path is None or not path.resolve().is_relative_to(self.static):
            return await _no_file(request, None)
        kind = TYPES.get(path.suffix, "application/octet-stream")
        return FileResponse(path, media_type=kind, headers=security_headers(request.headers["host"]))

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        if self._sessions >= MOST_SESSIONS:
            await socket.close(1013, f"{MOST_SESSIONS} tabs are open already; close one of them.")
            return
        outbox = Outbox(asyncio.get_running_loop())
        try:
            session = LabSession(outbox.put, self.folder)
        except ValueError:
            await socket.close(1011, "The folder of models is gone. Start pushforward lab again.")
            return
        self._sessions += 1
        tasks = [asyncio.create_task(self._receive_all(socket, session, outbox))]
        tasks.append(asyncio.create_task(_send_all(socket, outbox)))
        try:
            # A browser that is gone may be noticed by either: the other one waits, perhaps for ever.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            # Also when the server stops: the threads of a session end before it is forgotten. Closing has a thread of
            # its own, so that it never waits for messages that are read in those of asyncio.
            closer = ThreadPoolExecutor(1, thread_name_prefix="flow-lab-closing")
            closing = asyncio.get_running_loop().run_in_executor(closer, session.close)
            closing.add_done_callback(self._forget)
            closer.shutdown(wait=False)
            await asyncio.shield(closing)

    def _forget(self, closing: asyncio.Future[None]) -> None:
        self._sessions -= 1

    async def _receive_all(self, socket: WebSocket, session: LabSession, outbox: Outbox) -> None:
        while True:
            await outbox.room_for_answers()
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                outbox.put({"id": None, "error": "A message must be text in JSON; this one is binary."})
                continue
            try:
                value = await asyncio.to_thread(read_message, text) if len(text) > LARGE else read_message(text)
            except ValueError:
                outbox.put({"id": None, "error": "The message is no JSON."})
                continue
            session.handle(value, len(text))


async def _no_file(request: Request, _: Exception | None) -> Response:
    """The answer for paths that there are none of."""
    return PlainTextResponse("There is no such file.\n", 404, headers=security_headers(request.headers["host"]))


async def _send_all(socket: WebSocket, outbox: Outbox) -> None:
    """Send what waits, as fast as the browser reads."""
    with suppress(WebSocketDisconnect, RuntimeError, OSError):  # the browser is gone: `_receive_all` ends
        while True:
            for message in await outbox.take():
                await socket.send_text(write_message(message))
