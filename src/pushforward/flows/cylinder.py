"""A flow of circular and real features together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Literal, Unpack

from pushforward.bijections import Angle, Autoregressive, Concatenate, Reordered, Standardize
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.distributions import CircularUniform, Flow, Independent, Joint, StandardNormal
from pushforward.flows.assembly import connect, shuffled
from pushforward.flows.options import Fast, NetworkOptions
from pushforward.flows.registry import SPACE_FLOWS, named_flow, network_options
from pushforward.univariate import CircularRationalQuadratic, CircularShift, Composed, PerFeature, RationalQuadratic
from pushforward.univariate.base import Univariate

__all__ = ["cylinder_flow"]


@named_flow(SPACE_FLOWS, hidden=(64, 64))
def cylinder_flow(
    features: int,
    circular: Sequence[int],
    context: int = 0,
    *,
    period: float = 2 * math.pi,
    low: float | None = None,
    bins: int = 8,
    bound: float = 5.0,
    depth: int = 3,
    fast: Fast = "density",
    mix: Literal["flip", "permute"] = "flip",
    **options: Unpack[NetworkOptions],
) -> Flow:
    r"""Neural spline flow of features of which some are angles and the others real numbers, such as hour and load.

    .. math:: z_j = \tau_j\bigl(x_j;\ \theta_j(x_{<j}, c)\bigr)

    with a rotation and a circular spline for each feature on a circle, and an ordinary spline for each real one, which
    is standardised first. Networks read the cosine and the sine of each angle, so densities are continuous across the
    cut. The base is uniform on the circles and normal elsewhere. Densities cost one pass of each conditioner; samples
    are computed one feature at a time, in all about one pass of arithmetic.

    Args:
        circular: which features live on a circle.
        period: length of the circle in the units of x; 24 for the hour of the day.
        low: lower end of the range of circular features, which is [low, low + period). Default: -period / 2.
        bins: bins of each spline.
        bound: splines of real features act on [-bound, bound], in standard deviations, and are linear outside.
        mix: the order of the features in the layers: ``"flip"`` (reversed in every second one) or ``"permute"`` (random
            and fixed).
        **options: see `NetworkOptions`.

    Raises:
        ValueError: ``circular`` names no feature, all of them or one twice, or an option is out of its range.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032

    >>> import torch
    >>> flow = cylinder_flow(2, [0], period=24.0, low=0.0, hidden=(8,))
    >>> flow.log_prob(torch.tensor([[23.5, 100.0], [24.5, 100.0]])).isfinite().tolist()
    [True, False]
    """
    network = network_options("cylinder_flow", options)
    at_least("cylinder_flow", "features", features, 1)
    at_least("cylinder_flow", "depth", depth, 1)
    one_of("cylinder_flow", "mix", mix, ("flip", "permute"))
    chosen = sorted(circular)
    if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) < set(range(features)):
        raise ValueError(
            f"cylinder_flow: circular must name some of the features 0 .. {features - 1}, not all; got "
            f"{list(circular)}. Use torus_flow for angles alone, nsf for real numbers alone."
        )
    is_circular = [j in set(chosen) for j in range(features)]

    def layer(k: int) -> Bijection:
        order = list(range(features))
        if mix == "flip":
            order = order[::-1] if k % 2 else order
        elif k:
            order = shuffled(features, k)
        maps = PerFeature([_map(is_circular[j], bins, bound) for j in order])
        inner = Autoregressive(maps, features, context=context, **network)
        return inner if order == list(range(features)) else Reordered(inner, order)

    data = Concatenate([Angle(len(chosen), period=period, low=low), Standardize(features - len(chosen))])
    base = Joint([_base(kind, len(list(run))) for kind, run in groupby(is_circular)])
    return connect(
        "cylinder_flow",
        base,
        [layer(k) for k in range(depth)],
        [Reordered(data, [*chosen, *(j for j in range(features) if not is_circular[j])])],
        context,
        fast=fast,
        data_dtype=None,
    )


def _map(circular: bool, bins: int, bound: float) -> Univariate:
    return (
        Composed([CircularShift(), CircularRationalQuadratic(bins)])
        if circular
        else RationalQuadratic(bins, bound=bound)
    )


def _base(circular: bool, features: int) -> Independent:
    return CircularUniform(features) if circular else StandardNormal(features)
