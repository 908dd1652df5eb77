"""Training shared out among processes: equal to one, through kills, and what the messages cost.

    .venv/bin/python benchmarks/processes.py equal
    .venv/bin/python benchmarks/processes.py kills --count 100
    .venv/bin/python benchmarks/processes.py messages
    .venv/bin/python benchmarks/processes.py shards

`equal` compares losses of 200 steps. `kills` kills one of two processes at random moments until so many are dead, lets
torchrun start them again, and counts the rows of each epoch and compares the weights, bit for bit. `messages` times a
step of 1, 2, 4 and 8 processes on the cores of this machine, with the messages and without (each process by itself on
its part of the batch): the difference is what the messages cost. `shards` measures the memory of each process with
whole weights and with `shard=True`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from results import machine, update_section

PROGRAM = Path(__file__).resolve().parent.parent / "tests" / "programs" / "learn.py"
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone")


def launched(processes: int, command: list[str], restarts: int = 0) -> subprocess.Popen[str]:
    first = (
        [*LAUNCH, f"--nproc-per-node={processes}", f"--max-restarts={restarts}"] if processes > 1 else [sys.executable]
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe that nobody reads would fill up
    process = subprocess.Popen([*first, *command], env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)
    process.stdout = output  # type: ignore[assignment]
    return process


def output_of(process: subprocess.Popen[str]) -> str:
    """What a process has written, when it has ended."""
    process.wait()
    output: Any = process.stdout
    output.seek(0)
    return str(output.read())


def learned(folder: Path, processes: int, **options: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    process = launched(processes, [str(PROGRAM), str(folder), json.dumps(options)])
    output = output_of(process)
    if process.returncode:
        raise SystemExit(output)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def equal() -> None:
    """Largest differences of losses from those of one process."""
    lines = []
    with tempfile.TemporaryDirectory() as place:
        for dtype in ("float32", "float64"):
            options = {"steps": 200, "batch_size": 64, "dtype": dtype, "lr": 1e-3, "rows": 2_000}
            one = learned(Path(place, f"{dtype}1"), 1, **options)["losses"]
            for processes in (2, 4):
                several = learned(Path(place, f"{dtype}{processes}"), processes, **options)["losses"]
                apart = max(abs(several[step] - one[step]) for step in one)
                lines.append(f"| {dtype} | {processes} | {apart:.1e} |")
    report("processes equal", "Losses of several processes", "equal", [
        "The largest difference of the loss from that of one process, over 200 steps of batches of 64 rows.", "",
        "| dtype | processes | difference |", "|---|---:|---:|", *lines,
    ])  # fmt: skip


def kills(count: int) -> None:
    """One of two processes dies, again and again."""
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        options: dict[str, Any] = {"steps": 6 * count, "batch_size": 64, "validate_every": 50, "rows": 1_000}
        expected = learned(Path(place, "whole"), 2, **options)
        folder = Path(place, "killed")
        folder.mkdir()
        options |= {
            "checkpoint": str(folder / "run.checkpoint"), "checkpoint_seconds": 0.0, "resume": True, "pause": 0.05,
        }  # fmt: skip
        process = launched(2, [str(PROGRAM), str(folder), json.dumps(options)], restarts=10 * count)
        began, dead = time.monotonic(), 0
        while dead < count and process.poll() is None:
            pids = pids_of(folder)
            if len(pids) < 2 * (dead + 1):
                time.sleep(0.05)
                continue
            time.sleep(dice.uniform(0.0, 3.0))
            try:
                os.kill(dice.choice(pids[-2:]), signal.SIGKILL)
            except ProcessLookupError:
                continue
            dead += 1
            print(f"{dead} kills, {time.monotonic() - began:.0f} s", flush=True)
        output = output_of(process)
        if process.returncode:
            raise SystemExit(output)
        result = json.loads((folder / "result.json").read_text())
        same_rows = all(batches_of(folder, rank) == batches_of(Path(place, "whole"), rank) for rank in (0, 1))
        counts = Counter((epoch, row) for (epoch, _), rows in batches_of(folder, 0).items() for row in rows)
        whole = list({e for e, _ in counts})
        rows = Counter(epoch for epoch, _ in counts)
    report("processes kills", "Processes that are killed", f"kills --count {count}", [
        f"{dead} random kills of one of two processes (SIGKILL: while they start, learn, write), {result['steps']:,}",
        f"steps, {len(whole):,} epochs of {max(rows.values()):,} rows; a checkpoint after every step.",
        "",
        "| | |",
        "|---|---|",
        f"| rows that an epoch saw twice | **{sum(n > 1 for n in counts.values())}** |",
        f"| batches as in the run without kills, row by row | {answer(same_rows)} |",
        f"| weights equal bit for bit | {answer(result['weights'] == expected['weights'])} |",
    ])  # fmt: skip


def answer(holds: bool) -> str:
    return "yes" if holds else "**no**"


def pids_of(folder: Path) -> list[int]:
    path = folder / "pids"
    return [int(line.split()[1]) for line in path.read_text().splitlines()] if path.exists() else []


def batches_of(folder: Path, rank: int) -> dict[tuple[int, int], list[int]]:
    """Rows by epoch and place; where a batch was seen again after a kill, the last time counts."""
    lines = [json.loads(line) for line in (folder / f"rows.{rank}").read_text().splitlines()]
    return {(epoch, row): rows for epoch, row, rows in lines}


STEP = """
import json, os, sys, time, torch
import pushforward as pf
from pushforward.core.processes import joined_processes
from pushforward.train import Stepped
processes, hidden, batch, together = *map(int, sys.argv[1:4]), sys.argv[4] == "together"
torch.set_num_threads(1)
torch.manual_seed(0)
flow = pf.flows.nsf(10, hidden=(hidden, hidden))
group = joined_processes()
x = torch.randn(20 * batch, 10, generator=torch.Generator().manual_seed(0))
times = []
size = batch if together else batch // processes
pf.fit(flow, x, steps=40, batch_size=size, validation=None, progress=False, distributed=None if together else False,
       callbacks=lambda event: times.append(time.perf_counter()) if isinstance(event, Stepped) else None)
