"""The server of Flow Lab, as uvicorn runs it: who is let in, what is refused, and what happens to those who leave."""

import asyncio
import errno
import http.client
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi", reason="the extra lab is not installed")
pytest.importorskip("uvicorn", reason="the extra lab is not installed")
pytest.importorskip("websockets", reason="the extra lab is not installed")

from lab_calls import PATIENCE
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pushforward.cli.app import app as command_line
from pushforward.core.extras import need_packages
from pushforward.lab import app as lab_app
from pushforward.lab import server as lab_server
from pushforward.lab.outbox import FULL, Outbox

TOKEN = "a-token"


class Server:
    """A server in a thread of this process, on a free port."""

    def __init__(self, static):
        self.listener = lab_server._listen(0)
        self.port = self.listener.getsockname()[1]
        self.lab = lab_app.LabApp(None, self.port, TOKEN, static=static)
        self.uvicorn = lab_server.uvicorn_server(self.lab.asgi)
        self.thread = threading.Thread(target=self.uvicorn.run, kwargs={"sockets": [self.listener]}, name="uvicorn")
        self.thread.start()

    def stop(self):
        self.uvicorn.should_exit = True
        self.thread.join(PATIENCE)

    def request(self, path, method="GET", headers=()):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = dict(headers)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    @contextmanager
    def socket(self, token=TOKEN, origin=None, **options):
        origin = f"http://127.0.0.1:{self.port}" if origin is None else origin
        headers = {"Origin": origin} if origin else {}
        url = f"ws://127.0.0.1:{self.port}/socket?token={token}"
        with connect(url, additional_headers=headers, max_size=None, proxy=None, **options) as opened:
            yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    static = tmp_path_factory.mktemp("package") / "static"
    (static / "fonts").mkdir(parents=True)
    (static / "lab.js").write_text("export default {};")
    (static / "lab.css").write_text("body {}")
    (static / "fonts" / "a.woff2").write_bytes(b"font")
    (static / "odd.bin").write_bytes(b"odd")
    (static.parent / "secret.txt").write_text("secret")
    os.symlink(static.parent / "secret.txt", static / "link.txt")
    running = Server(static)
    yield running
    running.stop()
    assert not running.thread.is_alive()


@pytest.fixture(autouse=True)
def quick_baselines(monkeypatch):
    monkeypatch.setattr("pushforward.lab.answers_training.baseline_likelihoods", lambda rows, seed: {"kde": 1.0})


def call(opened, name, number=1, **arguments):
    opened.send(json.dumps({"id": number, "call": name, "with": arguments}))
    while True:
        answer = json.loads(opened.recv(timeout=PATIENCE))
        if answer.get("id") == number:
            return answer


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def lab_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("flow-lab")]


# --- pages and files


