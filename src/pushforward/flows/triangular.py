"""Flows of increasing triangular maps, each with an expressive map of one variable.

One such map already reaches every density (``depth=1``): its inverse is computed one feature at a time, and it has
exact conditionals, marginals and quantiles (`Flow.given`, `Flow.marginal`, `Flow.cdf`). Stacks with ``mix="none"`` keep
these; stacks with features mixed in between fit better and lose them.
"""

from __future__ import annotations

from typing import Unpack

from pushforward.bijections import Autoregressive
from pushforward.distributions import Flow
from pushforward.flows.assembly import stacked
from pushforward.flows.options import Fast, Mix, Options
from pushforward.flows.registry import named_flow
from pushforward.univariate import (
    Affine,
    Bernstein,
    DeepSigmoidal,
    DenseDeepSigmoidal,
    IntegratedNetwork,
    SumOfSquares,
)

__all__ = ["bernstein", "ddsf", "gaussian_autoregressive", "naf", "sos", "umnn"]


@named_flow()
def gaussian_autoregressive(features: int, context: int = 0, **options: Unpack[Options]) -> Flow:
    r"""Gaussian autoregressive model: each feature is normal conditionally on the features before it.

    .. math:: x_j \mid x_{<j}, c \sim \mathcal N\bigl(\mu_j(x_{<j}, c),\ \sigma_j(x_{<j}, c)^2\bigr)

    One affine triangular map; `maf` stacks several. Densities cost one pass of the conditioner; samples are computed
    one feature at a time, in all about one pass of arithmetic.

    Args:
        **options: see `Options`.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057

    >>> import torch
    >>> gaussian_autoregressive(3).given(torch.zeros(2)).event_shape
    (1,)
    """
    return stacked("gaussian_autoregressive", Autoregressive, Affine, features, context, options, depth=1)


@named_flow()
def sos(
    features: int,
    context: int = 0,
    *,
    polynomials: int = 2,
    degree: int = 4,
    bound: float = 5.0,
    depth: int = 3,
    fast: Fast = "density",
    mix: Mix = "flip",
    **options: Unpack[Options],
) -> Flow:
    r"""Sum-of-squares flow: increasing polynomials whose derivative is a sum of squared polynomials.

    .. math:: z_j = a_j + \int_0^{x_j} \sum_k p_{jk}(t)^2\, dt, \qquad
        a_j, p_{jk} \text{ functions of } x_{<j} \text{ and } c

    in the normalised form of `SumOfSquares`. Densities cost one pass of each conditioner; for samples, the inverse of
    each polynomial is solved numerically, one feature at a time.

    Args:
        polynomials: number of squared polynomials.
        degree: degree of each; the map has degree 2 · degree + 1.
        **options: see `Options`.

    References:
        | Sum-of-Squares Polynomial Flow (Jaini et al., 2019), arXiv:1905.02325

    >>> sos(3).bijection.forward_kind
    'iterative'
    """

    def polynomial() -> SumOfSquares:
        return SumOfSquares(polynomials, degree, bound=bound)

    return stacked("sos", Autoregressive, polynomial, features, context, options, depth=depth, fast=fast, mix=mix)


@named_flow()
def bernstein(
    features: int,
    context: int = 0,
    *,
    degree: int = 16,
    bound: float = 5.0,
    depth: int = 3,
    fast: Fast = "density",
    mix: Mix = "flip",
    **options: Unpack[Options],
) -> Flow:
    r"""Bernstein-polynomial flow: polynomials with increasing Bernstein coefficients, which makes them increasing.

    .. math:: z_j = \sum_{k=0}^n \alpha_{jk} \binom{n}{k} t^k (1 - t)^{n - k}, \qquad
        t = \frac{x_j + b}{2 b}, \qquad \alpha_{j0} < \dots < \alpha_{jn} \text{ functions of } x_{<j} \text{ and } c

    Densities cost one pass of each conditioner; for samples, the inverse of each polynomial is solved numerically, one
    feature at a time.

    Args:
        degree: degree n of the polynomials.
        **options: see `Options`.

    References:
        | Robust normalizing flows using Bernstein-type polynomials (Ramasinghe et al., 2021), arXiv:2102.03509

    >>> bernstein(3, degree=8).event_shape
    (3,)
    """

    def polynomial() -> Bernstein:
        return Bernstein(degree, bound=bound)

    return stacked("bernstein", Autoregressive, polynomial, features, context, options, depth=depth, fast=fast, mix=mix)


