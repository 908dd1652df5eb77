"""The kinds of flows on the sphere in space, each trained for the same CPU time on three targets of known density.

python benchmarks/spheres.py --seconds 8
"""

from __future__ import annotations

import argparse
import copy
import math
import time

import torch
from results import machine, update_section
from torch import Tensor

import pushforward as pf

ROWS, TEST_ROWS, PROBE = 1500, 20_000, 12
KINDS = ("recursive", "moebius", "exponential")


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def around(centres: Tensor, heights: Tensor, generator: torch.Generator) -> Tensor:
    """Points of given heights above the planes across unit vectors, at random angles."""
    noise = torch.randn(heights.shape[0], 3, generator=generator, dtype=torch.float64)
    across = unit(noise - (noise * centres).sum(-1, keepdim=True) * centres)
    return unit(heights[:, None] * centres + (1 - heights.square()).clamp(min=0).sqrt()[:, None] * across)


class Caps:
    """Equal parts of von Mises-Fisher distributions around unit vectors."""

    def __init__(self, centres: list[list[float]], sharpness: float) -> None:
        self.centres, self.sharpness = unit(torch.tensor(centres, dtype=torch.float64)), sharpness

    def sample(self, rows: int, generator: torch.Generator) -> Tensor:
        which = torch.randint(len(self.centres), (rows,), generator=generator)
        u = torch.rand(rows, generator=generator, dtype=torch.float64)
        heights = 1 + torch.log(u + (1 - u) * math.exp(-2 * self.sharpness)) / self.sharpness
        return around(self.centres[which], heights, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        k = self.sharpness
        constant = math.log(k / (2 * math.pi * -math.expm1(-2 * k))) - math.log(len(self.centres))
        return torch.logsumexp(k * (x @ self.centres.mT - 1), dim=-1) + constant


class Ring:
    """Normal heights above the great circle across a unit vector."""

    def __init__(self, axis: list[float], sharpness: float) -> None:
        self.axis, self.sharpness = unit(torch.tensor([axis], dtype=torch.float64)), sharpness

    def sample(self, rows: int, generator: torch.Generator) -> Tensor:
        u = torch.rand(rows, generator=generator, dtype=torch.float64)
        root = math.sqrt(self.sharpness)
        heights = torch.erfinv((2 * u - 1) * math.erf(root)) / root
        return around(self.axis.expand(rows, 3), heights, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        root = math.sqrt(self.sharpness)
        area = 2 * math.pi * math.sqrt(math.pi) / root * math.erf(root)
        return -self.sharpness * (x @ self.axis[0]).square() - math.log(area)


TARGETS = {
    "one cap": Caps([[0.0, 0.0, 1.0]], 12.0),
    "four caps": Caps([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]], 25.0),
    "ring": Ring([1.0, 2.0, 2.0], 50.0),
}


def fit(flow: pf.Flow, x: Tensor, steps: int) -> float:
    """CPU seconds of a fit."""
    start = time.process_time()
    pf.fit(flow, x, steps=steps, patience=None, progress=False)
    return time.process_time() - start


def measured(target: Caps | Ring, kind: str, seconds: float) -> tuple[int, float, float, float]:
    """Steps, CPU seconds, and the mean log-densities of fresh rows by the flow and by the target."""
    generator = torch.Generator().manual_seed(0)
    x, test = unit(target.sample(ROWS, generator)).float(), unit(target.sample(TEST_ROWS, generator))
    torch.manual_seed(0)
    flow = pf.flows.sphere_flow(3, kind=kind)
    fit(copy.deepcopy(flow), x, PROBE)  # what is imported and allocated once
    steps = max(1, round(seconds * PROBE / fit(copy.deepcopy(flow), x, PROBE)))
    used = fit(flow, x, steps)
    with torch.no_grad():
        score = flow.log_prob(test.float()).mean().item()
    return steps, used, score, target.log_prob(test).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU seconds of each fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name, target in TARGETS.items():
        for kind in KINDS:
            steps, used, score, truth = measured(target, kind, arguments.seconds)
            lines.append(
                f"| {name} | {truth:.3f} | {kind} | {steps} | {used:.1f} | {score:.3f} | {truth - score:.3f} |"
            )
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    update_section(
        "spheres",
        f"""## Spheres: the kinds of `sphere_flow` after equal CPU times

    .venv/bin/python benchmarks/spheres.py --seconds {arguments.seconds:g}

{machine()}, 1 thread. {ROWS:,} rows of each target, {TEST_ROWS:,} fresh test rows; all other arguments at their
defaults; the uniform density has {-math.log(4 * math.pi):.3f} nats. The caps are von Mises-Fisher distributions of
concentration 12 (one) and 25 (four, at the corners of a tetrahedron); the ring has heights of variance 0.01 above a
great circle.

| target | its nats | kind | steps | CPU seconds | test nats | missing |
|---|---:|---|---:|---:|---:|---:|
{table}""",
    )


if __name__ == "__main__":
    main()
