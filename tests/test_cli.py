"""The command line from a table to a report: real files, most of it in this process, some in processes of their own."""

import inspect
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
from command_line import run, run_json
from tables import read_table

import pushforward as pf
from pushforward.estimators import FlowDensity
from pushforward.flows import FLOWS
from pushforward.train import Validated

TINY = ["--set", "depth=1", "--set", "hidden=8", "--set", "bins=4", "--steps", "40", "--batch-size", "64"]
COMMANDS = ("fit", "evaluate", "score", "sample", "report", "info", "demo")


def write_csv(path, rows=300, seed=0, columns=("a", "b", "temp", "id")):
    """A table with a curved dependence, a column to condition on and a counter."""
    draw = np.random.default_rng(seed)
    a, temp = draw.normal(size=rows), draw.uniform(0, 20, rows)
    all_columns = {"a": a, "b": a**2 + 0.3 * draw.normal(size=rows), "temp": temp, "id": np.arange(rows)}
    pacsv.write_csv(pa.table({name: all_columns[name] for name in columns}), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """train.csv, test.csv, plain.safetensors (a, b) and given.safetensors (a, b given temp), without id."""
    folder = tmp_path_factory.mktemp("cli")
    write_csv(folder / "train.csv")
    write_csv(folder / "test.csv", rows=120, seed=1)
    run("fit", folder / "train.csv", "--out", folder / "plain.safetensors", "--drop", "id,temp", *TINY)
    run(
        "fit", folder / "train.csv", "--out", folder / "given.safetensors", "--drop", "id", "--given", "temp", *TINY
    )  # fmt: skip
    return folder


# The way through


def test_fit_tells_what_it_did_and_deletes_its_checkpoint(tmp_path):
    table, out = write_csv(tmp_path / "train.csv"), tmp_path / "model.safetensors"
    result = run("fit", table, "--out", out, "--drop", "id", "--given", "temp", *TINY)
    assert "270 training and 30 validation rows of 'a', 'b' given 'temp', without 'id'" in result.stderr
    assert "All columns are real numbers without gaps: fitting nsf" in result.stderr
    for words in ("270 training rows", "nsf", "Gaussian", "Gaussian mixture", "train", "validation"):
        assert words in result.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "train.csv"]


def test_fit_as_json_and_what_the_file_keeps(tmp_path):
    table, out = write_csv(tmp_path / "train.csv"), tmp_path / "model.safetensors"
    answer = run_json("fit", table, "--out", out, "--drop", "id", "--given", "temp", *TINY)
    assert (answer["columns"], answer["given"], answer["dropped"]) == (["a", "b"], ["temp"], ["id"])
    assert (answer["train_rows"], answer["validation_rows"], answer["steps"]) == (270, 30, 40)
    assert set(answer["baselines"]) == {"independent", "gaussian", "gmm"}
    assert all(math.isfinite(answer[part]) for part in ("train", "validation", "validation_error"))
    kept = pf.io.read_header(out).metadata
    assert (kept["columns"], kept["given"], kept["column_types"]) == (["a", "b"], ["temp"], 2 * ["Continuous"])
    assert (kept["model"], kept["options"]) == ("nsf", {"depth": 1, "hidden": [8], "bins": 4})
    assert kept["train_rows"] == 270
    assert kept["history"]["records"][-1]["step"] == 40
    assert kept["history"]["best_validation"] == pytest.approx(answer["validation"], abs=1e-5)


def test_the_same_seed_gives_the_same_model(tmp_path):
    table = write_csv(tmp_path / "train.csv", columns=("a", "b"))
    hashes = []
    for name, seed in (("x", 1), ("y", 1), ("z", 2)):
        run("fit", table, "--out", tmp_path / name, "--seed", seed, *TINY)
        hashes.append([p.detach().numpy().tobytes() for p in pf.load(tmp_path / name).parameters()])
    assert hashes[0] == hashes[1] != hashes[2]


QUICK_FLOWS = ("circular_nsf", "maf", "nsf", "real_nvp", "triangular_map")


@pytest.mark.parametrize(
    "flow",
    [name if name in QUICK_FLOWS else pytest.param(name, marks=pytest.mark.exhaustive) for name in sorted(FLOWS)],
)
def test_every_flow_fits(tmp_path, flow):
    table = write_csv(tmp_path / "train.csv", columns=("a", "b"), rows=100)
    out = tmp_path / "model"
    if flow == "triangular_map":  # chooses its terms instead of taking steps
        answer = run_json("fit", table, "--out", out, "--model", flow, "--set", "terms=3")
        assert (answer["model"], answer["options"]) == (flow, {"terms": 3})
        assert pf.load(out).event_shape == (2,)
        return
    accepted = inspect.signature(FLOWS[flow]).parameters
    small = {"depth": "2", "hidden": "8", "period": "100"}  # wide enough for every angle of the table
    options = [word for name, value in small.items() if name in accepted for word in ("--set", f"{name}={value}")]
    answer = run_json("fit", table, "--out", out, "--model", flow, *options, "--steps", 5)
    assert answer["model"] == flow
    assert pf.load(out).event_shape == (2,)
    assert flow in run("fit", "--help").stdout


