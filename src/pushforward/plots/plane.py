"""Maps of the plane: points, a grid and a density that are pushed forward, at once or layer by layer."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from pushforward.bijections import RadialSquash
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow, StandardNormal
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.style import FONT, INK, color_bar, new_figure, robust_limits
from pushforward.plots.arguments import as_floats, context_of, drawable, latents, of_base, of_model

__all__ = ["draw_density", "plot_layers", "plot_push_forward"]

WARM = LinearSegmentedColormap.from_list("warm", ["#ffffff", "#fbe3b5", "#f2b544", "#d9820a"])
VOLUME = LinearSegmentedColormap.from_list("volume", ["#0b5394", "#8db8dd", "#9a9a9a", "#e29a86", "#a61c00"])
"""Where a map shrinks areas, leaves them as they are, and stretches them."""
AROUND = LinearSegmentedColormap.from_list("around", ["#0072b2", "#009e73", "#e69f00", "#b5468c", "#0072b2"])
"""Of directions, which return to where they began."""
REACH, CELLS, ALONG = 3.0, 12, 241
"""Of the grid of standard normal latents: its half-width; cells on a side; and the points of each line."""
OUTLINED = 8, 7
"""The cell that is outlined, from the left and from below."""
SIZE = 240
"""Pixels of each side of a picture of a density."""
MOST_PANELS = 24

Limits = tuple[float, float, float, float]


def plot_push_forward(
    T: Bijection | Flow | None = None,
    base: Distribution | None = None,
    *,
    context: Any = None,
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
        ValueError: the map is not of two features, or a conditional one has no context.
    """
    owner = "plot_push_forward"
    at_least(owner, "points", points, 1)
    flow = _flow_of(owner, RadialSquash(2) if T is None else T, base)
    context = context_of(owner, flow, context)
    with drawable(flow) as flow:
        z = latents(flow, points, context, seed)
        around_z = _around_latents(z)
        lines, cell = _grid(around_z, z)
        inside = flow.base.log_prob(lines, of_base(flow, context, *lines.shape[:2])) > -math.inf
        grid, ladj = _taken(flow, lines, context)
        x, outline = _taken(flow, z, context)[0], _taken(flow, cell, context)[0]
        ladj = ladj.masked_fill(~inside, torch.nan)  # lines outside of the support of z go nowhere
        figure, axes = new_figure(1, 2, width=9.6, height=4.6)
        left, right = axes[0]
        densities = [
            draw_density(left, flow.base, _wider(around_z), of_base(flow, context)),
            draw_density(right, flow, _around(x), context),
        ]
    color_bar(figure, left, densities[0], "p(z)")
    color_bar(figure, right, densities[1], "q(x)")
    for ax, each, of_cell, drawn in ((left, lines, cell, z), (right, grid, outline, x)):
        collection = _colored(each, ladj)
        ax.add_collection(collection)
        ax.plot(*as_floats(drawn).T, ".", color=INK, markersize=2.6, markeredgewidth=0, alpha=0.75)
        ax.fill(*as_floats(of_cell).T, facecolor="none", edgecolor=INK, linewidth=2.0, zorder=4)
        ax.grid(False)
        left_end, right_end, bottom, top = ax.images[0].get_extent()
        ax.set(xlim=(left_end, right_end), ylim=(bottom, top))  # what lies outside of the density is left out
        if _like_a_square(ax):
            ax.set_aspect("equal")
    color_bar(figure, right, collection, r"$\log\,|\det\nabla T(z)|$")
    left.set(title="latent space", xlabel=r"$z_1$", ylabel=r"$z_2$")
    right.set(title="pushed forward", xlabel=r"$x_1$", ylabel=r"$x_2$")
    return figure


