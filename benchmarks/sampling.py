"""Sampling in 63 dimensions from every autoregressive family beside zuko's counterpart, in one run.

    .venv/bin/python benchmarks/sampling.py

Nearly all of its time goes into zuko's numeric inverses. Needs zuko
(``pip install -c constraints.txt -e .[bench]``). Both sides have the same number of layers and, within a few per cent,
of weights. Last, what gradients of samples cost against gradients of densities.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from results import machine, update_section

import pushforward as pf

ROWS, FEATURES = 512, 63
HIDDEN = (256, 256)
LONG = 10_000  # milliseconds a sample of zuko's from which on it is drawn twice, not in every round
FEW = {"umnn / UNAF": 8, "sos / SOSPF": 128, "bernstein / BPF": 64}
"""Rows of zuko's sample where all would take minutes: they take no less."""

Build = Callable[[tuple[int, ...]], torch.nn.Module]


def families() -> dict[str, tuple[Build, Callable[[], Any], str]]:
    """Ours as a function of the hidden widths, zuko's counterpart, and how the inverse is found."""
    import zuko.flows as theirs

    def zuko_flow(name: str, **options: Any) -> Callable[[], Any]:
        return lambda: getattr(theirs, name)(FEATURES, hidden_features=HIDDEN, **options)

    def ours(name: str, **options: Any) -> Build:
        return lambda hidden: getattr(pf.flows, name)(FEATURES, hidden=hidden, **options)

    return {
        "maf / MAF": (ours("maf", depth=5), zuko_flow("MAF", transforms=5), "affine"),
        "nsf / NSF": (ours("nsf", depth=5, bins=8, mix="flip"), zuko_flow("NSF", transforms=5, bins=8), "spline"),
        "naf / NAF": (ours("naf", depth=3, units=16), zuko_flow("NAF", transforms=3), "numeric"),
        "umnn / UNAF": (ours("umnn", depth=3), zuko_flow("UNAF", transforms=3), "numeric"),
        "sos / SOSPF": (
            ours("sos", depth=3, degree=4, polynomials=3),
            zuko_flow("SOSPF", transforms=3, degree=4, polynomials=3),
            "numeric",
        ),
        "bernstein / BPF": (
            ours("bernstein", depth=3, degree=16),
            zuko_flow("BPF", transforms=3, degree=16),
            "numeric",
        ),
        "gaussianization / GF": (
            lambda _: pf.flows.gaussianization(FEATURES, depth=3, components=8),
            lambda: theirs.GF(FEATURES, transforms=3, components=8),
            "numeric",
        ),
    }


