"""How time grows with the batch, the features, the depth and the bins; a log-log plot and the slopes.

    .venv/bin/python benchmarks/scaling.py

One thing varies at a time around 512 rows, 16 features, 4 layers, 8 bins, hidden (128, 128); autoregressive spline
flows after ``flow.use_kernels()``. The slope is that between the last two points of a curve: 1 is linear.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from results import machine, update_section

import pushforward as pf

BASE = {"rows": 512, "features": 16, "depth": 4, "bins": 8}
RANGES = {
    "rows": [2**k for k in range(4, 17)],
    "features": [2**k for k in range(1, 10)],
    "depth": [1, 2, 4, 8, 16, 32],
    "bins": [2, 4, 8, 16, 32, 64],
}
TASKS = ("step", "log_prob", "sample")


def tasks(rows: int, features: int, depth: int, bins: int) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    flow = pf.flows.nsf(features, depth=depth, bins=bins, hidden=(128, 128), mix="flip")
    for parameter in flow.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    flow.use_kernels()
    x = torch.randn(rows, features)
    optimizer = torch.optim.Adam(flow.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        (-flow(x).mean()).backward()
        optimizer.step()

    def scored() -> None:
        with torch.no_grad():
            flow.log_prob(x)

    return {"step": step, "log_prob": scored, "sample": lambda: flow.sample((rows,))}


def milliseconds(task: Callable[[], object]) -> float:
    """Median of so many calls as fit into a second, from three to thirty."""
    for _ in range(3):
        task()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or (len(times) < 30 and time.perf_counter() - begin < 1):
        start = time.perf_counter()
        task()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    figure, axes = plt.subplots(1, len(RANGES), figsize=(4 * len(RANGES), 3.6), sharey=True, layout="constrained")
    lines = [
        "## How time grows",
        "",
        "    .venv/bin/python benchmarks/scaling.py",
        "",
        f"{machine()}, {torch.get_num_threads()} threads, float32; milliseconds of autoregressive spline flows after",
        f"`flow.use_kernels()`, around {BASE}, hidden (128, 128). Slope: between the last two points, 1 is linear.",
        "",
        "| varied | task | values | ms | slope |",
        "|---|---|---|---|---:|",
    ]
    for axis, (name, values) in zip(axes, RANGES.items(), strict=True):
        curves: dict[str, list[float]] = {task: [] for task in TASKS}
        for value in values:
            for task, run in tasks(**{**BASE, name: value}).items():
                curves[task].append(milliseconds(run))
        for task, curve in curves.items():
            slope = math.log(curve[-1] / curve[-2]) / math.log(values[-1] / values[-2])
            cells = ", ".join(f"{ms:.1f}" if ms < 100 else f"{ms:.0f}" for ms in curve)
            lines.append(f"| {name} | {task} | {', '.join(map(str, values))} | {cells} | **{slope:.2f}** |")
            print(lines[-1], flush=True)
            axis.plot(values, curve, marker="o", ms=3, label=task)
        guide = [curves["step"][-1] * value / values[-1] for value in values]
        axis.plot(values, guide, color="grey", lw=0.8, ls=":", label="linear")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms")
    axes[0].legend(fontsize=8)
    lines += [
        "",
        "With more features than hidden units layers are widened to hold every degree, so that weights grow with the",
        "square of the features; up to there time grows more slowly than they do. At 65,536 rows an activation has",
        "32 MiB: more than the cache, and the first size that glibc gives back to the system after each use.",
    ]
    figure.savefig(Path(__file__).with_name("scaling.png"), dpi=110)
    update_section("scaling", "\n".join([*lines, "", "![time against size](scaling.png)"]))


if __name__ == "__main__":
    main()
