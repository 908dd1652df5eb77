"""One triangular map, three sizes, in two minutes: how fitted maps come to the one Knothe-Rosenblatt map.

    python examples/universality_short.py [--out universality_short.png]

For two targets whose map is known in closed form, splines of growing capacity are fitted to 16,000 samples. The picture
has the target and the fitted densities; above each fit stand the distance of its map from the true one, in L²(p) over
points with |z_j| ≤ 3, and the divergence of its density in nats. `universality.py` is the long version.
"""

from __future__ import annotations

import argparse
import time

import torch
from universality import CAPACITIES, build, errors, fit

from pushforward.distributions.targets import TARGETS
from pushforward.evaluate.style import FONT, new_figure, save_figure

SHOWN = {"banana": (-3.2, 3.2, -2.5, 9.0), "moons": (-2.2, 2.2, -2.2, 2.2)}
"""Targets, and the limits of their pictures."""
ROWS, STEPS, SIZE = 16_000, 500, 200


def picture(ax, model, limits):
    """The density of a model of two features on a grid."""
    left, right, bottom, top = limits
    sides = torch.linspace(left, right, SIZE), torch.linspace(bottom, top, SIZE)
    with torch.no_grad():
        density = model.log_prob(torch.stack(torch.meshgrid(*sides, indexing="xy"), dim=-1)).exp()
    ax.imshow(density.numpy(), origin="lower", extent=limits, cmap="Blues", aspect="auto")
    ax.grid(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of each fit")
    parser.add_argument("--out", default="universality_short.png", help="the picture")
    arguments = parser.parse_args()
    start = time.time()
    figure, axes = new_figure(len(SHOWN), 1 + len(CAPACITIES), width=11.0, height=2.9 * len(SHOWN))
    for (name, limits), row in zip(SHOWN.items(), axes, strict=True):
        target = TARGETS[name]()
        picture(row[0], target, limits)
        row[0].set_title(f"{name}: the target", fontsize=FONT)
        for ax, capacity in zip(row[1:], CAPACITIES, strict=True):
            torch.manual_seed(0)
            flow = fit(build("nsf", capacity, 2), target, ROWS, arguments.steps)
            result = errors(flow, target)
            picture(ax, flow, limits)
            ax.set_title(
                f"{capacity}: distance {result['central']:.3f}, {result['divergence']:.3f} nats", fontsize=FONT
            )
            print(
                f"{time.time() - start:4.0f} s  {name:7} {capacity:7} distance {result['central']:.3f}  "
                f"divergence {result['divergence']:.3f} nats",
                flush=True,
            )
    save_figure(figure, arguments.out)
    print(f"{arguments.out}: each row is one density, and one triangular map on its way to it.")


if __name__ == "__main__":
    main()
