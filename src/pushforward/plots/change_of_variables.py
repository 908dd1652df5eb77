"""The change of variables in one dimension: probability travels with an increasing map."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow, StandardNormal
from pushforward.distributions.autoregressive import AutoregressiveDistribution
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.style import COLORS, FONT, INK, MUTED, tidy
from pushforward.plots.arguments import context_of, of_base

__all__ = ["ChangeOfVariables", "Map", "change_of_variables", "plot_change_of_variables"]

Map = Bijection | Flow | Callable[[Tensor], Tensor]
"""An increasing map of one number: a bijection of one feature, a flow of one, or a function of tensors."""

OWNER = "plot_change_of_variables"
POINTS = 4_000
"""Of the grid of z, an even number, so that it does not hit the middle, where slopes of odd powers are zero."""
OUTSIDE = 1e-6
"""Probability on each side of the grid."""
UNEVEN, REFINEMENTS = 0.05, 12
"""Where log q differs by more between neighbours, points are added, so many times: at slopes of zero q is infinite."""
SHOWN = 0.02
"""Probability on each side of the intervals and of the picture."""


@dataclass(frozen=True, eq=False)
class ChangeOfVariables:
    r"""Numbers of a change of variables x = T(z) for z ~ p, in one dimension.

    Attributes:
        z: a grid, (points,).
        x: T(z).
        p: the density of z there.
        q: the density of x, :math:`p(z) / T'(z)`.
        edges: of neighbouring intervals of z, (intervals + 1,).
        images: of these edges.
        masses: the integral of p over each interval, (intervals,).
        image_masses: the integral of q over the image of each, which is the same number.
        integral: of q over all x but for 10⁻⁶ of probability on each side: one.
        naive_integral: of :math:`p(T^{-1}(x))`, the density without the slope of the map: one only by chance.
    """

    z: Floats
    x: Floats
    p: Floats
    q: Floats
    edges: Floats
    images: Floats
    masses: Floats
    image_masses: Floats
    integral: float
    naive_integral: float


def change_of_variables(
    T: Map, base: Distribution | None = None, *, context: Any = None, intervals: int = 8
) -> ChangeOfVariables:
    """The numbers behind `plot_change_of_variables`, whose arguments it takes.

    Raises:
        ValueError: the map is of more than one feature, or does not increase.
    """
    at_least(OWNER, "intervals", intervals, 1)
    base, push = _parts(T, base, context)
    tails = torch.tensor([OUTSIDE, SHOWN, 1 - SHOWN, 1 - OUTSIDE], dtype=torch.float64)
    quantiles = _quantiles(base, tails)
    low, first, last, high = quantiles.tolist()
    heights = _density(base, quantiles)
    if heights[0] > heights[1] / 2 and heights[3] > heights[2] / 2:  # p ends abruptly, as a uniform density does
        first, last = low, high
    edges = torch.linspace(first, last, intervals + 1, dtype=torch.float64)
    z = torch.cat([torch.linspace(low, high, POINTS, dtype=torch.float64), edges]).unique()
    for left in reversed(range(REFINEMENTS + 1)):
        x, slope = push(z)
        p = _density(base, z)
        q = p / slope
        uneven = (q[1:] / q[:-1]).log().abs() > UNEVEN
        if not left or not uneven.any():
            break
        z = torch.cat([z, (z[1:] + z[:-1])[uneven] / 2]).unique()
    falls = (slope < 0) | torch.cat([x.diff() < 0, torch.tensor([False])])
    if falls.any() or not x[-1] > x[0]:
        k = int(falls.double().argmax())
        raise ValueError(f"{OWNER}: the map must increase; at z = {z[k]:.3g} its slope is {slope[k]:.3g}.")
    places = torch.searchsorted(z, edges).tolist()
    parts = [slice(a, b + 1) for a, b in pairwise(places)]
    return ChangeOfVariables(
        z=z.numpy(),
        x=x.numpy(),
        p=p.numpy(),
        q=q.numpy(),
        edges=edges.numpy(),
        images=x[places].numpy(),
        masses=np.array([_integral(p[part], z[part]) for part in parts]),
        image_masses=np.array([_integral(q[part], x[part]) for part in parts]),
        integral=_integral(q, x),
        naive_integral=_integral(p, x),
    )


def plot_change_of_variables(
    T: Map, base: Distribution | None = None, *, context: Any = None, intervals: int = 8
) -> Figure:
    r"""An increasing map x = T(z) and the densities on both sides: :math:`p(z)\, dz = q(x)\, dx`.

    Below the map stands p(z), beside it q(x). Each interval of z and its image have the same colour and, as rectangles,
    the same area: where the map is steep, the density thins. The dashed line is :math:`p(T^{-1}(x))`, which forgets the
    slope; its integral is no longer one.

    Args:
        T: a bijection of one feature, a flow of one feature, or a function of tensors (n,) that autograd can
            differentiate, such as ``torch.exp``.
        base: the density p of z; that of the flow, or a standard normal.
        context: of a conditional bijection or flow, (*context_shape,).
        intervals: how many intervals are coloured.

    Raises:
        ValueError: the map is of more than one feature, or does not increase.

    >>> numbers = change_of_variables(lambda z: 2 * z + 1)
    >>> round(numbers.integral, 3), round(numbers.naive_integral, 3)
    (1.0, 2.0)
    """
    numbers = change_of_variables(T, base, context=context, intervals=intervals)
    figure = Figure(figsize=(8.4, 6.6), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.7), height_ratios=(1.7, 1))
    middle = figure.add_subplot(grid[0, 1])
    left = figure.add_subplot(grid[0, 0], sharey=middle)
    below = figure.add_subplot(grid[1, 1], sharex=middle)
    corner = figure.add_subplot(grid[1, 0])
    for ax in (middle, left, below):
        tidy(ax)
    _rectangles(middle, left, below, numbers)
    middle.plot(numbers.z, numbers.x, color=INK, linewidth=1.8)
    below.plot(numbers.z, numbers.p, color=COLORS["data"], linewidth=1.6)
    left.plot(numbers.q, numbers.x, color=COLORS["model"], linewidth=1.6)
    left.plot(numbers.p, numbers.x, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    widths, heights = np.diff(numbers.images), np.diff(numbers.edges)
    (z_low, z_high), (x_low, x_high) = (
        (ends[0] - 0.12 * (ends[-1] - ends[0]), ends[-1] + 0.12 * (ends[-1] - ends[0]))
        for ends in (numbers.edges, numbers.images)
    )
    middle.set(xlim=(z_low, z_high), ylim=(x_low, x_high))
    shown = (numbers.x > x_low) & (numbers.x < x_high)
    highest = max(
        1.15 * float((numbers.image_masses / widths).max()),
        min(1.1 * float(numbers.q[shown].max()), 2.5 * float((numbers.image_masses / widths).max())),
        1.1 * float(numbers.p[shown].max()),
    )
    left.set(xlim=(highest, 0), xlabel="density of x", ylabel="x")
    below.set(ylim=(0, 1.15 * max(float((numbers.masses / heights).max()), float(numbers.p.max()))))
    below.set(xlabel="z", ylabel="density of z")
    middle.tick_params(labelbottom=False, labelleft=False)
    middle.set_title("x = T(z)", fontsize=FONT + 2, color=INK)
    corner.axis("off")
    lines = [
        ("p(z), the density of z", COLORS["data"]),
        (f"q(x) = p(z) / T'(z),  ∫ q dx = {numbers.integral:.3f}", COLORS["model"]),
        (f"dashed: p(T⁻¹(x)), its integral is {numbers.naive_integral:.3f}", MUTED),
        ("equal colours have equal areas:\np(z) dz = q(x) dx", INK),
    ]
    for k, (text, color) in enumerate(lines):
        corner.text(0, 0.9 - 0.2 * k, text, fontsize=FONT, color=color, va="top", transform=corner.transAxes)
    return figure


def _rectangles(middle: Axes, left: Axes, below: Axes, numbers: ChangeOfVariables) -> None:
    """Each interval and its image as rectangles of one area, and where the map takes the edges."""
    colors = colormaps["viridis"](np.linspace(0.15, 0.95, len(numbers.masses)))
    for k, color in enumerate(colors):
        z, x = numbers.edges[k : k + 2], numbers.images[k : k + 2]
        edge: Any = {"edgecolor": to_rgba(INK, 0.5), "linewidth": 0.6}
        below.bar(z[0], numbers.masses[k] / (z[1] - z[0]), z[1] - z[0], align="edge", color=color, **edge)
        left.barh(x[0], numbers.image_masses[k] / (x[1] - x[0]), x[1] - x[0], align="edge", color=color, **edge)
    for z, x in zip(numbers.edges, numbers.images, strict=True):
        middle.plot([z, z], [x, -1e9], color=MUTED, linewidth=0.6, alpha=0.7)
        middle.plot([z, -1e9], [x, x], color=MUTED, linewidth=0.6, alpha=0.7)


Push = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x and the slope there, from z, all (n,) in float64."""


