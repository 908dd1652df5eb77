"""Autoregressive flows of images whose conditioners read a window of the cells before and remember the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Unpack

from pushforward.bijections import Autoregressive, Flip, Permute, Reshape
from pushforward.bijections.autoregressive import SOLVERS
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of, positive
from pushforward.core.shapes import event_shape
from pushforward.distributions import Distribution, Flow, Logistic, StandardNormal, Uniform
from pushforward.flows.assembly import connect
from pushforward.flows.image_assembly import data_side, dequantized
from pushforward.flows.options import PlainOptions
from pushforward.flows.registry import IMAGE_FLOWS, named_flow, network_options
from pushforward.univariate import (
    Affine,
    GaussianMixtureCDF,
    InBox,
    LinearSpline,
    LogisticMixtureCDF,
    RationalQuadratic,
)

__all__ = ["window_flow"]

UNIVARIATES = ("steps", "mixture", "logistic_mixture", "spline", "affine")
BLOCK = 128
"""Numbers that an iteration solves together."""
LEAST_STEP = 1e-7
"""Smallest probability of a step, as a fraction of all."""


@named_flow(IMAGE_FLOWS, hidden=(96, 96, 96), activation="silu")
def window_flow(
    features: Sequence[int],
    context: int = 0,
    *,
    univariate: Literal["steps", "mixture", "logistic_mixture", "spline", "affine"] = "mixture",
    components: int = 10,
    bins: int = 16,
    bound: float = 5.0,
    above: int = 2,
    beside: int = 3,
    recurrent: int = 64,
    planes: int = 0,
    depth: int = 1,
    solver: Literal["sequential", "jacobi"] = "sequential",
    values: int | None = None,
    dequantize: Literal["uniform", "variational"] = "uniform",
    **options: Unpack[PlainOptions],
) -> Flow:
    r"""Autoregressive flow of images: each number is moved by a map whose parameters follow from a window before it.

    .. math:: z_j = \tau\bigl(x_j;\ \theta_j(x_{<j}, c)\bigr)

    Cells are in raster order, and the channels of a cell one after the other; `networks.CausalWindow` reads the cells
    above and to the left, and remembers what lies beyond. By default :math:`\tau` is the distribution function of a
    mixture followed by the normal quantile: each number is a mixture of Gaussians given those before it.
    Densities cost one pass of each network, samples one small step for each number, in all about one pass as well.

    Args:
        features: the shape (channels, *spatial) of an event, with one or two spatial axes.
        univariate: ``"mixture"`` (of Gaussians), ``"logistic_mixture"``, ``"spline"`` (rational-quadratic),
            ``"affine"``, or, for whole numbers, ``"steps"``: a density that is constant between whole numbers.
        components: components of each mixture.
        bins: bins of each spline.
        bound: splines act on [-bound, bound], in standard deviations of the data, and are linear outside; components of
            mixtures lie within twice that.
        above: rows of the window above a cell.
        beside: cells of the window on each side of it.
        recurrent: units that carry what lies beyond the window from cell to cell, before each residual block; 0 for
            none.
        planes: of an image over the grid that the context ends with, in row-major order of (planes, *spatial); each
            cell sees it in the window on all sides. Such a model restores, enlarges or colours images.
        depth: number of layers, of which every second one has the order of cells reversed.
        solver: how samples are computed: ``"sequential"``, or ``"jacobi"`` for iterations of parallel passes.
        values: of data that are whole numbers 0 .. values - 1, how many there are; None: data are real numbers.
        dequantize: the noise that makes whole numbers continuous: ``"uniform"``, or ``"variational"``: learned.

    Raises:
        ValueError: ``univariate`` has no such value, ``"steps"`` of data that are no whole numbers, or an option is out
            of its range.

    References:
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), arXiv:1606.05328
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057

    >>> window_flow((1, 4, 4), values=256, hidden=(8, 8)).event_shape
    (1, 4, 4)
    """
    owner = "window_flow"
    shape = event_shape(owner, features)
    if not 2 <= len(shape) <= 3:
        raise ValueError(f"{owner}: features must be (channels, *spatial) with one or two spatial sizes; got {shape}.")
    at_least(owner, "context", context, 0)
    at_least(owner, "depth", depth, 1)
    network: Any = network_options(owner, options)
    one_of(owner, "univariate", univariate, UNIVARIATES)
    one_of(owner, "solver", solver, SOLVERS)
    one_of(owner, "dequantize", dequantize, ("uniform", "variational"))
    at_least(owner, "planes", planes, 0)
    if planes and depth > 1:
        raise ValueError(f"{owner}: planes are for depth=1; got depth={depth}, whose second layer goes backwards.")
    at_least(owner, "components", components, 1)
    at_least(owner, "bins", bins, 2)
    positive(owner, "bound", bound)
    (channels, *spatial), count = shape, math.prod(shape)
    base: Distribution = Logistic(count) if univariate == "logistic_mixture" else StandardNormal(count)
    noise: Any = {**network, "conditioner": "conv"}
    if univariate == "steps":
        if values is None:
            raise ValueError(f"{owner}: univariate='steps' is for whole numbers; say how many there are by values=.")
        base = Uniform([0.0] * count, [1.0] * count)
        data = [dequantized(owner, shape, context, values, dequantize, noise, logit=False)]
    else:
        data = data_side(owner, shape, context, values, dequantize, noise)
    maps = {
        "steps": lambda: InBox(LinearSpline(values or 2, min_bin=LEAST_STEP), 0.0, 1.0, closed=True),
        "mixture": lambda: GaussianMixtureCDF(components, bound=2 * bound),
        "logistic_mixture": lambda: LogisticMixtureCDF(components, bound=2 * bound),
        "spline": lambda: RationalQuadratic(bins, bound=bound),
        "affine": Affine,
    }
    window = {
        "shape": [*(1, *spatial, channels)[-3:]],
        "above": above,
        "beside": beside,
        "recurrent": recurrent,
        "planes": planes,
    }
    layers: list[Bijection] = [Reshape(shape, count)]
    if channels > 1:  # the channels of a cell side by side
        cells = count // channels
        layers.append(Permute([channel * cells + cell for cell in range(cells) for channel in range(channels)]))
    for k in range(depth):
        if k:
            layers.append(Flip(count))
        layers.append(
            Autoregressive(
                maps[univariate](), count, context=context, conditioner="window", conditioner_options=window,
                solver=solver, block=BLOCK, **network,
            )
        )  # fmt: skip
    return connect(owner, base, layers, data, context, fast="density", data_dtype=None)
