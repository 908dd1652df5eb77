"""A session of Flow Lab: every call, every refusal, trainings that are paused and ended, and threads that go away."""

import errno
import json
import math
import re
import tempfile
import threading
import time
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
from lab_calls import Caller, in_base64
from test_imports import modules_of

import pushforward as pf
from pushforward.core.json_values import finite, read_message, write_message
from pushforward.core.threads import single_threaded
from pushforward.data import TableError
from pushforward.distributions.targets import entropy_on_grid
from pushforward.lab import points as lab_points
from pushforward.lab import session as lab_session
from pushforward.lab import unpacked
from pushforward.lab.arguments import LabError
from pushforward.lab.baselines import baseline_likelihoods
from pushforward.lab.controls import Controls
from pushforward.lab.pacing import INTERVAL, SHARE, Pace
from pushforward.lab.points import NAMED, distribution, rows_of_points
from pushforward.lab.presets import PRESETS, preset_flow
from pushforward.lab.tables import read_table
from pushforward.train import TrainingError

SMALL = {"family": "planar", "depth": 1}


def _matches(pattern, text):
    assert re.search(pattern, text), text
    return True


@pytest.fixture
def lab():
    caller = Caller()
    yield caller
    caller.session.close()


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert not [
        thread.name for thread in threading.enumerate() if thread not in before and thread.name[:8] == "flow-lab"
    ]


@pytest.fixture
def quick_baselines(monkeypatch):
    monkeypatch.setattr("pushforward.lab.answers_training.baseline_likelihoods", lambda rows, seed: {"kde": 1.0})


def test_a_session_needs_none_of_the_packages_of_page_and_widget():
    loaded = modules_of("import pushforward as pf; pf.lab.LabSession(print).close()")
    assert not {"fastapi", "uvicorn", "anywidget", "websockets"} & set(loaded)


def test_extras_ask_for_the_versions_that_are_tested():
    checkout = Path(__file__).parent.parent
    extras = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    tested = dict(
        line.split("==") for line in (checkout / "constraints.txt").read_text("utf-8").split() if "==" in line
    )
    for need in (*extras["lab"], *extras["notebook"]):
        name, least = need.split(">=")
        assert least == ".".join(tested[name].split(".")[:2])


def test_only_public_names_are_there():
    with pytest.raises(AttributeError, match=r"module 'pushforward\.lab' has no attribute 'laboratory'"):
        _ = pf.lab.laboratory


# --- maps and named distributions


def test_info_says_what_there_is_to_choose_from(lab):
    info = lab("info")
    assert info["version"] == pf.__version__
    assert info["models"] == []
    assert {entry["name"] for entry in info["data"]} == set(NAMED)
    assert (info["families"], info["univariates"]) == (["maf", "coupling", "planar"], ["affine", "spline"])


@pytest.mark.parametrize("name", NAMED)
def test_written_entropies_are_those_of_the_densities(name):
    entropy, mass = entropy_on_grid(distribution(name), bound=12.0 if name == "banana" else 6.0, points=160)
    assert mass == pytest.approx(1.0, abs=1e-3)
    assert NAMED[name].entropy == pytest.approx(entropy, abs=6e-3 if name == "banana" else 1e-3)


def test_presets_can_be_shown(lab):
    presets = lab("maps.presets")["presets"]
    assert [preset["name"] for preset in presets] == list(PRESETS)
    assert all(preset["flow"]["parts"] and preset["title"] for preset in presets)
    json.dumps(presets, allow_nan=False)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "moons"])
def test_the_python_of_a_preset_builds_its_flow(name):
    lines = {}
    exec(PRESETS[name].lines, lines)
    z = torch.randn(5, 2)
    assert torch.allclose(lines["flow"].bijection(z), preset_flow(name).bijection(z))
    assert not torch.allclose(preset_flow(name).bijection(z), z, atol=0.1)


def test_the_trained_flow_is_one_of_moons():
    x = distribution("moons").sample(2_000)
    with torch.no_grad():
        held_out = -preset_flow("moons").log_prob(x).mean()
    if not (Path(pf.lab.__file__).parent / "flows" / "moons.safetensors").exists():
        pytest.skip("the flow was not trained yet: python -m pushforward.lab.flows.make")
    assert held_out < NAMED["moons"].entropy + 0.1


