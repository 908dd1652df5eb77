"""The protocol of the server, over a connection whose client sends and reads when it is told to."""

import asyncio
import json
import threading

import pytest
from test_serve import PATIENCE, TOKEN

import pushforward as pf
from pushforward.serve.access import Access
from pushforward.serve.app import Service
from pushforward.serve.gate import Gate, UnreadAnswers
from pushforward.serve.limits import ServerLimits
from pushforward.serve.model import ServedModel
from pushforward.serve.server import drained_server

BODY = json.dumps({"rows": [{"x1": 0.5, "x2": 1.0}]}).encode()
LENGTH = len(BODY)


def head(*headers, path="/score", length=LENGTH, token=TOKEN):
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        *headers,
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


WHOLE = head() + BODY


class Wire:
    """A transport, whose client reads all at once, or when it is told to."""

    def __init__(self, reads=True):
        self.reads, self.unread, self.answers = reads, bytearray(), bytearray()
        self.is_read_from, self.is_closed, self.is_aborted, self.is_full = True, False, False, False
        self.protocol = None

    def write(self, data):
        assert not self.is_aborted
        self.unread += data
        if self.reads:
            self.read()
        elif len(self.unread) > 2**16 and not self.is_full:
            self.is_full = True
            self.protocol.pause_writing()

    def read(self, size=None):
        """The client reads."""
        self.answers += self.unread[:size]
        del self.unread[:size]
        if self.is_full and len(self.unread) <= 2**14:
            self.is_full = False
            self.protocol.resume_writing()

    def get_write_buffer_size(self):
        return len(self.unread)

    def pause_reading(self):
        self.is_read_from = False

    def resume_reading(self):
        self.is_read_from = True

    def is_closing(self):
        return self.is_closed

    def close(self):
        self.is_closed = True

    def abort(self):
        self.is_closed = self.is_aborted = True
        self.unread.clear()

    def get_extra_info(self, name):
        return None

    @property
    def statuses(self):
        return [int(part.split(b" ", 1)[0]) for part in bytes(self.answers).split(b"HTTP/1.1 ")[1:]]

    async def answered(self, *statuses):
        """Wait until the client has read so many answers, which have these statuses."""
        await until(lambda: len(self.statuses) >= len(statuses))
        assert self.statuses == list(statuses)


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class Timers:
    """A loop whose times pass when a test says so."""

    def __init__(self, loop):
        self.loop, self.handles = loop, []

    def __getattr__(self, name):
        return getattr(self.loop, name)

    def call_later(self, seconds, function, *arguments):
        handle = asyncio.TimerHandle(0.0, function, arguments, self.loop)
        self.handles.append(handle)
        return handle

    def pending(self, name):
        return [one for one in self.handles if not one.cancelled() and one._callback.__name__ == name]

    def pass_by(self, name):
        """The time of the timers of a method is over."""
        for handle in self.pending(name):
            self.handles.remove(handle)
            handle._callback(*handle._args)


class Served:
    """A server without sockets."""

    def __init__(self, path, **limits):
        self.service = Service(ServedModel(path), TOKEN, ServerLimits(**limits))
        self.server = drained_server(self.service, 0.0)
        self.config = self.server.config
        self.config.load()
        self.gate = self.config.http_protocol_class.gate
        self.protocols = []

    def connect(self, reads=True):
        wire = Wire(reads)
        wire.protocol = self.config.http_protocol_class(self.config, self.server.server_state, {})
        wire.protocol.loop = Timers(asyncio.get_running_loop())
        wire.protocol.connection_made(wire)
        self.protocols.append(wire.protocol)
        wire.send = wire.protocol.data_received
        return wire

    def is_full(self, full=True):
        """As when so many requests wait as may."""
        self.gate._inside += (1 if full else -1) * self.service.limits.waiting


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "flow.safetensors"
    pf.save(pf.flows.maf(2, depth=1, hidden=(8,)), path)
    return path


def serving(test):
    """The test as a function that runs it, with a server."""

    def runs(flow):
        async def run():
            served = Served(flow, request_bytes=100_000, waiting=10)
            await asyncio.wait_for(test(served), PATIENCE)
            served.service.close()

        asyncio.run(run())

    runs.__name__ = test.__name__
    return runs


# --- requests that are refused by their heads ------------------------------------------------------------------------


@serving
async def test_whole_requests_are_refused_before_they_are_read(served):
    wire = served.connect()
    served.is_full()
    wire.send(WHOLE)
    wire.send(head("Connection: keep-alive", "Accept: */*") + BODY)  # as `requests` sends it
    assert wire.statuses == [503, 503]
    assert wire.protocol.cycle is None
    served.is_full(False)
    wire.send(WHOLE)
    assert len(served.gate) == 1
    await wire.answered(503, 503, 200)
    assert len(served.gate) == 0


