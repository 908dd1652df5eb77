"""HTTP/1.1 with times in which requests must arrive and answers must be read."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["TimedProtocol"]


class TimedProtocol(H11Protocol):
    """Closes a connection whose client has sent a part of the headers of a request and does not send the others, or
    nothing at all since it connected; which goes on sending the body of a request that is answered already; or which
    does not read its answer."""

    header_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, seconds: float) -> type[TimedProtocol]:
        """The protocol with another time."""
        return type(cls.__name__, (cls,), {"header_seconds": seconds})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # a part of the headers, after an answer
            self._wait()
        elif not self._is_unwanted():
            self._forget()

    def on_response_complete(self) -> None:
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