def _parts(T: Map, base: Distribution | None, context: Any) -> tuple[Distribution, Push]:
    """The density of z and the map, both in float64."""
    if isinstance(T, Flow):
        if base is not None:
            raise ValueError(f"{OWNER}: a flow has its own base; leave base out, or pass flow.bijection.")
        T = copy.deepcopy(T).cpu().double().eval()
        context = context_of(OWNER, T, context)
        base = T.base if (of_it := of_base(T, context)) is None else T.base.condition(of_it)
        context, T = None if context is None else T._map_context(context[None]), T.bijection
        context = None if context is None or T.context_shape is None else context[0]
    elif isinstance(T, Bijection):
        T = copy.deepcopy(T).cpu().double().eval()
        context = context_of(OWNER, T, context)
    elif isinstance(T, Distribution) or not callable(T):
        raise ValueError(f"{OWNER}: T must be a bijection, a flow or a function; got {type(T).__name__}.")
    base = StandardNormal(1).double() if base is None else copy.deepcopy(base).cpu().double()
    if base.event_shape != (1,) or (isinstance(T, Bijection) and T.has_shape and T.in_shape != (1,)):
        shape = T.in_shape if isinstance(T, Bijection) else base.event_shape
        raise ValueError(f"{OWNER}: shows maps of one feature; got events of shape {tuple(shape)}.")
    return base, partial(_of_bijection, T, context) if isinstance(T, Bijection) else partial(_of_function, T)


