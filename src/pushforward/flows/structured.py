"""Flows built around one special kind of layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

from pushforward.bijections import (
    Angle,
    Autoregressive,
    BlockNeural,
    Elementwise,
    Rotation,
    Triangular,
    total_degree,
)
from pushforward.core.bijection import Bijection
from pushforward.distributions import CircularUniform, Flow
from pushforward.flows.assembly import assemble, conditioned, connect, stack
from pushforward.flows.options import DataOptions, Fast, Mix, NetworkOptions, Options
from pushforward.flows.registry import data_options, named_flow, network_options
from pushforward.univariate import CircularRationalQuadratic, CircularShift, GaussianMixtureCDF

__all__ = ["bnaf", "circular_nsf", "gaussianization", "triangular_map"]


@named_flow()
def bnaf(
    features: int,
    context: int = 0,
    *,
    units: int = 8,
    layers: int = 2,
    depth: int = 2,
    fast: Fast = "density",
    mix: Mix = "flip",
    **options: Unpack[DataOptions],
) -> Flow:
    r"""Block neural autoregressive flow: each layer is one network whose weights are block triangular.

    .. math:: z = W^{(L)} \varphi\bigl(\cdots \varphi(W^{(1)} x + b^{(1)}) \cdots\bigr) + b^{(L)}

    with positive blocks on the diagonal of each :math:`W` and none above; there is no conditioner. Densities cost one
    pass of each network; for samples, each network is inverted numerically, one feature at a time. One network reaches
    every density in theory and has exact conditionals.

    Args:
        units: hidden units of each feature in each layer of a network.
        layers: hidden layers of a network.
        depth: number of networks.
        **options: see `DataOptions`.

    References:
        | Block Neural Autoregressive Flow (De Cao et al., 2019), arXiv:1904.04676

    >>> bnaf(3).bijection.forward_kind
    'iterative'
    """
    data = data_options("bnaf", options)

    def build(k: int) -> list[Bijection]:
        return [BlockNeural(features, context=context, units=units, layers=layers)]

    networks = stack("bnaf", build, features, context, depth=depth, mix=mix)
    return assemble("bnaf", networks, features, context, fast=fast, **data)


@named_flow()
def triangular_map(
    features: int,
    context: int = 0,
    *,
    degree: int = 2,
    bound: float = 4.0,
    terms: Sequence[Sequence[Sequence[int]]] | None = None,
    **options: Unpack[DataOptions],
) -> Flow:
    r"""One monotone triangular map of Hermite functions: few parameters, for small data.

    .. math:: z_j = f_j(x_{<j}, 0) + \int_0^{x_j} g\bigl(\partial_j f_j(x_{<j}, t)\bigr)\, dt, \qquad
        f_j(x) = \sum_\alpha w_\alpha \prod_i \phi_{\alpha_i}(x_i)

    `fit_triangular` chooses the terms by cross-validation and returns such a flow; by default it has all terms up to a
    total degree. Densities cost one pass; samples cost one numerical solve per feature.

    Args:
        degree: largest total degree of a term.
        terms: the multi-indices of each component, instead of all up to ``degree``; see `Triangular`.
        **options: see `DataOptions`.

    References:
        | On the representation and learning of monotone triangular transport maps (Baptista, Marzouk, Zahm, 2023),
          arXiv:2009.10303

    >>> sum(p.numel() for p in triangular_map(3).parameters())
    19
    """
    data = data_options("triangular_map", options)

    def build(k: int) -> list[Bijection]:
        indices = total_degree(features, degree, context=context) if terms is None else terms
        return [Triangular(indices, context=context, bound=bound)]

    return assemble(
        "triangular_map", stack("triangular_map", build, features, context, depth=1), features, context, **data
    )


@named_flow()
def circular_nsf(
    features: int,
    context: int = 0,
    *,
    bins: int = 12,
    period: float = 2 * math.pi,
    low: float | None = None,
    depth: int = 3,
    fast: Fast = "density",
    mix: Mix = "flip",
    data_dtype: str | None = None,
    **options: Unpack[NetworkOptions],
) -> Flow:
    r"""Neural spline flow for periodic features: rotations and circular splines, from the uniform distribution.

    .. math:: z_j = \tau\bigl(x_j + \delta_j(x_{<j}, c);\ \theta_j(x_{<j}, c)\bigr) \mod 2 \pi

    Conditioners read the cosine and the sine of each angle, so densities are continuous on the torus. Densities cost
    one pass of each conditioner; samples are computed one feature at a time, in all about one pass of arithmetic.

    Args:
        context: number of context features, real numbers; the context has shape (*batch, context).
        bins: bins of each spline.
        period: length of the circle in the units of x; 24 for the hour of the day.
        low: lower end of the range of x, which is [low, low + period). Default: -period / 2.
        mix: ``"permute"``, ``"flip"`` or ``"none"`` between neighbouring layers, as in the other flows.
        **options: see `NetworkOptions`.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> round(circular_nsf(1, period=24.0, low=0.0).log_prob(torch.tensor([23.0])).exp().item(), 4) == round(1 / 24, 4)
    True
    """
    network = network_options("circular_nsf", options)

    def build(k: int) -> list[Bijection]:
        maps = CircularShift(), CircularRationalQuadratic(bins)
        return [conditioned(Autoregressive, univariate, features, context, **network) for univariate in maps]

    mixes = ("permute", "flip", "none")
    layers = stack("circular_nsf", build, features, context, depth=depth, mix=mix, mixes=mixes)
    angle = Angle(features, period=period, low=low, data_dtype=data_dtype)
    base = CircularUniform(features)
    return connect("circular_nsf", base, layers, [angle], context, fast=fast, data_dtype=data_dtype)


@named_flow(hidden=(64, 64))
def gaussianization(
    features: int, context: int = 0, *, depth: int = 6, components: int = 8, **options: Unpack[Options]
) -> Flow:
    r"""Gaussianization flow: rotations alternate with mixture-CDF maps of each feature.

    .. math:: v = R\, u, \qquad y_j = \Phi^{-1}\Bigl(
        \sum_k w_{jk}\, \Phi\bigl((v_j - \mu_{jk}) / \sigma_{jk}\bigr)\Bigr)

    `fit` initialises it from the data: each rotation R at the principal axes, each mixture at the quantiles of its
    inputs. Densities cost one pass; samples cost one numerical solve per layer, for all features at once.

    Args:
        components: components of each mixture.
        **options: see `Options`; the networks compute the mixtures from the context.

    References:
        | Gaussianization (Chen and Gopinath, 2000)
        | Gaussianization Flows (Meng et al., 2020), arXiv:2003.01941

    >>> gaussianization(3).bijection.inverse_kind
    'exact'
    """
    network, data = network_options("gaussianization", options), data_options("gaussianization", options)

    def build(k: int) -> list[Bijection]:
        mixtures = Elementwise(GaussianMixtureCDF(components), features, context=context, **network)
        return [Rotation(features), mixtures] if features > 1 else [mixtures]

    layers = stack("gaussianization", build, features, context, depth=depth)
    return assemble("gaussianization", layers, features, context, **data)
