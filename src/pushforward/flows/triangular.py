"""Flows of increasing triangular maps, each with an expressive map of one variable.

One such map already reaches every density (`depth=1`): its inverse goes one feature at a time, and it knows exact
conditionals, marginals and quantiles (`Flow.given`, `Flow.marginal`, `Flow.cdf`). Stacks with ``mix="none"`` keep all
of that; stacks with features reordered in between fit better and give it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.bijections import Autoregressive
from pushforward.distributions import Flow
from pushforward.flows.assembly import Fast, Mix, Tails, assemble, between, stack
from pushforward.flows.registry import named_flow
from pushforward.univariate import (
    Affine,
    Bernstein,
    DeepSigmoidal,
    DenseDeepSigmoidal,
    IntegratedNetwork,
    SumOfSquares,
    Univariate,
)

__all__ = ["bernstein", "ddsf", "gaussian_autoregressive", "naf", "sos", "umnn"]


def _triangular(
    owner: str,
    univariate: Callable[[], Univariate],
    features: int,
    context: int,
    *,
    fast: Fast,
    depth: int,
    mix: Mix,
    tails: Tails,
    data_dtype: str | None,
    **options: Any,
) -> Flow:
    """``depth`` autoregressive layers of one kind of univariate."""
    mixed = between(owner, mix, features)
    layers = stack(owner, Autoregressive, univariate, features, context, depth, mixed, **options)
    return assemble(owner, features, context, layers, fast=fast, tails=tails, data_dtype=data_dtype)


@named_flow
def gaussian_autoregressive(
    features: int,
    context: int = 0,
    *,
    hidden: Sequence[int] = (128, 128),
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    r"""Every feature is normal given those before it: the plainest triangular map.

    .. math:: x_j \mid x_{<j} \sim \mathcal N\bigl(\mu_j(x_{<j}),\ \sigma_j(x_{<j})^2\bigr)

    One affine layer in the given order; `maf` stacks several. Densities cost one pass, samples about one pass of
    arithmetic, one feature at a time.

    Args:
        features: number of features of x.
        context: number of context features.
        hidden: layer widths of the network that gives means and scales.
        conditioner: its registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057

    >>> import torch
    >>> gaussian_autoregressive(3).given(torch.zeros(2)).event_shape
    (1,)
    """
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    places: dict[str, Any] = {"fast": "density", "depth": 1, "mix": "none", "tails": tails, "data_dtype": data_dtype}
    return _triangular("gaussian_autoregressive", Affine, features, context, **places, **options)


@named_flow
def sos(
    features: int,
    context: int = 0,
    *,
    polynomials: int = 2,
    degree: int = 4,
    bound: float = 5.0,
    fast: Fast = "density",
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    mix: Mix = "flip",
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    r"""Sum-of-squares flow: increasing polynomials whose slope is a sum of squared polynomials.

    Both directions are exact; the inverse of each polynomial is solved numerically, one feature at a time.

    Args:
        features: number of features of x.
        context: number of context features.
        polynomials: number of squared polynomials.
        degree: degree of each; the map has degree 2 · degree + 1.
        bound: the polynomials act on [-bound, bound], in standard deviations of the data; straight beyond.
        fast: which direction costs one parallel pass.
        depth: number of layers; one is enough in theory, and keeps exact conditionals.
        hidden: layer widths of each conditioner.
        mix: what stands between layers: ``"flip"`` (the reversed order), ``"permute"``, ``"lu"`` (a learned linear map)
            or ``"none"``, which keeps the flow triangular.
        conditioner: the conditioner's registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Sum-of-Squares Polynomial Flow (Jaini et al., 2019), arXiv:1905.02325

    >>> sos(3).bijection.forward_kind
    'iterative'
    """
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    places: dict[str, Any] = {"fast": fast, "depth": depth, "mix": mix, "tails": tails, "data_dtype": data_dtype}
    return _triangular(
        "sos", lambda: SumOfSquares(polynomials, degree, bound=bound), features, context, **places, **options
    )


@named_flow
def bernstein(
    features: int,
    context: int = 0,
    *,
    degree: int = 16,
    bound: float = 5.0,
    fast: Fast = "density",
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    mix: Mix = "flip",
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    r"""Bernstein-polynomial flow: increasing polynomials by increasing Bernstein coefficients.

    The inverse of each polynomial is solved numerically, one feature at a time.

    Args:
        features: number of features of x.
        context: number of context features.
        degree: degree of the polynomials.
        bound: the polynomials act on [-bound, bound], in standard deviations of the data; straight beyond.
        fast: which direction costs one parallel pass.
        depth: number of layers; one is enough in theory, and keeps exact conditionals.
        hidden: layer widths of each conditioner.
        mix: what stands between layers: ``"flip"`` (the reversed order), ``"permute"``, ``"lu"`` (a learned linear map)
            or ``"none"``, which keeps the flow triangular.
        conditioner: the conditioner's registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Bernstein Polynomials for Normalizing Flows (Ramasinghe et al., 2021), arXiv:2102.03509

    >>> bernstein(3, degree=8).event_shape
    (3,)
    """
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    places: dict[str, Any] = {"fast": fast, "depth": depth, "mix": mix, "tails": tails, "data_dtype": data_dtype}
    return _triangular("bernstein", lambda: Bernstein(degree, bound=bound), features, context, **places, **options)


@named_flow
def naf(
    features: int,
    context: int = 0,
    *,
    units: int = 16,
    fast: Fast = "density",
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    mix: Mix = "flip",
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    r"""Neural autoregressive flow with deep sigmoidal maps (NAF-DSF).

    The inverse of each map is solved numerically, one feature at a time.

    Args:
        features: number of features of x.
        context: number of context features.
        units: sigmoids of each map.
        fast: which direction costs one parallel pass.
        depth: number of layers; one is enough in theory, and keeps exact conditionals.
        hidden: layer widths of each conditioner.
        mix: what stands between layers: ``"flip"`` (the reversed order), ``"permute"``, ``"lu"`` (a learned linear map)
            or ``"none"``, which keeps the flow triangular.
        conditioner: the conditioner's registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> naf(3).bijection.inverse_kind
    'exact'
    """
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    places: dict[str, Any] = {"fast": fast, "depth": depth, "mix": mix, "tails": tails, "data_dtype": data_dtype}
    return _triangular("naf", lambda: DeepSigmoidal(units), features, context, **places, **options)


@named_flow
def ddsf(
    features: int,
    context: int = 0,
    *,
    units: int = 8,
    layers: int = 2,
    fast: Fast = "density",
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    mix: Mix = "flip",
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    r"""Neural autoregressive flow with dense deep sigmoidal maps (NAF-DDSF).

    The inverse of each map is solved numerically, one feature at a time.

    Args:
        features: number of features of x.
        context: number of context features.
        units: sigmoids in each layer of a map.
        layers: sigmoidal layers of a map.
        fast: which direction costs one parallel pass.
        depth: number of layers; one is enough in theory, and keeps exact conditionals.
        hidden: layer widths of each conditioner.
        mix: what stands between layers: ``"flip"`` (the reversed order), ``"permute"``, ``"lu"`` (a learned linear map)
            or ``"none"``, which keeps the flow triangular.
        conditioner: the conditioner's registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> ddsf(3).event_shape
    (3,)
    """
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    places: dict[str, Any] = {"fast": fast, "depth": depth, "mix": mix, "tails": tails, "data_dtype": data_dtype}
    return _triangular("ddsf", lambda: DenseDeepSigmoidal(units, layers), features, context, **places, **options)


@named_flow
def umnn(
    features: int,
    context: int = 0,
    *,
    embedding: int = 8,
    units: int = 16,
    bound: float = 5.0,
    fast: Fast = "density",
    depth: int = 2,
    hidden: Sequence[int] = (128, 128),
    mix: Mix = "flip",
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    r"""Unconstrained monotonic neural network flow: each map is the integral of a positive network.

    The inverse of each map is solved numerically, one feature at a time.

    Args:
        features: number of features of x.
        context: number of context features.
        embedding: numbers by which the conditioner steers the integrand.
        units: hidden units of the integrand.
        bound: the integrals are over [-bound, bound], in standard deviations of the data; straight beyond.
        fast: which direction costs one parallel pass.
        depth: number of layers; one is enough in theory, and keeps exact conditionals.
        hidden: layer widths of each conditioner.
        mix: what stands between layers: ``"flip"`` (the reversed order), ``"permute"``, ``"lu"`` (a learned linear map)
            or ``"none"``, which keeps the flow triangular.
        conditioner: the conditioner's registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Unconstrained Monotonic Neural Networks (Wehenkel and Louppe, 2019), arXiv:1908.05164

    >>> umnn(3, depth=1).event_shape
    (3,)
    """
    options: dict[str, Any] = {
        "hidden": hidden,
        "conditioner": conditioner,
        "activation": activation,
        "dropout": dropout,
    }
    places: dict[str, Any] = {"fast": fast, "depth": depth, "mix": mix, "tails": tails, "data_dtype": data_dtype}
    return _triangular(
        "umnn", lambda: IntegratedNetwork(embedding, units, bound=bound), features, context, **places, **options
    )
