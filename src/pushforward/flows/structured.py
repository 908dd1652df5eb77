"""Flows built around one special kind of layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pushforward.bijections import (
    Angle,
    Autoregressive,
    BlockNeural,
    Chain,
    Elementwise,
    Rotation,
    Standardize,
    Triangular,
    total_degree,
)
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.distributions import CircularUniform, Flow
from pushforward.flows.assembly import Fast, Mix, Tails, assemble, between, stack
from pushforward.flows.registry import named_flow
from pushforward.univariate import CircularRationalQuadratic, CircularShift, GaussianMixtureCDF

__all__ = ["bnaf", "circular_nsf", "gaussianization", "triangular_map"]


@named_flow
def bnaf(
    features: int,
    context: int = 0,
    *,
    units: int = 8,
    layers: int = 2,
    fast: Fast = "density",
    depth: int = 2,
    mix: Mix = "flip",
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """Block neural autoregressive flow: each layer one network, triangular by its blocks, without a conditioner.

    The inverse of each layer is solved numerically, one feature at a time.

    Args:
        features: number of features of x.
        context: number of context features.
        units: hidden units of each feature in each layer of a network.
        layers: hidden layers of a network.
        fast: which direction costs one parallel pass.
        depth: number of networks; one is enough in theory, and keeps exact conditionals.
        mix: what stands between networks: ``"flip"`` (the reversed order), ``"permute"``, ``"lu"`` (a learned linear
            map) or ``"none"``, which keeps the flow triangular.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Block Neural Autoregressive Flow (De Cao et al., 2019), arXiv:1904.04676

    >>> bnaf(3).bijection.forward_kind
    'iterative'
    """
    at_least("bnaf", "features", features, 1)
    at_least("bnaf", "context", context, 0)
    at_least("bnaf", "depth", depth, 1)
    mixed = between("bnaf", mix, features)
    parts: list[Bijection] = []
    for k in range(depth):
        if k and mixed is not None and features > 1:
            parts.append(mixed(k))
        parts.append(BlockNeural(features, context=context, units=units, layers=layers))
    return assemble("bnaf", features, context, parts, fast=fast, tails=tails, data_dtype=data_dtype)


@named_flow
def triangular_map(
    features: int,
    context: int = 0,
    *,
    degree: int = 2,
    bound: float = 4.0,
    terms: Sequence[Sequence[Sequence[int]]] | None = None,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """One monotone component map on Hermite features: few weights, for small data.

    `fit_triangular` chooses terms by cross-validation and returns such a flow; built by hand it holds all products up
    to a total degree. Densities cost one pass, samples one numerical solve per feature.

    Args:
        features: number of features of x.
        context: number of context features.
        degree: largest total degree of a term.
        bound: half the width of the box beyond which the map goes straight on, in standard deviations of the data.
        terms: the multi-indices of each component instead; see `Triangular`.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | On the representation and learning of monotone triangular transport maps (Baptista, Marzouk, Zahm, 2023),
          arXiv:2009.10303

    >>> sum(p.numel() for p in triangular_map(3).parameters())
    19
    """
    at_least("triangular_map", "features", features, 1)
    at_least("triangular_map", "context", context, 0)
    chosen = total_degree(features, degree, context=context) if terms is None else terms
    layer = Triangular(chosen, context=context, bound=bound)
    return assemble("triangular_map", features, context, [layer], tails=tails, data_dtype=data_dtype)


@named_flow
def circular_nsf(
    features: int,
    context: int = 0,
    *,
    fast: Fast = "density",
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    bins: int = 12,
    period: float = 2 * math.pi,
    low: float | None = None,
    mix: Mix = "flip",
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    data_dtype: str | None = None,
) -> Flow:
    """Neural spline flow for periodic features: circular splines and turns on the torus, from the uniform law.

    Conditioners see the cosine and the sine of each angle, so densities are continuous all around.

    Args:
        features: number of features of x.
        context: number of context features, real numbers.
        fast: which direction costs one parallel pass.
        depth: number of layers; each turns the circles, then bends them.
        hidden: layer widths of each conditioner.
        bins: bins of each spline.
        period: what goes once around; 24 for the hour of the day.
        low: where the circle is cut open: x lies in [low, low + period). Default: -period / 2.
        mix: what stands between layers: ``"flip"``, ``"permute"`` or ``"none"``.
        conditioner: the conditioner's registered name.
        activation: its activation.
        dropout: its dropout probability.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428

    >>> import torch
    >>> round(circular_nsf(1, period=24.0, low=0.0).log_prob(torch.tensor([23.0])).exp().item(), 4) == round(1 / 24, 4)
    True
    """
    one_of("circular_nsf", "mix", mix, ("flip", "permute", "none"))
    one_of("circular_nsf", "fast", fast, ("density", "sampling"))
    at_least("circular_nsf", "depth", depth, 1)
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    mixed = between("circular_nsf", mix, features)
    parts: list[Bijection] = []
    for k in range(depth):
        if k and mixed is not None and features > 1:
            parts.append(mixed(k))
        for univariate in (CircularShift, lambda: CircularRationalQuadratic(bins)):
            parts += stack("circular_nsf", Autoregressive, univariate, features, context, 1, None, **options)
    angle = Angle(features, period=period, low=low, data_dtype=data_dtype)
    context_map = Standardize(context, data_dtype=data_dtype) if context else None
    bijection = Chain([angle, *parts]).inv if fast == "density" else Chain([*parts, angle.inv])
    return Flow(CircularUniform(features), bijection, context_map=context_map)


@named_flow
def gaussianization(
    features: int,
    context: int = 0,
    *,
    depth: int = 6,
    components: int = 8,
    hidden: Sequence[int] = (64, 64),
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """Rotations and mixture-CDF maps of each feature in turn, which make the data normal layer by layer.

    `fit` starts it from the data: each rotation at the principal axes, each mixture at the quantiles of what reaches
    it. Densities cost one pass, samples one numerical solve per layer, all features at once.

    Args:
        features: number of features of x.
        context: number of context features; a network of them gives the mixtures.
        depth: number of layers.
        components: components of each mixture.
        hidden: layer widths of the networks that read the context.
        conditioner: their registered name.
        activation: their activation.
        dropout: their dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Gaussianization (Chen and Gopinath, 2000)
        | Gaussianization Flows (Meng et al., 2020), arXiv:2003.01941

    >>> gaussianization(3).bijection.inverse_kind
    'exact'
    """
    at_least("gaussianization", "depth", depth, 1)
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    layers: list[Bijection] = []
    for _ in range(depth):
        if features > 1:
            layers.append(Rotation(features))
        layers.append(Elementwise(GaussianMixtureCDF(components), features, context=context, **options))
    return assemble("gaussianization", features, context, layers, tails=tails, data_dtype=data_dtype)