def test_fit_takes_a_validation_table_and_none_at_all(tmp_path, folder):
    table, out = write_csv(tmp_path / "train.csv", columns=("a", "b")), tmp_path / "model"
    answer = run_json("fit", table, "--out", out, "--validation", folder / "test.csv", *TINY)
    assert (answer["train_rows"], answer["validation_rows"]) == (300, 120)
    answer = run_json("fit", table, "--out", out, "--validation", "0", *TINY)
    assert (answer["train_rows"], answer["validation_rows"], answer["validation"]) == (300, 0, None)
    assert "0 validation rows" in run("fit", table, "--out", out, "--validation", "0", *TINY).stdout


def test_evaluate(folder):
    answer = run_json("evaluate", folder / "given.safetensors", folder / "test.csv")
    assert {"rows", "log_likelihood", "standard_error", "baselines"} <= answer.keys()
    assert set(answer["baselines"]) == {"independent", "gaussian", "gmm"}
    flow = pf.load(folder / "given.safetensors")
    rows = torch.from_numpy(read_table(folder / "test.csv", ["a", "b", "temp"]).values)
    assert answer["rows"] == 120
    assert answer["log_likelihood"] == pytest.approx(flow.log_prob(rows[:, :2], rows[:, 2:]).mean().item(), abs=1e-5)
    printed = run("evaluate", folder / "given.safetensors", folder / "test.csv")
    for words in ("this model", "Gaussian mixture", "120 rows", "nats"):
        assert words in printed.stdout


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather"])
def test_scores_are_those_of_log_prob_to_the_last_digit(tmp_path, folder, suffix):
    out = tmp_path / f"scores{suffix}"
    answer = run_json("score", folder / "given.safetensors", folder / "test.csv", "--out", out)
    flow = pf.load(folder / "given.safetensors")
    rows = torch.from_numpy(read_table(folder / "test.csv", ["a", "b", "temp"]).values)
    expected = flow.log_prob(rows[:, :2], rows[:, 2:]).double().detach().numpy()
    scores = read_table(out)
    assert scores.names == ("log_density",)
    assert np.array_equal(scores.values[:, 0], expected)
    assert (answer["rows"], answer["finite"]) == (120, 120)
    assert answer["mean_log_density"] == pytest.approx(expected.mean())


def test_a_model_of_python_with_float32_weights_scores_too(tmp_path):
    flow = pf.flows.maf(2, 1, depth=1, hidden=[4])
    pf.save(flow, tmp_path / "m", metadata={"columns": ["a", "b"], "given": ["temp"]})
    table = write_csv(tmp_path / "rows.csv", rows=5)
    run("score", tmp_path / "m", table, "--out", tmp_path / "s.csv")
    rows = torch.from_numpy(read_table(table, ["a", "b", "temp"]).values).float()
    expected = flow.eval().log_prob(rows[:, :2], rows[:, 2:]).double().detach().numpy()
    assert np.array_equal(read_table(tmp_path / "s.csv").values[:, 0], expected)
    assert run_json("evaluate", tmp_path / "m", table)["baselines"] == {}


def test_sample_draws_rows_that_can_be_scored(tmp_path, folder):
    out = tmp_path / "new.csv"
    answer = run_json("sample", folder / "given.safetensors", "-n", 50, "--given", "temp=12.5", "--out", out)
    assert answer == {"out": str(out), "rows": 50, "columns": ["a", "b", "temp"], "given": {"temp": 12.5}, "seed": 0}
    drawn = read_table(out)
    assert drawn.names == ("a", "b", "temp")
    assert drawn.values.shape == (50, 3)
    assert (drawn.values[:, 2] == 12.5).all()
    again = FlowDensity.load(folder / "given.safetensors").given({"temp": 12.5}).sample(50, 0)
    assert np.array_equal(drawn.values[:, :2], np.stack([again["a"], again["b"]], axis=1))
    run("score", folder / "given.safetensors", out, "--out", tmp_path / "scores.csv")


def test_sample_goes_by_the_seed(tmp_path, folder):
    def drawn(seed, rows=20):
        out = tmp_path / "new.parquet"
        run("sample", folder / "plain.safetensors", "-n", rows, "--out", out, "--seed", seed)
        return read_table(out).values

    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))
    many = drawn(0, rows=20_000)  # more than one block
    assert many.shape == (20_000, 2)
    assert len(np.unique(many[:, 0])) > 19_000


