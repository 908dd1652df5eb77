"""Training shared out among processes: as one process, with the same rows, through kills and restarts."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.bijections import BatchNorm
from pushforward.core.locks import held
from pushforward.core.processes import ALONE, Processes
from pushforward.distributions import StandardNormal
from pushforward.train import Stepped, TrainingError
from pushforward.train.batches import Batch
from pushforward.train.draws import Draws
from pushforward.train.sharding import check_shards

PROGRAM = Path(__file__).parent / "programs" / "learn.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone")


def start(processes, command, *, restarts=0, **options):
    launch = [] if processes == 1 else [*LAUNCH, f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    first = command if launch else [sys.executable, *command]
    return subprocess.Popen(
        [*launch, *first], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def learn(folder, processes, **options):
    """What `tests/programs/learn.py` writes, run by so many processes."""
    folder.mkdir(exist_ok=True)
    with start(processes, [str(PROGRAM), str(folder), json.dumps(options)]) as running:
        output = "".join(running.communicate(timeout=300))
    assert running.returncode == 0, output
    return json.loads((folder / "result.json").read_text())


def batches_of(folder, rank=0):
    """Of each batch that a process saw: epoch, place of its first row, rows. Where it was seen again the last
    counts."""
    lines = [json.loads(line) for line in (folder / f"rows.{rank}").read_text().splitlines()]
    return {(epoch, row): rows for epoch, row, rows in lines}


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_two_and_four_processes_have_the_losses_of_one(tmp_path, dtype, tolerance):
    options = {"steps": 200, "batch_size": 64, "dtype": dtype, "validate_every": 50, "lr": 1e-3}
    one = learn(tmp_path / "1", 1, **options)
    for processes in (2, 4):
        several = learn(tmp_path / str(processes), processes, **options)
        assert list(several["losses"]) == list(one["losses"])
        assert len(one["losses"]) == 200
        assert list(several["losses"].values()) == pytest.approx(list(one["losses"].values()), abs=tolerance)
        assert several["validation"] == pytest.approx(one["validation"], abs=tolerance)
        assert batches_of(tmp_path / str(processes)) == batches_of(tmp_path / "1")
        assert len({(tmp_path / str(processes) / f"weights.{rank}").read_text() for rank in range(processes)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nsf", "real_nvp"])
def test_processes_that_keep_a_part_of_the_weights_each_have_the_losses_of_one(tmp_path, model):
    options = {"steps": 30, "batch_size": 64, "validate_every": 10, "lr": 1e-3, "model": model}
    for dtype, processes, large, tolerance in (("float64", 2, 1, 1e-10), ("float32", 3, 10**9, 1e-4)):
        one = learn(tmp_path / dtype, 1, dtype=dtype, **options)
        # Each conditioner by itself, or all weights together.
        several = learn(tmp_path / str(processes), processes, **options, dtype=dtype, shard=True, large=large)
        assert len(several["losses"]) == 30
        assert list(several["losses"].values()) == pytest.approx(list(one["losses"].values()), abs=tolerance)
        assert several["validation"] == pytest.approx(one["validation"], abs=tolerance)
        assert len({(tmp_path / str(processes) / f"weights.{rank}").read_text() for rank in range(processes)}) == 1


@pytest.mark.slow
def test_a_callback_that_stops_at_a_checkpoint_stops_all_processes(tmp_path):
    saved = {"checkpoint": str(tmp_path / "run.checkpoint"), "checkpoint_seconds": 0, "stop_at_checkpoint": True}
    result = learn(tmp_path / "run", 2, steps=100, batch_size=64, validate_every=10, **saved)
    assert result["stopped"] == "a checkpoint was written"
    assert result["steps"] < 100
    assert len({(tmp_path / "run" / f"weights.{rank}").read_text() for rank in range(2)}) == 1


def test_statistics_of_whole_batches_are_not_learned_in_parts():
    flow = pf.Flow(StandardNormal(2), BatchNorm(2).inv)
    with pytest.raises(TrainingError, match=r"BatchNorm takes its statistics from all rows of a batch, which several"):
        pf.fit(flow, torch.randn(100, 2), steps=2, accumulate=2, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 4])
def test_a_checkpoint_of_two_processes_is_continued_by_others_in_the_same_order(tmp_path, processes):
    options = {"batch_size": 64, "validate_every": 25, "decay": "constant"}
    whole = learn(tmp_path / "whole", 2, steps=40, **options)
    saved = {**options, "checkpoint": str(tmp_path / "run.checkpoint")}
    learn(tmp_path / "first", 2, steps=15, **saved)
    rest = learn(tmp_path / "rest", processes, steps=40, resume=True, **saved)
    assert batches_of(tmp_path / "first") | batches_of(tmp_path / "rest") == batches_of(tmp_path / "whole")
    later = {step: loss for step, loss in whole["losses"].items() if int(step) > 15}
    assert list(rest["losses"].values()) == pytest.approx(list(later.values()), abs=1e-4)


@pytest.mark.slow
def test_a_checkpoint_of_parts_is_continued_in_other_parts_and_in_one(tmp_path):
    options = {"batch_size": 63, "validate_every": 6, "decay": "constant", "dtype": "float64", "large": 1}
    whole = learn(tmp_path / "whole", 1, steps=20, **options)
    path = tmp_path / "run.checkpoint"
    saved = {**options, "checkpoint": str(path)}
    learn(tmp_path / "first", 2, steps=8, shard=True, **saved)
    written = path.read_bytes()
    for processes in (1, 3):
        path.write_bytes(written)
        rest = learn(tmp_path / str(processes), processes, steps=20, resume=True, shard=processes > 1, **saved)
        assert batches_of(tmp_path / "first") | batches_of(tmp_path / str(processes)) == batches_of(tmp_path / "whole")
        later = [loss for step, loss in whole["losses"].items() if int(step) > 8]
        assert list(rest["losses"].values()) == pytest.approx(later, abs=1e-10)
        assert rest["validation"][-3:] == pytest.approx(whole["validation"][-3:], abs=1e-10)


@pytest.mark.slow
def test_an_interrupt_leaves_the_weights_of_all_parts(tmp_path):
    options = {"steps": 400, "batch_size": 64, "dtype": "float64", "interrupt": 5, "validate_every": 4, "lr": 1e-2}
    one = learn(tmp_path / "one", 1, **options)
    several = learn(tmp_path / "several", 2, shard=True, large=1, checkpoint=str(tmp_path / "c"), **options)
    assert one["stopped"] == several["stopped"] == "interrupted"
    assert len({(tmp_path / "several" / f"weights.{rank}").read_text() for rank in range(2)}) == 1
    assert several["sum"] == pytest.approx(one["sum"], abs=1e-9)
    assert (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "count", "message"),
    [
        ({}, 1, "shard=True, but there is one process. Start several by torchrun"),
        ({"batch_size": 3}, 4, "a batch of 3 rows has not as many pieces in each of 4 processes"),
        ({"batch_size": 11, "accumulate": 3}, 3, "Let batch_size be a multiple of 9"),
        ({"compile": True}, 2, "compile=True needs whole weights"),
    ],
)
def test_what_cannot_be_learned_in_parts_is_refused(options, count, message):
    flow, schedule = pf.flows.maf(2, depth=1, hidden=(4,)), pf.train.Schedule(steps=2)
    how = {"loss": "", "data": "", "validation": "", "compile": False, "precision": None, "memory": None}
    how["patience"] = None
    schedule = replace(schedule, **{k: v for k, v in options.items() if k != "compile"})
    plan = schedule.plan(100, **how | {k: v for k, v in options.items() if k == "compile"})
    with pytest.raises(TrainingError, match=message):
        check_shards(flow, pf.train.MaximumLikelihood(), plan, Processes(0, count))
    with pytest.raises(TrainingError, match="shard=True is for maximum likelihood; ReverseKL"):
        check_shards(flow, pf.train.ReverseKL(lambda x: x[:, 0]), plan, Processes(0, 2))
    flow.register_parameter("single", torch.nn.Parameter(torch.tensor(1.0)))
    if not options:
        with pytest.raises(TrainingError, match="single is a single number, which has no parts"):
            check_shards(flow, pf.train.MaximumLikelihood(), plan, Processes(0, 2))


@pytest.mark.slow
def test_killed_processes_start_again_and_lose_and_double_no_row(tmp_path):
    options = {"steps": 60, "batch_size": 64, "validate_every": 20}
    expected = learn(tmp_path / "whole", 2, **options)
    folder = tmp_path / "killed"
    folder.mkdir()
    options |= {"checkpoint": str(folder / "run.checkpoint"), "checkpoint_seconds": 0.0, "resume": True, "pause": 0.05}
    with start(2, [str(PROGRAM), str(folder), json.dumps(options)], restarts=5) as running:
        for kill in range(2):
            pids = wait_for_processes(running, folder, 2 * (kill + 1))
            os.kill(pids[-1 - kill], signal.SIGKILL)
        output = "".join(running.communicate(timeout=300))
    assert running.returncode == 0, output
    result = json.loads((folder / "result.json").read_text())
    assert result["weights"] == expected["weights"]
    for rank in (0, 1):
        assert batches_of(folder, rank) == batches_of(tmp_path / "whole", rank)
    seen = Counter(row for (epoch, _), rows in batches_of(folder).items() for row in rows if epoch == 0)
    assert set(seen.values()) == {1}
    assert len(seen) == 512


def wait_for_processes(running, folder, count):
    """The numbers of all processes so far, when there were so many and the last ones have seen a few batches."""
    end, before = time.monotonic() + 120, None
    while time.monotonic() < end and running.poll() is None:
        pids, rows = pids_of(folder), folder / "rows.1"
        seen = rows.read_text().count("\n") if rows.exists() else 0
        if len(pids) < count:
            before = None
        elif before is None:
            before = seen
        elif seen > before + 5:
            return pids
        time.sleep(0.02)
    pytest.fail("".join(running.communicate()))


def pids_of(folder):
    path = folder / "pids"
    return [int(line.split()[1]) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
def test_processes_with_other_data_are_refused(tmp_path):
    with start(2, [str(PROGRAM), str(tmp_path), json.dumps({"steps": 5, "other_rows": True})]) as running:
        output = "".join(running.communicate(timeout=300))
    assert running.returncode != 0
    assert "fit: the processes do not learn the same" in output


@pytest.mark.slow
def test_the_command_line_in_two_processes_speaks_and_writes_once(tmp_path):
    table = tmp_path / "t.csv"
    rows = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).tolist()
    table.write_text("a,b\n" + "\n".join(f"{a},{b}" for a, b in rows))
    command = ["-m", "pushforward", "fit", str(table), "--out", str(tmp_path / "m.safetensors"), "--steps", "20"]
    with start(2, [*command, "--model", "nsf", "--json"]) as running:
        out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert json.loads(out)["steps"] == 20
    assert errors.count("training and") == 1
    assert pf.load(tmp_path / "m.safetensors").event_shape == (2,)
    assert not list(tmp_path.glob("*.checkpoint"))


def curve(**options):
    losses = []
    torch.manual_seed(0)
    flow = pf.flows.maf(2, depth=1, hidden=(8,)).double()
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    pf.fit(
        flow, x, progress=False, steps=30, batch_size=50,
        callbacks=lambda event: losses.append(event.loss) if isinstance(event, Stepped) else None, **options,
    )  # fmt: skip
    return losses


@pytest.mark.parametrize("pieces", [2, 3, 50, 80])
def test_accumulated_gradients_are_those_of_the_whole_batch(pieces):
    weights = torch.rand(300, generator=torch.Generator().manual_seed(1))
    weights[weights < 0.5] = 0.0  # whole pieces weigh nothing
    for options in ({}, {"weights": weights}):
        assert curve(accumulate=pieces, **options) == pytest.approx(curve(**options), abs=1e-12)


def test_a_checkpoint_from_before_gradients_were_accumulated_is_resumed(tmp_path):
    from pushforward.train.plan import Plan

    flow = pf.flows.maf(1, depth=1, hidden=(4,))
    path = tmp_path / "run.checkpoint"
    pf.fit(flow, torch.randn(100, 1), steps=5, checkpoint=path, progress=False)
    plan = Plan(**json.loads(read_state(path))["plan"])
    older = {name: value for name, value in vars(plan).items() if name != "accumulate"}
    assert not plan.check_resumes(older, path)


def read_state(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()["state"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_processes_share_all_rows_out(count):
    rows = Batch(torch.arange(5.0)[:, None], weights=torch.arange(5.0))
    parts = [rows.part(Processes(rank, count).part(5)) for rank in range(count)]
    assert torch.cat([part.x for part in parts]).equal(rows.x)
    assert sum(part.mass for part in parts) == rows.mass == 10
    sizes = [len(Batch(None, size=5).part(Processes(rank, count).part(5))) for rank in range(count)]
    assert sum(sizes) == 5
    assert max(sizes) - min(sizes) <= 1


def test_each_step_and_process_draws_numbers_of_its_own():
    draws = Draws(torch.nn.Linear(1, 1), 0)
    seen = set()
    for step in range(20):
        for rank in range(4):
            draws.begin_step(step, rank)
            seen.add(torch.rand((), generator=draws.generator).item())
    assert len(seen) == 80


def test_alone_nothing_is_sent():
    assert ALONE.sum([1.0, 2.0]) == [1.0, 2.0]
    assert ALONE.of_first(lambda: 3) == 3
    with pytest.raises(TrainingError, match=r"fit: distributed=True, but there is one process\. Start several by"):
        pf.fit(pf.flows.maf(1), torch.randn(50, 1), distributed=True)


def test_a_checkpoint_belongs_to_one_run_at_a_time(tmp_path):
    path = tmp_path / "run.checkpoint"
    flow, x = pf.flows.maf(1, depth=1, hidden=(4,)), torch.randn(100, 1)
    with held(path), pytest.raises(TrainingError, match=r"fit: the checkpoint .* is in use by another run \(process"):
        pf.fit(flow, x, steps=5, checkpoint=path, progress=False)
    pf.fit(flow, x, steps=5, checkpoint=path, progress=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.checkpoint"]


def test_locks_are_of_one_holder_among_threads(tmp_path):
    inside, most, refused = [], [0], [0]

    def work():
        for _ in range(30):
            try:
                with held(tmp_path / "x"):
                    inside.append(1)
                    most[0] = max(most[0], len(inside))
                    time.sleep(1e-4)
                    inside.pop()
            except ValueError:
                refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert refused[0] > 0


@pytest.mark.slow
def test_the_command_ends_with_its_model_when_it_is_asked_to(tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "m.safetensors"
    table.write_text("a,b\n" + "\n".join(f"{k % 17},{k * 0.37 % 5}" for k in range(400)))
    command = ["-m", "pushforward", "fit", str(table), "--out", str(out), "--steps", "100000", "--model", "mixed"]
    with start(1, command) as running:
        for line in running.stderr:
            if "training and" in line:
                break
        time.sleep(3.0)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=120)
    assert running.returncode == 130, errors
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    assert out.exists() == ("The best weights so far are in" in errors)
    assert (tmp_path / "m.safetensors.checkpoint").exists() == ("continue with --resume" in errors)


def test_a_request_to_end_is_as_good_as_ctrl_c(tmp_path):
    path = tmp_path / "run.checkpoint"
    flow = pf.flows.maf(1, depth=1, hidden=(4,))

    def hear(event):
        if isinstance(event, Stepped) and event.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        pf.fit(flow, torch.randn(100, 1), steps=50, checkpoint=path, callbacks=hear, progress=False)
    assert json.loads(read_state(path))["step"] == 7
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
