"""Who may talk to the server: pages that it served itself, to a user who has the token."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from pushforward.core.local_requests import LOCAL_HOST, is_local_host, is_same_origin

__all__ = ["Guard", "security_headers"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def security_headers(host: str) -> dict[str, str]:
    """Headers of every answer to a request to this host: scripts from the server alone, and none inline."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        f"font-src 'self' data:; connect-src 'self'{f' ws://{host}' if LOCAL_HOST.fullmatch(host) else ''}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }


class Guard:
    """Refuses, before anything of a request is read, what does not come from a page of this server.

    The host must be a name of this machine, at any port, as one may be forwarded, and without one where that is 80 (a
    foreign name that resolves to this machine is DNS rebinding); an origin must be that host and sockets must have one,
    the method must only read, and the token must be in the address.

    Args:
        app: what answers the others.
        token: the secret.
    """

    def __init__(self, app: App, token: str) -> None:
        self.app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        status, why = self._refusal(scope)
        if status == 0:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": why})
        else:
            body = f"{why}\n".encode()
            headers = {**security_headers(""), "content-type": "text/plain; charset=utf-8"}
            headers |= {"content-length": str(len(body)), "connection": "close"}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        """The status and the sentence of a refusal; 0 if there is no reason for one."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if not is_local_host(hosts):
            return 421, "This server answers at 127.0.0.1 and localhost alone."
        is_socket = scope["type"] == "websocket"
        if not is_same_origin(origins, hosts[0]) or (is_socket and not origins):
            return 403, "Pages of other servers may not use Flow Lab."
        if not is_socket and scope["method"] not in ("GET", "HEAD"):
            return 405, "Flow Lab takes no uploads by HTTP."
        if not self._has_token(scope):
            return 403, "The token is missing or wrong. Open the address that `pushforward lab` printed."
        return 0, ""

    def _has_token(self, scope: Scope) -> bool:
        query = scope.get("query_string", b"")
        try:
            fields = parse_qs(query.decode("latin-1"), max_num_fields=50) if len(query) < 4096 else {}
        except ValueError:  # there are more fields than in any address of ours
            return False
        return any(secrets.compare_digest(value.encode(), self._token) for value in fields.get("token", []))
