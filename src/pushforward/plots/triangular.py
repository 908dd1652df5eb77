"""Pictures of triangular maps: their Jacobian matrix, and the conditional densities of which they are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow
from pushforward.distributions.autoregressive import AutoregressiveDistribution
from pushforward.evaluate.arrays import Floats
from pushforward.evaluate.style import COLORS, FONT, INK, color_bar, legend_above, new_figure, plain
from pushforward.plots.arguments import as_floats, context_of, drawable, latents, of_model

__all__ = ["jacobian", "plot_conditionals", "plot_jacobian"]

MOST_NUMBERS = 10
"""Features up to which the numbers are written into the cells."""
MOST_FEATURES = 200
MOST_PANELS = 12
LEVELS = (1e-4, 1 - 1e-4)
"""Of the quantiles between which a conditional density is shown."""
POINTS = 801
NORMAL = 4.8
"""Standard deviations to which moments reach; beyond, levels round to one in float32."""


def jacobian(flow: Flow, z: Any, context: Any = None) -> Tensor:
    r"""The matrix :math:`\partial x_i / \partial z_j` of x = T(z) at one latent point, by automatic differentiation.

    Args:
        flow: of D features.
        z: the point of the latent space, (D,).
        context: of a conditional flow, (*context_shape,).

    Returns:
        (D, D), on the CPU.

    Raises:
        ValueError: this is no flow of a vector, z is no point of it, or a conditional flow has no context.

    >>> from pushforward.bijections import Scale
    >>> from pushforward.distributions import StandardNormal
    >>> jacobian(Flow(StandardNormal(2), Scale(2, factor=3.0)), [0.0, 1.0]).tolist()
    [[3.0, 0.0], [0.0, 3.0]]
    """
    owner = "jacobian"
    size = _size(owner, flow)
    context = context_of(owner, flow, context)
    with drawable(flow) as flow:
        return _matrix(flow, of_model(owner, "z", flow.base, z, size), context)


def plot_jacobian(flow: Flow, at: Any = None, *, context: Any = None, seed: int = 0) -> Figure:
    r"""The Jacobian matrix :math:`\partial x_i / \partial z_j` of a flow as a heat map; triangular where the map is.

    Cells that are exactly zero are empty. The title has the log-determinant twice: that of the matrix, which takes
    :math:`D^3` operations, and that of the flow.

    Args:
        flow: of D features.
        at: the point x in data space, (D,); where a random point of the latent space goes, by default.
        context: of a conditional flow, (*context_shape,).
        seed: of that point.

    Raises:
        ValueError: this is no flow of a vector, ``at`` is no point of it, or a conditional flow has no context.
    """
    owner = "plot_jacobian"
    size = _size(owner, flow)
    if size > MOST_FEATURES:
        raise ValueError(f"{owner}: shows {MOST_FEATURES} features at most; the flow has {size}.")
    context = context_of(owner, flow, context)
    with drawable(flow) as flow:
        if at is None:
            z = latents(flow, 1, context, seed)[0]
        else:
            z = flow.to_latent(of_model(owner, "at", flow, at, size), context)
        of_flow = math.fsum(float(step.ladj) for step in flow.steps(z, context))
        matrix = _matrix(flow, z, context)
    of_matrix = float(torch.linalg.slogdet(matrix.double()).logabsdet)
    shown = as_floats(matrix)
    reach = max(float(np.abs(shown).max()), 1e-12)
    side = min(7.5, 2.6 + 0.55 * size)
    figure, axes = new_figure(width=side + 0.9, height=side)
    ax = axes[0, 0]
    norm = SymLogNorm(linthresh=reach / 100, vmin=-reach, vmax=reach)
    image = ax.imshow(np.where(shown == 0, np.nan, shown), cmap="RdBu_r", norm=norm)
    if size <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(shown):
            dark = abs(norm(value) - 0.5) > 0.35
            text = "0" if value == 0 else f"{value:.2g}"
            ax.text(j, i, text, ha="center", va="center", fontsize=FONT - 1, color="white" if dark else INK)
    ticks = np.arange(size) if size <= 20 else np.arange(0, size, math.ceil(size / 10))
    ax.set_xticks(ticks, [f"$z_{{{k + 1}}}$" for k in ticks])
    ax.set_yticks(ticks, [f"$x_{{{k + 1}}}$" for k in ticks])
    ax.grid(False)
    triangular = bool((matrix.triu(1) == 0).all())
    kind = "lower-triangular: its diagonal is enough" if triangular else "not triangular"
    ax.set_title(
        rf"$\partial x_i / \partial z_j$, {kind}" + "\n"
        f"log|det| of the matrix {of_matrix:.4f}, of the flow {of_flow:.4f}",
        fontsize=FONT,
        color=INK,
    )
    color_bar(figure, ax, image, "")
    return figure


def plot_conditionals(
    flow: AutoregressiveDistribution, at: Any, *, context: Any = None, names: Sequence[str] | None = None
) -> Figure:
    r"""The conditional densities :math:`q(x_j \mid x_{<j})` along one point, beside normals of equal mean and variance.

    The product of the heights at the marks is q(x). Where all curves lie on the dashed ones, the flow is a chain of
    conditional Gaussians. Means and variances leave out what lies beyond the quantiles of 4.8 standard deviations of a
    normal, 10⁻⁶ on each side: of densities without a variance they are of the rest.

    Args:
        flow: whose conditionals are known: a triangular map of independent features, or another autoregressive
            distribution.
        at: the point x, (D,).
        context: of a conditional flow, (*context_shape,).
        names: of the features.

    Raises:
        ValueError: the conditionals are not known, ``at`` is no point of the flow, names are not as many as features,
            or a conditional flow has no context.
    """
    owner = "plot_conditionals"
    if not isinstance(flow, AutoregressiveDistribution) or len(flow.event_shape) != 1:
        raise ValueError(f"{owner}: shows autoregressive distributions of a vector; got {type(flow).__name__}.")
    (size,) = flow.event_shape
    if size > MOST_PANELS:
        raise ValueError(f"{owner}: shows {MOST_PANELS} features at most; the flow has {size}.")
    if names is not None and len(names) != size:
        raise ValueError(f"{owner}: names must be one for each of {size} features; got {len(names)}.")
    context = context_of(owner, flow, context)
    columns = min(4, size)
    rows = math.ceil(size / columns)
    figure, axes = new_figure(rows, columns, width=2.5 * columns + 0.4, height=2.3 * rows + 0.3)
    for ax in axes.flat[size:]:
        ax.axis("off")
    with drawable(flow) as flow:
        x = of_model(owner, "at", flow, at, size)
        for j, ax in enumerate(axes.flat[:size]):
            places, heights, mean, deviation = _conditional(flow, x, j, context)
            ax.plot(places, heights, color=COLORS["model"], linewidth=1.8, label=r"$q(x_j \mid x_{<j})$")
            ax.fill_between(places, heights, color=COLORS["model"], alpha=0.12, linewidth=0)
            normal = np.exp(-0.5 * ((places - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
            ax.plot(places, normal, color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label=r"$N(\mu_j, \sigma_j^2)$")
            ax.axvline(float(x[j]), color=COLORS["highlight"], linewidth=1.6, label=r"$x_j$")
            name = f"$x_{{{j + 1}}}$" if names is None else plain(names[j])
            ax.set_title(f"{name}:  μ = {mean:.3g}, σ = {deviation:.3g}", fontsize=FONT, color=INK)
            ax.set_ylim(0, None)
            ax.set_yticks([])
    legend_above(figure, axes[0, 0])
    return figure


def _matrix(flow: Flow, z: Tensor, context: Tensor | None) -> Tensor:
    with torch.enable_grad():
        matrix: Tensor = torch.autograd.functional.jacobian(lambda point: flow.to_data(point, context), z)
    return matrix.detach()


def _size(owner: str, flow: Distribution) -> int:
    """The number of features of a flow of vectors."""
    if not isinstance(flow, Flow) or len(flow.event_shape) != 1 or flow.base.event_shape != flow.event_shape:
        got = f"events of {tuple(flow.event_shape)}" if isinstance(flow, Flow) else type(flow).__name__
        raise ValueError(f"{owner}: shows flows of a vector of features; got {got}.")
    return flow.event_shape[0]


def _conditional(
    flow: AutoregressiveDistribution, x: Tensor, j: int, context: Tensor | None
) -> tuple[Floats, Floats, float, float]:
    """A grid of x_j, the density q(x_j | x_<j) on it, and its mean and standard deviation."""
    rest: Any = flow if j == 0 else flow.given(x[:j])
    density: Any = rest.marginal(1) if rest.event_shape != (1,) else rest
    low, high = density.icdf(torch.tensor(LEVELS, dtype=x.dtype)[:, None], context).double()[:, 0].tolist()
    low, high = min(low, float(x[j])), max(high, float(x[j]))
    margin = 0.05 * (high - low)
    places = torch.linspace(low - margin, high + margin, POINTS, dtype=torch.float64)
    heights = density.log_prob(places[:, None].to(x), context).exp()
    # Moments from quantiles at those of a normal, which is exact to many digits where the density is like one.
    normal = torch.linspace(-NORMAL, NORMAL, POINTS, dtype=torch.float64)
    weights = torch.exp(-normal.square() / 2)
    weights /= weights.sum()
    values = density.icdf(torch.special.ndtr(normal)[:, None].to(x), context).double()[:, 0]
    mean = float((weights * values).sum())
    return places.numpy(), as_floats(heights), mean, float((weights * (values - mean) ** 2).sum().sqrt())
