"""Every family of flows on six shapes in the plane whose entropy is known: held-out likelihoods and a picture of each.

    .venv/bin/python benchmarks/targets.py [--families maf nsf ...] [--targets rings ...] [--seconds 7]
        [--steps 2000] [--missing] [--report]

Each fit gets the same seconds of one core, as a number of steps measured beforehand. Fits are kept in
.bench/targets: --missing fits only what is not there, so that a run can be broken off and continued, and --report
writes the table and the picture again from what is kept, without fitting.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import machine, update_section

import pushforward as pf
from pushforward.bijections import LU, PLU, ActNorm, Chain, Coupling, Standardize
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow, GaussianMixture, MultivariateNormal, Resampled, StandardNormal
from pushforward.distributions.targets import PLANE_TARGETS, entropy_on_grid
from pushforward.evaluate.style import new_figure, save_figure
from pushforward.train import FlowMatching
from pushforward.univariate import CubicSpline, LinearRational, LogisticMixtureCDF, QuadraticSpline

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".bench" / "targets"
PICTURE = ROOT / "docs" / "images" / "targets.png"
ROWS, TEST_ROWS, PIXELS, EXTENT = 50_000, 10_000, 96, 3.6
FAR = 0.15  # nats
HIDDEN = (64, 64)
Build = Callable[[], Distribution]


def named(name: str, **options: Any) -> Build:
    """A named flow, with networks of two layers of 64 units where it has networks."""
    return lambda: pf.flows.FLOWS[name](2, **options)


def couplings(univariate: Callable[[], Any], linear: Callable[[int], Any] = LU, norm: bool = False) -> Build:
    """Eight couplings with a learned linear map in front of each, and one more at the end. PLU maps start as a swap of
    the two features, others as the identity, where the couplings take turns."""

    def build() -> Flow:
        parts: list[Any] = [Standardize(2)]
        for k in range(8):
            parts += [ActNorm(2)] if norm else []
            parts += [linear(2), Coupling(univariate(), 2, hidden=HIDDEN, swap=linear is LU and k % 2 == 1)]
        return Flow(StandardNormal(2), Chain([*parts, linear(2)]).inv)

    return build


def resampled() -> Flow:
    flow = pf.flows.real_nvp(2, hidden=HIDDEN)
    return Flow(Resampled(StandardNormal(2)), flow.bijection)


def box() -> Flow:
    return pf.flows.box_flow([-6.0, -6.0], [6.0, 6.0], hidden=HIDDEN)


def mixture() -> Distribution:
    return GaussianMixture.spread(2, 40, scale=1.5)


FAMILIES: dict[str, Build] = {
    "one normal": lambda: MultivariateNormal([0.0, 0.0]),
    "mixture of 40 normals": mixture,
    "planar": named("planar", depth=32),
    "radial": named("radial", depth=32),
    "sylvester": named("sylvester", depth=16),
    "gaussian_autoregressive": named("gaussian_autoregressive", hidden=HIDDEN),
    "nice": named("nice", hidden=HIDDEN),
    "real_nvp": named("real_nvp", hidden=HIDDEN),
    "glow steps": couplings(pf.univariate.Affine, PLU, norm=True),
    "real_nvp, resampled base": resampled,
    "maf": named("maf", hidden=HIDDEN),
    "iaf": named("iaf", hidden=HIDDEN),
    "gaussianization": named("gaussianization", depth=8),
    "triangular_map": named("triangular_map", degree=8),
    "graphical": named("graphical", hidden=HIDDEN),
    "bernstein": named("bernstein", hidden=HIDDEN),
    "sos": named("sos", hidden=HIDDEN),
    "naf": named("naf", hidden=HIDDEN),
    "ddsf": named("ddsf", hidden=HIDDEN),
    "umnn": named("umnn", hidden=HIDDEN),
    "bnaf": named("bnaf"),
    "nsf": named("nsf", hidden=HIDDEN),
    "nsf, couplings": named("nsf", hidden=HIDDEN, layer="coupling"),
    "box_flow": box,
    "quadratic splines": couplings(lambda: QuadraticSpline(16, bound=4.0)),
    "cubic splines": couplings(lambda: CubicSpline(16, bound=4.0)),
    "linear-rational splines": couplings(lambda: LinearRational(16, bound=4.0)),
    "logistic mixtures": couplings(lambda: LogisticMixtureCDF(8)),
    "residual_flow": named("residual_flow", coefficient=0.97),
    "cnf, likelihood": named("cnf", hidden=HIDDEN, solver="rk4", steps=8),
    "cnf, flow matching": named("cnf", hidden=HIDDEN, solver="rk4", steps=8),
}
"""One flow, or another density, of every family that the library has for vectors. Circular flows are not among them:
their data are angles."""

LOSSES = {"cnf, flow matching": FlowMatching()}

REASONS: dict[str, str] = {
    "one normal": "it has one mode and no bends.",
    "mixture of 40 normals": "edges of squares are sharp, and normals are not.",
    "planar": "each layer bends the plane along one line; rings and arms need many more layers or steps.",
    "radial": "each layer moves points around one centre, and a step of 32 layers takes 40 ms: the time is short. On "
    "the moons, 600 steps come within 0.40 of the entropy.",
    "sylvester": "a step of 16 layers takes 40 to 50 ms, and the time is short: on the moons, 500 steps come within "
    "0.38.",
    "gaussian_autoregressive": "one feature is normal, and so is the other given the first: there is one mode.",
    "nice": "couplings keep volumes, so the density is that of a normal up to one factor: no holes, no gaps.",
    "real_nvp": "affine layers pull modes and rings apart slowly and leave bridges between them: on the rings, four "
    "times the steps come from 0.41 to 0.28 above the entropy.",
    "real_nvp, resampled base": "as `real_nvp`, at half of the steps.",
    "glow steps": "as `real_nvp`, at less than half of the steps. On the spirals a few of the rows lie where the "
    "product of the scales of all layers is huge, and these decide the mean.",
    "maf": "as `real_nvp`: bridges between modes.",
    "iaf": "as `maf`, at a third of the steps, for densities are computed feature by feature.",
    "naf": "flat inside of rings and arms after some 500 steps; longer fits were not tried.",
    "gaussianization": "a step takes 30 to 50 ms, with gradients through mixtures of all eight layers: the time is "
    "short.",
    "triangular_map": "one triangular map of polynomials up to degree 8, with 54 weights: one bend, few modes.",
    "graphical": "its spline layers have no linear map between them: on the spirals, 4,000 steps come from 0.18 to "
    "0.10 above the entropy.",
    "bernstein": "1,500 steps bring the rings from 0.34 to 0.33 above the entropy only: polynomials of one degree have "
    "no narrow gaps.",
    "sos": "the time is short: 1,200 steps bring the rings from 0.39 to 0.21 above the entropy.",
    "ddsf": "the time is short: 800 steps bring the rings from 0.39 to 0.22 above the entropy.",
    "umnn": "the time is short, for slopes are integrated numerically: 1,000 steps bring the rings from 0.35 to 0.27 "
    "above the entropy.",
    "bnaf": "it has 772 weights: 3,000 steps bring the moons from 0.54 to 0.18 above the entropy.",
    "box_flow": "the time is short: 1,200 steps bring the rings from 0.25 to 0.11 above the entropy.",
    "quadratic splines": "the time is short: 500 steps bring the spirals from 0.29 to 0.07 above the entropy.",
    "cubic splines": "the time is short: 400 steps bring the spirals from 0.25 to 0.07 above the entropy.",
    "logistic mixtures": "the time is short: 600 steps bring the rings from 0.35 to 0.25 above the entropy.",
    "residual_flow": "a step takes 90 ms, for exact log-determinants of all layers: the time is short. 400 steps bring "
    "the moons from 0.33 to 0.05 above the entropy.",
    "cnf, likelihood": "a step solves an equation, in 100 ms: the time is short. 400 steps bring the moons from 0.84 "
    "to 0.23 above the entropy.",
    "cnf, flow matching": "steps are cheap and see one time at each point: 8,000 bring the moons from 0.39 to 0.13 "
    "above the entropy.",
}
"""Why a family is further than 0.15 nats from the best on some target."""


def steps_within(flow: Distribution, x: torch.Tensor, seconds: float, options: dict[str, Any]) -> int:
    """How many steps take so many seconds of one core, measured on a copy."""
    trial = copy.deepcopy(flow)
    pf.fit(trial, x[:4000], steps=3, validation=None, progress=False, **options)
    started = time.process_time()
    pf.fit(trial, x[:4000], steps=20, validation=None, progress=False, **options)
    return max(20, min(20_000, round(seconds * 20 / (time.process_time() - started))))


def fitted(family: str, target: str, seconds: float, given_steps: int | None = None) -> None:
    """Fit one family to one target, and keep its scores and its density on a grid; with given steps, print them."""
    truth = PLANE_TARGETS[target]()
    x, test = (
        truth.sample(n, generator=torch.Generator().manual_seed(seed)) for n, seed in ((ROWS, 0), (TEST_ROWS, 1))
    )
    torch.manual_seed(0)
    flow = FAMILIES[family]()
    options: dict[str, Any] = {"batch_size": 256, "loss": LOSSES.get(family)}
    started = time.process_time()
    if family == "one normal":
        flow.initialize(x)
        steps = 0
    else:
        steps = given_steps or steps_within(flow, x, seconds, options)
        pf.fit(flow, x, steps=steps, validation=0.04, progress=False, **options)
    used = time.process_time() - started
    with torch.no_grad():
        flow.eval()
        log_prob = torch.cat([flow.log_prob(part) for part in test.split(1000)]).double()
        density = np.concatenate([flow.log_prob(part).exp().numpy() for part in grid().split(1000)])
        excess = truth.double().log_prob(test.double()) - log_prob
    score = {
        **scored(log_prob, excess),
        "steps": steps,
        "seconds": used,
        "weights": sum(p.numel() for p in flow.parameters()),
    }
    if given_steps is None:
        keep(family, target, score, density)
    print(f"{family:28} {target:16} {json.dumps(score)}", flush=True)


def scored(log_prob: torch.Tensor, excess: torch.Tensor) -> dict[str, float]:
    """Mean loss, infinite where a row has density zero; rows that could not be solved, which are NaN, are left out and
    counted."""
    solved, positive = ~log_prob.isnan(), log_prob.isfinite()
    return {
        "nll": -log_prob[solved].mean().item(),
        "excess": excess[solved].mean().item(),
        "error": excess[positive].std().item() / len(log_prob) ** 0.5,
        "unsolved": int((~solved).sum()),
        "impossible": int((solved & ~positive).sum()),
    }


def grid() -> torch.Tensor:
    """The middles of the pixels of a picture, row by row from above."""
    axis = EXTENT * (2 * (torch.arange(PIXELS) + 0.5) / PIXELS - 1)
    rows, columns = torch.meshgrid(-axis, axis, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def stem(family: str, target: str) -> Path:
    return KEPT / "".join(c if c.isalnum() else "_" for c in f"{family}-{target}")


def keep(family: str, target: str, score: dict[str, Any], density: np.ndarray) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(f"{stem(family, target)}.npz", density=density.reshape(PIXELS, PIXELS))
    Path(f"{stem(family, target)}.json").write_text(json.dumps(score), encoding="utf-8")


def kept(family: str, target: str) -> dict[str, Any] | None:
    path = Path(f"{stem(family, target)}.json")
    score = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    # Earlier scores left out all rows without a density, whether or not it was zero.
    return None if score and score["unsolved"] and "impossible" not in score else score


def report(seconds: float) -> None:
    """The table and the picture from all fits that are kept."""
    entropies = {target: entropy_on_grid(make().double())[0] for target, make in PLANE_TARGETS.items()}
    scores = {(f, t): kept(f, t) for f in FAMILIES for t in PLANE_TARGETS}
    best = {t: min((s["nll"] for (_, u), s in scores.items() if s and u == t), default=np.nan) for t in PLANE_TARGETS}

    def cell(family: str, target: str) -> str:
        score = scores[family, target]
        if score is None:
            return "—"
        without = f" ({count})" if (count := score["unsolved"] + score.get("impossible", 0)) else ""
        loss = "∞" if score["nll"] == np.inf else f"{score['nll']:.3f}"
        return loss + ("\\*" if score["nll"] > best[target] + FAR else "") + without

    def far(family: str) -> list[str]:
        pairs = [(t, scores[family, t]) for t in PLANE_TARGETS]
        return [f"{t} {s['nll'] - best[t]:+.2f}" for t, s in pairs if s and s["nll"] > best[t] + FAR]

    lines = [
        "| family | weights | steps | " + " | ".join(PLANE_TARGETS) + " |",
        "|---|---:|---:|" + "---:|" * len(best),
    ]
    lines.append("| *entropy of the target* | | | " + " | ".join(f"*{e:.3f}*" for e in entropies.values()) + " |")
    for family in FAMILIES:
        row = [s for t in PLANE_TARGETS if (s := scores[family, t])]
        if row:
            steps = sorted(s["steps"] for s in row)[len(row) // 2]
            cells = " | ".join(cell(family, t) for t in PLANE_TARGETS)
            lines.append(f"| {family} | {row[0]['weights']:,} | {steps:,} | {cells} |")
    waiting = [family for family in FAMILIES if any(scores[family, t] is None for t in PLANE_TARGETS)]
    errors = [s["error"] for s in scores.values() if s]
    unsolved = sum(s["unsolved"] for s in scores.values() if s)
    reasons = [f"* **{f}** ({', '.join(far(f))}): {REASONS.get(f, '')}" for f in FAMILIES if far(f)]
    text = [
        "## Shapes in the plane: every family of flows beside the entropy",
        "",
        f"    .venv/bin/python benchmarks/targets.py --seconds {seconds:g}",
        "",
        f"{machine()}, 1 thread. {ROWS:,} rows of each target; {seconds:g} s of one core for each fit (beside it the",
        f"median of its steps over the targets); networks of {HIDDEN} units. Negative log-likelihood of {TEST_ROWS:,}",
        "fresh rows in nats, the same for all families. The entropy of the target is the least that is possible; it is",
        "computed on a grid of 400 × 400 points. Standard errors of the distances from the entropy are at most",
        f"{max(errors, default=0):.3f}; {unsolved} rows could not be solved and are left out; rows of density",
        "zero make a loss infinite. In brackets: how many rows have no density.",
        f"\\*: more than {FAR} nats from the best of the column. The densities:",
        "[`docs/images/targets.png`](../docs/images/targets.png).",
        "",
        *lines,
        "",
        f"Why families are more than {FAR} nats from the best:",
        "",
        *reasons,
        "",
        "Longer fits that reasons speak of: `--families ... --targets ... --steps N` of the same command.",
        *(["", f"Not yet, or not on all targets: {', '.join(waiting)}; `--missing` goes on."] if waiting else []),
    ]
    update_section("targets", "\n".join(text))
    picture([f for f in FAMILIES if any(scores[f, t] for t in PLANE_TARGETS)])


def picture(families: list[str]) -> None:
    """The densities: a row for each family and first the target's own, in two blocks side by side."""
    targets = list(PLANE_TARGETS)
    with torch.no_grad():
        tops = {t: np.exp(PLANE_TARGETS[t]().log_prob(grid()).numpy()).reshape(PIXELS, PIXELS) for t in targets}
    names = ["the target", *families]
    half = -(-(len(names) + 1) // 2)
    columns = [names[:half], ["the target", *names[half:]]]
    gap = 3
    figure, axes = new_figure(1, 2, width=12.6, height=0.62 + 0.795 * half)
    for ax, block in zip(axes[0], columns, strict=True):
        canvas = np.full((half * (PIXELS + gap) - gap, len(targets) * (PIXELS + gap) - gap), np.nan)
        for i, family in enumerate(block):
            for j, target in enumerate(targets):
                top, left = i * (PIXELS + gap), j * (PIXELS + gap)
                path = Path(f"{stem(family, target)}.npz")
                if family == "the target":
                    density = tops[target]
                elif path.exists():
                    density = np.load(path)["density"]
                else:
                    continue
                scale = np.nanmax(tops[target])
                canvas[top : top + PIXELS, left : left + PIXELS] = np.clip(density / scale, 0, 1) ** 0.7
        ax.imshow(canvas, cmap="magma_r", vmin=0, vmax=1.15, interpolation="nearest")
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
        middle = PIXELS / 2
        ax.set_xticks(
            [j * (PIXELS + gap) + middle for j in range(len(targets))], [t.replace("_", " ") for t in targets]
        )
        ax.set_yticks([i * (PIXELS + gap) + middle for i in range(len(block))], block)
        ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, labelsize=8)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, PICTURE, dpi=110)
    shrink(PICTURE)


def shrink(path: Path) -> None:
    """The same picture with a palette of 128 colours."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--targets", nargs="*", default=list(PLANE_TARGETS), choices=list(PLANE_TARGETS))
    parser.add_argument("--seconds", type=float, default=7, help="of one core, for each fit")
    parser.add_argument("--steps", type=int, help="so many steps for each fit, which is printed and not kept")
    parser.add_argument("--missing", action="store_true", help="fit only what is not kept from an earlier run")
    parser.add_argument("--report", action="store_true", help="only write the table and the picture again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for family in arguments.families if not arguments.report else []:
        for target in arguments.targets:
            if not (arguments.missing and kept(family, target)):
                fitted(family, target, arguments.seconds, arguments.steps)
    if arguments.steps is None:
        report(arguments.seconds)


if __name__ == "__main__":
    main()
