"""Two introductory figures on flows, drawn from exact densities of the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, ConnectionPatch

from pushforward.bijections import RadialSquash, Standardize
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow, StandardNormal, Uniform
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.style import COLORS, FONT, INK, MUTED, new_figure, tidy

__all__ = ["plot_radial_squash", "plot_uniform_to_uniform"]

_WARM = LinearSegmentedColormap.from_list("warm", ["#ffffff", "#fbe3b5", "#f2b544", "#d9820a"])


def plot_radial_squash(*, points: int = 600, seed: int = 0) -> Figure:
    r"""Gaussian points and a grid pushed through :math:`x = z / (1 + \|z\|)`, each with its exact density.

    The outlined square of the grid holds the same probability on both sides.

    Args:
        points: number of points drawn.
        seed: of the draw.
    """
    base, squash = StandardNormal(2), RadialSquash(2)
    flow = Flow(base, squash)
    z = torch.randn(points, 2, generator=torch.Generator().manual_seed(seed))
    figure, axes = new_figure(1, 2, width=9.6, height=4.5)
    sides: list[tuple[Axes, Distribution, float, bool]] = [
        (axes[0, 0], base, 3.3, False),
        (axes[0, 1], flow, 1.08, True),
    ]
    for ax, density, reach, pushed in sides:
        mesh = _density(ax, density, reach)
        for line in _grid_lines(3.0, 0.5):
            drawn = squash(line) if pushed else line
            axis = bool((line == 0).all(dim=0).any())  # a line through the origin
            ax.plot(*drawn.T.numpy(), color="#4a4a4a", linewidth=1.3 if axis else 0.5, alpha=0.6)
        cell = _cell(1.0, 0.5, 0.5)
        outline = squash(cell) if pushed else cell
        ax.fill(*outline.T.numpy(), facecolor="none", edgecolor=INK, linewidth=2.0, zorder=4)
        moved = squash(z) if pushed else z
        ax.plot(*moved.T.numpy(), ".", color=COLORS["data"], markersize=3.6, markeredgewidth=0, alpha=0.85)
        ax.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
        ax.grid(False)
        bar = figure.colorbar(mesh, ax=ax, shrink=0.72, pad=0.02, format="%.2f")
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=FONT - 2, colors=MUTED, length=2)
        bar.set_label("q(x)" if pushed else "p(z)", fontsize=FONT, color=INK)
    left, right = axes[0]
    left.set_title("latent space:  z ~ N(0, I)")
    left.set(xlabel=r"$z_1$", ylabel=r"$z_2$")
    right.set_title(r"pushed forward:  $x = z\,/\,(1 + \Vert z\Vert)$")
    right.set(xlabel=r"$x_1$", ylabel=r"$x_2$", xticks=[-1, -0.5, 0, 0.5, 1], yticks=[-1, -0.5, 0, 0.5, 1])
    right.add_patch(Circle((0, 0), 1.0, fill=False, edgecolor=INK, linewidth=1.2, linestyle=(0, (4, 3))))
    figure.suptitle(
        r"$q(x) = p(z)\,\left|\det\nabla T(z)\right|^{-1} = p(z)\,(1 + \Vert z\Vert)^3$", fontsize=FONT + 3, color=INK
    )
    return figure


def plot_uniform_to_uniform(*, start: float = 0.35, width: float = 0.2) -> Figure:
    """p(z) dz = q(x) dx for z uniform on [0, 1] and x = 2z + 1: intervals twice as wide, half the density.

    Args:
        start: where the highlighted interval dz begins, in [0, 1].
        width: its length.
    """
    if not 0 <= start < start + width <= 1:
        raise ValueError(f"plot_uniform_to_uniform: start and width must lie within [0, 1]; got {start} and {width}.")
    stretch = Standardize(1)  # x = (z + 1/2) / (1/2) = 2z + 1
    stretch.mean.fill_(-0.5)
    stretch.scale.fill_(0.5)
    stretch.initialized.fill_(True)
    base = Uniform([0.0], [1.0])
    flow = Flow(base, stretch)
    ends = torch.tensor([[start], [start + width]])
    x_start, x_end = stretch(ends).ravel().tolist()
    figure, axes = new_figure(2, 1, width=7.0, height=5.4, sharex=True)
    top, bottom = axes[:, 0]
    _uniform_panel(top, base, (start, start + width), "z", f"p(z) = 1 on [0, 1]\nshaded: 1 × {width:g} = {width:g}")
    note = f"q(x) = ½ on [1, 3]\nshaded: ½ × {x_end - x_start:g} = {width:g}"
    _uniform_panel(bottom, flow, (x_start, x_end), "x", note)
    links = [
        (0.0, 1.0, MUTED),
        (1.0, 3.0, MUTED),
        (start, x_start, COLORS["model"]),
        (start + width, x_end, COLORS["model"]),
    ]
    for z_edge, x_edge, color in links:
        link = ConnectionPatch((z_edge, 0), (x_edge, 0.5), "data", "data", axesA=top, axesB=bottom, color=color)
        link.set(arrowstyle="-|>", linestyle=(0, (4, 3)), linewidth=1.1, mutation_scale=9)
        figure.add_artist(link)
    top.set_title("p(z) dz = q(x) dx\nx = 2z + 1 makes every interval twice as wide, so the density halves")
    return figure


def _density(ax: Axes, density: Distribution, reach: float, size: int = 400) -> Any:
    """The exact density on a grid, as an image."""
    side = torch.linspace(-reach, reach, size)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)  # (size, size, 2)
    values: Floats = density.log_prob(grid).exp().numpy()
    shown = np.where(values > 0, values, np.nan)
    extent = (-reach, reach, -reach, reach)
    return ax.imshow(shown, origin="lower", extent=extent, cmap=_WARM, vmin=0.0, interpolation="bilinear")


def _grid_lines(reach: float, step: float) -> list[torch.Tensor]:
    """Straight lines across the plane, of so many points that they bend smoothly."""
    along = torch.linspace(-reach, reach, 241)
    lines = []
    for k in range(round(-reach / step), round(reach / step) + 1):
        fixed = torch.full_like(along, k * step)
        lines += [torch.stack([along, fixed], dim=-1), torch.stack([fixed, along], dim=-1)]
    return lines


def _cell(left: float, bottom: float, side: float) -> torch.Tensor:
    """The outline of one square of the grid."""
    along, zero = torch.linspace(0, side, 31), torch.zeros(31)
    sides = [(along, zero), (zero + side, along), (side - along, zero + side), (zero, side - along)]
    return torch.cat([torch.stack([left + x, bottom + y], dim=-1) for x, y in sides])


def _uniform_panel(ax: Axes, density: Distribution, interval: tuple[float, float], name: str, note: str) -> None:
    grid = torch.linspace(-0.3, 4.3, 4001)[:, None]
    heights = density.log_prob(grid).exp().numpy()
    where = grid.ravel().numpy()
    ax.plot(where, heights, color=COLORS["data"], linewidth=1.6)
    ax.fill_between(where, heights, color=COLORS["data"], alpha=0.18, linewidth=0)
    height = float(heights.max())
    low, high = interval
    ax.fill_between([low, high], [height, height], color=COLORS["highlight"], alpha=0.8, linewidth=0)
    ends = {"arrowstyle": "<->", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
    ax.annotate("", (low, 0.07), (high, 0.07), arrowprops=ends)
    ax.text((low + high) / 2, 0.1, f"d{name} = {high - low:g}", ha="center", va="bottom", fontsize=FONT, color=INK)
    ax.text(3.12, 0.5, note, fontsize=FONT, color=INK, va="center", linespacing=1.5)
    ax.set(xlim=(-0.3, 4.3), ylim=(0, 1.12), xlabel=name, ylabel="density", xticks=[0, 1, 2, 3], yticks=[0, 0.5, 1])
    ax.tick_params(labelbottom=True)
    tidy(ax)
