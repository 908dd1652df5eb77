"""The same flows in every library, side by side: one Adam step, `log_prob` and samples, in one run.

    make bench                                   # everything: makes the environments, about an hour
    .venv/bin/python benchmarks/peers.py --kinds maf --features 6 --peers zuko

Each library runs in a process of its own, jax and torch in environments of their own; one process at a time is asked
for one call, so that rounds go through all libraries and noise hits all alike. Widths are matched where a library
builds its networks in another way. Beside the ratio to the fastest peer stands the ratio to the floor: the
floating-point operations that the weights that are not masked need, at the rate of a matrix product in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from peer_worker import BINS, KINDS, LAYERS, ROWS
from results import machine, update_section

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS = ("ours", "ours-native", "ours-compiled")
COMPILING = ("ours-native", "ours-compiled", "flowjax")  # at the first call
EAGER = ("zuko", "nflows", "normflows")
PYTHONS = {"flowjax": ROOT / ".bench/jax/bin/python"} | dict.fromkeys(EAGER, ROOT / ".bench/torch/bin/python")
TASKS = ("step", "log_prob", "sample")
HIDDEN = 256
ROUNDS = 9
LONG = 1500.0  # milliseconds a call from which on there are two of them, not one in every round
SHORT = 300.0  # up to which a call that is not timed goes before: the other processes have emptied the caches
PAUSE = 0.02  # seconds before each call: threads of the process before may still spin, waiting for work
PARAMETERS = {"maf": 2, "nsf": 3 * BINS - 1, "coupling": 3 * BINS - 1}  # of a feature, from its conditioner
COLOURS = {
    **dict.fromkeys(OURS, "tab:blue"),
    "zuko": "tab:orange",
    "nflows": "tab:green",
    "normflows": "tab:purple",
    "flowjax": "tab:red",
}
TITLES = {"maf": "MAF", "nsf": "NSF-AR", "coupling": "NSF-coupling"}


class Worker:
    """A process with one library."""

    def __init__(self, name: str) -> None:
        self.name = name
        python = PYTHONS.get(name, ROOT / ".venv/bin/python")
        if not python.exists():
            raise SystemExit(f"peers.py: {python.relative_to(ROOT)} does not exist; `make bench` makes it.")
        command = [python, HERE / "peer_worker.py", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **request: Any) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended at {request}")
        (answer,) = json.loads(line).values()
        return float(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def matched_width(worker: Worker, kind: str, features: int, target: float) -> tuple[int, float]:
    """The width at which the library has as many weights as ours, and that number."""
    low, high = 16, 2 * HIDDEN
    weights = worker.ask(build=kind, features=features, width=HIDDEN)
    if abs(weights / target - 1) <= 0.02:
        return HIDDEN, weights
    while high - low > 4:  # the number of weights rises with the width
        width = (low + high) // 2
        low, high = (width, high) if worker.ask(build=kind, features=features, width=width) < target else (low, width)
    return high, worker.ask(build=kind, features=features, width=high)


def floor_flops(kind: str, features: int) -> float:
    """Twice the weights that are not masked, for all rows: the operations of one pass through all conditioners."""
    if kind == "coupling":
        half = features // 2
        weights = half * HIDDEN + HIDDEN * HIDDEN + HIDDEN * PARAMETERS[kind] * (features - half)
    else:
        weights = 0.0
        units = 1 + torch.arange(HIDDEN) * (features - 1) // HIDDEN
        weights += float((torch.arange(1, features + 1)[None] <= units[:, None]).sum())
        weights += float((units[None] <= units[:, None]).sum())
        weights += PARAMETERS[kind] * float((units[None] <= torch.arange(features)[:, None]).sum())
    return 2.0 * LAYERS * weights * ROWS


def matrix_rate() -> float:
    """Floating-point operations a millisecond of a 512 × 256 by 256 × 256 product."""
    a, b = torch.randn(ROWS, HIDDEN), torch.randn(HIDDEN, HIDDEN)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        a @ b
        times.append(1e3 * (time.perf_counter() - start))
    return 2.0 * ROWS * HIDDEN * HIDDEN / statistics.median(times)


def measure(workers: list[Worker], kind: str, features: int, rounds: int) -> dict[str, Any]:
    """Medians in milliseconds, and the most memory of a step, of every library for one flow."""
    weights = {}
    for worker in workers:
        if worker.name in OURS:
            weights[worker.name] = worker.ask(build=kind, features=features, width=HIDDEN)
        else:
            _, weights[worker.name] = matched_width(worker, kind, features, weights["ours"])
    times: dict[str, dict[str, list[float]]] = {w.name: {task: [] for task in TASKS} for w in workers}
    rates = [matrix_rate()]
    firsts = {}
    for worker in workers:  # compiles, allocates
        for task in TASKS:
            first = [worker.ask(run=task) for _ in range(2 if worker.name in COMPILING else 1)]
            firsts[worker.name, task] = first[-1]
            if first[-1] >= LONG:
                times[worker.name][task].append(first[-1])
    for _ in range(rounds):
        for worker in workers:
            for task in TASKS:
                values = times[worker.name][task]
                if not (len(values) >= 2 and values[0] >= LONG):
                    time.sleep(PAUSE)
                    values.append(worker.ask(run=task, warm=int(firsts[worker.name, task] < SHORT)))
        rates.append(matrix_rate())
    medians = {
        name: {task: statistics.median(values) for task, values in tasks.items()} for name, tasks in times.items()
    }
    memory = {worker.name: worker.ask(memory="step") for worker in workers}
    return {
        "kind": kind,
        "features": features,
        "weights": weights,
        "ms": medians,
        "mb": memory,
        "rate": statistics.median(rates),
        "floor": floor_flops(kind, features),
    }


def table(results: list[dict[str, Any]], peers: list[str]) -> list[str]:
    """One row for each flow, dimension and task."""
    ratios = ["fastest peer / ours", "eager peer / eager", "ours / floor"]
    head = ["flow", "D", "task", "ours", "native", "compiled", *peers, *ratios]
    lines = [f"| {' | '.join(head)} |", "|---|---:|---|" + "---:|" * (len(head) - 3)]
    for result in results:
        for task in TASKS:
            ms = {name: tasks[task] for name, tasks in result["ms"].items()}
            best = min(ms[name] for name in OURS)
            passes = 3 if task == "step" else 1
            floor = passes * result["floor"] / result["rate"]
            eager = [ms[name] for name in EAGER if name in ms]
            cells = [
                TITLES[result["kind"]],
                str(result["features"]),
                task,
                *(f"{ms[name]:.1f}" if ms[name] < 100 else f"{ms[name]:.0f}" for name in (*OURS, *peers)),
                f"**{min(ms[name] for name in peers) / best:.2f}**",
                f"{min(eager) / ms['ours']:.2f}" if eager else "",
                f"{best / floor:.1f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def memory_table(results: list[dict[str, Any]], peers: list[str]) -> list[str]:
    names = (*OURS, *peers)
    lines = [f"| flow | D | {' | '.join(names)} |", "|---|---:|" + "---:|" * len(names)]
    for result in results:
        cells = [f"{result['mb'][name]:.0f}" for name in names]
        lines.append(f"| {TITLES[result['kind']]} | {result['features']} | {' | '.join(cells)} |")
    return lines


def plot(results: list[dict[str, Any]], peers: list[str], path: Path) -> None:
    """Time against D for every library: one row of panels for each flow, one column for each task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    kinds = [kind for kind in KINDS if any(result["kind"] == kind for result in results)]
    figure, axes = plt.subplots(len(kinds), 3, figsize=(12, 3.4 * len(kinds)), squeeze=False, layout="constrained")
    for row, kind in zip(axes, kinds, strict=True):
        chosen = [result for result in results if result["kind"] == kind]
        for axis, task in zip(row, TASKS, strict=True):
            for k, name in enumerate((*OURS, *peers)):
                style: dict[str, Any] = {"color": COLOURS[name], "lw": 1}
                if name in OURS:
                    style |= {"lw": 2.2, "ls": (":", "-", "--")[k]}
                dims = [result["features"] for result in chosen]
                axis.loglog(
                    dims, [result["ms"][name][task] for result in chosen], marker="o", ms=3, label=name, **style
                )
            axis.set_xticks([result["features"] for result in chosen], [str(result["features"]) for result in chosen])
            axis.xaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
            axis.yaxis.set_minor_locator(NullLocator())
            axis.set_title(f"{TITLES[kind]}: {task}", fontsize=10)
            axis.grid(alpha=0.3)
        row[0].set_ylabel("ms")
    for axis in axes[-1]:
        axis.set_xlabel("features")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def section(results: list[dict[str, Any]], peers: list[str], rounds: int) -> str:
    """Everything as a section of RESULTS.md."""
    weights = [
        f"{TITLES[r['kind']]} {r['features']}: "
        + ", ".join(f"{name} {number:,.0f}" for name, number in r["weights"].items() if name not in OURS[1:])
        for r in results
    ]
    rates = [r["rate"] / 1e6 for r in results]
    lines = [
        "## Side by side",
        "",
        "    make bench" if rounds == ROUNDS else f"    make bench ARGS='--rounds {rounds}'",
        "",
        f"{machine()}, {torch.get_num_threads()} threads, float32, {ROWS} rows; five transforms,",
        f"conditioners with two hidden layers of {HIDDEN} (or as wide as makes the number of weights the same), {BINS}",
        f"bins. Times in ms: medians of {rounds} rounds through all libraries; of two calls where one takes",
        f"{LONG / 1000} s. *Ratios*: the fastest peer over the best of ours, the fastest eager peer over ours eager.",
        "*Native*: after `flow.use_kernels()`. *Compiled*: that, and `torch.compile(flow)` for densities and steps,",
        "whose graphs hold the same kernels. *Floor*: the operations that weights that are not masked need, at the",
        f"rate of a 512 × 256 × 256 product in the same run ({min(rates):.0f} to {max(rates):.0f} GFLOP/s).",
        "",
        *table(results, peers),
        "",
        "Memory of one step beyond what is there before it, in MiB:",
        "",
        *memory_table(results, peers),
        "",
        "Weights: " + "; ".join(weights) + ".",
        "",
        "![time against features](peers.png)",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--features", nargs="+", type=int, default=[6, 21, 43, 63])
    parser.add_argument("--peers", nargs="*", default=[*EAGER, "flowjax"], choices=[*EAGER, "flowjax"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    parser.add_argument("--read", type=Path, help="measure nothing: take the numbers of an earlier --json")
    arguments = parser.parse_args()
    results = json.loads(arguments.read.read_text(encoding="utf-8")) if arguments.read else []
    for kind in arguments.kinds if not results else ():
        for features in arguments.features:
            workers = [Worker(name) for name in (*OURS, *arguments.peers)]  # fresh: nothing kept from another flow
            try:
                results.append(measure(workers, kind, features, arguments.rounds))
            finally:
                for worker in workers:
                    worker.close()
            print("\n".join(table(results[-1:], arguments.peers)[0 if len(results) == 1 else 2 :]), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    text = section(results, arguments.peers, arguments.rounds)
    if len(results) == 4 * len(KINDS) and len(arguments.peers) == len(PYTHONS):
        plot(results, arguments.peers, HERE / "peers.png")
        update_section("peers", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
