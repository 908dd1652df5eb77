"""Continuous flows trained by likelihood and by flow matching, scored by the same exact log-density.

    .venv/bin/python benchmarks/continuous.py moons [--effort 1.0]
    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/continuous.py power [--seconds 600 --rows 200000]

``moons`` fits one flow by maximum likelihood and others by flow matching on two moons, whose entropy is computed by
quadrature: fewer steps of likelihood, of which each costs as much as dozens of flow matching. ``power`` trains by flow
matching on UCI POWER, and scores random rows of its test part. Beside each number stands how many passes of the network
a density took.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from results import machine, update_section

import pushforward as pf
from pushforward.distributions import Flow, solver_report
from pushforward.train import Event, FlowMatching, Validated

NOISE = 0.1


class Training(NamedTuple):
    loss: FlowMatching | None
    steps: int
    batch_size: int
    lr: float


TRAININGS = {
    "maximum likelihood": Training(None, 600, 256, 5e-3),
    "flow matching, ot": Training(FlowMatching(), 8000, 512, 5e-3),
    "flow matching, vp": Training(FlowMatching(path="vp"), 8000, 512, 5e-3),
    "flow matching, ot, minibatch_ot": Training(FlowMatching(coupling="minibatch_ot"), 4000, 512, 5e-3),
}


def moons(rows: int, seed: int) -> torch.Tensor:
    """Points on two half circles with normal noise; the arcs are those of scikit-learn's make_moons."""
    random = torch.Generator().manual_seed(seed)
    angle = math.pi * torch.rand(rows, generator=random)
    lower = torch.rand(rows, generator=random) < 0.5
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    return torch.stack([x, y], dim=1) + NOISE * torch.randn(rows, 2, generator=random)


def moons_entropy(rows: int = 20000) -> float:
    """Minus the mean log-density of fresh points, in nats: the density is an average over 2000 angles of each arc."""
    angle = math.pi * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    centres = torch.cat([upper, torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)])
    points = moons(rows, 9).double()
    squares = torch.cat([torch.cdist(some, centres).square() for some in points.split(1000)])
    log_density = torch.logsumexp(-0.5 * squares / NOISE**2, dim=1) - math.log(len(centres) * 2 * math.pi * NOISE**2)
    return -log_density.mean().item()


@torch.no_grad()
def scored(flow: Flow, test: torch.Tensor, counted: int = 2000) -> dict[str, Any]:
    """Mean log-likelihood with its standard error, rows without a density, and passes of the network."""
    started = time.monotonic()
    log_prob = flow.log_prob(test)
    seconds = time.monotonic() - started
    solved = log_prob[log_prob.isfinite()].double()
    report = solver_report(flow, test[:counted])
    return {
        "nats": solved.mean().item(),
        "standard_error": solved.std().item() / len(solved) ** 0.5,
        "unsolved": len(log_prob) - len(solved),
        "passes": report.passes.double().mean().item(),
        "most_passes": int(report.passes.max()),
        "seconds": seconds,
    }


def log(event: Event) -> None:
    """Print a line for each validation."""
    if isinstance(event, Validated):
        r = event.record
        print(f"{r.seconds:7.0f} s  step {r.step:7d}  {r.train:.4f}  {r.validation:.4f}", flush=True)


def row(name: str, steps: int, seconds: float, score: dict[str, Any]) -> str:
    passes = f"{score['passes']:.0f} (at most {score['most_passes']})"
    return (
        f"| {name} | {steps:,} | {seconds:.0f} | {score['nats']:.3f} | {score['standard_error']:.3f} | "
        f"{score['unsolved']} | {passes} |"
    )


HEADER = ["| training | steps | CPU seconds | test nats | standard error | rows without a density | passes a density |"]
HEADER += ["|---|---:|---:|---:|---:|---:|---:|"]


def run_moons(effort: float) -> None:
    x, test, lines = moons(20000, 0), moons(5000, 1), []
    entropy = moons_entropy()
    print(f"entropy {entropy:.3f} nats", flush=True)
    for name, (loss, steps, batch_size, lr) in TRAININGS.items():
        torch.manual_seed(0)
        flow = pf.flows.cnf(2, hidden=(64, 64), solver="rk4", steps=8)
        steps, started = round(effort * steps), time.process_time()
        pf.fit(flow, x, loss=loss, steps=steps, batch_size=batch_size, lr=lr, progress=False)
        lines.append(row(name, steps, time.process_time() - started, scored(flow, test)))
        print(lines[-1], flush=True)
    text = [
        "## Two moons: a continuous flow trained by likelihood and by flow matching",
        "",
        f"    .venv/bin/python benchmarks/continuous.py moons --effort {effort:g}",
        "",
        f"{machine()}. cnf(2, hidden=(64, 64), solver='rk4', steps=8), 20,000 rows, 5,000 test rows; minus the entropy",
        f"of the data, the best that is possible, is {-entropy:.3f} nats.",
        "",
        *HEADER,
        *lines,
    ]
    update_section("continuous moons", "\n".join(text))


def run_power(
    seconds: float, rows: int, score_rows: int, options: dict[str, Any], fit: dict[str, Any], coupling: str
) -> None:
    from density import splits

    train, validation, test = splits()
    train = train[np.random.default_rng(0).permutation(len(train))[:rows]]
    torch.manual_seed(0)
    flow = pf.flows.cnf(6, **options)
    started = time.process_time()
    loss = FlowMatching(coupling=coupling)  # type: ignore[arg-type]  # checked there
    history = pf.fit(
        flow, train, validation=(validation[:20000],), loss=loss, seconds=seconds, progress=False, callbacks=log, **fit
    )
    used = time.process_time() - started
    test = test[np.random.default_rng(0).permutation(len(test))[:score_rows]]
    score = scored(flow, torch.from_numpy(test).float())
    line = row(f"{loss.path}, {coupling}", history.records[-1].step, used, score)
    print(line, flush=True)
    text = [
        "## POWER: a continuous flow trained by flow matching",
        "",
        f"    PUSHFORWARD_DATA=<folder> .venv/bin/python benchmarks/continuous.py power --seconds {seconds:g} "
        f"--rows {rows} --score-rows {score_rows}",
        "",
        f"{machine()}. Flow {json.dumps(options)}, fit {json.dumps(fit)}; exact traces, error of the solver checked",
        f"row by row; {len(test):,} random test rows scored in {score['seconds']:.0f} s. Published OT-CFM: -0.05 nats.",
        "",
        *HEADER,
        line,
    ]
    update_section("continuous power", "\n".join(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("moons", "power"))
    parser.add_argument("--seconds", type=float, default=600, help="time for training on power")
    parser.add_argument("--effort", type=float, default=1.0, help="scales the steps of each training on moons")
    parser.add_argument("--rows", type=int, default=200_000, help="training rows of power")
    parser.add_argument("--score-rows", type=int, default=10_000, help="test rows of power, drawn at random")
    parser.add_argument("--flow", type=json.loads, default={"hidden": [256, 256]}, help="options of cnf for power")
    parser.add_argument("--fit", type=json.loads, default={"batch_size": 1024, "lr": 2e-3}, help="options of fit")
    parser.add_argument("--coupling", default="independent", help="or minibatch_ot; for power")
    arguments = parser.parse_args()
    if arguments.data == "moons":
        run_moons(arguments.effort)
    else:
        run_power(
            arguments.seconds, arguments.rows, arguments.score_rows, arguments.flow, arguments.fit, arguments.coupling
        )


if __name__ == "__main__":
    main()
