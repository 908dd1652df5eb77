"""Flows for vectors: couplings and affine or spline autoregressive layers.

Every function takes ``features`` and ``context``, standardises the data inside the model (so densities are in the
units of the data once `fit` or `initialize` has measured them) and starts as the identity. With one feature, layers
that need two are replaced by `Elementwise`; the printed flow shows it.
"""

from __future__ import annotations

from typing import Literal, Unpack

from pushforward.bijections import Autoregressive, Coupling, Elementwise
from pushforward.core.checks import one_of
from pushforward.distributions import Flow
from pushforward.flows.assembly import assemble, conditioned, stack, stacked
from pushforward.flows.options import Fast, Mix, Options
from pushforward.flows.registry import data_options, named_flow, network_options
from pushforward.univariate import Affine, RationalQuadratic, Shift

__all__ = ["iaf", "maf", "nice", "nsf", "real_nvp"]


@named_flow()
def nice(features: int, context: int = 0, *, depth: int = 6, **options: Unpack[Options]) -> Flow:
    r"""NICE: additive couplings, then one scaling of each feature.

    .. math:: y_a = x_a, \qquad y_b = x_b + \mu(x_a, c)

    Both directions cost one pass of each conditioner.

    Args:
        **options: see `Options`.

    References:
        | NICE: Non-linear Independent Components Estimation (Dinh et al., 2014), arXiv:1410.8516

    >>> nice(3).event_shape
    (3,)
    """
    network, data = network_options("nice", options), data_options("nice", options)
    layers = stack(
        "nice",
        lambda k: [conditioned(Coupling, Shift(), features, context, swap=k % 2 == 1, **network)],
        features,
        context,
        depth=depth,
    )
    return assemble("nice", [*layers, Elementwise(Affine(), features)], features, context, **data)


@named_flow()
def real_nvp(features: int, context: int = 0, *, depth: int = 8, **options: Unpack[Options]) -> Flow:
    r"""Real NVP: affine couplings.

    .. math:: y_a = x_a, \qquad y_b = \mu(x_a, c) + \sigma(x_a, c)\, x_b

    Both directions cost one pass of each conditioner.

    Args:
        **options: see `Options`.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803

    >>> real_nvp(3, context=2).context_shape
    (2,)
    """
    return stacked("real_nvp", Coupling, Affine, features, context, options, depth=depth)


@named_flow()
def maf(features: int, context: int = 0, *, depth: int = 5, fast: Fast = "density", **options: Unpack[Options]) -> Flow:
    r"""Masked autoregressive flow: affine autoregressive layers, the order of the features reversed in between.

    .. math:: z_j = \mu_j(x_{<j}, c) + \sigma_j(x_{<j}, c)\, x_j

    Densities cost one pass of each conditioner; samples are computed one feature at a time, in all about one pass of
    arithmetic.

    Args:
        **options: see `Options`.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057

    >>> maf(4).bijection.forward_kind, maf(4).bijection.inverse_kind
    ('sequential', 'exact')
    """
    return stacked("maf", Autoregressive, Affine, features, context, options, depth=depth, fast=fast, mix="flip")


@named_flow()
def iaf(
    features: int, context: int = 0, *, depth: int = 5, fast: Fast = "sampling", **options: Unpack[Options]
) -> Flow:
    r"""Inverse autoregressive flow: the layers of `maf`, from latent to data.

    .. math:: x_j = \mu_j(z_{<j}, c) + \sigma_j(z_{<j}, c)\, z_j

    Samples cost one pass of each conditioner; densities are computed one feature at a time, in all about one pass of
    arithmetic.

    Args:
        **options: see `Options`.

    References:
        | Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), arXiv:1606.04934

    >>> iaf(4).bijection.forward_kind, iaf(4).bijection.inverse_kind
    ('exact', 'sequential')
    """
    return stacked("iaf", Autoregressive, Affine, features, context, options, depth=depth, fast=fast, mix="flip")


@named_flow()
def nsf(
    features: int,
    context: int = 0,
    *,
    layer: Literal["coupling", "autoregressive"] = "autoregressive",
    bins: int = 16,
    bound: float = 5.0,
    depth: int = 5,
    fast: Fast = "density",
    mix: Mix = "lu",
    **options: Unpack[Options],
) -> Flow:
    r"""Neural spline flow: rational-quadratic splines in autoregressive or coupling layers.

    .. math:: z_j = \tau\bigl(x_j;\ \theta_j(x_{<j}, c)\bigr)

    with a monotone spline :math:`\tau`. Densities cost one pass of each conditioner; samples of autoregressive layers
    are computed one feature at a time, in all about one pass of arithmetic.

    Args:
        layer: ``"autoregressive"`` fits better at equal size; ``"coupling"`` is cheap in both directions.
        bins: bins of each spline.
        **options: see `Options`.

    Raises:
        ValueError: ``layer`` has no such value, or an option is out of its range.

    References:
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032

    >>> nsf(6, layer="coupling").bijection.forward_kind
    'exact'
    """
    one_of("nsf", "layer", layer, ("coupling", "autoregressive"))

    def spline() -> RationalQuadratic:
        return RationalQuadratic(bins, bound=bound)

    kind = Coupling if layer == "coupling" else Autoregressive
    return stacked("nsf", kind, spline, features, context, options, depth=depth, fast=fast, mix=mix)
