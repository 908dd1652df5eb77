"""A model over HTTP, as uvicorn serves it: its answers, what is refused, and what happens when it is too much."""

import asyncio
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")

import pushforward as pf
from pushforward.core.json_values import read_message
from pushforward.data import TableError
from pushforward.estimators import FlowDensity
from pushforward.serve.app import Service, create_app
from pushforward.serve.limits import ServerLimits
from pushforward.serve.model import ServedModel
from pushforward.serve.model_process import ModelProcess
from pushforward.serve.queue import BusyError, WorkQueue
from pushforward.serve.rows import ARROW, arrow_of_table, table_of_arrow, table_of_rows
from pushforward.serve.server import serve, serve_in_thread

TOKEN = "a-secret-token"
PATIENCE = 60


@pytest.fixture(scope="module")
def people():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"age": random.integers(18, 80, 300), "sex": random.choice(["F", "M"], 300)})
    table["income"] = np.exp(9 + 0.02 * table["age"] + 0.3 * random.normal(size=300))
    return table


@pytest.fixture(scope="module")
def model(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "people.safetensors"
    FlowDensity(steps=40, random_state=0).fit(people).save(path)
    return path


class Client:
    """Asks a server of this process."""

    def __init__(self, service, drain_seconds=0.0):
        self.service = service
        self.uvicorn, self.port, self.thread = serve_in_thread(service, drain_seconds)
        while not self.uvicorn.started:
            time.sleep(0.01)

    def stop(self):
        self.uvicorn.should_exit = True
        self.thread.join(PATIENCE)

    def request(self, path, body=None, headers=(), method=None, token=TOKEN):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **dict(headers)}
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def ask(self, path, **body):
        status, _, content = self.request(path, json.dumps(body))
        return status, json.loads(content)


@pytest.fixture(scope="module")
def client(model):
    running = Client(
        Service(ServedModel(model), TOKEN, ServerLimits(rows=500, request_bytes=200_000, body_seconds=1.0))
    )
    yield running
    running.stop()
    assert not running.thread.is_alive()


ROW = {"age": 40, "sex": "F", "income": 20_000.0}


# --- answers ---------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_estimator(client, model, people):
    status, answer = client.ask("/score", rows=people.head(20).to_dict("records"))
    assert status == 200
    assert answer["exactness"] == "exact"
    expected = FlowDensity.load(model).score_samples(people.head(20))
    assert answer["log_density"] == pytest.approx(expected.tolist(), abs=1e-5)
    gaps = people.head(3).astype({"age": "float64"})
    gaps.loc[0, "age"] = None
    status, answer = client.ask("/score", rows=[{**ROW, "age": None}, {"sex": "F", "income": 20_000.0}, ROW])
    assert answer["log_density"][0] == answer["log_density"][1] != answer["log_density"][2]


def test_a_column_that_is_left_out_is_a_gap(client):
    short, long = {"age": 40, "sex": "F"}, {"age": 40, "sex": "F", "income": None}
    assert client.ask("/score", rows=[short]) == client.ask("/score", rows=[long])
    status, answer = client.ask("/impute", rows=[{"age": 40}])
    assert status == 200
    assert answer["rows"][0]["income"] > 0


def test_a_row_of_probability_zero_is_null(client):
    status, answer = client.ask("/score", rows=[{**ROW, "sex": "X"}, ROW])
    assert status == 200
    assert answer["log_density"][0] is None
    assert math.isfinite(answer["log_density"][1])


def test_arrow_goes_both_ways(client, people):
    table = pa.Table.from_pandas(people.head(50), preserve_index=False)
    both = {"Content-Type": ARROW, "Accept": ARROW}
    status, headers, content = client.request("/score", arrow_of_table(table), both)
    assert status == 200
    assert headers["content-type"] == ARROW
    scores = pa.ipc.open_stream(content).read_all().column("log_density").to_pylist()
    _, answer = client.ask("/score", rows=people.head(50).to_dict("records"))
    assert scores == pytest.approx(answer["log_density"], abs=1e-6)
    status, _, content = client.request("/impute?draw=true&seed=3", arrow_of_table(table), both)
    assert status == 200
    assert pa.ipc.open_stream(content).read_all().num_rows == 50


