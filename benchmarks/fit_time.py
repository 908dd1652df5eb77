"""How long fits of mixed-type models take, beside another checkout: A B A B, each in a process of its own.

    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/fit_time.py --against <checkout>/src

Seconds of processor time: of 1,000 steps of Adult (validations and calibration included) and of a wide table of 60
correlated columns, of the start of the wide model, and of a whole fit of iris after a first one; with ``--sets whole``
of a whole fit of Adult.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent


def measured(name: str, steps: int) -> list[float]:
    """Seconds of processor time, and the mean log-likelihood of held-out rows."""
    from pushforward.distributions import Continuous, MixedTypeModel
    from pushforward.estimators import FlowDensity

    warnings.simplefilter("ignore")
    types: Any = None
    if name == "iris":
        from sklearn.datasets import load_iris

        x = load_iris().data[np.random.default_rng(0).permutation(150)]
        train, test, options = x[:120], x[120:], {}
    elif name in ("adult", "whole"):
        from tables import CODES, read, split

        names, x = read("adult")
        types = {f"x{j}": "categorical" for j, column in enumerate(names) if column in CODES}
        train, test = split(x)
        options = {"steps": steps} if name == "adult" else {}
    else:
        generator = np.random.default_rng(0)
        x = generator.normal(size=(6_000, 60)) @ generator.normal(size=(60, 60)) / 8 + generator.normal(
            size=(6_000, 60)
        )
        train, test, options = x[:5_000], x[5_000:], {"steps": max(20, steps // 10)}
    if name == "start":
        model = MixedTypeModel([Continuous() for _ in range(60)]).to(dtype=torch.float32)
        MixedTypeModel([Continuous()] * 2).initialize(torch.as_tensor(train[:50, :2]))
        start = time.process_time()
        model.initialize(torch.as_tensor(train))
        return [time.process_time() - start, float("nan")]
    FlowDensity(random_state=0, steps=5).fit(train[:200, :3])
    start = time.process_time()
    model = FlowDensity(types=types, random_state=0, **options).fit(train)
    return [time.process_time() - start, float(model.score(test))]


def in_process(source: str, name: str, steps: int) -> list[float]:
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, __file__, "--measure", name, "--steps", str(steps)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in output.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="SRC", help="folder src of the other checkout")
    parser.add_argument("--sets", nargs="+", default=["iris", "start", "wide", "adult"], metavar="SET")
    parser.add_argument("--steps", type=int, default=1_000, help="of Adult; the wide table gets a tenth")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--measure", metavar="SET", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(*measured(arguments.measure, arguments.steps))
        return
    sources = [str(HERE.parent / "src"), *([arguments.against] if arguments.against else [])]
    for name in arguments.sets:
        runs: dict[str, list[list[float]]] = {source: [] for source in sources}
        for _ in range(arguments.repeats):
            for source in sources:
                runs[source].append(in_process(source, name, arguments.steps))
        for source in sources:
            seconds, scores = zip(*runs[source], strict=True)
            shown = ", ".join(f"{second:.2f}" for second in seconds)
            print(f"{name}: {source}: {shown} s of processor time; held-out {scores[0]:.3f} nats", flush=True)
        if arguments.against:
            ratio = min(run[0] for run in runs[sources[1]]) / min(run[0] for run in runs[sources[0]])
            print(f"{name}: {ratio:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