def test_a_point_and_its_densities(lab):
    answer = lab("maps.point", flow="stack", z=[0.3, -0.7])
    flow = preset_flow("stack")
    x = torch.tensor(answer["x"])
    assert answer["log_prob"] == pytest.approx(answer["log_prob_z"] - answer["ladj"])
    assert answer["log_prob"] == pytest.approx(flow.log_prob(x).item(), abs=1e-4)
    assert flow.to_latent(x).tolist() == pytest.approx([0.3, -0.7], abs=1e-4)


def test_samples_and_true_densities(lab):
    answer = lab("data.sample", name="rings", n=50, seed=1)
    assert np.shape(answer["points"]) == (50, 2)
    assert answer["entropy"] == NAMED["rings"].entropy
    assert answer == lab("data.sample", name="rings", n=50, seed=1)
    density = np.array(lab("data.density", name="banana", bounds=[-6, 6], size=60)["density"])
    assert density.sum() * 0.2**2 == pytest.approx(1.0, abs=0.02)
    assert density[::-1].argmax() != density.argmax()  # rows go from below: a banana is not symmetric


# --- tables

CSV = "x,y,name,same\n" + "".join(f"{k},{k * k},n{k},1\n" for k in range(30)) + ",5,a,1\n"


def test_a_table_and_two_of_its_columns(lab):
    before = set(Path(tempfile.gettempdir()).glob("flow-lab-*"))
    opened = lab("table.open", name="t.csv", content=in_base64(CSV))
    assert opened == {"columns": ["x", "y"], "rows": 31}
    assert lab("table.columns", x="y", y="x")["points"][:3] == [[0, 0], [1, 1], [4, 2]]
    assert len(lab("table.columns", x="x", y="y")["points"]) == 30
    assert set(Path(tempfile.gettempdir()).glob("flow-lab-*")) == before


def test_long_tables_are_thinned(lab, monkeypatch):
    monkeypatch.setattr("pushforward.lab.tables.MOST_POINTS", 7)
    lab("table.open", name="t.csv", content=in_base64(CSV))
    assert len(lab("table.columns", x="x", y="y")["points"]) == 7


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "", "content is missing|the file is empty"),
        ("t.csv", "x,y\n", "^t.csv: the table has a header but no rows"),
        ("t.txt", CSV, "^t.txt: the name of a table must end in one of"),
        ("t.parquet", CSV, "^t.parquet: not a Parquet file"),
        ("t.csv", "a,b\n1,x\n2,y\n", "^t.csv: two columns of numbers are needed; the table has 1"),
        ("../../etc/passwd", CSV, "^passwd: the name of a table must end in one of"),
        ("\N{WAVE DASH}" * 96 + ".csv", CSV, "no file of this name can be written"),
    ],
)
def test_bad_tables(lab, name, content, sentence):
    assert _matches(sentence, lab.error("table.open", name=name, content=in_base64(content)))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv.zst", "parquet", "feather", "arrow"])
def test_tables_that_are_large_when_unpacked(tmp_path, monkeypatch, suffix):
    rows = pa.table({"x": [float(k % 7) for k in range(5_000)], "y": ["the same text"] * 5_000})
    path = tmp_path / f"t.{suffix}"
    write_table(rows, path)
    assert read_table(path.name, path.read_bytes()).num_rows == 5_000
    monkeypatch.setattr(unpacked, "MOST_ROWS", 4_999)
    with pytest.raises(TableError, match=rf"^t\.{suffix}: the table has more than 4,999 rows\. Take a part of them\."):
        read_table(path.name, path.read_bytes())
    monkeypatch.setattr(unpacked, "MOST_ROWS", 5_000)
    monkeypatch.setattr(unpacked, "MOST_UNPACKED", 15_000)
    with pytest.raises(TableError, match=rf"^t\.{suffix}: unpacked, the table is larger than 0 MB\. Take a part"):
        read_table(path.name, path.read_bytes())