def weights(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def matched(build: Build, target: int) -> torch.nn.Module:
    """Ours with the hidden width that comes closest to the number of weights of the other."""
    sizes = {width: weights(build((width, width))) for width in range(64, 513, 8)}
    width = min(sizes, key=lambda w: abs(sizes[w] - target))
    return build((width, width))


def randomize(module: torch.nn.Module) -> None:
    """Weights away from the identity, so that no path is trivial."""
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.3 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.add_(scale * torch.randn_like(parameter))


def interleaved(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each task; rounds go through all of them, so noise hits all alike. Nothing is warmed up
    where there is one round only: such tasks take many seconds."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for k in range(rounds + (rounds > 1)):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if k or rounds == 1:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def compare(name: str, build: Build, make_theirs: Callable[[], Any], kind: str) -> str:
    theirs = make_theirs()
    ours = matched(build, weights(theirs)).eval()
    randomize(ours)
    tasks: dict[str, Callable[[], object]] = {
        "log_prob": lambda: ours.log_prob(x),
        "sample": lambda: ours.sample((ROWS,)),
        "zuko log_prob": lambda: theirs().log_prob(x),
    }
    x, z = torch.randn(ROWS, FEATURES), torch.randn(ROWS, FEATURES)
    fast_ours = copy.deepcopy(ours)
    fast_ours.use_kernels()
    errors = [miss(ours, z), miss(fast_ours, z)]  # compiles
    tasks["compiled"] = lambda: fast_ours.sample((ROWS,))
    with torch.no_grad():
        # Theirs among the rounds of ours, or where it takes long before and after: both see the same neighbours.
        their_samples = {"zuko sample": lambda: theirs().sample((FEW.get(name, ROWS),))}
        slow = [interleaved(their_samples, rounds=1)["zuko sample"]]
        if slow[0] < LONG:
            tasks |= their_samples
        fast = interleaved(tasks, rounds=11)
        if slow[0] >= LONG:
            slow.append(interleaved(their_samples, rounds=1)["zuko sample"])
    best, sizes = fast.get("zuko sample", min(slow)), f"{weights(ours):,} / {weights(theirs):,}"
    densities = f"{fast['log_prob']:.0f} | {fast['zuko log_prob']:.0f}"
    least = "≥ " if name in FEW else ""
    times = " / ".join(f"{least}**{best / fast[key]:.1f}**" for key in ("sample", "compiled"))
    samples = f"{fast['sample']:.0f} | {fast['compiled']:.1f} | {least}{best:,.0f} | {times}"
    return f"| {name} | {kind} | {sizes} | {densities} | {samples} | {max(errors):.0e} |"


@torch.no_grad()
def miss(flow: Any, z: torch.Tensor) -> float:
    """How far a round trip from the latent side ends from where it began."""
    return (flow.to_latent(flow.to_data(z)) - z).abs().max().item()


def gradient_costs() -> list[str]:
    """One gradient of samples, plain and compiled, against one gradient of densities, with one thread and with all."""
    lines = [
        "| | threads | log_prob gradient | rsample gradient | ratio | compiled | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    every = torch.get_num_threads()
    for threads in sorted({1, every}):
        torch.set_num_threads(threads)
        for name, options in (("maf", {}), ("nsf", {"bins": 8, "mix": "flip"})):
            flow = getattr(pf.flows, name)(FEATURES, depth=5, hidden=HIDDEN, **options)
            randomize(flow)
            x = torch.randn(ROWS, FEATURES)

            def density(flow: Any = flow, x: Any = x) -> None:
                flow.zero_grad()
                flow.log_prob(x).mean().backward()

            def samples(flow: Any = flow) -> None:
                flow.zero_grad()
                flow.rsample((ROWS,)).square().mean().backward()

            fast = copy.deepcopy(flow)
            fast.use_kernels()
            tasks = {"density": density, "samples": samples, "compiled": lambda fast=fast: samples(fast)}
            cost = interleaved(tasks, rounds=21)
            cells = [f"{cost['density']:.0f}"]
            for key in ("samples", "compiled"):
                cells += [f"{cost[key]:.0f}", f"**{cost[key] / cost['density']:.2f}**"]
            lines.append(f"| {name} | {threads} | {' | '.join(cells)} |")
    torch.set_num_threads(every)
    return lines


def main() -> None:
    import zuko

    available = families()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--families", nargs="+", default=list(available), choices=list(available), help="which to measure"
    )
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    for name in arguments.families:
        build, make_theirs, kind = available[name]
        rows.append(compare(name, build, make_theirs, kind))
        print(rows[-1], flush=True)
    lines = [
        "## Sampling in 63 dimensions",
        "",
        "    .venv/bin/python benchmarks/sampling.py",
        "",
        f"{machine()}, {torch.get_num_threads()} threads, float32; pushforward / zuko {zuko.__version__};",
        f"{ROWS} rows, hidden {HIDDEN} for zuko and the width with the same number of weights for pushforward.",
        "Times in ms: medians of 11 interleaved rounds; zuko's samples of more than 10 s: the faster of two.",
        "*compiled*: after `flow.use_kernels()`, the second of the two ratios.",
        "Error: max of |z - S(T(z))|. ≥: zuko drew few rows only (8 for UNAF, 128 for SOSPF, 64 for BPF).",
        "",
        "| family | inverse | weights | log_prob | zuko | sample | compiled | zuko | times faster | error |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"Gradients, five layers, hidden {HIDDEN}, {ROWS} rows:",
        "",
        *gradient_costs(),
    ]
    print("\n".join(lines))
    if len(rows) == len(available):
        update_section("sampling", "\n".join(lines))


if __name__ == "__main__":
    main()
