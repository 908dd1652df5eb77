"""Peak memory and time of one training step against depth, for what a chain may keep for its gradients.

    .venv/bin/python benchmarks/memory.py

Every measurement is a process of its own. Its peak is that of the resident memory during a step, less what was there
before it, when weights, gradients and the state of the optimiser already were; Linux only. There each tensor has pages
of its own (MALLOC_MMAP_THRESHOLD_), or the peak would count holes that the allocator leaves; times are taken without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peer_worker import extra_memory
from results import machine, update_section

import pushforward as pf
from pushforward.core.execution_mode import MEMORY, execution

FEATURES, ROWS, HIDDEN = 63, 512, (256, 256)
DEPTHS = (4, 8, 16, 32, 64)
KINDS = {"NSF-coupling": "coupling", "NSF-AR": "autoregressive"}


def stepping(kind: str, depth: int) -> tuple[pf.distributions.Flow, Callable[[str], float]]:
    """A flow, and a training step of it that keeps what it is told to and gives its milliseconds."""
    torch.manual_seed(0)
    flow = pf.flows.nsf(FEATURES, layer=KINDS[kind], depth=depth, hidden=HIDDEN, bins=8, mix="flip")
    x = torch.randn(ROWS, FEATURES)
    flow.initialize(x)
    optimizer = torch.optim.Adam(flow.parameters(), fused=True)

    def step(memory: str) -> float:
        start = time.perf_counter()
        with execution(memory=memory):
            optimizer.zero_grad(set_to_none=False)  # gradients stay: they are no activations
            (-flow(x).mean()).backward()
            optimizer.step()
        return 1e3 * (time.perf_counter() - start)

    return flow, step


def one(kind: str, depth: int, memory: str, what: str) -> float:
    """MiB of a step, or its time over that of a plain one, eager or native."""
    flow, step = stepping(kind, depth)
    if what == "native":
        flow.use_kernels()
    step(memory)
    if what == "mb":
        return min(extra_memory(lambda: step(memory)) for _ in range(2))
    step("plain")
    return statistics.median(step(memory) / step("plain") for _ in range(max(5, 80 // depth)))


def asked(*what: str) -> float:
    """`one` in a process of its own."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384"} if what[-1] == "mb" else None
    command = [sys.executable, str(Path(__file__)), "--one", *what]
    value = float(subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout)
    print(*what, f"{value:.2f}", flush=True)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=4, metavar=("KIND", "DEPTH", "MEMORY", "WHAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, depth, memory, what = arguments.one
        print(one(kind, int(depth), memory, what))
        return
    lines = [
        "## Memory against depth",
        "",
        "    .venv/bin/python benchmarks/memory.py",
        "",
        f"{machine()}, {torch.get_num_threads()} threads, float32; {FEATURES} features, {ROWS} rows, 8 bins,",
        f"hidden {HIDDEN}. MiB that an eager training step takes beyond weights, gradients and the state of the",
        "optimiser, by what the chain keeps; *time*: of a step over that of a plain one, interleaved, median over the",
        "depths up to 16, eager and after `flow.use_kernels()`.",
        "",
        f"| flow | kept | {' | '.join(f'depth {d}' for d in DEPTHS)} | {DEPTHS[-1]} / {DEPTHS[0]} | time | native |",
        "|---|---|" + "---:|" * (len(DEPTHS) + 3),
    ]
    for kind in KINDS:
        for memory in MEMORY:
            if memory == "invert" and kind == "NSF-AR":
                continue  # its inverse takes more than one pass, so that its inputs are kept: the same as "checkpoint"
            mb = [asked(kind, str(depth), memory, "mb") for depth in DEPTHS]
            cells = " | ".join(f"{value:.1f}" for value in mb)
            ratios = ["1", "1"]
            if memory != "plain":
                each = ([asked(kind, str(d), memory, what) for d in DEPTHS if d <= 16] for what in ("eager", "native"))
                ratios = [f"{statistics.median(values):.2f}" for values in each]
            lines.append(f"| {kind} | {memory} | {cells} | **{mb[-1] / mb[0]:.2f}** | {' | '.join(ratios)} |")
    print("\n".join(lines))
    update_section("memory", "\n".join(lines))


if __name__ == "__main__":
    main()
