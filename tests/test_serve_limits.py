"""What a server bounds: bodies, answers that nobody reads, requests at once; and who may ask."""

import http.client
import json
import multiprocessing.context
import os
import re
import signal
import socket
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_serve import PATIENCE, TOKEN, Client, wait_until

import pushforward as pf
from pushforward.serve import app, model_process, server
from pushforward.serve.access import Access
from pushforward.serve.app import Service
from pushforward.serve.bodies import Bodies, GivenRequest, RefusedError, RowsRequest
from pushforward.serve.limits import ServerLimits
from pushforward.serve.model import ServedModel
from pushforward.serve.model_process import ModelProcess
from pushforward.serve.queue import BusyError
from pushforward.serve.rows import ARROW

pydantic = pytest.importorskip("pydantic")
BODY = json.dumps({"rows": [{"x1": 0.5, "x2": 1.0}]}).encode()


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "flow.safetensors"
    pf.save(pf.flows.maf(2, depth=1, hidden=(8,)), path)
    return path


# --- bodies ----------------------------------------------------------------------------------------------------------


def collected(error):
    """How many errors pydantic has collected on the way to an exception."""
    counts = []
    while error is not None:
        counts += [error.error_count()] if isinstance(error, pydantic.ValidationError) else []
        error = error.__context__
    return sum(counts)


BAD = {f"a{k}": [] for k in range(160)}


@pytest.mark.parametrize("row", [BAD, {"x1": [], "x2": {}}, {"x1": 1, "x2": "\ud800"}, 7])
def test_of_a_thousand_bad_values_in_rows_one_is_told(flow, row):
    """Errors of pydantic take a kilobyte each."""
    schema, bodies = ServedModel(flow).schema, Bodies(ServerLimits())
    request = SimpleNamespace(headers={}, query_params={})
    with pytest.raises((ValueError, RefusedError), match=r"row 1: |rows\.0: |column 'x2': ") as caught:
        bodies.table(schema, request, json.dumps({"rows": [row] * 50}).encode(), RowsRequest)
    assert collected(caught.value) == 0


@pytest.mark.parametrize("message", [{"given": BAD}, BAD, {"given": {"\ud800": []}}])
def test_of_a_thousand_bad_conditions_one_is_told(flow, message):
    schema, bodies = ServedModel(flow).schema, Bodies(ServerLimits())
    with pytest.raises(
        (ValueError, RefusedError), match=r"there is no column|Extra inputs are not permitted"
    ) as caught:
        bodies.conditions(schema, json.dumps(message).encode(), GivenRequest)
    assert collected(caught.value) == 0


def test_of_a_thousand_options_in_a_query_one_is_told(flow):
    schema, bodies = ServedModel(flow).schema, Bodies(ServerLimits())
    request = SimpleNamespace(headers={"content-type": ARROW}, query_params={f"a{k}": "1" for k in range(1000)})
    with pytest.raises(RefusedError, match="a0: Extra inputs are not permitted") as caught:
        bodies.table(schema, request, b"", RowsRequest)
    assert collected(caught.value) == 0


def test_conditions_are_short_and_long_ones_are_read_beside_the_loop(flow, monkeypatch):
    running, threads = Client(Service(ServedModel(flow), TOKEN, ServerLimits())), []
    reads = Bodies.conditions

    def noted(*arguments):
        threads.append(threading.current_thread())
        return reads(*arguments)

    monkeypatch.setattr(Bodies, "conditions", noted)
    for path in ("/sample", "/given"):
        status, _, content = running.request(path, json.dumps({"given": {"x1": "a" * 2**16}}))
        assert (status, json.loads(content)["error"]) == (413, "The body is larger than 65,536 bytes.")
    assert threads == []
    monkeypatch.setattr(app, "MANY_BYTES", 1)  # as where the model has hundreds of columns
    assert running.ask("/sample", n=2)[0] == 200
    assert threads
    assert running.thread not in threads
    running.stop()


# --- the process of the model ----------------------------------------------------------------------------------------