def write_table(rows, path):
    if path.suffix == ".parquet":
        pq.write_table(rows, path, use_dictionary=False)
    elif path.suffix in (".feather", ".arrow"):
        new = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
        with new(str(path), rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(rows)
    else:
        compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        with pa.output_stream(str(path), compression=compression) as stream:
            pacsv.write_csv(rows, stream, pacsv.WriteOptions(delimiter="\t" if ".tsv" in path.name else ","))


def test_the_size_of_a_feather_file_is_measured_before_it_is_unpacked(tmp_path):
    rows = pa.table({"x": np.zeros(9_999), "y": pa.array(["a", "b", None] * 3_333).dictionary_encode()})
    for compression in ("zstd", "lz4", None):
        for suffix in (".feather", ".arrow"):
            path = tmp_path / f"t{suffix}"
            new = pa.ipc.new_file if suffix == ".feather" else pa.ipc.new_stream
            with new(str(path), rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
                writer.write_table(rows)
            sizes = list(unpacked._sizes_of_batches(path))
            assert len(sizes) == 2  # the categories, and the rows
            assert sizes[1] == pytest.approx(9_999 * (8 + 4 + 1 / 8), abs=200)


def test_a_table_that_cannot_be_kept_says_why(lab, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    error = lab.error("table.open", name="t.csv", content=in_base64(CSV))
    assert error == "t.csv: cannot be kept in the folder for temporary files (No space left on device)."


def test_columns_that_are_not_there(lab):
    assert "no table is open" in lab.error("table.columns", x="x", y="y")
    lab("table.open", name="t.csv", content=in_base64("x,y,z\n1,,2\n2,,1\n,1,4\n,3,5\n"))
    assert "there is no column 'name' of numbers. Those are 'x', 'y', 'z'" in lab.error(
        "table.columns", x="x", y="name"
    )
    assert "no row has a number in both 'x' and 'y'" in lab.error("table.columns", x="x", y="y")


def test_values_that_are_too_large_to_be_shown(lab):
    lab("table.open", name="t.csv", content=in_base64("a,b,c\n1,2,2e12\n3,4,3e12\n5,-6e12,7e12\n,8,9e12\n"))
    assert lab("table.columns", x="a", y="b") == {"points": [[1, 2], [3, 4]], "left_out": 2}
    error = lab.error("table.columns", x="a", y="c")
    assert error == "t.csv: no row has a number from -1e+12 to 1e+12 in both 'a' and 'c'."


@pytest.mark.parametrize(
    "odd", [pa.array([1.0, math.inf]), pa.array([1, 2**53 + 1]), pa.array([1, 2**62]).cast(pa.timestamp("us"))]
)
def test_an_odd_column_is_left_out(lab, odd):
    columns = {"a": [1.0, 2.0], "b": [2.0, 3.0], "odd": odd}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    content = in_base64(sink.getvalue().to_pybytes())
    assert lab("table.open", name="t.parquet", content=content) == {"columns": ["a", "b"], "rows": 2}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": columns["a"], "odd": odd}), sink)
    error = lab.error("table.open", name="t.parquet", content=in_base64(sink.getvalue().to_pybytes()))
    assert error.startswith("t.parquet: column 'odd' holds ")


# --- refusals

REFUSALS = [
    ("data.sample", {"name": "moons", "colour": 1}, "there is no argument 'colour'; the arguments are: name, n, seed"),
    ("data.sample", {}, "the argument name is missing"),
    ("data.sample", {"name": 3}, "name must be one of moons, .*; got 3"),
    ("data.sample", {"name": "sun"}, "name must be one of"),
    ("data.sample", {"name": "moons", "n": 0}, "n must be a whole number from 1 to 20000; got 0"),
    ("data.sample", {"name": "moons", "n": True}, "n must be a whole number"),
    ("data.sample", {"name": "moons", "n": 1.5}, "n must be a whole number"),
    ("data.sample", {"name": "moons", "n": math.nan}, "n must be a whole number from 1 to 20000; got nan"),
    ("data.sample", {"name": "moons", "n": math.inf}, "got an enormous number"),
    ("data.sample", {"name": "moons", "n": 10**5000}, "got an enormous number"),
    ("data.sample", {"name": "moons", "n": "5" * 1000}, "got '55555.*\\.\\.\\."),
    ("data.density", {"name": "moons", "bounds": [1], "size": 4}, "bounds must be a list of two numbers"),
    ("data.density", {"name": "moons", "bounds": [1, "2"], "size": 4}, "bounds must be a list of two numbers"),
    ("data.density", {"name": "moons", "bounds": [1, 1e13], "size": 4}, "bounds must be a list of two numbers"),
    ("data.density", {"name": "moons", "bounds": [2, 1], "size": 4}, r"with low < high; got \[2, 1\]"),
    ("maps.point", {"flow": "squash", "z": [math.nan, 1]}, "z must be a list of two numbers of at most 1e"),
    ("maps.point", {"flow": "training", "z": [0, 0]}, "No flow is being trained"),
    ("table.open", {"name": "\ud800.csv", "content": "eA=="}, "^There can be no file of this name\\.$"),
    ("table.open", {"name": "", "content": "x"}, "name must be a text of 1 to 255 characters"),
    ("table.open", {"name": "t.csv", "content": 5}, "content must be a text in base64; got 5"),
    ("table.open", {"name": "t.csv", "content": "?"}, "content is no valid base64"),
    ("table.open", {"name": "t.csv", "content": "A" * 28_000_000}, "the file is larger than 20 MB"),
    ("train.start", {}, "either points or data must say what to learn from"),
    ("train.start", {"data": "moons", "points": [[0, 0]] * 30}, "either points or data"),
    ("train.start", {"data": "moons", "depth": 9}, "depth must be a whole number from 1 to 8"),
    ("train.start", {"data": "moons", "learning_rate": "fast"}, "learning_rate must be a number from 1e-06 to 10"),
    ("train.start", {"data": "moons", "paused": "no"}, "paused must be true or false; got 'no'"),
    ("train.start", {"data": "moons", "steps_per_second": 1e-300}, "steps_per_second must be 0 or at least 0.01"),
    ("train.start", {"points": 5}, "points must be a list of 20 to 20,000 points; got 5"),
    ("train.start", {"points": [[0, 0]] * 3}, "points must be a list of 20 to 20,000 points; got 3"),
    ("train.start", {"points": [[0, 0]] * 19 + [[0, math.inf]]}, "point 20 must be a list of two numbers"),
    ("train.start", {"points": [[0, 0]] * 19 + [3]}, "point 20 must be a list of two numbers .*; got 3"),
    ("train.start", {"points": [[k, 2] for k in range(30)]}, "y has the same value in all points"),
    ("train.start", {"points": [[k, 1e9 + 1e-7 * (k % 2)] for k in range(30)]}, "y has the same value in all points"),
    ("train.start", {"points": [[k * 1e-200, k] for k in range(30)]}, "x varies by less than 1e-140"),
    ("train.pause", {}, "train.pause: there is no training"),
    ("model.open", {"name": "m.safetensors"}, "No folder of models is open"),
    ("model.sample", {}, "model.sample: no model is open"),
]


@pytest.mark.parametrize(("call", "arguments", "sentence"), REFUSALS, ids=range(len(REFUSALS)))
def test_refusals_are_one_sentence(lab, call, arguments, sentence):
    error = lab.error(call, **arguments)
    assert _matches(sentence, error)
    assert len(error) < 400
    assert "Traceback" not in error
    lab("info")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (None, "A message must be an object"),
        ([1, 2], "got a list of 2"),
        ({}, "There is no call None"),
        ({"id": 1, "call": "exit"}, "There is no call 'exit'"),
        ({"id": 1, "call": ["info"]}, "There is no call a list of 1"),
        ({"call": "info"}, '"id" must be a whole number or a text'),
        ({"id": True, "call": "info"}, '"id" must be'),
        ({"id": 10**5000, "call": "info"}, '"id" must be'),
        ({"id": -(10**5000), "call": "info"}, '"id" must be'),
        ({"id": "x" * 100, "call": "info"}, '"id" must be'),
        ({"id": 1, "call": "info", "with": 3}, '"with" must be an object; got 3'),
    ],
)
def test_messages_that_are_none(lab, message, sentence):
    lab.session.handle(message)
    assert _matches(sentence, lab.until(lambda answer: "error" in answer)["error"])


def test_only_so_many_calls_wait(lab, monkeypatch):
    monkeypatch.setattr(lab_session, "MOST_WAITING", 0)
    assert "0 calls wait for an answer already" in lab.error("maps.presets")


def test_only_so_many_bytes_wait(monkeypatch):
    monkeypatch.setattr(lab_session, "MOST_BYTES_WAITING", 2 * 2**20)
    lab, may_go_on = Caller(), threading.Event()
    lab.session._calls["table.open"] = lab_session.Call(lambda arguments: may_go_on.wait(60), ("content",))
    for number in (1, 2):
        lab.session.handle({"id": number, "call": "table.open", "with": {"content": "x" * 2**20}})
    lab.session.handle({"id": "told", "call": "maps.presets"}, 1)
    assert "hold 2 MB already" in lab.until(lambda message: message.get("id") == "told")["error"]
    may_go_on.set()
    lab.until(lambda message: message.get("id") == 2)
    lab.session.close()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TimeoutError(), r"^The training is busy\. Try again\.$"),
        (MemoryError(), "info: out of memory"),
        (FileNotFoundError(2, "No such file"), "info: No such file."),
        (KeyError("secret"), r"info: internal error \(KeyError\)\. This is a bug of pushforward: please report it\."),
    ],
)
def test_errors_of_the_library_are_sentences(lab, error, sentence):
    def fail(arguments):
        raise error

    lab.session._calls["info"] = lab_session.Call(fail, is_quick=True)
    assert _matches(sentence, lab.error("info"))


