"""The universality theorem made visible: fitted triangular maps go to the one Knothe-Rosenblatt map.

    python examples/universality.py             # fits everything, writes docs/universality.json and docs/images/
    python examples/universality.py --draw      # draws the pictures again from docs/universality.json

For a fixed order of variables there is one increasing triangular map T that carries the standard normal to a target
(Bogachev et al., 2005). For the targets here it is known in closed form. Single, unpermuted maps of five families are
fitted by maximum likelihood to samples alone, with growing capacity and with growing data, and held against it:

* the distance ‖T̂ - T‖ in L²(p), the root mean square of T̂(z) - T(z) over latent points z;
* the same over the points with all |z_j| ≤ 3 alone: beyond, where few samples come from, no fit knows the map, and a
  handful of points can decide the whole;
* the Kullback-Leibler divergence of the fitted density from the target, in nats.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

import pushforward as pf
from pushforward.bijections import Autoregressive, Chain, Standardize
from pushforward.distributions import Flow, StandardNormal
from pushforward.distributions.targets import TARGETS
from pushforward.evaluate.style import COLORS, INK, MUTED, new_figure, save_figure
from pushforward.univariate import (
    Affine,
    Bernstein,
    Composed,
    DeepSigmoidal,
    IntegratedNetwork,
    RationalQuadratic,
    SumOfSquares,
    Univariate,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS, IMAGES = DOCS / "universality.json", DOCS / "images"

BOUND = 3.5  # half the width of the boxes, in standard deviations


def spline(bins: int) -> Univariate:
    """A spline keeps its box where it is; an affine map before it lets its place depend on other features."""
    return Composed([Affine(), RationalQuadratic(bins, bound=BOUND, tails="linear")])


CAPACITIES = {"small": (8,), "medium": (24, 24), "large": (64, 64)}
FAMILIES: dict[str, Callable[[int], Univariate]] = {
    "sos": lambda k: SumOfSquares(2, (1, 3, 6)[k], bound=BOUND),
    "bernstein": lambda k: Bernstein((3, 12, 60)[k], bound=BOUND),
    "naf": lambda k: DeepSigmoidal((2, 6, 16)[k]),
    "umnn": lambda k: IntegratedNetwork((1, 4, 8)[k], (4, 8, 16)[k], bound=BOUND),
    "nsf": lambda k: spline((2, 6, 16)[k]),
}
NAMES = {"sos": "SOS", "bernstein": "Bernstein", "naf": "NAF", "umnn": "UMNN", "nsf": "spline"}
MARKS = dict(zip(FAMILIES, ("o", "s", "^", "D", "v"), strict=True))
SHADES = dict(zip(FAMILIES, (COLORS[c] for c in ("data", "gaussian", "highlight", "gmm", "model")), strict=True))
ROWS = [500, 2000, 8000, 32000, 128000]
LATENT, TEST = 20000, 20000
CENTRAL = 3.0
SHOWN = 5.0  # what lies above is cut off in the pictures, so that the rest can be told apart


def build(family: str, capacity: str, features: int) -> Flow:
    """A single increasing triangular map in the given order, of one family and capacity."""
    univariate = FAMILIES[family](list(CAPACITIES).index(capacity))
    layer = Autoregressive(univariate, features, hidden=CAPACITIES[capacity], activation="silu")
    return Flow(StandardNormal(features), Chain([Standardize(features), layer]).inv)


def errors(flow: pf.Flow, target: pf.Flow) -> dict[str, float]:
    """L²(p) distance of the maps and KL divergence of the densities, on points that no fit has seen."""
    random = torch.Generator().manual_seed(1)
    z = torch.randn(LATENT, *target.event_shape, generator=random)
    x = target.sample((TEST,), generator=random)
    with torch.no_grad():
        gaps = (flow.to_data(z) - target.to_data(z)).square().sum(dim=-1)
        divergence = (target.log_prob(x) - flow.log_prob(x)).mean().item()
    central = gaps[(z.abs() <= CENTRAL).all(dim=-1)]
    return {"distance": rms(gaps), "central": rms(central), "divergence": divergence}


def rms(squares: torch.Tensor) -> float:
    return squares.mean().sqrt().item()


def fit(flow: pf.Flow, target: pf.Flow, rows: int, steps: int) -> pf.Flow:
    x = target.sample((rows,), generator=torch.Generator().manual_seed(0))
    pf.fit(flow, x, steps=steps, batch_size=512, lr=5e-3, progress=False)
    return flow


def measure(steps: int, families: Sequence[str], results: dict[str, Any]) -> dict[str, Any]:
    """The families on every target: growing capacity with the most rows, growing data with the largest capacity.
    Results of other families are kept."""
    results = {"capacity": {}, "data": {}, **results, "steps": steps}
    start = time.time()
    for name, make in TARGETS.items():
        target = make()
        for family in families:
            for capacity in CAPACITIES:
                for rows in ROWS if capacity == "large" else ROWS[-1:]:
                    torch.manual_seed(0)
                    flow = fit(build(family, capacity, *target.event_shape), target, rows, steps)
                    result = errors(flow, target)
                    if capacity == "large":
                        results["data"].setdefault(name, {}).setdefault(family, {})[str(rows)] = result
                    if rows == ROWS[-1]:
                        results["capacity"].setdefault(name, {}).setdefault(family, {})[capacity] = result
                    print(
                        f"{time.time() - start:5.0f} s  {name:9} {family:9} {capacity:6} {rows:6} rows  "
                        f"distance {result['distance']:.3f} ({result['central']:.3f} for |z| ≤ 3)  "
                        f"KL {result['divergence']:.4f}",
                        flush=True,
                    )
    return results


# --- pictures ------------------------------------------------------------------------------------------------------


def draw_errors(results: dict[str, Any], kind: str, label: str, places: list[Any]) -> None:
    """Distance and divergence against capacity or rows, one column for each target."""
    quantities = {
        "distance": r"$\Vert \hat T - T\Vert_{L^2(p)}$",
        "central": r"the same for $|z_j| \leq 3$",
        "divergence": "KL divergence, nats",
    }
    figure, axes = new_figure(3, len(TARGETS), width=11.0, height=7.4, sharex=True)
    for column, name in enumerate(TARGETS):
        for row, quantity in enumerate(quantities):
            ax = axes[row, column]
            for family in FAMILIES:
                values = [max(results[kind][name][family][str(place)][quantity], 1e-4) for place in places]
                ticks = range(len(places)) if kind == "capacity" else places
                ax.plot(ticks, values, color=SHADES[family], marker=MARKS[family], ms=4.5, lw=1.4, label=NAMES[family])
            ax.set_yscale("log")
            if ax.get_ylim()[1] > SHOWN:  # single points far out, see above
                ax.set_ylim(top=SHOWN)
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            ax.yaxis.set_minor_formatter(NullFormatter())
            if kind == "data":
                ax.set_xscale("log")
                ax.set_xticks(places[::2], [f"{place:,}" for place in places[::2]])
                ax.minorticks_off()
            else:
                ax.set_xticks(range(len(places)), places)
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel(label)
    for ax, word in zip(axes[:, 0], quantities.values(), strict=True):
        ax.set_ylabel(word)
    axes[0, -1].legend(frameon=False, fontsize=8)
    save_figure(figure, IMAGES / f"universality_{kind}.png")


def draw_jacobian(steps: int) -> None:
    """The Jacobian of a fitted map T̂ in five dimensions, its mean over the latent points."""
    target = TARGETS["clusters"]()
    torch.manual_seed(0)
    flow = fit(build("nsf", "large", 5), target, 8000, steps)
    z = torch.randn(400, 5, generator=torch.Generator().manual_seed(2))
    figure, axes = new_figure(1, 2, width=8.2, height=3.9)
    for ax, model, title in zip(axes[0], (flow, target), ("fitted map", "Knothe-Rosenblatt map"), strict=True):
        whole = torch.autograd.functional.jacobian(lambda t, model=model: model.to_data(t).sum(dim=0), z)
        matrix = whole.mean(dim=1)
        size = matrix.abs().max().item()
        ax.imshow(matrix.numpy(), cmap="RdBu_r", vmin=-size, vmax=size)
        for i in range(5):
            for j in range(5):
                word = "0" if j > i else f"{matrix[i, j].item():.2f}"
                dark = matrix[i, j].abs().item() > 0.7 * size
                color = MUTED if j > i else "white" if dark else INK
                ax.text(j, i, word, ha="center", va="center", fontsize=8.5, color=color)
        assert bool((matrix.triu(1) == 0).all())
        assert bool((matrix.diagonal() > 0).all())
        ax.set_xticks(range(5), [f"$z_{j + 1}$" for j in range(5)])
        ax.set_yticks(range(5), [f"$x_{j + 1}$" for j in range(5)])
        ax.grid(False)
        ax.set_title(rf"mean of $\partial x_i / \partial z_j$: {title}")
    save_figure(figure, IMAGES / "universality_jacobian.png")


def draw_beyond_gaussians(steps: int) -> None:
    """Conditional normals, a stack of them, and one stronger map: densities and their conditionals on three lines."""
    target = TARGETS["moons"]()
    makers: dict[str, Callable[[], pf.Flow]] = {
        r"normals $\mathcal{N}(\mu_j(x_{<j}), \sigma_j^2(x_{<j}))$": lambda: pf.flows.gaussian_autoregressive(2),
        "a stack of five (MAF)": lambda: pf.flows.maf(2, hidden=(64, 64)),
        "one map, stronger univariate (spline)": lambda: build("nsf", "large", 2),
    }
    models = {"target": target}
    for title, make in makers.items():
        torch.manual_seed(0)
        models[title] = fit(make(), target, 32000, steps)
    figure, axes = new_figure(2, 4, width=12.0, height=5.6)
    lines = (-0.9, 0.0, 0.9)
    side = torch.linspace(-2.2, 2.2, 240)
    square = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)
    for (top, bottom), (title, model) in zip(axes.T, models.items(), strict=True):
        with torch.no_grad():
            top.imshow(model.log_prob(square).exp(), origin="lower", extent=(-2.2, 2.2) * 2, cmap="Blues")
        top.set_title(title, fontsize=9.5)
        top.set(xlabel=r"$x_1$", ylabel=r"$x_2$")
        top.grid(False)
        for line, color in zip(lines, ("data", "model", "gaussian"), strict=True):
            top.axvline(line, color=COLORS[color], lw=1.1)
            points = torch.stack([torch.full_like(side, line), side], dim=-1)
            for q, style in ((target, ":"), (model, "-")):
                with torch.no_grad():  # q(x2 | x1) = q(x) / its integral over x2
                    values = q.log_prob(points).exp()
                values = values / (values.sum() * (side[1] - side[0]))
                bottom.plot(side, values, style, color=COLORS[color], lw=1.4)
        bottom.set(xlabel=r"$x_2$", ylabel=r"$q(x_2 \mid x_1)$", ylim=(0, 3.4))
    save_figure(figure, IMAGES / "universality_beyond.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each fit (default: 1500)")
    parser.add_argument("--draw", action="store_true", help="draw from the numbers of the last run")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), help="which to fit")
    arguments = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    if not arguments.draw:
        previous = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        results = measure(arguments.steps, arguments.families, previous)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    draw_errors(results, "capacity", "capacity", list(CAPACITIES))
    draw_errors(results, "data", "training rows", ROWS)
    draw_jacobian(results["steps"])
    draw_beyond_gaussians(results["steps"])
    print(f"pictures: {IMAGES}")


if __name__ == "__main__":
    main()