def test_a_process_that_cannot_be_started_anew_is_started_later(flow, monkeypatch):
    def fails(process):
        seen.append(there.is_alive)
        raise OSError(12, "Cannot allocate memory")

    seen = []
    with closing(ModelProcess(flow)) as there:
        os.kill(there._process.pid, signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr(multiprocessing.context.SpawnProcess, "start", fails)
            with pytest.raises(BusyError, match="too much memory"):
                there.sample(1, {}, 0, False)
            with pytest.raises(BusyError, match="could not be started anew"):
                there.sample(1, {}, 0, False)
            assert seen == [False, False]
            assert not there.is_alive
        assert there.sample(1, {}, 0, False).num_rows == 1
        assert there.is_alive
        with monkeypatch.context() as patch:
            patch.setattr(multiprocessing.context.SpawnProcess, "start", fails)
            os.kill(there._process.pid, signal.SIGKILL)
            with pytest.raises(BusyError, match="too much memory"):
                there.sample(1, {}, 0, False)
    assert not there.is_alive  # and nothing was raised where there was no process to end


def test_a_process_that_never_started_is_no_second_error(flow, monkeypatch):
    def fails(process):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", fails)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        ModelProcess(flow)


def test_who_asks_whether_the_server_is_ready_has_a_dead_process_started_anew(flow):
    with closing(ModelProcess(flow)) as served:
        running = Client(Service(served, TOKEN, ServerLimits()))
        os.kill(served._process.pid, signal.SIGKILL)
        wait_until(lambda: not served.is_alive)
        assert running.request("/readyz", token=None)[0] == 503
        wait_until(lambda: running.request("/readyz", token=None)[0] == 200)
        running.stop()


# --- who may ask -----------------------------------------------------------------------------------------------------


def test_the_header_host_decides_no_path(flow, monkeypatch):
    """Starlette before 1.0.1 builds `Request.url` from it."""
    running = Client(Service(ServedModel(flow), TOKEN, ServerLimits()))
    healthy = SimpleNamespace(path="/healthz")
    monkeypatch.setattr("starlette.requests.Request.url", property(lambda request: healthy))
    for path, status in (("/schema", 401), ("/metrics", 401), ("/healthz", 200), ("/nothing", 404)):
        assert running.request(path, headers={"Host": "x/healthz?"}, token=None)[0] == status
    assert 'path="other",status="404"' in running.request("/metrics")[2].decode()
    running.stop()


def test_without_a_token_pages_of_other_sites_are_refused(flow):
    running = Client(Service(ServedModel(flow), None, ServerLimits(), hosts=["models.example"]))
    local = f"localhost:{running.port}"
    for headers, status in (
        ({}, 200),
        ({"Host": local}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": local, "Origin": f"http://{local}"}, 200),
        ({"Host": "models.example", "Origin": "https://models.example"}, 200),
        ({"Host": f"rebound.example:{running.port}"}, 421),
        ({"Host": "localhost.example"}, 421),
        ({"Host": local, "Origin": "http://evil.example"}, 403),
        ({"Host": local, "Origin": "null"}, 403),
    ):
        assert running.request("/schema", headers=headers, token=None)[0] == status, headers
        assert running.request("/score", BODY, headers, token=None)[0] == status, headers
    assert running.request("/healthz", headers={"Host": "10.0.0.7"}, token=None)[0] == 200
    running.stop()


def served_with(token, flow, monkeypatch):
    """What `serve` says with a token in the variable of the environment, and the rule by which it lets requests in."""
    says, services = [], []

    def drained(service, seconds):
        services.append(service)
        return SimpleNamespace(run=lambda sockets: service.close())

    monkeypatch.setenv(server.TOKEN, token)
    monkeypatch.setattr(model_process, "ModelProcess", lambda path: SimpleNamespace(name="m", scores=None, close=str))
    monkeypatch.setattr(model_process, "keep_objects", lambda: None)
    monkeypatch.setattr(server, "drained_server", drained)
    server.serve(flow, port=0, say=says.append)
    return "\n".join(says), services[0].access


def lets_in(access, token):
    return access.refusal([(b"authorization", f"Bearer {token}".encode())]) is None


@pytest.mark.parametrize("token", ["", " \n"])
def test_an_empty_token_in_the_environment_is_none(flow, monkeypatch, token):
    says, access = served_with(token, flow, monkeypatch)
    assert lets_in(access, re.search(r"Token: (\S+)\. Requests bring it", says)[1])


def test_white_space_around_the_token_in_the_environment_is_left_out(flow, monkeypatch):
    says, access = served_with(f" {TOKEN}\n", flow, monkeypatch)
    assert "Token:" not in says
    assert lets_in(access, TOKEN)
    with pytest.raises(ValueError, match="the token begins or ends with white space"):
        Access(f"{TOKEN}\n")
    with pytest.raises(ValueError, match="the token is shorter than 8 characters"):
        server.serve(Path("m"), token="")


# --- answers that nobody reads ---------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch):
    """The system keeps little of what a server has written."""
    listens = server._listen

    def listening(host, port):
        listener = listens(host, port)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listener

    monkeypatch.setattr(server, "_listen", listening)


def asks_for_many(port):
    """A connection whose client has asked for about 400 KB, and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", port))
    body = json.dumps({"n": 8000}).encode()
    connection.sendall(
        f"POST /sample HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
        "".encode()
        + body
    )
    return connection


def test_answers_that_nobody_reads_hold_a_bounded_number_of_bytes(flow, narrow):
    running = Client(Service(ServedModel(flow), TOKEN, ServerLimits(held_bytes=1_000_000)))
    unread = running.uvicorn.config.http.gate.unread
    clients = []
    for _ in range(6):
        clients.append(asks_for_many(running.port))
        wait_until(lambda: f'{{path="/sample",status="200"}} {len(clients)}.0' in metrics(running))
    wait_until(lambda: sum(unread._sizes.values()) <= 1_000_000)
    assert len(unread._sizes) == 2
    answer = http.client.HTTPResponse(clients[-1])
    answer.begin()
    assert len(json.loads(answer.read())["rows"]) == 8000  # the newest is kept
    with pytest.raises((OSError, http.client.IncompleteRead)):  # noqa: PT012
        answer = http.client.HTTPResponse(clients[0])
        answer.begin()
        answer.read()
    for client in clients:
        client.close()
    wait_until(lambda: not unread._sizes)
    running.stop()


def metrics(running):
    return running.request("/metrics")[2].decode()
