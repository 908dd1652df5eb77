"""Flows on spaces other than R^D: spheres, tori, simplices, boxes, rotations.

Each starts at (or near) the uniform distribution of its space, or at a normal behind a fixed map onto it. Products of
spaces are made of these by `distributions.ProductDistribution`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Unpack

from pushforward.bijections import (
    Autoregressive,
    Bounds,
    CentredSoftmax,
    Chain,
    Coupling,
    Elementwise,
    Flip,
    SphereCoordinates,
    SphereExponential,
    SphereLinear,
    SphereMoebius,
    SphereRotation,
    Standardize,
    StickBreaking,
)
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.distributions import CircularUniform, Distribution, Flow, RotationDistribution, SphericalUniform
from pushforward.flows.options import Fast, NetworkOptions
from pushforward.flows.registry import SPACE_FLOWS, named_flow, network_options
from pushforward.flows.vector import nsf
from pushforward.univariate import (
    BoundedRationalQuadratic,
    CircularRationalQuadratic,
    CircularShift,
    Composed,
    Moebius,
    PerFeature,
    Univariate,
)

__all__ = ["box_flow", "rotation_flow", "simplex_flow", "sphere_flow", "torus_flow"]

SphereKind = Literal["recursive", "exponential", "moebius"]
Shares = Literal["isometric", "last", "stick"]


def sphere_flow(
    features: int = 3,
    context: int = 0,
    *,
    kind: SphereKind = "recursive",
    depth: int = 3,
    bins: int = 8,
    components: int = 8,
    fast: Fast = "density",
    hidden: Sequence[int] = (64, 64),
    conditioner: str = "plain",
    activation: str = "relu",
) -> Flow:
    r"""A flow on the sphere of unit vectors of ``features`` entries, from the uniform distribution.

    Densities are with respect to area. Which kind is good for what, and how they compare after equal times, is measured
    by ``benchmarks/spheres.py``:

    - ``"recursive"``, for densities of any shape: splines of [-1, 1] move heights and circular splines the angle, each
      given the heights above it, in cylindrical coordinates that are turned from layer to layer; a Möbius map in each
      layer spreads what lies in a narrow cap. The area correction is exact, and both directions are closed formulas.
    - ``"moebius"``, for one cap or one ring: Möbius maps, turned and stretched in between. It takes two to three times
      as many steps in the same time and has the smallest number of parameters, but does not come near several caps.
    - ``"exponential"``, for smooth densities not far from the uniform one: points move along gradients, which can keep
      opposite points opposite (`rotation_flow`). The determinant between tangent spaces is exact and the inverse is
      found numerically; narrow caps and rings it approaches slowly.

    Args:
        features: number of entries of a point, one more than the dimension: 3 for the sphere in space.
        context: number of context features. 0: an unconditional flow.
        kind: ``"recursive"``, ``"exponential"`` or ``"moebius"``.
        depth: number of layers.
        bins: bins of each spline of a recursive flow.
        components: centres of each potential of an exponential flow.
        fast: the direction that costs one pass: ``"density"`` or ``"sampling"``; Möbius flows cost one in both.
        hidden: widths of the hidden layers of each conditioner.
        conditioner: registered name of the conditioner of a recursive flow.
        activation: name of its activation function.

    Raises:
        ValueError: an argument is out of its range.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import math, torch
    >>> flow = sphere_flow(3)
    >>> round(flow.log_prob(torch.tensor([0.0, 0.6, 0.8])).exp().item() * 4 * math.pi, 4)
    1.0
    """
    at_least("sphere_flow", "features", features, 2)
    at_least("sphere_flow", "depth", depth, 1)
    at_least("sphere_flow", "bins", bins, 1)
    at_least("sphere_flow", "components", components, 1)
    one_of("sphere_flow", "kind", kind, ("recursive", "exponential", "moebius"))
    one_of("sphere_flow", "fast", fast, ("density", "sampling"))
    layers: list[Bijection] = []
    for k in range(depth):
        layers += [SphereRotation(features)] if k else []
        if kind == "recursive":
            network = {"hidden": hidden, "conditioner": conditioner, "activation": activation}
            moved = _recursive(features, context, bins, network)
            # On the side of the data: it spreads what lies in a narrow cap, where all of it would share one bin.
            spread = SphereMoebius(features, context=context, hidden=hidden)
            layers += [spread, *moved] if fast == "density" else [*moved, spread]
        elif kind == "exponential":
            layers.append(SphereExponential(features, components, context=context, hidden=hidden))
        else:
            layers.append(SphereMoebius(features, context=context, hidden=hidden))
            layers.append(SphereLinear(features, context=context, hidden=hidden))
    stack = Chain(layers)
    return _directed(SphericalUniform(features), stack, fast, context)


def _recursive(features: int, context: int, bins: int, network: Mapping[str, object]) -> list[Bijection]:
    """Coordinates, maps of them, and the way back."""
    angle: Univariate = Composed([CircularShift(), CircularRationalQuadratic(bins)])
    options = {"context": context, **network}
    coordinates = SphereCoordinates(features)
    if features == 2:
        moved: Bijection = Elementwise(angle, 1, **options)  # type: ignore[arg-type]
    else:
        each = PerFeature([BoundedRationalQuadratic(bins), angle], [features - 2, 1])
        moved = Autoregressive(each, features - 1, **options)  # type: ignore[arg-type]
    return [coordinates.inv, moved, coordinates]


def rotation_flow(
    context: int = 0,
    *,
    kind: Literal["exponential", "recursive", "moebius"] = "exponential",
    depth: int = 3,
    bins: int = 8,
    components: int = 8,
    fast: Fast = "density",
    hidden: Sequence[int] = (64, 64),
) -> RotationDistribution:
    r"""A flow of rotations of space by unit quaternions, with the same density at a quaternion and its negative.

    Densities are with respect to the Haar measure, by which the uniform distribution has density one. With
    ``kind="exponential"`` potentials have opposite centres and linear maps stand between them, so that opposite points
    stay opposite; the other kinds are flows on the sphere whose two halves are added up.

    Args:
        context: number of context features. 0: an unconditional flow.
        kind: ``"exponential"``, ``"recursive"`` or ``"moebius"``, as in `sphere_flow`.
        depth: number of layers.
        bins: bins of each spline of a recursive flow.
        components: pairs of centres of each potential of an exponential flow.
        fast: the direction that costs one pass: ``"density"`` or ``"sampling"``.
        hidden: widths of the hidden layers of each conditioner.

    Raises:
        ValueError: an argument is out of its range.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> flow, turn = rotation_flow(), torch.tensor([0.5, 0.5, -0.5, 0.5])
    >>> round((flow.log_prob(turn) - flow.log_prob(-turn)).item(), 4) + 0.0
    0.0
    """
    at_least("rotation_flow", "bins", bins, 1)
    at_least("rotation_flow", "components", components, 1)
    if kind != "exponential":
        one_of("rotation_flow", "kind", kind, ("exponential", "recursive", "moebius"))
        return RotationDistribution(
            sphere_flow(4, context, kind=kind, depth=depth, bins=bins, fast=fast, hidden=hidden)
        )
    at_least("rotation_flow", "depth", depth, 1)
    one_of("rotation_flow", "fast", fast, ("density", "sampling"))
    layers: list[Bijection] = []
    for _ in range(depth):
        layers.append(SphereLinear(4, context=context, hidden=hidden))
        layers.append(SphereExponential(4, components, context=context, hidden=hidden, odd=True))
    stack = Chain(layers)
    return RotationDistribution(_directed(SphericalUniform(4), stack, fast, context))


@named_flow(SPACE_FLOWS, hidden=(64, 64))
def torus_flow(
    features: int,
    context: int = 0,
    *,
    map: Literal["spline", "moebius"] = "spline",
    bins: int = 8,
    depth: int = 3,
    fast: Fast | Literal["both"] = "both",
    **options: Unpack[NetworkOptions],
) -> Flow:
    r"""A flow of angles in :math:`[-\pi, \pi)`, from the uniform distribution.

    Densities are with respect to the angles. Every angle is turned and then moved by a circular map whose parameters
    depend on other angles, read by their cosine and sine. `circular_nsf` is the autoregressive spline flow with periods
    of your choice.

    Args:
        features: number of angles.
        map: ``"spline"`` (circular rational-quadratic splines) or ``"moebius"`` (mixtures of Möbius maps, smooth
            everywhere, with a numeric inverse).
        bins: bins of each spline, or centres of each Möbius mixture.
        fast: ``"both"``: coupling layers, one pass in each direction. ``"density"`` or ``"sampling"``: autoregressive
            layers, one pass in that direction.
        **options: see `NetworkOptions`.

    Raises:
        ValueError: an argument is out of its range.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> torus_flow(2).sample(5).shape
    torch.Size([5, 2])
    """
    at_least("torus_flow", "features", features, 1)
    at_least("torus_flow", "depth", depth, 1)
    one_of("torus_flow", "map", map, ("spline", "moebius"))
    one_of("torus_flow", "fast", fast, ("both", "density", "sampling"))
    network = network_options("torus_flow", options)
    layers: list[Bijection] = []
    for k in range(depth):
        circular = CircularRationalQuadratic(bins) if map == "spline" else Moebius(bins)
        both: Univariate = Composed([CircularShift(), circular])
        if features == 1:
            layers.append(Elementwise(both, 1, context=context, **network))
        elif fast == "both":
            layers += [Coupling(both, features, swap=swap, context=context, **network) for swap in (False, True)]
        else:
            layers += [Flip(features)] if k else []
            layers.append(Autoregressive(both, features, context=context, **network))
    stack = Chain(layers)
    return _directed(CircularUniform(features), stack, fast, context)


@named_flow(SPACE_FLOWS)
def simplex_flow(
    features: int,
    context: int = 0,
    *,
    map: Shares = "isometric",
    bins: int = 8,
    depth: int = 3,
    fast: Fast = "density",
    **options: Unpack[NetworkOptions],
) -> Flow:
    r"""A flow of shares that sum to one: a neural spline flow of log-ratios.

    Densities are with respect to Lebesgue measure of all shares but the last, as for Dirichlet distributions. Shares of
    zero, on the edge, have no log-ratio; they are scored as the smallest number.

    Args:
        features: number of shares.
        map: ``"isometric"`` (centred softmax), ``"last"`` (softmax against the last share) or ``"stick"``
            (stick-breaking).
        bins: bins of each spline.
        fast: the direction that costs one pass: ``"density"`` or ``"sampling"``.
        **options: see `NetworkOptions`.

    Raises:
        ValueError: an argument is out of its range.

    References:
        | The Statistical Analysis of Compositional Data (Aitchison, 1982)

    >>> round(simplex_flow(3).sample().sum().item(), 4)
    1.0
    """
    at_least("simplex_flow", "features", features, 2)
    one_of("simplex_flow", "map", map, ("isometric", "last", "stick"))
    onto: Bijection = StickBreaking(features) if map == "stick" else CentredSoftmax(features, basis=map)
    inner = nsf(
        features - 1,
        context,
        bins=bins,
        depth=depth,
        fast=fast,
        **network_options("simplex_flow", options),
    )
    return _followed(inner, onto)


@named_flow(SPACE_FLOWS)
def box_flow(
    low: Sequence[float | None],
    high: Sequence[float | None],
    context: int = 0,
    *,
    half: Literal["softplus", "exp"] = "softplus",
    bins: int = 8,
    depth: int = 3,
    fast: Fast = "density",
    **options: Unpack[NetworkOptions],
) -> Flow:
    r"""A flow of numbers between bounds: a neural spline flow behind `Bounds`.

    Every feature lives on its interval, half line or line; outside, the density is zero. Densities are with respect to
    Lebesgue measure.

    Args:
        low: lower end of each feature, None where there is none.
        high: upper end of each feature, None where there is none.
        half: the map onto half lines, ``"softplus"`` or ``"exp"``.
        bins: bins of each spline.
        fast: the direction that costs one pass: ``"density"`` or ``"sampling"``.
        **options: see `NetworkOptions`.

    Raises:
        ValueError: an argument is out of its range.

    >>> import torch
    >>> box_flow([0.0, None], [1.0, None]).log_prob(torch.tensor([1.5, 0.0])).item()
    -inf
    """
    bounds = Bounds(low, high, half=half)
    inner = nsf(
        len(low),
        context,
        bins=bins,
        depth=depth,
        fast=fast,
        **network_options("box_flow", options),
    )
    return _followed(inner, bounds)


def _directed(base: Distribution, stack: Chain, fast: str, context: int) -> Flow:
    """The flow whose stated direction is the stack's forward one; contexts are standardised."""
    context_map = Standardize(context) if context else None
    return Flow(base, stack if fast == "sampling" else stack.inv, context_map=context_map)


def _followed(flow: Flow, onto: Bijection) -> Flow:
    """The flow with one more map on its data side."""
    return Flow(flow.base, Chain([flow.bijection, onto]), context_map=flow.context_map)