def test_a_closed_session_says_nothing(lab):
    lab.session.close()
    lab.session.handle({"id": 1, "call": "info"})
    lab.session.handle({"id": 2, "call": "maps.presets"})
    lab.session.close()
    assert lab.messages == []
    with pytest.raises(LabError, match="The session is closed"):
        lab.session._training._begin(None, None, paused=True)


def test_there_must_be_a_folder():
    with pytest.raises(ValueError, match="no/such: there is no such folder"):
        Caller("no/such")


# --- training


def test_training_tells_how_it_goes_and_ends_with_the_session(quick_baselines):
    threads = torch.get_num_threads()
    lab = Caller()
    answer = lab("train.start", data="moons", **SMALL)
    assert answer["entropy"] == NAMED["moons"].entropy
    assert set(answer["scale"]) == {"mean", "deviation"}
    event = lab.event(lambda data: data["step"] >= 60)
    assert event["running"]
    assert event["run"] == answer["run"]
    assert event["flow"]["parts"]
    assert math.isfinite(event["loss"])
    assert 0 <= event["events_share"] < 1
    first = lab.events()[0]
    assert first["step"] == 0
    assert first["held_out"] > NAMED["moons"].entropy
    later = lab.event(lambda data: data["step"] > 0 and data["held_out"] is not None)
    assert later["held_out"] < first["held_out"] + 0.5
    answer = lab("maps.point", flow="training", z=[0.1, 0.2])
    assert answer["log_prob"] == pytest.approx(answer["log_prob_z"] - answer["ladj"])
    lab.session.close()
    count = len(lab.messages)
    assert not [thread for thread in threading.enumerate() if thread.name == "flow-lab-training"]
    assert torch.get_num_threads() == threads
    assert len(lab.messages) == count


