"""Maps of the plane: points, a grid and a density that are pushed forward, at once or layer by layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from pushforward.bijections import RadialSquash
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow, StandardNormal
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.style import FONT, INK, color_bar, new_figure, robust_limits

__all__ = ["draw_density", "latents", "of_two_features", "plot_layers", "plot_push_forward"]

WARM = LinearSegmentedColormap.from_list("warm", ["#ffffff", "#fbe3b5", "#f2b544", "#d9820a"])
VOLUME = LinearSegmentedColormap.from_list("volume", ["#0b5394", "#8db8dd", "#9a9a9a", "#e29a86", "#a61c00"])
"""Where a map shrinks areas, leaves them as they are, and stretches them."""
AROUND = LinearSegmentedColormap.from_list("around", ["#0072b2", "#009e73", "#e69f00", "#b5468c", "#0072b2"])
"""Of directions, which return to where they began."""
REACH, SPACING, ALONG = 3.0, 0.5, 241
"""Of the grid of latents: its half-width, the distance of two lines, and the points of each."""
SIZE = 240
"""Pixels of each side of a picture of a density."""
MOST_PANELS = 24


def plot_push_forward(
    T: Bijection | Flow | None = None,
    base: Distribution | None = None,
    *,
    context: Tensor | None = None,
    points: int = 600,
    seed: int = 0,
) -> Figure:
    r"""Points and a grid of the latent space, and where a map takes them, each with its exact density.

    The lines of the grid are coloured by :math:`\log|\det \nabla T(z)|`: blue where the map shrinks areas, red where it
    stretches them. The outlined cell holds the same probability on both sides.

    Args:
        T: a bijection or a flow of two features; by default :math:`z / (1 + \|z\|)`, which takes the plane into a disc.
        base: the density of z; that of the flow, or a standard normal.
        context: of a conditional map, (*context_shape,).
        points: number of points drawn.
        seed: of the draw.

    Raises:
        ValueError: the map is not of two features.
    """
    flow = of_two_features("plot_push_forward", RadialSquash(2) if T is None else T, base, context)
    at_least("plot_push_forward", "points", points, 1)
    with torch.no_grad():
        z = latents(flow, points, context, seed)
        lines = torch.stack(_grid_lines(REACH, SPACING)).to(z)
        ends, ladj = _taken(flow, lines, context)
        cell = _cell(1.0, 0.5, 0.5).to(z)
        outline, x = _taken(flow, cell, context)[0], _taken(flow, z, context)[0]
    figure, axes = new_figure(1, 2, width=9.6, height=4.6)
    inside = flow.base.support.contains(lines).all(dim=-1) if flow.base.support is not None else None
    norm = _symmetric(ladj[ladj.isfinite()])
    sides = [
        (axes[0, 0], flow.base, lines, z, cell, _square(z, 3.3)),
        (axes[0, 1], flow, ends, x, outline, _around(x)),
    ]
    for ax, density, grid, drawn, square, limits in sides:
        mesh = draw_density(ax, density, limits, context)
        color_bar(figure, ax, mesh, "p(z)" if density is flow.base else "q(x)")
        segments = np.stack([grid[:, :-1].numpy(), grid[:, 1:].numpy()], axis=2).reshape(-1, 2, 2)
        collection = LineCollection(list(segments), cmap=VOLUME, norm=norm, linewidths=0.9)
        middles = (ladj[:, :-1] + ladj[:, 1:]) / 2
        if inside is not None:  # lines outside of the support of z go nowhere
            middles = middles.masked_fill(~(inside[:, :-1] & inside[:, 1:]), torch.nan)
        collection.set_array(middles.flatten().numpy())
        ax.add_collection(collection)
        ax.plot(*drawn.T.numpy(), ".", color=INK, markersize=2.6, markeredgewidth=0, alpha=0.75)
        ax.fill(*square.T.numpy(), facecolor="none", edgecolor=INK, linewidth=2.0, zorder=4)
        ax.set(xlim=limits[:2], ylim=limits[2:])
        ax.grid(False)
    left, right = axes[0]
    left.set(title="latent space", xlabel=r"$z_1$", ylabel=r"$z_2$", aspect="equal")
    right.set(title="pushed forward", xlabel=r"$x_1$", ylabel=r"$x_2$")
    if _like_a_square(right):
        right.set_aspect("equal")
    color_bar(figure, right, collection, r"$\log\,|\det\nabla T(z)|$")
    return figure


def plot_layers(
    flow: Flow, z: Tensor | None = None, *, context: Tensor | None = None, points: int = 1_500, seed: int = 0
) -> Figure:
    """Points of the latent space after each layer of a flow of two features, on equal axes.

    Points keep the colour of the direction in which they lay at first, so that one sees what each layer moves where.
    `Flow.steps` gives the numbers. Above each panel stand the layer and the mean of its log-determinant.

    Args:
        flow: of two features.
        z: points of the latent space, (n, 2); drawn from the base by default.
        context: of a conditional flow, (*context_shape,).
        points: number of points drawn.
        seed: of the draw.

    Raises:
        ValueError: the flow is not of two features, or has more than 24 layers.
    """
    owner = "plot_layers"
    if not isinstance(flow, Flow):
        raise ValueError(f"{owner}: shows the layers of a Flow; got {type(flow).__name__}. Use Flow(base, bijection).")
    of_two_features(owner, flow, None, context)
    with torch.no_grad():
        if z is None:
            z = latents(flow, points, context, seed)
        steps = flow.steps(z, _several(context, len(z)))
    if len(steps) > MOST_PANELS:
        raise ValueError(f"{owner}: shows {MOST_PANELS} layers at most; the flow has {len(steps)}. Use flow.steps(z).")
    places = [z, *(step.x for step in steps)]
    names = ["z", *(f"{step.name}\nmean log|det| {step.ladj.mean():+.2f}" for step in steps)]
    columns = min(4, len(places))
    rows = math.ceil(len(places) / columns)
    figure, axes = new_figure(rows, columns, width=2.5 * columns, height=2.75 * rows, sharex=True, sharey=True)
    colors = AROUND(np.arctan2(*(z - z.mean(dim=0)).T.flip(0).numpy()) / (2 * np.pi) + 0.5)
    every = torch.cat(places)
    limits = [robust_limits(every[:, k].numpy().astype(np.float64), tail=0.002) for k in (0, 1)]
    for k, ax in enumerate(axes.flat):
        if k >= len(places):
            ax.axis("off")
            continue
        ax.scatter(*places[k].T.numpy(), s=3, c=colors, linewidths=0)
        ax.set_title(names[k], fontsize=FONT - 0.5, color=INK)
        ax.set(xlim=limits[0], ylim=limits[1])
    return figure


def of_two_features(
    owner: str, T: Bijection | Flow | Distribution, base: Distribution | None, context: Tensor | None
) -> Flow:
    """The flow of a map; refuses one of another number of features, or without the context that it needs."""
    if isinstance(T, Flow):
        if base is not None:
            raise ValueError(f"{owner}: a flow has its own base; leave base out, or pass flow.bijection.")
        flow = T
    elif isinstance(T, Bijection):
        flow = Flow(StandardNormal(2) if base is None else base, T)
    else:
        raise ValueError(f"{owner}: shows a bijection or a flow; got {type(T).__name__}.")
    if flow.event_shape != (2,) or flow.base.event_shape != (2,):
        raise ValueError(f"{owner}: shows maps of two features; got {flow.base.event_shape} to {flow.event_shape}.")
    if flow.context_shape is not None and context is None:
        raise ValueError(f"{owner}: the map is conditional. Pass context=, of shape {flow.context_shape}.")
    return flow


@torch.no_grad()
def latents(flow: Flow, count: int, context: Tensor | None, seed: int) -> Tensor:
    """Points of the latent space, (count, *latent shape), all for one context."""
    generator = torch.Generator().manual_seed(seed)
    if flow.base.context_shape is None:
        return flow.base.sample(count, generator=generator)
    return flow.base.sample((), flow._map_context(_several(context, count)), generator=generator)


def draw_density(
    ax: Axes, density: Distribution, limits: tuple[float, float, float, float], context: Tensor | None = None
) -> Any:
    """The exact density on a grid, as an image; nothing where it is zero."""
    sides = torch.linspace(*limits[:2], SIZE), torch.linspace(*limits[2:], SIZE)
    grid = torch.stack(torch.meshgrid(*sides, indexing="xy"), dim=-1).to(density.dtype or torch.get_default_dtype())
    told = None if density.context_shape is None else context
    with torch.no_grad():
        values: Floats = density.log_prob(grid, told).double().exp().numpy()
    shown = np.where(values > 0, values, np.nan)
    top = np.nanquantile(shown, 0.999) if np.isfinite(shown).any() else 1.0
    return ax.imshow(
        shown, origin="lower", extent=limits, cmap=WARM, vmin=0.0, vmax=top, interpolation="bilinear", aspect="auto"
    )


def _taken(flow: Flow, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """T(z) and its log-determinant."""
    told = None if context is None else flow._map_context(context.expand(*z.shape[:-1], *context.shape))
    x, ladj = flow.bijection.forward_and_ladj(z, told if flow.bijection.context_shape is not None else None)
    return x, ladj


def _several(context: Tensor | None, count: int) -> Tensor | None:
    return None if context is None else context.expand(count, *context.shape)


def _around(x: Tensor) -> tuple[float, float, float, float]:
    """Limits that show nearly all points, equally wide where the two features are about as wide."""
    (a, b), (c, d) = (robust_limits(x[:, k].numpy().astype(np.float64), tail=0.005, pad=0.1) for k in (0, 1))
    if 0.5 < (b - a) / (d - c) < 2:
        half = max(b - a, d - c) / 2
        a, b, c, d = (a + b) / 2 - half, (a + b) / 2 + half, (c + d) / 2 - half, (c + d) / 2 + half
    return a, b, c, d


def _square(z: Tensor, reach: float) -> tuple[float, float, float, float]:
    """Limits of the latent space: a square around zero, or around the points where these lie elsewhere."""
    if bool((z.abs().quantile(0.99) < reach) & (z.abs().quantile(0.99) > reach / 3)):
        return -reach, reach, -reach, reach
    return _around(z)


def _like_a_square(ax: Axes) -> bool:
    (a, b), (c, d) = ax.get_xlim(), ax.get_ylim()
    return abs((b - a) / (d - c) - 1) < 1e-6


def _symmetric(ladj: Tensor) -> Normalize:
    """Colours of log-determinants, whose middle is zero."""
    reach = max(float(ladj.abs().quantile(0.98)), 1e-3) if len(ladj) else 1.0
    return TwoSlopeNorm(0.0, -reach, reach)


def _grid_lines(reach: float, step: float) -> list[Tensor]:
    """Straight lines across the plane, of so many points that they bend smoothly."""
    along = torch.linspace(-reach, reach, ALONG)
    lines = []
    for k in range(round(-reach / step), round(reach / step) + 1):
        fixed = torch.full_like(along, k * step)
        lines += [torch.stack([along, fixed], dim=-1), torch.stack([fixed, along], dim=-1)]
    return lines


def _cell(left: float, bottom: float, side: float) -> Tensor:
    """The outline of one square of the grid."""
    along, zero = torch.linspace(0, side, 31), torch.zeros(31)
    sides = [(along, zero), (zero + side, along), (side - along, zero + side), (zero, side - along)]
    return torch.cat([torch.stack([left + x, bottom + y], dim=-1) for x, y in sides])