def test_report_writes_one_page(tmp_path, folder):
    out = tmp_path / "report.html"
    answer = run_json("report", folder / "given.safetensors", folder / "test.csv", "--out", out)
    page = out.read_text()
    assert answer["rows"] == 120
    assert page.count("<html") == 1
    assert "temp" in page
    assert page.count("data:image/png;base64") >= 3


def test_info_tells_what_the_file_holds(folder):
    printed = run("info", folder / "given.safetensors").stdout
    for words in (
        "a (Continuous), b (Continuous)",
        "temp",
        "left out",
        "id",
        "40 steps",
        "Gaussian mixture",
        pf.__version__,
        "Autoregress",
    ):
        assert words in printed
    answer = run_json("info", folder / "given.safetensors")
    assert answer["metadata"]["columns"] == ["a", "b"]
    assert answer["config"]["type"] == "Flow"
    assert answer["parameters"] == sum(p.numel() for p in pf.load(folder / "given.safetensors").parameters())


def test_info_of_a_model_saved_from_python(tmp_path):
    pf.save(pf.bijections.LU(2), tmp_path / "lu")
    printed = run("info", tmp_path / "lu").stdout
    assert "LU" in printed
    assert "columns" not in printed


# Stopping and going on


def test_ctrl_c_keeps_the_best_weights_and_resume_ends_in_the_same_ones(tmp_path, monkeypatch):
    from pushforward.estimators import learners

    table = write_csv(tmp_path / "train.csv", columns=("a", "b"))
    plain, stopped = tmp_path / "plain", tmp_path / "stopped"
    options = [*TINY, "--steps", 200]
    run("fit", table, "--out", plain, *options)

    def interrupted(*args, callbacks, **kwargs):
        def stop_at_the_third(event):
            if isinstance(event, Validated) and event.step >= 75:
                raise KeyboardInterrupt

        return real(*args, callbacks=[callbacks, stop_at_the_third], **kwargs)

    real = learners.fit
    monkeypatch.setattr(learners, "fit", interrupted)
    result = run("fit", table, "--out", stopped, *options, code=130)
    assert "Interrupted at step 75. The best weights so far are in" in result.stderr
    assert "continue with --resume" in result.stderr
    assert "Traceback" not in result.stderr
    assert pf.io.read_header(stopped).metadata["history"]["stopped"] == "interrupted"
    assert math.isfinite(run_json("evaluate", stopped, table)["log_likelihood"])
    assert (tmp_path / "stopped.checkpoint").exists()

    monkeypatch.setattr(learners, "fit", real)
    run("fit", table, "--out", stopped, *options, "--resume")
    assert not (tmp_path / "stopped.checkpoint").exists()
    ours, theirs = pf.load(plain).state_dict(), pf.load(stopped).state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in ours.items())


def test_resume_without_a_checkpoint_says_so(tmp_path):
    table = write_csv(tmp_path / "train.csv", columns=("a", "b"), rows=100)
    result = run("fit", table, "--out", tmp_path / "m", *TINY, "--resume")
    assert "There is no checkpoint" in result.stderr


