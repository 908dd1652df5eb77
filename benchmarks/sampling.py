"""Sampling and densities of a 63-D autoregressive spline flow beside zuko's, interleaved in one run.

    .venv/bin/python benchmarks/sampling.py

Needs zuko (``pip install -c constraints.txt -e .[bench]``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from results import machine, update_section

import pushforward as pf

ROWS, FEATURES = 512, 63


def randomize(module: torch.nn.Module) -> None:
    """Weights away from the identity, so that no path is trivial."""
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.3 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.add_(scale * torch.randn_like(parameter))


def interleaved(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each task; rounds go through all of them, so noise hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for name in tasks:
        tasks[name]()
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    import zuko

    torch.manual_seed(0)
    ours = pf.flows.nsf(FEATURES, layer="autoregressive", depth=5, hidden=(256, 256), bins=8)
    theirs = zuko.flows.NSF(FEATURES, transforms=5, hidden_features=(256, 256), bins=8)
    randomize(ours)
    x = torch.randn(ROWS, FEATURES)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    with torch.no_grad():
        fast = interleaved(
            {
                "log_prob": lambda: ours.log_prob(x),
                "sample": lambda: ours.sample((ROWS,)),
                "zuko log_prob": lambda: theirs().log_prob(x),
            },
            rounds=31,
        )
        slow = interleaved({"zuko sample": lambda: theirs().sample((ROWS,))}, rounds=2)
        error = (ours.to_data(ours.to_latent(x)) - x).abs().max().item()
    ratio = fast["sample"] / fast["log_prob"]
    lines = [
        "## Sampling: 63-D autoregressive splines",
        "",
        "    .venv/bin/python benchmarks/sampling.py",
        "",
        f"{machine()}, {torch.get_num_threads()} threads, float32, eager. Five layers, hidden (256, 256), 8 bins,",
        f"{ROWS} rows;",
        f"{sizes[0]:,} weights, zuko {sizes[1]:,}. Medians of 31 interleaved rounds, in ms; round trip {error:.1e}.",
        "",
        "| | log_prob | sample | sample / log_prob |",
        "|---|---:|---:|---:|",
        f"| pushforward | {fast['log_prob']:.1f} | {fast['sample']:.1f} | {ratio:.2f} |",
        f"| zuko {zuko.__version__} | {fast['zuko log_prob']:.1f} | {slow['zuko sample']:.0f} "
        f"| {slow['zuko sample'] / fast['zuko log_prob']:.1f} |",
        "",
        f"log_prob is {fast['zuko log_prob'] / fast['log_prob']:.2f} times as fast as zuko's, "
        f"sample {slow['zuko sample'] / fast['sample']:.0f} times.",
    ]
    print("\n".join(lines))
    update_section("sampling", "\n".join(lines))


if __name__ == "__main__":
    main()