@torch.no_grad()
def _quantiles(base: Distribution, levels: Tensor) -> Tensor:
    """Of z; from a sample where the base does not know its own."""
    if isinstance(base, AutoregressiveDistribution) and base.has_conditionals:
        return base.icdf(levels[:, None])[:, 0]
    return base.sample(100_000, generator=torch.Generator().manual_seed(0))[:, 0].quantile(levels)


@torch.no_grad()
def _of_bijection(bijection: Bijection, context: Tensor | None, z: Tensor) -> tuple[Tensor, Tensor]:
    x, ladj = bijection.forward_and_ladj(z[:, None], context)
    return x[:, 0], ladj.exp()


def _of_function(function: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    points = z.clone().requires_grad_()
    with torch.enable_grad():
        x = function(points)
        if not isinstance(x, Tensor) or x.shape != z.shape:
            raise ValueError(f"{OWNER}: the function must return a tensor of the shape of its argument.")
        (slope,) = torch.autograd.grad(x.sum(), points) if x.requires_grad else (torch.zeros_like(z),)
    return x.detach(), slope


@torch.no_grad()
def _density(base: Distribution, z: Tensor) -> Tensor:
    return base.log_prob(z[:, None]).exp()


def _integral(heights: Tensor, places: Tensor) -> float:
    """By trapezoids, of those between finite heights."""
    parts = (heights[1:] + heights[:-1]) / 2 * places.diff()
    return float(parts[parts.isfinite()].sum())
