"""`pushforward lab`: Flow Lab at an address of this machine, for the browser of its user."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from pushforward.core.extras import need_packages
from pushforward.core.sockets import listening
from pushforward.core.waiting_threads import let_waiting_threads_sleep

__all__ = ["FRAME", "serve", "uvicorn_server"]

FRAME = 32 * 2**20
"""Largest message in bytes: a table of 20 MB in base64, and some."""
HOST = "127.0.0.1"
REDIRECT = """<!doctype html>
<meta charset="utf-8">
<title>Flow Lab</title>
<meta http-equiv="refresh" content="0; url={address}">
<a href="{address}">Flow Lab</a>
"""
"""A page that leads to an address."""


def serve(
    folder: str | os.PathLike[str] | None = None,
    *,
    port: int = 0,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve Flow Lab to the browsers of this machine until Ctrl-C. Other machines cannot reach it.

    Args:
        folder: of model files that may be opened; None for none.
        port: where to listen; 0 for a free one.
        browser: whether to open the page.
        say: called with the address, which holds the token that every request must have.

    Raises:
        ImportError: the extra ``lab`` is not installed.
        ValueError: there is no such folder, the port is taken or not permitted, or the page was not built.
    """
    need_packages("pushforward lab", "lab", "fastapi", "uvicorn", "websockets")
    let_waiting_threads_sleep()
    from pushforward.lab.app import STATIC, LabApp
    from pushforward.lab.folder import ModelFolder

    ModelFolder(folder)
    if not (STATIC / "lab.js").exists():
        raise ValueError("pushforward lab: the page is not built. Run `npm ci && npm run build` in the folder web/.")
    with _listen(port) as listener, tempfile.TemporaryDirectory(prefix="pushforward-lab-") as temporary:
        app = LabApp(folder, listener.getsockname()[1], secrets.token_urlsafe(24))
        say(f"Flow Lab: {app.address}")
        say("Ctrl-C ends it.")
        if browser and _has_display():
            page = _write_redirect(Path(temporary, "flow-lab.html"), app.address)
            threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
        try:
            uvicorn_server(app.asgi).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has closed everything, and hands the signal on
            return


def uvicorn_server(app: Any) -> Any:
    """The server of an application, quiet, with bounds on what it takes."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", ws="websockets-sansio", ws_max_size=FRAME,
        ws_per_message_deflate=False, proxy_headers=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=5, timeout_keep_alive=30, limit_concurrency=400,
    )  # fmt: skip
    return uvicorn.Server(config)


def _listen(port: int) -> socket.socket:
    """A socket that listens at the loopback address.

    Raises:
        ValueError: the port is taken or not permitted, or there is none of this number.
    """
    try:
        return listening(HOST, port, 128)
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EACCES:
            raise ValueError(
                f"pushforward lab: you have no permission to listen at port {port}. Choose one from 1024 on, or 0."
            ) from None
        raise ValueError(f"pushforward lab: port {port} is not free. Choose another one, or 0.") from None


def _write_redirect(path: Path, address: str) -> Path:
    """A page that only this user can read and that leads to an address, which would be there for all users of this
    machine to see among the arguments of the browser."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(REDIRECT.format(address=escape(address)))
    return path


def _has_display() -> bool:
    """Without one, the browser that Python finds would take over the terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