def test_pause_step_reset_and_resume(lab, quick_baselines):
    first = lab("train.start", data="banana", paused=True, **SMALL)["run"]
    start = lab.event(lambda data: not data["running"])
    assert start["step"] == 0
    assert lab("train.step") == {"state": 1}
    stepped = lab.event(lambda data: data["step"] == 1)
    assert (stepped["running"], stepped["state"]) == (False, 1)
    assert lab("train.resume") == {"state": 2}
    lab.event(lambda data: data["step"] > 3)
    assert lab("train.pause") == {"state": 3}
    assert all(data["running"] == (data["state"] == 2) for data in lab.events())
    paused = lab.event(lambda data: data["step"] > 3 and not data["running"])
    assert lab("maps.point", flow="training", z=[0, 0])["x"] is not None
    reset = lab("train.reset")
    second = reset["run"]
    assert reset["state"] == 0
    assert second == first + 1
    again = lab.event(lambda data: data["run"] == second)
    assert (again["step"], again["running"]) == (0, False)
    assert again["flow"] == start["flow"]
    assert again["flow"] != paused["flow"]
    assert again["held_out"] == start["held_out"]
    assert max(data["step"] for data in lab.events() if data["run"] == second) == 0


def test_another_training_ends_the_one_before(lab, quick_baselines):
    lab("train.start", data="moons", steps_per_second=5, **SMALL)
    lab("train.start", data="rings", **SMALL)
    lab.event(lambda data: data["run"] == 2)
    assert len([thread for thread in threading.enumerate() if thread.name == "flow-lab-training"]) == 1