def test_samples_have_what_is_given_and_repeat(client):
    ask = {"n": 7, "given": {"sex": "F", "age": 40}, "seed": 1}
    status, answer = client.ask("/sample", **ask)
    assert status == 200
    assert len(answer["rows"]) == 7
    assert {(row["sex"], row["age"]) for row in answer["rows"]} == {("F", 40)}
    assert client.ask("/sample", **ask)[1] == answer
    assert client.ask("/sample", **{**ask, "seed": 2})[1] != answer


def test_conditional_distributions(client, model):
    status, answer = client.ask("/given", given={"age": 40}, probability=0.8)
    by_name = {column["name"]: column for column in answer["columns"]}
    assert status == 200
    assert set(by_name) == {"sex", "income"}
    expected = FlowDensity.load(model).given({"age": 40})
    assert by_name["sex"]["probabilities"] == pytest.approx(expected.marginal("sex").probabilities(), abs=1e-5)
    low, high = expected.marginal("income").interval(0.8)
    assert by_name["income"]["low"] == pytest.approx(low)
    assert by_name["income"]["high"] == pytest.approx(high)


def test_gaps_are_filled_and_surprises_explained(client):
    status, answer = client.ask("/impute", rows=[{**ROW, "income": None}, ROW])
    assert status == 200
    assert answer["rows"][1] == ROW
    assert answer["rows"][0]["income"] > 0
    status, answer = client.ask("/explain", rows=[ROW, {**ROW, "income": 9e6}], top=1)
    assert status == 200
    assert answer["rows"][1]["score"] < answer["rows"][0]["score"]
    assert answer["rows"][1]["reasons"][0]["column"] == "income"


def test_the_schema_and_the_document_describe_the_model(client):
    status, _, content = client.request("/schema")
    described = json.loads(content)
    assert status == 200
    assert [column["name"] for column in described["columns"]] == ["age", "sex", "income"]
    assert described["columns"][1]["values"] == ["F", "M"]
    status, _, content = client.request("/openapi.json")
    paths = json.loads(content)["paths"]
    asked = paths["/sample"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]["given"]
    assert asked["properties"] == {
        "age": {"type": ["number"]},
        "sex": {"enum": ["F", "M"]},
        "income": {"type": ["number"]},
    }
    assert set(paths) == {
        "/score", "/sample", "/given", "/impute", "/explain", "/schema", "/metrics", "/healthz", "/readyz",
    }  # fmt: skip


def test_metrics_count(client):
    client.ask("/score", rows=[ROW])
    client.request("/nothing")
    text = client.request("/metrics")[2].decode()
    assert 'pushforward_requests_total{path="/score",status="200"}' in text
    assert 'pushforward_requests_total{path="other",status="404"}' in text
    assert "pushforward_waiting 0.0" in text


def test_a_model_in_a_process_of_its_own_gives_the_same_answers_and_comes_back(model, people):
    here, table = ServedModel(model), pa.Table.from_pandas(people.head(5), preserve_index=False)
    wrong = pa.table({"age": ["old"], "sex": ["F"], "income": [1.0]})
    with closing(ModelProcess(model)) as there:
        assert there.describe() == here.describe()
        assert (there.name, there.exactness) == (here.name, here.exactness)
        assert there.schema.names == here.schema.names
        before = there.scores([table])[0]
        np.testing.assert_allclose(before, here.scores([table])[0], atol=1e-5)
        scores, refusal = there.scores([table.slice(2), wrong])
        assert len(scores) == 3
        assert str(refusal) == str(here.scores([wrong])[0])
        assert there.sample(3, {"sex": "F"}, 0, False).to_pylist() == here.sample(3, {"sex": "F"}, 0, False).to_pylist()
        assert there.impute(table, False, None).equals(here.impute(table, False, None))
        assert [row["outlier"] for row in there.explain(table, 1)] == [row["outlier"] for row in here.explain(table, 1)]
        assert [column["name"] for column in there.conditional({"age": 40}, 0.9)] == ["sex", "income"]
        with pytest.raises(TableError, match="there is no column 'size'"):
            there.sample(1, {"size": 1}, None, False)
        os.kill(there._process.pid, signal.SIGKILL)  # as the system does when memory is short
        with pytest.raises(BusyError, match="too much memory"):
            there.scores([table])
        assert np.array_equal(there.scores([table])[0], before)
    assert not there.is_alive


