"""Autoregressive flows of images whose tokens are patches and whose conditioners are causal transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Unpack

import torch

from pushforward.bijections import Autoregressive, Flip, Permute, Reshape
from pushforward.bijections.autoregressive import SOLVERS
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of, positive
from pushforward.core.shapes import event_shape
from pushforward.distributions import Flow, StandardNormal
from pushforward.flows.assembly import connect
from pushforward.flows.image_assembly import data_side
from pushforward.flows.options import PlainOptions
from pushforward.flows.registry import IMAGE_FLOWS, named_flow, network_options
from pushforward.networks.attention import check_attention
from pushforward.univariate import Affine, RationalQuadratic

__all__ = ["tarflow"]

BLOCK = 128
"""Patches that an iteration solves together."""


@named_flow(IMAGE_FLOWS, hidden=(64, 64), activation="gelu")
def tarflow(
    features: Sequence[int],
    context: int = 0,
    *,
    patch: int = 2,
    univariate: Literal["affine", "spline"] = "affine",
    bins: int = 8,
    bound: float = 5.0,
    heads: int = 4,
    expansion: int = 4,
    depth: int = 4,
    solver: Literal["sequential", "jacobi"] = "sequential",
    values: int | None = None,
    dequantize: Literal["uniform", "variational"] = "uniform",
    **options: Unpack[PlainOptions],
) -> Flow:
    r"""Transformer autoregressive flow of patches: each patch is moved and scaled by functions of those before it.

    .. math:: z_t = \bigl(x_t - \mu_t(x_{<t}, c)\bigr) \odot e^{-\alpha_t(x_{<t}, c)}

    for the patches t = 1..T in raster order, which the next layer takes from last to first. Each layer is a causal
    transformer of its own, with a token for each patch. Densities cost one pass of each transformer; samples are
    computed one patch at a time from kept keys and values, in all about one pass of arithmetic.

    Args:
        features: the shape (channels, *spatial) of an event, with one or two spatial axes.
        patch: cells of a patch along each axis, which divides the spatial sizes.
        univariate: ``"affine"``, or ``"spline"`` (rational-quadratic).
        bins: bins of each spline.
        bound: splines act on [-bound, bound], in standard deviations of the data, and are linear outside.
        hidden: width of a token of each transformer, once for each of its blocks.
        heads: number of attention heads; it divides the width.
        expansion: hidden units of the perceptrons in a transformer for each unit of a token.
        activation: activation function of these perceptrons.
        dropout: dropout probability of the transformers.
        solver: how samples are computed: ``"sequential"``, or ``"jacobi"`` for iterations of parallel passes, which pay
            where few images are drawn at a time.
        values: of data that are whole numbers 0 .. values - 1, how many there are; None: data are real numbers.
        dequantize: the noise that makes whole numbers continuous: ``"uniform"``, or ``"variational"``: learned.

    Raises:
        ValueError: the patches do not fit the sizes, or an option is out of its range.

    References:
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329

    >>> flow = tarflow((1, 4, 4), values=256, depth=2, hidden=(16, 16))
    >>> flow.event_shape, flow.exactness
    ((1, 4, 4), 'bound')
    """
    owner = "tarflow"
    shape = event_shape(owner, features)
    at_least(owner, "patch", patch, 1)
    if not 2 <= len(shape) <= 3 or any(size % patch for size in shape[1:]):
        raise ValueError(
            f"{owner}: features must be (channels, *spatial) with one or two spatial sizes that patch={patch} divides; "
            f"got {shape}."
        )
    at_least(owner, "context", context, 0)
    at_least(owner, "depth", depth, 1)
    network: Any = network_options(owner, options)
    one_of(owner, "univariate", univariate, ("affine", "spline"))
    one_of(owner, "solver", solver, SOLVERS)
    at_least(owner, "bins", bins, 2)
    positive(owner, "bound", bound)
    check_attention(owner, network["hidden"], heads, expansion)
    count, group = math.prod(shape), shape[0] * patch ** (len(shape) - 1)
    data = data_side(owner, shape, context, values, dequantize, {"conditioner": "conv", **network})
    conditioner = {"heads": heads, "expansion": expansion, "group": group}
    layers: list[Bijection] = [Reshape(shape, count), Permute(_patches(shape, patch))]
    for k in range(depth):
        if k:
            layers.append(Flip(count))
        moved = Affine() if univariate == "affine" else RationalQuadratic(bins, bound=bound)
        layers.append(
            Autoregressive(
                moved, count, context=context, conditioner="transformer", conditioner_options=conditioner,
                solver=solver, block=BLOCK * group, **network,
            )
        )  # fmt: skip
    return connect(owner, StandardNormal(count), layers, data, context, fast="density", data_dtype=None)


def _patches(shape: tuple[int, ...], patch: int) -> list[int]:
    """The places of an event in the order of patches, row by row, those of a patch side by side."""
    places = torch.arange(math.prod(shape), device="cpu").reshape(shape)
    for axis in range(1, len(shape)):
        places = places.unflatten(2 * axis - 1, (-1, patch))
    blocks, cells = range(1, places.ndim, 2), range(2, places.ndim, 2)
    return places.permute(*blocks, 0, *cells).flatten().tolist()