@serving
async def test_a_request_whose_body_is_still_to_come_is_refused_and_the_body_left_out(served):
    wire = served.connect()
    served.is_full()
    wire.send(head())
    assert wire.statuses == [503]
    served.is_full(False)
    wire.send(BODY[:7])
    assert wire.protocol.loop.pending("_expire")
    wire.send(BODY[7:] + WHOLE)  # the next request comes with the end of the body
    assert not wire.protocol.loop.pending("_expire")
    await wire.answered(503, 200)
    wire.send(head())
    assert len(served.gate) == 0  # until all of it has come
    wire.send(BODY)
    assert len(served.gate) == 1
    await wire.answered(503, 200, 200)


@serving
async def test_who_does_not_send_a_body_that_is_left_out_is_let_go(served):
    wire = served.connect()
    served.is_full()
    wire.send(head())
    wire.send(BODY[:7])
    wire.protocol.loop.pass_by("_expire")
    assert wire.is_aborted


@serving
async def test_bodies_that_are_too_large_get_their_status(served):
    wire = served.connect()
    served.is_full()
    wire.send(head(length=100_001))
    await wire.answered(413)  # by the application, which reads nothing of it
    assert wire.protocol._skip == 0
    assert len(served.gate) == 10


@serving
async def test_requests_without_the_token_neither_count_nor_get_another_status(served):
    wires = [served.connect() for _ in range(30)]
    for wire, token in zip(wires, ["wrong-token", "", TOKEN + "x"] * 10, strict=True):
        wire.send(head(token=token) + BODY)
    assert len(served.gate) == 0
    first, other = served.connect(), served.connect()
    first.send(WHOLE)
    served.is_full()
    other.send(head(token="wrong-token") + BODY)
    await other.answered(401)
    for wire in wires:
        await wire.answered(401)
    await first.answered(200)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 2\r\n 0",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Content-Length: 2\r\nConnection: close",
        b"Content-Length: 2\r\nConnection: keep-alive, upgrade",
        b"Content-Length: 2\r\nUpgrade: websocket",
        b"Content-Length: 2\r\nExpect: 100-continue",
        b"Content-Length : 2\r\nContent-Length: 3",
        b"Host: x",
    ],
)
def test_heads_that_are_not_plain(lines):
    gate = Gate(ServerLimits(), Access(TOKEN), lambda path: b"")
    start = f"POST /score HTTP/1.1\r\nAuthorization:  bearer {TOKEN} \r\n".encode()
    plain = start + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\n"
    assert gate.plain(start + lines + b"\r\n\r\n") is None
    assert gate.plain(plain) == ("/score", 2)
    assert gate.plain(plain + b"{}") == ("/score", 0)
    assert gate.plain(plain + b"{}P") is None


HEADERS = [
    [],
    [("Authorization", f"Bearer {TOKEN}")],
    [("AUTHORIZATION", f"bearer   {TOKEN}")],
    [("Authorization", f"Basic {TOKEN}")],
    [("Authorization", f"Bearer {TOKEN}x")],
    [("Authorization", "Bearer x"), ("Authorization", f"Bearer {TOKEN}")],
    [("X-Authorization", f"Bearer {TOKEN}")],
    [("Host", "localhost:8000")],
    [("Host", "rebound.example")],
    [("Host", "localhost"), ("Host", "rebound.example")],
    [("Host", "localhost"), ("Origin", "http://localhost")],
    [("Host", "localhost"), ("Origin", "http://evil.example")],
]


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("token", [TOKEN, None])
def test_heads_and_headers_are_let_in_by_one_rule(headers, token):
    access = Access(token)
    lines = ["POST /score HTTP/1.1", *(f"{name}: {value} " for name, value in headers), "", ""]
    raw = "\r\n".join(lines).encode()
    read = [(name.lower().encode(), value.encode()) for name, value in headers]
    assert access.lets_in(raw + b"\r\nAuthorization: Bearer of a body", len(raw)) == (access.refusal(read) is None)


# --- clients that do not read ----------------------------------------------------------------------------------------


@serving
async def test_a_client_that_floods_and_does_not_read_piles_up_no_answers(served):
    wire = served.connect(reads=False)
    served.is_full()
    for _ in range(3_000):
        if wire.is_read_from:
            wire.send(WHOLE)
        await asyncio.sleep(0)
    assert not wire.is_read_from
    assert len(wire.unread) < 2**16 + 1_000
    served.is_full(False)
    wire.reads = True
    wire.read()
    await until(lambda: wire.is_read_from and wire.protocol.cycle.response_complete)
    count = len(wire.statuses)
    wire.send(WHOLE)
    await until(lambda: len(wire.statuses) > count)
    assert wire.statuses[-1] == 200