def test_a_process_says_why_a_file_is_no_model(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        ModelProcess(tmp_path / "damaged.safetensors")


# --- refusals --------------------------------------------------------------------------------------------------------


def test_only_who_has_the_token_is_answered(client):
    for token in (None, "wrong", TOKEN[:-1], TOKEN + "x", "ä"):
        brought = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        status, headers, content = client.request("/score", json.dumps({"rows": [ROW]}), brought, token=None)
        assert status == 401
        assert headers["www-authenticate"] == "Bearer"
        assert "Authorization" in json.loads(content)["error"]
    assert client.request("/healthz", token=None)[0] == client.request("/readyz", token=None)[0] == 200
    assert client.request("/metrics", token=None)[0] == client.request("/openapi.json", token=None)[0] == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/score", b"{", 400, "The body is no JSON."),
        ("/score", b"[" * 100_000, 400, "The body is no JSON."),
        ("/score", b"\xff\xfe", 400, "The body is no JSON."),
        ("/score", {}, 422, "rows: Field required."),
        ("/score", {"rows": []}, 422, "rows: List should have at least 1 item"),
        ("/score", {"rows": [{**ROW, "age": [1]}]}, 422, "row 1: column 'age' takes a text, a number,"),
        ("/score", {"rows": [ROW, 7]}, 422, "rows.1: Input should be a valid dictionary."),
        ("/score", {"rows": [{"a" * 5000: 1}]}, 422, f"there is no column '{'a' * 100}...'. The columns are 'age',"),
        ("/score", {"rows": [ROW], "more": 1}, 422, "more: Extra inputs are not permitted."),
        ("/score", {"rows": [{**ROW, "height": 1}]}, 422, "row 1: there is no column 'height'. The columns are 'age',"),
        ("/score", {"rows": [ROW, {**ROW, "age": "old"}]}, 422, "column 'age' holds values of several types"),
        ("/score", {"rows": [{**ROW, "age": "old"}]}, 422, "age"),
        ("/score", {"rows": [{**ROW, "age": 10**30}]}, 422, "row 1: column 'age' takes"),
        ("/score", {"rows": [ROW] * 501}, 413, "The request has more than 500 rows. Send fewer at once."),
        ("/score", {"rows": [7] * 501}, 413, "The request has more than 500 rows. Send fewer at once."),
        ("/sample", {"n": 501}, 413, "n is at most 500 here."),
        ("/sample", {"n": 0}, 422, "n: Input should be greater than or equal to 1."),
        ("/sample", {"n": True}, 422, "n: Input should be a valid integer"),
        ("/sample", {"given": {"sex": "X"}}, 422, "sex"),
        ("/sample", {"given": {"size": 1}}, 422, "there is no column 'size'"),
        ("/given", {"given": {"age": None}}, 422, "given: column 'age' takes a text, a number, true or false."),
        ("/given", {"given": {"age": [1]}}, 422, "given: column 'age' takes a text, a number, true or false."),
        ("/given", {"given": {"sex": "\ud800"}}, 422, "given: column 'sex': the text is no valid Unicode."),
        ("/given", {"given": 7}, 422, "given: Input should be a valid dictionary."),
        ("/given", {"probability": 1}, 422, "probability: Input should be less than 1."),
        ("/explain", {"rows": [ROW], "top": 0}, 422, "top: "),
    ],
)
def test_mistakes_get_one_sentence(client, path, body, status, sentence):
    got, _, content = client.request(path, body if isinstance(body, bytes) else json.dumps(body))
    error = json.loads(content)["error"]
    assert got == status
    assert sentence in error
    assert "Traceback" not in error


