"""What Ctrl-C and ``kill -9`` leave of `pushforward fit` of a table with categories and gaps.

    .venv/bin/python benchmarks/interrupted_fits.py

Each run is a process of its own. Ctrl-C is sent so many seconds after the training began: a model and a checkpoint must
be there. Killed runs are resumed until one ends: its weights are compared bit for bit with those of a run that was not
killed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from results import machine, update_section

import pushforward as pf

# The command, with a checkpoint every half second instead of every thirty.
COMMAND = """
import functools, sys
from pushforward.estimators import learners
learners.fit = functools.partial(learners.fit, checkpoint_seconds=0.5)
from pushforward.cli import main
sys.argv[0] = "pushforward"
main()
"""
ROWS = 3_000


def people(path: Path) -> Path:
    random_numbers = np.random.default_rng(0)
    sex, age = random_numbers.choice(["F", "M"], ROWS), random_numbers.integers(18, 80, ROWS)
    income = np.exp(9 + 0.02 * age + 0.4 * (sex == "M") + 0.3 * random_numbers.normal(size=ROWS)).round(2)
    frame = pd.DataFrame({"age": age, "sex": sex, "income": income, "city": random_numbers.choice(list("ABCDE"), ROWS)})
    frame.loc[::7, "income"] = np.nan
    frame.to_csv(path, index=False)
    return path


def start(table: Path, out: Path, steps: int, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "fit", str(table), "--out", str(out), "--steps", str(steps), *options]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell in the background ignores it
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for_training(process: subprocess.Popen[str]) -> None:
    """Return when the line about the training rows is there; the training begins right after it."""
    assert process.stderr is not None
    for line in process.stderr:
        if "training and" in line:
            return
    raise SystemExit("the fit did not start")


def weights(path: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in pf.load(path).state_dict().items()}


def interrupted(table: Path, out: Path, after: float, steps: int) -> bool:
    """Whether Ctrl-C so many seconds after the start of the training leaves a model that scores, and a checkpoint."""
    process = start(table, out, steps)
    wait_for_training(process)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    there = out.exists() and Path(f"{out}.checkpoint").exists() and "Traceback" not in errors
    return there and process.returncode in (130, -signal.SIGINT) and len(weights(out)) > 0


def killed(table: Path, out: Path, draw: random.Random, steps: int, duration: float) -> int:
    """Kill runs at random moments and resume them until one ends; returns the number of kills."""
    kills = 0
    while True:
        process = start(table, out, steps, "--resume")
        if kills < 2:
            time.sleep(draw.uniform(0.2, 0.9) * duration)
        if kills < 2 and process.poll() is None:
            process.kill()
            process.wait()
            kills += 1
            continue
        process.communicate(timeout=600)
        return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="Ctrl-C after each of so many seconds")
    parser.add_argument("--kills", type=int, default=20, help="killed runs")
    parser.add_argument("--steps", type=int, default=600, help="of a run that is to be killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-results", action="store_true", help="print only; leave RESULTS.md alone")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        table = people(Path(folder, "people.csv"))
        left = [interrupted(table, Path(folder, f"c{k}"), 0.1 + k, 100_000) for k in range(arguments.seconds)]
        begin = time.monotonic()
        start(table, Path(folder, "whole"), arguments.steps).communicate()
        duration, whole = time.monotonic() - begin, weights(Path(folder, "whole"))
        counts: list[Any] = []
        for k in range(arguments.kills):
            out = Path(folder, f"k{k}")
            counts.append((killed(table, out, draw, arguments.steps, duration), weights(out) == whole))
    text = "\n".join([
        "## Interrupted fits of a table", "",
        f"`benchmarks/interrupted_fits.py --seconds {arguments.seconds} --kills {arguments.kills}` on {machine()}: "
        f"`pushforward fit` of {ROWS:,} rows with categories and gaps, in processes of their own.", "",
        f"* Ctrl-C 0.1, 1.1, ... seconds after the training began: {sum(left)} of {len(left)} runs left a model and a "
        "checkpoint.",
        f"* `kill -9` at random moments: {sum(n for n, _ in counts)} kills of {len(counts)} runs; "
        f"{sum(s for _, s in counts)} "
        "ended in the weights of the run that was not killed, bit for bit.",
    ])  # fmt: skip
    print(text)
    if not arguments.no_results:
        update_section("interrupted", text)
    if not all(left) or not all(same for _, same in counts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
