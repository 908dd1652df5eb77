"""``pushforward serve``: a model at an address, until it is asked to end."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pushforward.core.extras import need_packages
from pushforward.core.local_requests import LOOPBACK
from pushforward.core.sockets import listening

__all__ = ["TOKEN", "serve"]

TOKEN = "PUSHFORWARD_TOKEN"
"""Variable of the environment with the token."""
LEAVE_SECONDS = 0.5
"""In which clients that have connected already may still ask, when the server listens no more."""


def serve(
    model: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    needs_token: bool = True,
    limits: Any = None,
    drain_seconds: float = 1.0,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a model over HTTP until Ctrl-C or SIGTERM.

    Then it goes on answering for ``drain_seconds``, tells clients to connect anew and ``/readyz`` that it is not ready,
    listens no more, answers all that has come in, and ends.

    Args:
        model: file of a model of a table.
        host: where to listen; this machine alone by default.
        port: where to listen; 0 for a free one.
        token: that requests must bring; by default that of the variable ``PUSHFORWARD_TOKEN``, without white space
            around it, or where that is empty a random one, which is said.
        needs_token: whether requests need one; only at this machine alone may they not, and then must be sent to a name
            of this machine, and by no page of another server.
        limits: `ServerLimits`.
        drain_seconds: see above; about as long as a load balancer takes to notice.
        say: called with a few sentences.

    Raises:
        ImportError: the extra ``serve`` is not installed.
        ValueError: the file holds no model of a table, the port is not free, or a token is needed or too short.
    """
    need_packages("pushforward serve", "serve", "starlette", "pydantic", "uvicorn", "prometheus_client")
    from pushforward.serve.access import check_token
    from pushforward.serve.app import Service
    from pushforward.serve.limits import ServerLimits
    from pushforward.serve.model_process import ModelProcess, keep_objects

    if not needs_token and host not in LOOPBACK:
        raise ValueError("pushforward serve: other machines can reach this address, so requests need a token.")
    chosen = token if token is not None else os.environ.get(TOKEN, "").strip() or None
    secret = None if not needs_token else secrets.token_urlsafe(24) if chosen is None else chosen
    check_token(secret)  # before a process starts
    with _listen(host, port) as listener, closing(ModelProcess(Path(model))) as served:
        service = Service(served, secret, limits or ServerLimits())
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        say(f"{served.name}: {address}, with /score, /sample, /given, /impute, /explain, /schema and /metrics.")
        if secret is not None and chosen is None:
            say(f"Token: {secret}. Requests bring it as Authorization: Bearer TOKEN; {TOKEN} sets another one.")
        say("Ctrl-C ends it.")
        keep_objects()
        try:
            drained_server(service, drain_seconds).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has closed everything, and hands the signal on
            return
        finally:
            gc.unfreeze()


def drained_server(service: Any, drain_seconds: float) -> Any:
    """The server of a service, quiet, which loses nothing when it ends."""
    import uvicorn

    from pushforward.serve.gate import Gate
    from pushforward.serve.protocol import TimedProtocol

    class Server(uvicorn.Server):
        """Ends in steps."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            service.drains = True
            if not self.force_exit:
                await asyncio.sleep(drain_seconds)
            made = [connection for listener in sockets or [] for connection in _waiting(listener)]
            for server in self.servers:
                server.close()
            for listener in sockets or []:
                listener.close()
            for connection in made:
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
            if not self.force_exit:
                await asyncio.sleep(LEAVE_SECONDS)
            await super().shutdown(sockets)

        def _protocol(self) -> TimedProtocol:
            return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    limits = service.limits
    protocol = TimedProtocol.within(limits.body_seconds, Gate(limits, service.access, service.refusal))
    config = uvicorn.Config(
        service.app, http=protocol, log_level="critical", access_log=False, lifespan="on", ws="none",
        proxy_headers=False, server_header=False, date_header=False, timeout_keep_alive=30, backlog=1024,
        limit_concurrency=2000, timeout_graceful_shutdown=math.ceil(limits.seconds + 2 * limits.body_seconds),
    )  # fmt: skip
    return Server(config)


def _waiting(listener: socket.socket) -> list[socket.socket]:
    """The connections that the system has made and nobody has accepted: their clients would lose requests when the
    listener is closed. Called right before that, since the loop does not accept others until a round is over."""
    made = []
    with suppress(OSError):  # none is left
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            made.append(connection)
    return made


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ValueError: the port is taken or not permitted, or the host is not one of this machine.
    """
    try:
        return listening(host, port, 1024)
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ValueError(f"pushforward serve: cannot listen at {host}, port {port}: {reason}.") from None


def serve_in_thread(service: Any, drain_seconds: float = 0.0) -> tuple[Any, int, threading.Thread]:
    """A server in a thread of this process, its port and the thread; ``server.should_exit = True`` ends it."""
    listener = _listen("127.0.0.1", 0)
    server = drained_server(service, drain_seconds)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    return server, listener.getsockname()[1], thread