def test_paths_and_methods_that_do_not_exist(client):
    assert client.request("/nothing")[0] == 404
    status, headers, _ = client.request("/score")
    assert (status, headers["allow"]) == (405, "POST")
    assert client.request("/score", b"", method="DELETE")[0] == 405


def test_large_bodies_are_refused_before_they_are_read(client):
    with socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) as connection:
        connection.sendall(
            f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Length: 1000000000\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    status, _, content = client.request("/score", iter([b"x" * 50_000] * 10))
    assert status == 413
    assert b"larger than 200,000 bytes" in content
    assert client.ask("/score", rows=[ROW])[0] == 200


def test_slow_clients_are_let_go(client):
    slow_body = socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)
    slow_body.sendall(
        f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n{{".encode()
    )
    slow_headers = socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)
    slow_headers.sendall(b"POST /score HTTP/1.1\r\nHost: ")
    silent = socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)
    assert client.ask("/score", rows=[ROW])[0] == 200
    assert slow_body.recv(1000).startswith(b"HTTP/1.1 408")
    assert slow_headers.recv(1000) == b""
    assert silent.recv(1000) == b""


def drip(connection):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("token", ["wrong-token", TOKEN])
def test_clients_that_go_on_sending_what_nobody_wants_are_let_go(client, token):
    """The answer is there before the body is: by a wrong token, or because it is too large."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) as connection:
        connection.sendall(
            f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Length: 1000000\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 401" if token != TOKEN else b"HTTP/1.1 413")
        with pytest.raises(OSError, match=r"pipe|reset"):  # a drop now and then does not keep it open
            drip(connection)


def test_a_short_token_is_refused(model):
    with pytest.raises(ValueError, match="the token is shorter than 8 characters"):
        create_app(model, token="")


def damaged_streams(table):
    whole = arrow_of_table(table)
    yield from (b"", b"x", whole[:30], whole[: len(whole) // 2], b"\xff" * 500, whole[8:])
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(256)
        yield bytes(data)


def test_damaged_streams_of_arrow_are_refused_or_read(client, people):
    table = pa.Table.from_pandas(people.head(5), preserve_index=False)
    seen = set()
    for body in damaged_streams(table):
        status, _, content = client.request("/score", body, {"Content-Type": ARROW})
        seen.add(status)
        assert status in (200, 413, 422), content
    assert 422 in seen
    assert client.ask("/score", rows=[ROW])[0] == 200


def test_streams_of_arrow_that_grow_are_refused(client, model):
    schema = ServedModel(model).schema
    many = pa.table({"age": pa.nulls(10**7), "sex": pa.nulls(10**7), "income": pa.nulls(10**7)})
    with pytest.raises(TableError, match="more than 500 rows"):
        table_of_arrow(schema, arrow_of_table(many), 500)
    assert client.request("/score", arrow_of_table(many.slice(0, 501)), {"Content-Type": ARROW})[0] == 413
    sink = pa.BufferOutputStream()
    zeros = pa.table({"age": np.zeros(400), "sex": ["F"] * 400, "income": np.zeros(400)})
    with pa.ipc.new_stream(sink, zeros.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(zeros)
    with pytest.raises(TableError, match="compressed"):
        table_of_arrow(schema, sink.getvalue().to_pybytes(), 500)
    lists = pa.table({"age": [[1]], "sex": ["F"], "income": [1.0]})
    with pytest.raises(TableError, match=r"column 'age' is of type list<.*int64>\. Give numbers, texts or dates\."):
        table_of_arrow(schema, arrow_of_table(lists), 500)
    coded = pa.table({"age": [1], "sex": pa.array(["F"]).dictionary_encode(), "income": [1.0]})
    assert table_of_arrow(schema, arrow_of_table(coded), 500).num_rows == 1


def test_columns_of_rows(model):
    schema = ServedModel(model).schema
    assert table_of_rows(schema, [{"age": 1, "sex": "F", "income": 2}, {"income": 2.5}]).to_pydict() == {
        "age": [1, None], "sex": ["F", None], "income": [2.0, 2.5],
    }  # fmt: skip
    assert table_of_rows(schema, [{"age": None, "sex": 7, "income": math.nan}]).to_pydict() == {
        "age": [None], "sex": ["7"], "income": [None],
    }  # fmt: skip


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["F", "age"])
NAMES = st.sampled_from(
    ["rows", "given", "n", "seed", "top", "draw", "probability", "keep_rules", "age", "sex", "income"]
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))
ROWS_OF_ANYTHING = st.fixed_dictionaries(
    {}, optional={"rows": st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, SCALARS)), max_size=3),
                  "given": st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, SCALARS)),
                  "n": st.integers(-1, 3), "top": st.integers(-1, 4), "seed": st.integers(-1, 2**33)},
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(["/score", "/sample", "/given", "/impute", "/explain"]), VALUES | ROWS_OF_ANYTHING)
def test_nothing_that_is_asked_is_an_internal_error(client, path, body):
    status, _, content = client.request(path, json.dumps(body))
    assert status in (200, 400, 413, 422), (body, content)
    json.loads(content)


# --- many requests ---------------------------------------------------------------------------------------------------


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_neighbours_are_answered_together_and_in_their_order():
    calls, gate = [], threading.Event()

    def merged(tables):
        gate.wait(PATIENCE)
        calls.append([table.num_rows for table in tables])
        return [table.num_rows if table.num_rows != 3 else ValueError("three") for table in tables]

    async def run():
        queue = WorkQueue(merged, ServerLimits(batch_rows=10))
        tables = [pa.table({"x": np.zeros(rows)}) for rows in (1, 2, 3, 4, 5)]
        first = asyncio.create_task(queue.ask(table=tables[0]))
        await asyncio.to_thread(wait_until, lambda: queue._running)
        tasks = [asyncio.create_task(queue.ask(table=table)) for table in tables[1:]]
        other = asyncio.create_task(queue.ask(lambda: calls.append("other")))
        await asyncio.sleep(0)
        wait_until(lambda: len(queue) == 6)
        gate.set()
        results = await asyncio.gather(first, *tasks, other, return_exceptions=True)
        queue.close()
        return results

    results = asyncio.run(run())
    assert calls == [[1], [2, 3, 4], [5], "other"]
    assert [str(result) for result in results[:5]] == ["1", "2", "three", "4", "5"]


def test_what_nobody_waits_for_counts_until_its_turn_and_is_not_computed():
    computed, gate = [], threading.Event()

    async def run():
        queue = WorkQueue(lambda tables: [], ServerLimits(waiting=3, seconds=0.05))
        blocked = asyncio.create_task(queue.ask(lambda: gate.wait(PATIENCE)))
        await asyncio.to_thread(wait_until, lambda: queue._running)
        late = [asyncio.create_task(queue.ask(lambda: computed.append(1))) for _ in range(2)]
        results = await asyncio.gather(blocked, *late, return_exceptions=True)
        assert all(isinstance(result, BusyError) for result in results)
        with pytest.raises(BusyError, match="Too many requests are waiting already"):
            await queue.ask(lambda: computed.append(2))
        gate.set()
        await asyncio.to_thread(wait_until, lambda: len(queue) == 0)
        assert await queue.ask(lambda: 7) == 7
        queue.close()

    asyncio.run(run())
    assert computed == []


def bare_request(connection):
    """The status of an answer by a connection that stays open."""
    body = json.dumps({"rows": [ROW]}).encode()
    head = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    answer = b""
    while not answer.rstrip().endswith(b"}"):
        answer += connection.recv(2**16)
    return int(answer.split(b" ", 2)[1])


def test_too_many_requests_are_refused_and_others_answered(model):
    service = Service(ServedModel(model), TOKEN, ServerLimits(waiting=4))
    gate, scores = threading.Event(), service.model.scores

    def slowly(tables):
        gate.wait(PATIENCE)
        return scores(tables)

    service._queue._merged = slowly
    running = Client(service)
    bare = socket.create_connection(("127.0.0.1", running.port), PATIENCE)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(running.request, "/score", json.dumps({"rows": [ROW]})) for _ in range(20)]
        wait_until(lambda: sum(answer.done() for answer in asked) == 16)
        assert running.request("/readyz")[0] == 503
        assert 'pushforward_requests_total{path="/score",status="503"} 16.0' in running.request("/metrics")[2].decode()
        assert [bare_request(bare) for _ in range(2)] == [503, 503]
        gate.set()
        answers = [answer.result() for answer in asked]
    assert sorted(status for status, *_ in answers) == [200] * 4 + [503] * 16
    assert all(headers["retry-after"] == "1" for status, headers, _ in answers if status == 503)
    assert running.ask("/score", rows=[ROW])[0] == 200
    assert bare_request(bare) == 200  # by the connection that was refused
    bare.close()
    running.stop()


def test_at_the_end_everything_that_came_in_is_answered(model):
    running = Client(Service(ServedModel(model), TOKEN, ServerLimits()), drain_seconds=0.5)
    body, statuses, refused = json.dumps({"rows": [ROW]}), [], []

    def ask_on():
        while not refused:
            try:
                statuses.append(running.request("/score", body)[0])
            except ConnectionRefusedError:
                refused.append(1)

    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) > 20)
    running.uvicorn.should_exit = True
    wait_until(lambda: running.service.drains)
    status, headers, _ = running.request("/score", body)
    assert status == 200
    assert headers["connection"] == "close"
    assert running.request("/readyz")[0] == 503
    for thread in threads:
        thread.join(PATIENCE)
    running.thread.join(PATIENCE)
    assert set(statuses) == {200}
    assert not running.thread.is_alive()


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_serves_until_it_is_asked_to_end(model):
    command = [sys.executable, "-m", "pushforward", "serve", str(model), "--port", "0", "--drain-seconds", "0.1"]
    environment = {**os.environ, "PUSHFORWARD_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        port = int(line.split("http://127.0.0.1:")[1].split(",")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("POST", "/score", json.dumps({"rows": [ROW]}), {"Authorization": f"Bearer {TOKEN}"})
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, 130, -signal.SIGTERM)
    assert "Traceback" not in errors


def test_mistakes_of_the_command(model, tmp_path):
    with pytest.raises(ValueError, match="other machines can reach this address, so requests need a token"):
        serve(model, host="0.0.0.0", needs_token=False)
    with pytest.raises(ValueError, match=r"the token is shorter than 8 characters\."):
        serve(model, token="short")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match=r"cannot listen at 127\.0\.0\.1, port \d+: address already in use\."):
            serve(model, port=taken.getsockname()[1])
    with pytest.raises(FileNotFoundError, match=r"people\.txt: there is no such file"):
        create_app(tmp_path / "people.txt")
    pf.save(pf.flows.maf(2, context=1), tmp_path / "flow.safetensors")
    with pytest.raises(ValueError, match="this file holds no model of the columns of a table"):
        create_app(tmp_path / "flow.safetensors")


def test_a_plain_flow_scores_and_samples_and_says_what_it_cannot(tmp_path):
    flow = pf.flows.maf(2, depth=1, hidden=(8,))
    pf.save(flow, tmp_path / "flow.safetensors")
    running = Client(Service(ServedModel(tmp_path / "flow.safetensors"), None, ServerLimits()))
    status, answer = running.ask("/score", rows=[{"x1": 0.5, "x2": 1}])
    expected = flow.log_prob(torch.tensor([[0.5, 1.0]])).item()
    assert status == 200
    assert answer["log_density"] == pytest.approx([expected], abs=1e-5)
    for path, body in (
        ("/given", {}),
        ("/impute", {"rows": [{"x1": 1.0, "x2": None}]}),
        ("/explain", {"rows": [{"x1": 1.0, "x2": 1.0}]}),
    ):
        status, answer = running.ask(path, **body)
        assert status == 422, answer
        assert "mixed" in answer["error"]
    running.stop()


def test_json_of_a_request_is_read_as_json():
    assert read_message(b'{"a": 1}') == {"a": 1}