def test_the_page_loads_the_built_files_and_nothing_inline(server):
    status, headers, page = server.request(f"/?token={TOKEN}")
    assert status == 200
    assert '<div id="flow-lab"' in page
    assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert f"connect-src 'self' ws://127.0.0.1:{server.port};" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "set-cookie" not in headers
    for path, kind in (("lab.js", "text/javascript"), ("lab.css", "text/css"), ("fonts/a.woff2", "font/woff2")):
        status, headers, _ = server.request(f"/static/{path}?token={TOKEN}")
        assert status == 200
        assert headers["content-type"].startswith(kind)
    assert server.request(f"/static/odd.bin?token={TOKEN}")[1]["content-type"] == "application/octet-stream"
    assert server.request(f"/?token={TOKEN}", method="HEAD")[0] == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 403),
        ("/?token=wrong", {}, 403),
        ("/?token=%ff", {}, 403),
        (f"/?token={TOKEN}&token=", {}, 200),
        ("/static/lab.js", {}, 403),
        ("/static/lab.js", {"Cookie": "flow_lab_{port}=" + TOKEN}, 403),
        (f"/?token={TOKEN}" + "&a=1" * 60, {}, 403),
        (f"/static/../secret.txt?token={TOKEN}", {}, 404),
        (f"/static/%2e%2e/secret.txt?token={TOKEN}", {}, 404),
        (f"/static/..%2fsecret.txt?token={TOKEN}", {}, 404),
        (f"/static//etc/passwd?token={TOKEN}", {}, 404),
        (f"/static/link.txt?token={TOKEN}", {}, 404),
        (f"/static/?token={TOKEN}", {}, 404),
        (f"/docs?token={TOKEN}", {}, 404),
        (f"/openapi.json?token={TOKEN}", {}, 404),
        (f"/?token={TOKEN}", {"Host": "evil.example"}, 421),
        (f"/?token={TOKEN}", {"Host": "evil.example:{port}"}, 421),
        (f"/?token={TOKEN}", {"Host": "localhost:{port}"}, 200),
        (f"/?token={TOKEN}", {"Host": "localhost"}, 200),
        (f"/?token={TOKEN}", {"Host": "127.0.0.1", "Origin": "http://127.0.0.1"}, 200),
        (f"/?token={TOKEN}", {"Host": "localhost:9", "Origin": "http://localhost:9"}, 200),
        (f"/?token={TOKEN}", {"Host": "localhost:9", "Origin": "http://localhost:{port}"}, 403),
        (f"/?token={TOKEN}", {"Origin": "http://localhost:{port}"}, 403),
        (f"/?token={TOKEN}", {"Host": "localhost:1@evil.example"}, 421),
        (f"/?token={TOKEN}", {"Origin": "http://evil.example"}, 403),
        (f"/?token={TOKEN}", {"Origin": "null"}, 403),
        (f"/?token={TOKEN}", {"Origin": "http://127.0.0.1:{port}"}, 200),
        ("/?" + "a=1&" * 2000, {}, 403),
    ],
)
def test_who_is_let_in(server, path, headers, status):
    headers = {name: value.replace("{port}", str(server.port)) for name, value in headers.items()}
    answer = server.request(path, headers=headers)
    assert answer[0] == status
    assert "secret" not in answer[2]
    assert "content-security-policy" in answer[1]
    assert status != 404 or (answer[2], answer[1]["cache-control"]) == ("There is no such file.\n", "no-store")


def test_an_upload_by_http_is_refused_before_it_is_read(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        head = f"POST /?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {10**9}\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 405 ")
        sent_bytes = 0
        with suppress(OSError):  # what kind depends on when the server has closed the connection
            while sent_bytes < 10**9:
                sent_bytes += client.send(b"x" * 2**20)
        assert sent_bytes < 10**8
    assert server.request(f"/?token={TOKEN}")[0] == 200


# --- sockets


def test_a_socket_is_a_session_that_ends_with_it(server):
    with server.socket() as opened:
        assert call(opened, "info")["result"]["families"]
        call(opened, "train.start", 2, data="banana", family="planar", depth=1)
        assert json.loads(opened.recv(timeout=PATIENCE))["event"] == "train"
        assert server.lab._sessions == 1
    wait_until(lambda: server.lab._sessions == 0 and not lab_threads())


def test_a_killed_browser_ends_its_training(server):
    with server.socket() as opened:
        call(opened, "maps.point", flow="squash", z=[0, 0])
        opened.send(json.dumps({"id": 2, "call": "train.start", "with": {"data": "banana", "family": "planar"}}))
        opened.recv(timeout=PATIENCE)
        opened.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: server.lab._sessions == 0 and not lab_threads())


@pytest.mark.parametrize(
    ("token", "origin"), [("wrong", None), (TOKEN, ""), (TOKEN, "http://evil.example"), (TOKEN, "null")]
)
def test_sockets_that_are_refused(server, token, origin):
    with pytest.raises(InvalidStatus, match="403"), server.socket(token, origin):
        pass


