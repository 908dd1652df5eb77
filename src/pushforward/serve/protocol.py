"""HTTP/1.1 with times in which requests must arrive and answers must be read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Gate", "TimedProtocol"]

WHOLE = re.compile(
    rb"POST (?P<path>/[a-z]+) HTTP/1\.1\r\n(?:(?!content-length:|transfer-encoding:|expect:|connection:)[^\r\n]+\r\n)*"
    rb"content-length: *(?P<length>\d{1,18})\r\n"
    rb"(?:(?!content-length:|transfer-encoding:|expect:|connection:)[^\r\n]+\r\n)*\r\n",
    re.IGNORECASE,
)
"""The headers of a plain request whose end can be told without reading it by the rules of HTTP."""


class Gate:
    """Counts the requests that have come in and are not answered, and refuses others when there are many.

    Args:
        most: how many there may be.
        refusal: the answer to a refused request to a path, as it is sent; None for a path where nobody waits.
    """

    def __init__(self, most: int, refusal: Callable[[str], bytes | None]) -> None:
        self._most, self._refusal, self._inside = most, refusal, 0

    def enter(self, path: str) -> bytes | None:
        """None for a request that may come in, and is counted until it leaves; else the answer to it."""
        if self._inside >= self._most and (answer := self._refusal(path)) is not None:
            return answer
        self._inside += 1
        return None

    def leave(self) -> None:
        """A request has been answered, or nobody waits for the answer any more."""
        self._inside -= 1


class TimedProtocol(H11Protocol):
    """Closes a connection whose client has sent a part of the headers of a request and does not send the others, or
    nothing at all since it connected; which goes on sending the body of a request that is answered already; or which
    does not read its answer."""

    header_seconds = 10.0
    gate: Gate
    _timer: asyncio.TimerHandle | None = None
    _is_inside = False  # whether the gate counts the request of this connection

    @classmethod
    def within(cls, seconds: float, gate: Gate) -> type[TimedProtocol]:
        """The protocol with a time, and with a gate."""
        return type(cls.__name__, (cls,), {"header_seconds": seconds, "gate": gate})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._refuses(data):
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # a part of the headers, after an answer
            self._wait()
        elif not self._is_unwanted():
            self._forget()

    def _refuses(self, data: bytes) -> bool:
        """Whether a whole request has come, and was refused, because there are too many. Refusing costs far less than
        reading a request does, so that a server that was flooded is through with it at once."""
        rests = self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE and not self.conn.trailing_data[0]
        if not rests or (request := WHOLE.match(data)) is None or request.end() + int(request["length"]) != len(data):
            return False
        answer = self.gate.enter(request["path"].decode())
        if answer is None:
            self._is_inside = True
            return False
        self._forget()
        self._unset_keepalive_if_required()
        self.transport.write(answer)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._watch_reading(0)
        return True

    def _leave(self) -> None:
        if self._is_inside:
            self._is_inside = False
            self.gate.leave()

    def on_response_complete(self) -> None:
        self._leave()
        super().on_response_complete()
        if self._is_unwanted():
            self._wait()
        self._watch_reading(0)

    def _is_unwanted(self) -> bool:
        """Whether the client still sends the body of a request that has its answer."""
        return self.conn.their_state is h11.SEND_BODY and (self.cycle is None or self.cycle.response_complete)

    def _watch_reading(self, before: int) -> None:
        """Give up a client that has read nothing of its answer for some time."""
        unread = self.transport.get_write_buffer_size()
        if before and unread >= before:
            self.transport.abort()
        elif unread:
            self.loop.call_later(self.header_seconds, self._watch_reading, unread)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._forget()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.header_seconds, self._expire)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._is_unwanted():
            self.transport.abort()
        elif self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
