"""HTTP/1.1 with times in which requests must arrive and answers must be read."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pushforward.serve.gate import Gate

__all__ = ["CountingTransport", "TimedProtocol"]


class CountingTransport:
    """A transport that counts the bytes that are written to it."""

    __slots__ = ("_transport", "_written", "get_write_buffer_size", "is_closing")

    def __init__(self, transport: Any) -> None:
        self._transport, self._written = transport, 0
        # Asked for with each request, so without a way around.
        self.get_write_buffer_size, self.is_closing = transport.get_write_buffer_size, transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until the client reads."""
        self._written += len(data)
        self._transport.write(data)

    @property
    def read(self) -> int:
        """Bytes that the client, or the system on its way, has taken."""
        return self._written - int(self.get_write_buffer_size())


class TimedProtocol(H11Protocol):
    """Closes a connection whose client has sent a part of the headers of a request and does not send the others, or
    nothing at all since it connected; which goes on sending the body of a request that is answered already; or which
    does not read its answer. While much of an answer is unread, further requests of its connection wait."""

    header_seconds = 10.0
    gate: Gate
    _timer: asyncio.TimerHandle | None = None
    _watch: asyncio.TimerHandle | None = None
    _is_counted = False  # whether the request that is arriving enters the gate when all of it has come
    _is_inside = False  # whether the gate counts the request of this connection
    _skip = 0  # bytes of the body of a refused request that are still to come
    _is_full = False  # whether much of an answer is unread
    _is_held = False  # whether what the client has sent waits until it has read

    @classmethod
    def within(cls, seconds: float, gate: Gate) -> type[TimedProtocol]:
        """The protocol with a time, and with a gate."""
        return type(cls.__name__, (cls,), {"header_seconds": seconds, "gate": gate})

    def connection_made(self, transport: Any) -> None:
        counting: Any = CountingTransport(transport)
        self._counting = counting
        super().connection_made(counting)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._skip:
            skipped, data = min(self._skip, len(data)), data[self._skip :]
            self._skip -= skipped
            if not self._skip:
                self._rest()
            if not data:
                return
        if self._refuses(data):
            return
        super().data_received(data)
        self._after_events()

    def _after_events(self) -> None:
        """Count a request of which all has come, and set the timers."""
        if self._is_counted and self.conn.their_state is h11.DONE:
            self._is_counted, self._is_inside = False, True
            self.gate.enter()
        if self.conn.their_state is h11.IDLE and not self._is_held:  # a part of the headers, after an answer
            self._wait()
        elif not self._is_unwanted():
            self._forget()
        self._watch_reading()

    def _refuses(self, data: bytes) -> bool:
        """Whether a request begins here, and was refused, because there are too many. Refusing costs far less than
        reading a request does, so that a server that was flooded is through with it at once."""
        rests = self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE and not self.conn.trailing_data[0]
        if not rests or (request := self.gate.plain(data)) is None:
            return False
        path, rest = request
        # A client that does not read must not pile up answers: its next request goes the usual way, which waits.
        answer = None if self.transport.get_write_buffer_size() else self.gate.refusal(path)
        if answer is None:
            self._is_counted = True
            return False
        self.transport.write(answer)
        self._rest()
        if rest:
            self._skip = rest
            self._unset_keepalive_if_required()
            self._wait()
        self._watch_reading()
        return True

    def _rest(self) -> None:
        """Wait for the next request for a while, after one that was refused."""
        self._forget()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def handle_events(self) -> None:
        is_free = self.cycle is None or self.cycle.response_complete
        if self._is_full and is_free and self.conn.trailing_data[0]:
            self._is_held = True
            self._unset_keepalive_if_required()
            self.flow.pause_reading()
        else:
            super().handle_events()

    def pause_writing(self) -> None:
        # Without telling the cycle, which would keep its answer where nobody counts it.
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._is_held and not self.transport.is_closing():
            self._is_held = False
            self.flow.resume_reading()
            self.handle_events()
            self._after_events()

    def on_response_complete(self) -> None:
        self._leave()
        self.gate.unread.note(self.transport)
        super().on_response_complete()
        if self._is_unwanted():
            self._wait()
        self._watch_reading()

    def _leave(self) -> None:
        self._is_counted = False
        if self._is_inside:
            self._is_inside = False
            self.gate.leave()

    def _is_unwanted(self) -> bool:
        """Whether the client still sends the body of a request that has its answer."""
        return self._skip > 0 or (
            self.conn.their_state is h11.SEND_BODY and (self.cycle is None or self.cycle.response_complete)
        )

    def _watch_reading(self) -> None:
        """Look after some time whether the client has read any of what is unread now."""
        if self._watch is None and self.transport.get_write_buffer_size():
            self._watch = self.loop.call_later(self.header_seconds, self._check_reading, self._counting.read)

    def _check_reading(self, before: int) -> None:
        """Give up a client that has read nothing since."""
        self._watch = None
        if self.transport.get_write_buffer_size() and self._counting.read <= before:
            self.transport.abort()
        else:
            self._watch_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._forget()
        self.gate.unread.forget(self.transport)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
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