@serving
async def test_the_next_request_waits_until_a_large_answer_is_read(served):
    wire = served.connect(reads=False)
    body = json.dumps({"n": 5_000}).encode()
    wire.send(head(path="/sample", length=len(body)) + body)
    await until(lambda: len(wire.unread) > 100_000 and wire.protocol.cycle.response_complete)
    cycle, size = wire.protocol.cycle, len(wire.unread)
    assert served.gate.unread._sizes == {wire.protocol.transport: size}
    wire.send(WHOLE)
    assert wire.protocol.cycle is cycle
    assert not wire.is_read_from
    assert not wire.protocol.loop.pending("_expire")  # all of it has come; reading the answer has its own time
    wire.reads = True
    wire.read()
    await wire.answered(200, 200)
    assert wire.is_read_from


@serving
async def test_clients_that_do_not_read_their_answers_are_let_go(served):
    wire = served.connect(reads=False)
    timers, transport = wire.protocol.loop, wire.protocol.transport

    def answer(size):
        transport.write(bytes(size))
        wire.protocol._watch_reading()

    answer(500)
    wire.read(500)
    answer(900)  # more is unread than before, and yet the client reads briskly
    answer(100)
    assert len(timers.pending("_check_reading")) == 1
    timers.pass_by("_check_reading")
    assert not wire.is_aborted
    wire.read(1)
    timers.pass_by("_check_reading")
    assert not wire.is_aborted
    answer(10)  # an answer is no progress
    assert len(timers.pending("_check_reading")) == 1
    timers.pass_by("_check_reading")
    assert wire.is_aborted


@serving
async def test_who_reads_everything_is_not_watched(served):
    wire = served.connect(reads=False)
    wire.send(b"GET / HTTP/1.1\r\n\r\n")  # 400: there is no Host
    wire.protocol.loop.pass_by("_check_reading")
    assert wire.is_aborted  # it was closing, and would have waited for ever
    wire = served.connect()
    wire.send(WHOLE)
    await wire.answered(200)
    assert not wire.protocol.loop.pending("_check_reading")


def test_the_oldest_unread_answers_are_given_up():
    unread, wires = UnreadAnswers(1_000), [Wire(reads=False) for _ in range(4)]
    for wire in wires[:3]:
        wire.unread += bytes(300)
        unread.note(wire)
    wires[1].read(250)
    wires[3].unread += bytes(500)
    unread.note(wires[3])  # 300 + 50 + 300 + 500
    assert [wire.is_aborted for wire in wires] == [True, False, False, False]
    wires[2].unread += bytes(5_000)
    unread.note(wires[2])  # the newest is kept, however large
    assert [wire.is_aborted for wire in wires] == [True, True, False, True]
    unread.forget(wires[2])
    assert unread._sizes == {}


# --- the count of requests -------------------------------------------------------------------------------------------


@serving
async def test_the_gate_counts_right_whatever_comes(served):
    scores, gate = served.service.model.scores, threading.Event()

    def slowly(tables):
        gate.wait(PATIENCE)
        return scores(tables)

    def breaks(body):
        raise KeyError(body)

    served.service._queue._merged = slowly
    wires = [served.connect() for _ in range(13)]
    wires[0].send(WHOLE)
    wires[1].send(WHOLE)  # and goes before it is answered
    wires[1].protocol.connection_lost(None)
    wires[2].send(WHOLE + WHOLE + WHOLE)
    wires[3].send(WHOLE)
    wires[3].send(WHOLE + WHOLE)  # pipelined behind one that counts
    wires[4].send(head("Expect: 100-continue"))
    wires[5].send(head("Connection: upgrade", "Upgrade: websocket") + BODY)
    wires[6].send(b"POST /score HTTP/1.1\r\nContent-Length: 0\r\n\r\n")  # no Host: 400
    wires[6].protocol.connection_lost(None)
    wires[7].send(head(length=2) + b"{]")
    wires[8].send(head() + BODY[:5])  # and goes
    wires[8].protocol.connection_lost(ConnectionResetError())
    wires[9].send(head(token="wrong-token") + BODY)
    wires[10].send(head(length=100_001))
    wires[11].send(head(path="/nothing") + BODY)
    wires[12].send(WHOLE)
    wires[12].protocol.connection_lost(ConnectionResetError())
    await until(lambda: b"100 Continue" in wires[4].answers)
    wires[4].send(BODY)
    assert 0 < len(served.gate) <= 10
    gate.set()
    await wires[0].answered(200)
    await wires[2].answered(200, 200, 200)
    await wires[3].answered(200, 200, 200)
    await wires[4].answered(100, 200)
    for wire, status in zip(wires[5:], (200, 400, 400, None, 401, 413, 404), strict=False):
        await (wire.answered(status) if status else asyncio.sleep(0))
    await until(lambda: all(protocol.cycle is None or not protocol.server_state.tasks for protocol in served.protocols))
    assert len(served.gate) == 0
    served.service._bodies.of = breaks  # an error nobody has thought of
    wire = served.connect()
    wire.send(WHOLE)
    await wire.answered(500)
    assert len(served.gate) == 0
    served.config.loaded_app = breaks  # and one that not even the application sees
    wire = served.connect()
    wire.send(WHOLE)
    await wire.answered(500)
    assert len(served.gate) == 0
    assert not served.service._bodies.held
