"""Peak memory and time of one training step against depth, for what a chain may keep for its gradients.

    .venv/bin/python benchmarks/memory.py

Every measurement is a process of its own. Its peak is that of the resident memory during a step, less what was there
before it, when weights, gradients and the state of the optimiser already were; Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from peer_worker import extra_memory
from results import machine, update_section

import pushforward as pf
from pushforward.bijections import Chain
from pushforward.bijections.recompute import MEMORY
from pushforward.core.compiled import attribute_set

FEATURES, ROWS, HIDDEN = 63, 512, (256, 256)
DEPTHS = (4, 8, 16, 32, 64)
KINDS = {"NSF-coupling": "coupling", "NSF-AR": "autoregressive"}


def one(kind: str, depth: int, memory: str) -> dict[str, float]:
    """(MiB of a step, its milliseconds, milliseconds of a plain step in the same process)."""
    torch.manual_seed(0)
    flow = pf.flows.nsf(FEATURES, layer=KINDS[kind], depth=depth, hidden=HIDDEN, bins=8, mix="flip")
    x = torch.randn(ROWS, FEATURES)
    flow.initialize(x)
    optimizer = torch.optim.Adam(flow.parameters(), fused=True)

    def step(memory: str) -> float:
        start = time.perf_counter()
        with attribute_set(flow, Chain, "memory", memory):
            optimizer.zero_grad(set_to_none=False)  # gradients stay: they are no activations
            (-flow(x).mean()).backward()
            optimizer.step()
        return 1e3 * (time.perf_counter() - start)

    step(memory)
    found = min(extra_memory(lambda: step(memory)) for _ in range(2))
    times = [(step(memory), step("plain")) for _ in range(max(3, 40 // depth))]
    own, plain = (statistics.median(values) for values in zip(*times, strict=True))
    return {"mb": found, "ms": own, "plain": plain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("KIND", "DEPTH", "MEMORY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, depth, memory = arguments.one
        print(json.dumps(one(kind, int(depth), memory)))
        return
    lines = [
        "## Memory against depth",
        "",
        "    .venv/bin/python benchmarks/memory.py",
        "",
        f"{machine()}, {torch.get_num_threads()} threads, float32; {FEATURES} features, {ROWS} rows, 8 bins,",
        f"hidden {HIDDEN}, eager. MiB that a training step takes beyond weights, gradients and the state of the",
        "optimiser, by what the chain keeps; *time*: of a step, over that of a plain one, interleaved.",
        "",
        f"| flow | kept | {' | '.join(f'depth {d}' for d in DEPTHS)} | {DEPTHS[-1]} / {DEPTHS[0]} | time |",
        "|---|---|" + "---:|" * (len(DEPTHS) + 2),
    ]
    for kind in KINDS:
        for memory in MEMORY:
            if memory == "invert" and kind == "NSF-AR":
                continue  # its inverse takes more than one pass, so that its inputs are kept: the same as "checkpoint"
            found = []
            for depth in DEPTHS:
                command = [sys.executable, str(Path(__file__)), "--one", kind, str(depth), memory]
                found.append(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
                print(kind, memory, depth, found[-1], flush=True)
            cells = [f"{f['mb']:.0f}" for f in found]
            growth = found[-1]["mb"] / found[0]["mb"]
            ratio = statistics.median(f["ms"] / f["plain"] for f in found)
            lines.append(f"| {kind} | {memory} | {' | '.join(cells)} | **{growth:.2f}** | {ratio:.2f} |")
    print("\n".join(lines))
    update_section("memory", "\n".join(lines))


if __name__ == "__main__":
    main()