def test_a_killed_browser_that_read_no_answers_leaves_nothing(server, monkeypatch):
    """Answers fill the connection and the outbox, so that no more is read of the browser, whose end nobody hears."""
    waiting, room_for_answers = threading.Event(), Outbox.room_for_answers

    async def room(outbox):
        if len(outbox._answers) >= FULL:
            waiting.set()
        await room_for_answers(outbox)

    monkeypatch.setattr(Outbox, "room_for_answers", room)
    long = {"x": "y" * 300_000}
    monkeypatch.setattr("pushforward.lab.answers_maps.MapAnswers.info", lambda *_: long)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing it resets it
        host = f"127.0.0.1:{server.port}"
        head = (
            f"GET /socket?token={TOKEN} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        client.sendall(head.encode())
        assert client.recv(12) == b"HTTP/1.1 101"
        text = b'{"id": 1, "call": "info"}'
        frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
        client.sendall(frame * (3 * FULL))
        assert waiting.wait(PATIENCE)
        assert server.lab._sessions == 1
    wait_until(lambda: server.lab._sessions == 0 and not lab_threads())


def test_a_folder_that_is_gone_takes_no_place(server, monkeypatch):
    monkeypatch.setattr(server.lab, "folder", "no/such")
    with server.socket() as opened, pytest.raises(ConnectionClosed, match="The folder of models is gone"):
        opened.recv(timeout=PATIENCE)
    assert server.lab._sessions == 0


def test_a_place_is_free_when_the_session_has_closed(server, monkeypatch):
    closing, may_close = threading.Event(), threading.Event()
    close = lab_app.LabSession.close

    def slow(session):
        closing.set()
        assert may_close.wait(PATIENCE)
        close(session)

    monkeypatch.setattr(lab_app.LabSession, "close", slow)
    with server.socket() as opened:
        call(opened, "info")
    assert closing.wait(PATIENCE)
    assert server.lab._sessions == 1
    may_close.set()
    wait_until(lambda: server.lab._sessions == 0 and not lab_threads())


def test_messages_that_are_none_are_answered(server):
    with server.socket() as opened:
        for message, sentence in (
            ("{no", "The message is no JSON"),
            (b"\0\1", "this one is binary"),
            ("[" * 100_000, "The message is no JSON"),
            ('{"id": 1, "call": "data.sample", "with": {"name": "moons", "n": 1e999}}', "an enormous number"),
            ('{"id": 1, "call": "data.sample", "with": {"name": "moons", "n": NaN}}', "got nan"),
            ('{"id": 1, "call": "x", "with": "' + "y" * 2_000_000 + '"}', "There is no call 'x'"),
            ("null", "A message must be an object"),
        ):
            opened.send(message)
            assert sentence in json.loads(opened.recv(timeout=PATIENCE))["error"]
        assert "result" in call(opened, "info")


def test_a_frame_that_is_too_large_closes_its_socket_alone(server):
    with server.socket() as other:
        with server.socket() as opened:
            with suppress(ConnectionClosed):  # perhaps before all of it is sent
                opened.send("x" * (lab_server.FRAME + 1))
            with pytest.raises(ConnectionClosed):
                opened.recv(timeout=PATIENCE)
        assert "result" in call(other, "info")


def test_there_are_only_so_many_sessions(server, monkeypatch):
    monkeypatch.setattr(lab_app, "MOST_SESSIONS", 2)
    with server.socket() as first, server.socket() as second:
        assert "result" in call(first, "info")
        assert "result" in call(second, "info")
        with server.socket() as third, pytest.raises(ConnectionClosed, match="2 tabs are open already"):
            third.recv(timeout=PATIENCE)
    wait_until(lambda: server.lab._sessions == 0)


def test_twenty_tabs_leave_no_thread(server):
    with server.socket() as opened:
        call(opened, "info")
    wait_until(lambda: server.lab._sessions == 0)
    before = len(threading.enumerate())
    threads = [threading.Thread(target=_visit, args=(server,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    wait_until(lambda: server.lab._sessions == 0 and not lab_threads())
    idle = {"asyncio_", "AnyIO wo"}  # of the pools of the event loop, of bounded size
    others = [thread for thread in threading.enumerate() if thread.name[:8] not in idle]
    assert len(others) <= before


def _visit(server):
    with server.socket() as opened:
        call(opened, "train.start", data="banana", family="planar", depth=1, paused=True)


# --- what waits to be sent


def test_events_are_replaced_and_answers_are_not():
    async def run():
        outbox = Outbox(asyncio.get_running_loop())
        for k in range(5):
            outbox.put({"event": "train", "data": {"run": 1, "step": k, "held_out": 1.5 if k == 2 else None}})
            outbox.put({"id": k, "result": {}})
        outbox.put({"event": "train.failed", "data": {}})
        return await outbox.take(), await asyncio.wait_for(_next_after(outbox), PATIENCE)

    messages, after = asyncio.run(run())
    assert [m["id"] for m in messages[:5]] == [0, 1, 2, 3, 4]
    assert [m["event"] for m in messages[5:]] == ["train", "train.failed"]
    assert messages[5]["data"] == {"run": 1, "step": 4, "held_out": 1.5}
    assert [m["data"]["held_out"] for m in after] == [None]  # of another run


async def _next_after(outbox):
    outbox.put({"event": "train", "data": {"run": 1, "held_out": 2.0}})
    outbox.put({"event": "train", "data": {"run": 2, "held_out": None}})
    messages = []
    while not messages:
        messages = await outbox.take()
    return messages


def test_no_more_is_read_while_answers_wait():
    async def run():
        outbox = Outbox(asyncio.get_running_loop())
        for k in range(FULL):
            outbox.put({"id": k})
        waiting = asyncio.create_task(outbox.room_for_answers())
        await asyncio.sleep(0.01)
        held = not waiting.done()
        await outbox.take()
        await asyncio.wait_for(waiting, PATIENCE)
        return held

    assert asyncio.run(run())


def test_a_loop_that_has_ended_does_no_harm():
    loop = asyncio.new_event_loop()
    outbox = Outbox(loop)
    loop.close()
    outbox.put({"id": 1})


# --- the command

SERVE = """
import sys
from pathlib import Path
from pushforward.lab import app
app.STATIC = Path(sys.argv.pop(1))
app.LabApp.__init__.__kwdefaults__["static"] = app.STATIC
from pushforward.cli import main
main()
"""


def test_the_command_prints_its_address_and_ends_with_ctrl_c(server, tmp_path):
    command = [sys.executable, "-c", SERVE, str(server.lab.static), "lab", str(tmp_path), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address, hint = process.stdout.readline(), process.stdout.readline()
        port, token = re.fullmatch(r"Flow Lab: http://127\.0\.0\.1:(\d+)/\?token=([\w-]{32})\n", address).groups()
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE)
        connection.request("GET", f"/?token={token}")
        assert connection.getresponse().status == 200
        origin = {"Origin": f"http://127.0.0.1:{port}"}
        url = f"ws://127.0.0.1:{port}/socket?token={token}"
        with connect(url, additional_headers=origin, proxy=None, max_size=None) as opened:
            few = [[k % 7, k % 5 + 0.1 * k] for k in range(30)]  # whose baselines are fitted at once
            call(opened, "train.start", points=few, family="planar", depth=1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert hint == "Ctrl-C ends it.\n"


def run_command(*arguments):
    from typer.testing import CliRunner

    return CliRunner().invoke(command_line, ["lab", *arguments])


@pytest.fixture
def built(tmp_path, monkeypatch):
    (tmp_path / "lab.js").write_text("")
    monkeypatch.setattr(lab_app, "STATIC", tmp_path)


def test_mistakes_of_the_command_are_sentences(built, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run_command(str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 1
    assert "is not free. Choose another one, or 0." in result.stderr
    result = run_command("no/such")
    assert (result.exit_code, "no/such: there is no such folder" in result.stderr) == (1, True)
    monkeypatch.setattr(lab_app, "STATIC", tmp_path / "empty")
    assert "the page is not built" in run_command(str(tmp_path)).stderr
    monkeypatch.setattr("pushforward.core.extras.find_spec", lambda name: None)
    result = run_command(str(tmp_path))
    assert result.exit_code == 1
    assert "Install with: pip install 'pushforward[lab]'" in result.stderr
    with pytest.raises(ImportError, match=r"x: needs the packages a and b\. Install with: pip install 'pushforward"):
        need_packages("x", "lab", "a", "b")


def test_the_browser_opens_the_address(built, tmp_path, monkeypatch):
    """Through a page that other users of the machine cannot read, and that is gone afterwards."""
    opened, lines, pages = threading.Event(), [], []

    def see(address):
        path = Path(urlsplit(address).path)
        pages.append((address, path, stat.S_IMODE(path.stat().st_mode), path.read_text()))
        opened.set()

    monkeypatch.setattr("webbrowser.open", see)
    monkeypatch.setenv("DISPLAY", ":0")

    class Nothing:
        def run(self, sockets):
            opened.wait(PATIENCE)
            raise KeyboardInterrupt

    monkeypatch.setattr(lab_server, "uvicorn_server", lambda asgi: Nothing())
    lab_server.serve(tmp_path, say=lines.append)
    address, path, mode, text = pages[0]
    assert "token" not in address
    assert (mode, path.exists()) == (0o600, False)
    assert f'content="0; url={lines[0].removeprefix("Flow Lab: ")}"' in text


def test_a_port_without_permission_is_named(monkeypatch):
    class Refused(socket.socket):
        def bind(self, address):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(lab_server.socket, "socket", Refused)
    with pytest.raises(ValueError, match="you have no permission to listen at port 80"):
        lab_server._listen(80)