if int(os.environ.get("RANK", 0)) == 0:
    steps = sorted(b - a for a, b in zip(times[10:], times[11:]))
    print(json.dumps({"seconds": steps[len(steps) // 2], "weights": sum(p.numel() for p in flow.parameters())}))
"""


def messages() -> None:
    """Seconds of a step with and without messages."""
    lines = []
    program = Path(tempfile.mkdtemp(), "step.py")
    program.write_text(STEP)
    for hidden in (64, 512):
        for processes in (1, 2, 4, 8):
            seconds, weights = {}, 0
            for kind in ("alone", "together"):
                of_rounds = []
                for _ in range(3):
                    done = launched(processes, [str(program), str(processes), str(hidden), "1024", kind])
                    output = output_of(done)
                    lines_of_first = [json.loads(line) for line in output.splitlines() if line.startswith('{"seconds"')]
                    if not lines_of_first:
                        raise SystemExit(output)
                    of_rounds.append(lines_of_first[0]["seconds"])
                    weights = lines_of_first[0]["weights"]
                seconds[kind] = statistics.median(of_rounds)
            cost = seconds["together"] - seconds["alone"]
            lines.append(
                f"| {weights:,} | {processes} | {1e3 * seconds['alone']:.1f} | {1e3 * seconds['together']:.1f} | "
                f"{1e3 * cost:.1f} | {8 * weights * (processes - 1) / processes / 1e6:.1f} |"
            )
    report("processes messages", "What messages between processes cost", "messages", [
        "Milliseconds of a step of 1,024 rows of ten columns in all; medians of three runs of 30 steps.",
        "Eight processes share two cores here, so that only the difference says something: what each sends and gets",
        "through gloo.", "",
        "| weights | processes | without messages | with | difference | MB sent by each, in theory |",
        "|---:|---:|---:|---:|---:|---:|", *lines,
    ])  # fmt: skip


OF_SHARDS = """
import ctypes, json, os, sys, time, torch
import pushforward as pf
from pushforward.train import Stepped, Stopped
shard = sys.argv[1] == "shard"
torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
pf.fit(pf.flows.maf(10, depth=1, hidden=(8,)), x, steps=3, batch_size=64, progress=False, shard=shard)  # loads packages
flow = pf.flows.maf(10, depth=4, hidden=(2048, 2048))
times, kept = [], []

def resident():
    ctypes.CDLL(None).malloc_trim(0)  # what is freed and not yet given back does not count
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def hear(event):
    if isinstance(event, Stepped):
        times.append(time.perf_counter())
    elif isinstance(event, Stopped):
        kept.append(resident())

before = resident()
pf.fit(flow, x, steps=9, batch_size=64, validate_every=4, validation=(x[:64],), progress=False, shard=shard,
       callbacks=hear)
if int(os.environ.get("RANK", 0)) == 0:
    steps = sorted(b - a for a, b in zip(times[2:], times[3:]))
    weights = sum(p.numel() for p in flow.parameters())
    copies = (kept[0] - before) / weights / 4
    print(json.dumps({"seconds": steps[len(steps) // 2], "weights": weights, "copies": copies}))
"""


def shards() -> None:
    """Memory of each process with whole weights and with parts of them."""
    program, lines, weights = Path(tempfile.mkdtemp(), "shards.py"), [], 0
    program.write_text(OF_SHARDS)
    for processes in (1, 2, 4):
        row = []
        for kind in ("whole", "shard") if processes > 1 else ("whole",):
            output = output_of(launched(processes, [str(program), kind]))
            of_first = [json.loads(line) for line in output.splitlines() if line.startswith('{"seconds"')]
            if not of_first:
                raise SystemExit(output)
            weights = of_first[0]["weights"]
            row.append(f"{1 + of_first[0]['copies']:.1f} | {1e3 * of_first[0]['seconds']:.0f}")
        lines.append(f"| {processes} | {' | '.join(row)} |" + " | |" * (processes == 1))
    report("processes shards", "Weights shared out among processes", "shards", [
        f"Four layers of 2,048 by 2,048 hidden units, {weights:,} weights in float32, batches of 64 rows. Memory is",
        "what a process keeps between steps, counted in copies of all weights; in theory 10 with whole weights and",
        "1 + 10 / p in parts.", "",
        "| processes | copies, whole weights | ms of a step | copies, in parts | ms of a step |",
        "|---:|---:|---:|---:|---:|", *lines,
    ])  # fmt: skip


def report(name: str, title: str, command: str, lines: list[str]) -> None:
    text = [
        f"## {title}",
        "",
        f"    .venv/bin/python benchmarks/processes.py {command}",
        "",
        f"{machine()}. {lines[0]}",
    ]
    print("\n".join(text + lines[1:]))
    update_section(name, "\n".join(text + lines[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("equal", "kills", "messages", "shards"))
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    {"equal": equal, "kills": lambda: kills(arguments.count), "messages": messages, "shards": shards}[arguments.what]()


if __name__ == "__main__":
    main()
