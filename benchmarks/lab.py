"""Flow Lab while it is watched: first paint, pictures and steps a second, and how long a model takes to answer.

    .venv/bin/python benchmarks/lab.py FOLDER [--seconds 10 --rounds 3]

FOLDER holds a model file of a table of about ten columns. It needs node, `npm ci` in web/ and Chromium. Each round
trains the same flow without a page (`fit` with nothing that listens) and with a page in Chromium that draws it, one
after the other; steps are counted by the clock of the wall, pictures by the page.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from results import machine, update_section

from pushforward.core.allocator import keep_memory_of_steps
from pushforward.core.random_state import seeded
from pushforward.lab.points import PlaneRows, rows_of_target
from pushforward.lab.training_options import SlowDecay, TrainingOptions
from pushforward.train import Stepped, fit

WEB = Path(__file__).resolve().parent.parent / "web"
FLOWS = (("maf", "affine"), ("maf", "spline"), ("coupling", "affine"), ("coupling", "spline"), ("planar", "spline"))


def alone(options: TrainingOptions, rows: PlaneRows, seconds: float) -> float:
    """Steps a second of the training that a page would show."""
    with seeded(options.seed):
        flow = options.build()
    count = 0

    def hear(event: Any) -> None:
        nonlocal count
        count += isinstance(event, Stepped)

    start = time.monotonic()
    fit(
        flow, rows.train, validation=(rows.held_out,), seconds=seconds, batch_size=256, lr=options.learning_rate,
        decay=SlowDecay(), ema=None, patience=None, validate_every=50, seed=0, progress=False, callbacks=hear,
    )  # fmt: skip
    return count / (time.monotonic() - start)


def watched(address: str, family: str, univariate: str, seconds: int) -> dict[str, Any]:
    environment = {**os.environ, "FLOW_LAB": address, "CHROMIUM": shutil.which("chromium") or os.environ["CHROMIUM"]}
    command = ["node", "tests/speed.mjs", family, univariate, str(seconds)]
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_memory_of_steps()
    command = [sys.executable, "-m", "pushforward", "lab", arguments.folder, "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    output: Any = server.stdout
    address = re.findall(r"http://\S+", output.readline())[0]
    threading.Thread(target=output.read, daemon=True).start()
    lines, paints, answers = [], [], []
    try:
        for family, univariate in FLOWS:
            pairs = []
            for _ in range(arguments.rounds):
                options = TrainingOptions(family=family, univariate=univariate)
                free = alone(options, rows_of_target("moons", 0), arguments.seconds)
                seen = watched(address, family, univariate, arguments.seconds)
                pairs.append((free, seen["steps"] / seen["elapsed"], seen["pictures"]))
                paints.append(seen["paint"])
                answers += [seen["answer"]] if seen["answer"] is not None else []
            free, steps, pictures = (statistics.median(column) for column in zip(*pairs, strict=True))
            share = statistics.median(b / a for a, b, _ in pairs)
            lines.append(f"| {family}, {univariate} | {free:.0f} | {steps:.0f} | {share:.2f} | {pictures:.0f} |")
            print(lines[-1], flush=True)
    finally:
        server.terminate()
    answer = f"{statistics.median(answers):.0f} ms" if answers else "no model in the folder"
    text = [
        "## Flow Lab, watched",
        "",
        "    .venv/bin/python benchmarks/lab.py FOLDER "
        f"--seconds {arguments.seconds} --rounds {arguments.rounds}    # FOLDER: a mixed-type model of ten columns",
        "",
        f"{machine()}. Training of four layers, 32 hidden units, on two moons, one core, with Chromium on the other.",
        f"First paint after {statistics.median(paints):.0f} ms; a model of the folder answers in {answer} (medians).",
        "",
        "| flow | steps a second, no page | with a page | ratio | pictures a second |",
        "|---|---:|---:|---:|---:|",
        *lines,
    ]
    update_section("flow lab", "\n".join(text))


if __name__ == "__main__":
    main()