def plot_layers(flow: Flow, z: Any = None, *, context: Any = None, points: int = 1_500, seed: int = 0) -> Figure:
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
        ValueError: the flow is not of two features, has more than 24 layers, or a conditional one has no context.
    """
    owner = "plot_layers"
    at_least(owner, "points", points, 1)
    if not isinstance(flow, Flow):
        raise ValueError(f"{owner}: shows the layers of a Flow; got {type(flow).__name__}. Use Flow(base, bijection).")
    flow = _flow_of(owner, flow, None)
    context = context_of(owner, flow, context)
    with drawable(flow) as flow:
        z = latents(flow, points, context, seed) if z is None else of_model(owner, "z", flow.base, z, -1, 2)
        steps = flow.steps(z, context)
    if len(steps) > MOST_PANELS:
        raise ValueError(f"{owner}: shows {MOST_PANELS} layers at most; the flow has {len(steps)}. Use flow.steps(z).")
    places = [as_floats(place) for place in (z, *(step.x for step in steps))]
    names = ["z", *(f"{step.name}\nmean log|det| {step.ladj.mean():+.2f}" for step in steps)]
    columns = min(4, len(places))
    rows = math.ceil(len(places) / columns)
    figure, axes = new_figure(rows, columns, width=2.5 * columns, height=2.75 * rows, sharex=True, sharey=True)
    centred = places[0] - places[0].mean(axis=0)
    colors = AROUND(np.arctan2(centred[:, 1], centred[:, 0]) / (2 * np.pi) + 0.5)
    every = np.concatenate(places)
    limits = [robust_limits(every[:, k], tail=0.002) for k in (0, 1)]
    for ax in axes.flat[len(places) :]:
        ax.axis("off")
    for ax, place, name in zip(axes.flat, places, names, strict=False):
        ax.scatter(*place.T, s=3, c=colors, linewidths=0)
        ax.set_title(name, fontsize=FONT - 0.5, color=INK)
        ax.set(xlim=limits[0], ylim=limits[1])
    return figure


def draw_density(ax: Axes, density: Distribution, limits: Limits, context: Tensor | None = None) -> Any:
    """The exact density at the centre of each pixel, as an image; nothing where it is zero.

    Args:
        ax: the axes to draw into.
        density: of two features, on the CPU.
        limits: (left, right, bottom, top).
        context: of a conditional density, as it takes it.
    """
    dtype = density.dtype or torch.get_default_dtype()
    sides = (low + (high - low) * (torch.arange(SIZE) + 0.5) / SIZE for low, high in (limits[:2], limits[2:]))
    grid = torch.stack(torch.meshgrid(*sides, indexing="xy"), dim=-1).to(dtype)
    values: Floats = as_floats(density.log_prob(grid, context).exp())
    shown = np.where(values > 0, values, np.nan)
    top = float(np.nanquantile(shown, 0.999)) if np.isfinite(shown).any() else 1.0
    return ax.imshow(
        shown, origin="lower", extent=limits, cmap=WARM, vmin=0.0, vmax=top, interpolation="bilinear", aspect="auto"
    )


def _flow_of(owner: str, T: Bijection | Flow, base: Distribution | None) -> Flow:
    """The flow of a map; refuses one of another number of features."""
    if isinstance(T, Flow):
        if base is not None:
            raise ValueError(f"{owner}: a flow has its own base; leave base out, or pass flow.bijection.")
        flow = T
    elif isinstance(T, Bijection):
        if T.has_shape and T.in_shape != (2,):
            raise ValueError(f"{owner}: shows maps of two features; got events of shape {tuple(T.in_shape)}.")
        flow = Flow(StandardNormal(2).to(T.in_dtype) if base is None else base, T)
    else:
        raise ValueError(f"{owner}: shows a bijection or a flow; got {type(T).__name__}.")
    if flow.event_shape != (2,) or flow.base.event_shape != (2,):
        raise ValueError(
            f"{owner}: shows maps of two features; got {tuple(flow.base.event_shape)} to {tuple(flow.event_shape)}."
        )
    return flow


def _taken(flow: Flow, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """T(z) and its log-determinant."""
    steps = flow.steps(z, context)
    return steps[-1].x, torch.stack([step.ladj for step in steps]).sum(dim=0)


def _colored(lines: Tensor, ladj: Tensor) -> LineCollection:
    """Lines (lines, points, 2) coloured by log-determinants (lines, points), whose colours are even about zero."""
    segments = np.stack([as_floats(lines[:, :-1]), as_floats(lines[:, 1:])], axis=2).reshape(-1, 2, 2)
    finite = ladj[ladj.isfinite()].abs()
    reach = max(float(finite.quantile(0.98)), 1e-3) if len(finite) else 1.0
    collection = LineCollection(list(segments), cmap=VOLUME, norm=TwoSlopeNorm(0.0, -reach, reach), linewidths=0.9)
    collection.set_array(as_floats((ladj[:, :-1] + ladj[:, 1:]) / 2).ravel())
    return collection


def _around_latents(z: Tensor) -> Limits:
    """Of the grid: three standard deviations where z is about standard normal, else around the points."""
    size = z.abs().quantile(0.98, dim=0)
    if len(z) > 1 and bool(((size > 1.2) & (size < REACH)).all()) and bool((z.median(dim=0).values.abs() < 1).all()):
        return -REACH, REACH, -REACH, REACH
    (a, b), (c, d) = (robust_limits(as_floats(z[:, k]), tail=0.005, pad=0.0) for k in (0, 1))
    return a, b, c, d


def _wider(limits: Limits) -> Limits:
    a, b, c, d = limits
    return a - 0.05 * (b - a), b + 0.05 * (b - a), c - 0.05 * (d - c), d + 0.05 * (d - c)


def _around(x: Tensor) -> Limits:
    """Limits that show nearly all points, equally wide where the two features are about as wide."""
    (a, b), (c, d) = (robust_limits(as_floats(x[:, k]), tail=0.005, pad=0.1) for k in (0, 1))
    if 0.5 < (b - a) / (d - c) < 2:
        half = max(b - a, d - c) / 2
        a, b, c, d = (a + b) / 2 - half, (a + b) / 2 + half, (c + d) / 2 - half, (c + d) / 2 + half
    return a, b, c, d


def _like_a_square(ax: Axes) -> bool:
    (a, b), (c, d) = ax.get_xlim(), ax.get_ylim()
    return 0.8 < (b - a) / (d - c) < 1.25


def _grid(limits: Limits, like: Tensor) -> tuple[Tensor, Tensor]:
    """Straight lines (lines, points, 2), of so many points that they bend smoothly, and the outline of one cell."""
    a, b, c, d = limits
    across, up = torch.linspace(a, b, CELLS + 1), torch.linspace(c, d, CELLS + 1)
    along = torch.linspace(a, b, ALONG), torch.linspace(c, d, ALONG)
    level = [torch.stack([along[0], y.expand(ALONG)], dim=-1) for y in up]
    upright = [torch.stack([x.expand(ALONG), along[1]], dim=-1) for x in across]
    (left, right), (bottom, top) = across[OUTLINED[0] :][:2].tolist(), up[OUTLINED[1] :][:2].tolist()
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    part = torch.linspace(0, 1, 31)[:, None]
    cell = torch.cat([torch.tensor(start) * (1 - part) + torch.tensor(end) * part for start, end in pairwise(corners)])
    return torch.stack(level + upright).to(like), cell.to(like)