def test_likelihoods_are_in_the_units_of_the_user(lab, quick_baselines):
    points = np.random.default_rng(0).normal(size=(60, 2))
    far = 1.7e9 + 10 * points
    answers = [lab("train.start", points=rows.tolist(), paused=True, **SMALL) for rows in (points, far)]
    near, away = (lab.event(lambda data, run=answer["run"]: data["run"] == run)["held_out"] for answer in answers)
    assert away == pytest.approx(near + math.log(100), abs=1e-4)
    assert answers[1]["entropy"] is None
    assert answers[1]["scale"]["deviation"] == pytest.approx([10 * d for d in answers[0]["scale"]["deviation"]])


@pytest.mark.parametrize(("shift", "scale"), [(1e9, 1.0), (0.0, 1e-12), (0.0, 1e-100)])
def test_points_of_any_place_and_size_can_be_learned(lab, quick_baselines, shift, scale):
    points = np.random.default_rng(0).normal(size=(60, 2)) + shift / scale
    lab("train.start", points=(scale * points).tolist(), steps_per_second=0, **SMALL)
    event = lab.event(lambda data: data["step"] > 3)
    assert event["loss"] == pytest.approx(3 + 2 * math.log(scale), abs=3)


@pytest.mark.parametrize("error", [TrainingError("fit: the loss was not finite 4 times."), RuntimeError("no memory")])
def test_a_training_that_fails_says_why(lab, quick_baselines, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("pushforward.lab.training.fit", fail)
    run = lab("train.start", data="moons", **SMALL)["run"]
    failed = lab.event(lambda data: True, "train.failed")
    assert (failed["run"], failed["state"]) == (run, 1)
    assert _matches(
        r"^Training stopped\. (The loss was not finite 4 times\.|RuntimeError: no memory)$", failed["message"]
    )
    lab("train.pause")
    assert lab("maps.point", flow="training", z=[0, 0])["x"] is not None  # of a thread that has ended


def test_steps_with_a_rate_that_is_far_too_high_end_in_a_sentence_or_go_on(lab, quick_baselines):
    points = (np.random.default_rng(0).normal(size=(60, 2)) * [1e-3, 1e3]).tolist()
    lab("train.start", points=points, family="maf", univariate="affine", depth=8, hidden=8, learning_rate=10)
    lab.until(lambda m: m.get("event") == "train.failed" or m.get("data", {}).get("step", 0) >= 80)
    json.dumps(lab.messages, allow_nan=False)


def test_a_training_that_is_over_says_so(lab, quick_baselines, monkeypatch):
    monkeypatch.setattr("pushforward.lab.training.STEPS", 3)
    lab("train.start", data="moons", **SMALL)
    ended = lab.event(lambda data: data["step"] == 3 and not data["running"])
    assert (ended["held_out"] is not None, ended["state"]) == (True, 1)
    for call in ("train.resume", "train.step"):
        assert lab.error(call) == "The training has ended. Reset it, or start another one."
    assert lab("train.pause") == {"state": 1}
    assert lab("train.reset")["run"] == 2
    assert lab("train.step") == {"state": 1}


@pytest.mark.parametrize("univariate", ["affine", "spline"])
@pytest.mark.parametrize("family", ["maf", "coupling"])
def test_each_family_can_be_shown(lab, quick_baselines, family, univariate):
    lab("train.start", data="moons", family=family, univariate=univariate, depth=2, hidden=8, paused=True)
    kinds = [part["type"] for part in lab.event(lambda data: True)["flow"]["parts"]]
    assert kinds.count("triangular") == 2


def test_baselines_of_a_normal_distribution():
    rows = rows_of_points(np.random.default_rng(0).normal(size=(1_000, 2)) * [1.0, 100.0], 0)
    entropy = math.log(2 * math.pi * math.e) + math.log(100)
    likelihoods = baseline_likelihoods(rows, 0)
    assert set(likelihoods) == {"kde", "mixture"}
    assert all(abs(value - entropy) < 0.15 for value in likelihoods.values())


def test_baselines_of_the_same_points_are_computed_once(monkeypatch):
    calls = []
    monkeypatch.setattr("pushforward.lab.baselines._kernel_density", lambda rows, seed: calls.append(1) or math.inf)
    monkeypatch.setattr("pushforward.lab.baselines._mixture", lambda rows, seed: 1.5)
    monkeypatch.setattr("pushforward.lab.baselines.KEPT", 2)
    monkeypatch.setattr("pushforward.lab.baselines._kept", {})
    rows = [rows_of_points(np.random.default_rng(k).normal(size=(20, 2)), 0) for k in range(3)]
    for k in (0, 0, 1, 2, 0):
        assert baseline_likelihoods(rows[k], 0) == {"kde": None, "mixture": 1.5}
    assert len(calls) == 4


def test_held_out_points_are_others(lab):
    points = np.random.default_rng(0).normal(size=(40, 2))
    rows = rows_of_points(points, 3)
    assert len(rows.held_out) == 8
    assert sorted(np.concatenate([rows.train, rows.held_out]).tolist()) == sorted(points.tolist())
    assert lab_points.SHARE == 0.2


# --- pace, controls, messages, threads


@pytest.mark.parametrize("step", [0.1, 0.45, 0.7, 0.9])
def test_events_come_33_times_a_second_however_long_steps_take(step):
    now = [0.0]
    pace, times = Pace(clock=lambda: now[0]), []
    for _ in range(1000):
        now[0] += step * INTERVAL
        if pace.is_due():
            times.append(now[0])
            pace.count_event(0.0001, 0.0001)
    assert len(times) == pytest.approx(now[0] / INTERVAL, rel=0.02)
    assert np.diff(times).min() > 0.24 * INTERVAL


def test_events_take_little_time():
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    for _ in range(50):
        pace.count_event(0.03, 0.03)
    now[0] += 0.03 * (1 / SHARE - 1) * 0.9
    assert not pace.is_due()
    now[0] += 0.03 * (1 / SHARE - 1) * 0.2
    assert pace.is_due()
    slow = Pace(rate=1_000, clock=lambda: now[0])
    for _ in range(2):
        slow.count_event(0.0, 0.0, size=500)
    now[0] += 0.4
    assert not slow.is_due()
    now[0] += 0.2
    assert slow.is_due()
    slow.count_step(0.01)
    assert slow.steps_per_second == pytest.approx(100)


def test_questions_are_answered_between_steps_and_after_the_end():
    controls = Controls(paused=True)
    thread = threading.Thread(target=lambda: (controls.wait(0.0, lambda: None), controls.end()))
    thread.start()
    assert controls.ask(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        controls.ask(lambda: 1 / 0)
    controls.stop()
    thread.join()
    assert controls.ask(lambda: 8) == 8
    silent = Controls()
    with pytest.raises(TimeoutError):
        silent.ask(lambda: 9, seconds=0.01)
    silent._questions.append((lambda: 1, Future()))
    silent.end()
    assert not silent._questions


def test_steps_can_be_slow():
    controls, start = Controls(), time.monotonic()
    assert controls.wait(start + 0.05, lambda: pytest.fail("it is not paused"))
    assert time.monotonic() >= start + 0.05


def test_numbers_that_are_none_become_null():
    assert finite({"a": math.nan, 2: (math.inf, 1.5, np.float64("nan"))}) == {"a": None, "2": [None, 1.5, None]}
    assert write_message({"x": [math.nan], "at": Path("a")}) == '{"x":[null],"at":"a"}'
    with pytest.raises(ValueError, match="too many levels"):
        read_message("[" * 100_000)


def test_the_number_of_threads_comes_back_after_the_last_block():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_threaded():
            with single_threaded():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_that_leave_in_another_order_have_their_number_again():
    """The pool's thread leaves while the training is inside, and comes again when it is alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    inside, may_leave = threading.Event(), threading.Event()
    numbers = {}

    def train():
        with single_threaded():
            inside.set()
            assert may_leave.wait(60)
            numbers["inside"] = torch.get_num_threads()
        numbers["training"] = torch.get_num_threads()

    training = threading.Thread(target=train)
    try:
        with ThreadPoolExecutor(1) as pool:
            training.start()
            assert inside.wait(60)
            numbers["first"] = pool.submit(block).result()
            may_leave.set()
            training.join()
            numbers["second"] = pool.submit(block).result()
        with ThreadPoolExecutor(1) as pool:
            numbers["new"] = pool.submit(torch.get_num_threads).result()
        assert numbers == {"inside": 1, "training": 3, "first": (1, 3), "second": (1, 3), "new": 3}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def block():
    with single_threaded():
        inside = torch.get_num_threads()
    return inside, torch.get_num_threads()
