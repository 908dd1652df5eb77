"""Speed of this checkout beside another one, call by call in one run: what a change of the code costs or gains.

    git worktree add /tmp/before REVISION
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/compare.py /tmp/before --rounds 15

Both checkouts build the flows of `peers.py`; every round asks both for the same call, in turning order, so that noise
of the machine hits both alike. A row is the median over rounds of the ratio after/before: below one is faster. Where
the allocator puts the weights moves the same code by 15 % from process to process, so rows over ``--limit`` are
measured again in ``--again`` pairs of new processes; the row is then the median over all pairs, beside their range,
and marked if it stays over the limit. ``--write`` keeps the table in `RESULTS.md`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from results import machine, update_section

HERE = Path(__file__).resolve().parent
VARIANTS = ("ours", "ours-native", "ours-compiled")
KINDS = ("maf", "nsf", "coupling")
TASKS = ("step", "log_prob", "sample")
SHORT = 40.0  # milliseconds: shorter calls are summed up until so much has passed
PAUSE = 0.005


class Checkout:
    """A process that builds and times the flows of one checkout."""

    def __init__(self, root: Path, variant: str) -> None:
        self.root, self.variant = root, variant
        environment = {**os.environ, "PYTHONPATH": str(root / "src")}
        command = [sys.executable, str(root / "benchmarks/peer_worker.py"), variant]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    def ask(self, **request: object) -> float:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("no pipe to the worker")
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.root} ({self.variant}) ended at {request}")
        (answer,) = json.loads(line).values()
        return float(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def ratio(pair: list[Checkout], task: str, rounds: int) -> tuple[float, float, float]:
    """(median of after/before, milliseconds before, milliseconds after) over the rounds."""
    for checkout in pair:
        checkout.ask(run=task, warm=2)
    repeats = max(1, round(SHORT / pair[0].ask(run=task, warm=1)))
    times: list[tuple[float, float]] = []
    for k in range(rounds):
        took = [0.0, 0.0]
        for side in (0, 1) if k % 2 else (1, 0):
            time.sleep(PAUSE)
            pair[side].ask(run=task)  # the other process has emptied the caches
            took[side] = statistics.median(pair[side].ask(run=task) for _ in range(repeats))
        times.append((took[0], took[1]))
    before, after = (statistics.median(column) for column in zip(*times, strict=True))
    return statistics.median(b / a for a, b in times), before, after


def in_new_processes(
    roots: list[Path], kind: str, features: int, variant: str, tasks: tuple[str, ...], rounds: int
) -> dict[str, tuple[float, float, float]]:
    """`ratio` of every task, in two processes made for it."""
    pair = [Checkout(root, variant) for root in roots]
    try:
        for checkout in pair:
            checkout.ask(build=kind, features=features, width=256)
        return {task: ratio(pair, task, rounds) for task in tasks}
    finally:
        for checkout in pair:
            checkout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="root of the other checkout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--features", nargs="+", type=int, default=[6, 63])
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--limit", type=float, default=1.05)
    parser.add_argument("--again", type=int, default=6, help="pairs of new processes for a row over the limit")
    parser.add_argument("--write", metavar="REVISION", help="write the table to RESULTS.md; the revision of `before`")
    options = parser.parse_args()
    roots = [options.before.resolve(), HERE.parent]
    lines = [
        "| flow | features | variant | task | before, ms | after, ms | after / before | range over processes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for kind, features, variant in itertools.product(options.kinds, options.features, options.variants):
        measured: dict[str, list[tuple[float, float, float]]] = {task: [] for task in TASKS}
        tasks = TASKS
        for number in range(1 + options.again):
            for task, row in in_new_processes(roots, kind, features, variant, tasks, options.rounds).items():
                measured[task].append(row)
            if number == 0:
                tasks = tuple(task for task in TASKS if measured[task][0][0] > options.limit)
            if not tasks:
                break
        for task, rows in measured.items():
            value, before, after = (statistics.median(column) for column in zip(*rows, strict=True))
            ratios = sorted(row[0] for row in rows)
            shown = f"{value:.3f}" + (" (!)" if value > options.limit else "")
            spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}" if len(rows) > 1 else ""
            cells = (kind, features, variant, task, f"{before:.2f}", f"{after:.2f}", shown, spread)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], flush=True)
    if options.write is not None:
        write(options.write, options.rounds, options.limit, lines)


def write(revision: str, rounds: int, limit: float, lines: list[str]) -> None:
    """The section of `RESULTS.md`."""
    command = f"OMP_NUM_THREADS=1 .venv/bin/python benchmarks/compare.py <checkout of {revision}> --rounds {rounds}"
    text = f"""## Beside revision {revision}

    {command} --write {revision}

One thread of {machine()}. Median over {rounds} rounds of the ratio of times, in turning order; rows above {limit} are
measured again in further pairs of new processes (the range is that of the pairs' medians) and marked (!) if their
median stays there. The before column is the revision with
the header without which its kernels do not compile for AVX-512.

"""
    update_section("compare", text + "\n".join(lines))


if __name__ == "__main__":
    main()