@named_flow()
def naf(
    features: int,
    context: int = 0,
    *,
    units: int = 16,
    depth: int = 3,
    fast: Fast = "density",
    mix: Mix = "flip",
    **options: Unpack[Options],
) -> Flow:
    r"""Neural autoregressive flow with deep sigmoidal maps (NAF-DSF).

    .. math:: z_j = \operatorname{logit}\Bigl(\sum_k w_{jk}\, \operatorname{sigmoid}(a_{jk} x_j + b_{jk})\Bigr),
        \qquad w_{jk}, a_{jk} > 0, b_{jk} \text{ functions of } x_{<j} \text{ and } c

    Densities cost one pass of each conditioner; for samples, the inverse of each map is solved numerically, one feature
    at a time.

    Args:
        units: number of sigmoids of each map.
        **options: see `Options`.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> naf(3).bijection.inverse_kind
    'exact'
    """

    def sigmoidal() -> DeepSigmoidal:
        return DeepSigmoidal(units)

    return stacked("naf", Autoregressive, sigmoidal, features, context, options, depth=depth, fast=fast, mix=mix)


@named_flow()
def ddsf(
    features: int,
    context: int = 0,
    *,
    units: int = 8,
    layers: int = 2,
    depth: int = 3,
    fast: Fast = "density",
    mix: Mix = "flip",
    **options: Unpack[Options],
) -> Flow:
    r"""Neural autoregressive flow with dense deep sigmoidal maps (NAF-DDSF).

    Each map is a network of one input with positive weights, whose layers combine `naf`'s sums of sigmoids:

    .. math:: h^{(l + 1)} = \operatorname{logit}\bigl(W^{(l)} \operatorname{sigmoid}(
        a^{(l)} \odot U^{(l)} h^{(l)} + b^{(l)})\bigr), \qquad h^{(0)} = x_j

    Densities cost one pass of each conditioner; for samples, the inverse of each map is solved numerically, one feature
    at a time.

    Args:
        units: number of sigmoids in each layer of a map.
        layers: number of sigmoidal layers of a map.
        **options: see `Options`.

    References:
        | Neural Autoregressive Flows (Huang et al., 2018), arXiv:1804.00779

    >>> ddsf(3).event_shape
    (3,)
    """

    def sigmoidal() -> DenseDeepSigmoidal:
        return DenseDeepSigmoidal(units, layers)

    return stacked("ddsf", Autoregressive, sigmoidal, features, context, options, depth=depth, fast=fast, mix=mix)


@named_flow()
def umnn(
    features: int,
    context: int = 0,
    *,
    embedding: int = 8,
    units: int = 16,
    bound: float = 5.0,
    depth: int = 2,
    fast: Fast = "density",
    mix: Mix = "flip",
    **options: Unpack[Options],
) -> Flow:
    r"""Unconstrained monotonic neural network flow: each map is the integral of a positive network.

    .. math:: z_j = a_j + \int_0^{x_j} f\bigl(t;\ h_j\bigr)\, dt, \qquad f > 0, \quad
        a_j, h_j \text{ functions of } x_{<j} \text{ and } c

    Densities cost one pass of each conditioner and one quadrature; for samples, the inverse of each map is solved
    numerically, one feature at a time.

    Args:
        embedding: number of outputs :math:`h_j` of the conditioner that the integrand reads.
        units: hidden units of the integrand.
        **options: see `Options`.

    References:
        | Unconstrained Monotonic Neural Networks (Wehenkel and Louppe, 2019), arXiv:1908.05164

    >>> umnn(3, depth=1).event_shape
    (3,)
    """

    def integral() -> IntegratedNetwork:
        return IntegratedNetwork(embedding, units, bound=bound)

    return stacked("umnn", Autoregressive, integral, features, context, options, depth=depth, fast=fast, mix=mix)