def process(*arguments, **options):
    command = [sys.executable, "-m", "pushforward", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_ctrl_c_in_a_process_of_its_own(tmp_path):
    # Many rows: 20 looks at validation, after which the run may end by itself, are far away.
    table, out = write_csv(tmp_path / "train.csv", rows=20_000, columns=("a", "b")), tmp_path / "model"
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that: not this one.
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    running = process("fit", table, "--out", out, *TINY[:6], "--batch-size", 32, "--seconds", 300, **listening)
    first = running.stderr.readline()
    assert "training and 2,000 validation rows" in first, first + running.stderr.read()
    time.sleep(1.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    # A shell shows 130 for both: Python dies of the signal itself where it was inside an exec().
    assert running.returncode in (130, -signal.SIGINT), errors
    assert "Interrupted" in errors
    assert "Traceback" not in errors


# The terms every command keeps


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_the_common_options(name):
    printed = run(name, "--help").stdout
    assert f"pushforward {name}" in printed
    assert "Example" in printed
    for option in ("--json", "--debug"):
        assert option in printed
    # Accepted by all, and shown where numbers are drawn.
    assert ("--seed" in printed) == (name not in ("evaluate", "score", "info", "schema", "intervals"))


@pytest.mark.parametrize("name", ["evaluate", "score", "sample", "report", "info"])
def test_json_is_alone_on_standard_output(tmp_path, folder, name):
    table = [] if name in ("sample", "info") else [folder / "test.csv"]
    out = [] if name in ("evaluate", "info") else ["--out", tmp_path / "out.csv"]
    result = run(name, folder / "plain.safetensors", *table, *out, "--json", "--seed", 3)
    assert isinstance(json.loads(result.stdout), dict)
    assert result.stdout.count("\n") == 1
    if table:
        assert "ignoring columns 'temp', 'id'" in result.stderr


def test_wrong_usage_has_code_2(folder):
    assert "--out" in run("fit", folder / "train.csv", code=2).stderr
    assert "No such option" in run("info", folder / "plain.safetensors", "--jsn", code=2).stderr
    assert "No such command" in run("fitt", code=2).stderr
    run("sample", folder / "plain.safetensors", "-n", "0", "--out", "x.csv", code=2)
    run("sample", folder / "plain.safetensors", "-n", "many", "--out", "x.csv", code=2)


def test_an_error_of_ours_has_code_70_and_a_trace_only_with_debug(folder, monkeypatch):
    import pushforward.cli.info as info_module

    def broken(model):
        raise KeyError("inner")

    monkeypatch.setattr(info_module, "describe", broken)
    result = run("info", folder / "plain.safetensors", code=70)
    assert "internal error (KeyError: 'inner'). This is a bug of pushforward: please report it" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in run("info", folder / "plain.safetensors", "--debug", code=70).stderr


def test_a_mistake_shows_its_trace_with_debug(folder):
    assert "Traceback" not in run("info", "nothing", code=1).stderr
    assert "Traceback" in run("info", "nothing", "--debug", code=1).stderr


def test_threads_are_set_for_the_command_only(folder):
    run("evaluate", folder / "plain.safetensors", folder / "test.csv", "--threads", "2")
    assert torch.get_num_threads() == 1


def test_numbers_that_are_not_finite_are_null_in_json(capsys):
    from pushforward.cli.common import emit

    emit({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": {"d": None}}


def test_demo_is_handed_its_options(tmp_path, monkeypatch):
    import pushforward.cli.demo as demo_module

    class Done:
        def to_dict(self):
            return {"report": "report.html"}

    def run_demo(folder, **options):
        assert folder == str(tmp_path)
        assert (options["seed"], options["seconds"], options["progress"]) == (4, 30.0, False)
        options["say"]("a remark")
        return Done()

    monkeypatch.setattr(demo_module, "run_demo", run_demo)
    result = run("demo", "--out", tmp_path, "--seed", 4, "--seconds", 30, "--json")
    assert json.loads(result.stdout) == {"report": "report.html"}
    assert "a remark" in result.stderr


def test_the_help_loads_no_torch():
    code = (
        "import sys\nfrom pushforward.cli import main\nsys.argv = ['pushforward', 'fit', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'sklearn', 'matplotlib'} & set(sys.modules)\nsys.exit(str(heavy or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pushforward fit train.parquet" in done.stdout
    assert done.stderr.strip() == ""


def test_the_installed_command_and_the_module_run(folder):
    command = Path(sys.executable).with_name("pushforward")
    for start in ([sys.executable, "-m", "pushforward"], [str(command)]):
        if Path(start[0]).exists():
            done = subprocess.run([*start, "--version"], capture_output=True, text=True, check=False)
            assert done.stdout == f"pushforward {pf.__version__}\n"


def test_a_closed_pipe_is_quiet(folder):
    running = process("info", folder / "plain.safetensors")
    running.stdout.close()
    errors = running.stderr.read()
    assert running.wait() == 141
    assert errors == ""


# Memory


def peak_memory(model, table, out) -> int:
    """The largest resident memory of a scoring process in kB.

    What `wait4` reports would not do: it counts the memory of this process, which the child had before its exec.
    """
    code = (
        "import sys\nfrom pushforward.cli import main\n"
        f"sys.argv = ['pushforward', 'score', {str(model)!r}, {str(table)!r}, '--out', {str(out)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
@pytest.mark.exhaustive
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_scoring_many_rows_takes_the_memory_of_few(tmp_path, suffix):
    few, many = 40_000, 160_000
    flow = pf.flows.maf(2, depth=1, hidden=[4], data_dtype="float64")
    pf.save(flow, tmp_path / "model", metadata={"columns": ["a", "b"]})
    values = np.random.default_rng(0).normal(size=(many, 2)).astype(np.float32)
    peaks = {}
    for rows in (few, many):
        table = pa.table({"a": values[:rows, 0], "b": values[:rows, 1]})
        path = tmp_path / f"{rows}{suffix}"
        pacsv.write_csv(table, path) if suffix == ".csv" else pq.write_table(table, path)
        peaks[rows] = peak_memory(tmp_path / "model", path, tmp_path / f"scores{suffix}")
    assert read_table(tmp_path / f"scores{suffix}").rows == many
    assert peaks[many] <= 1.1 * peaks[few], peaks
