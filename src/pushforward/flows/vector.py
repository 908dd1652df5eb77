"""Flows for vectors.

Every function takes ``features`` and ``context``, standardises the data inside the model (so densities are in the
data's units once `fit` or `initialize` has measured them) and starts as the identity. ``fast`` says which direction
is the cheap one. With one feature, layers that need two are replaced by `Elementwise`; the printed flow shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pushforward.bijections import Autoregressive, Coupling, Elementwise
from pushforward.core.checks import one_of
from pushforward.distributions import Flow
from pushforward.flows.assembly import Fast, Mix, Tails, assemble, between, stack
from pushforward.flows.registry import named_flow
from pushforward.univariate import Affine, RationalQuadratic, Shift

__all__ = ["iaf", "maf", "nice", "nsf", "real_nvp"]


@named_flow
def nice(
    features: int,
    context: int = 0,
    *,
    depth: int = 6,
    hidden: Sequence[int] = (128, 128),
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """Additive couplings and one final scaling of each feature.

    Both directions cost one pass of each conditioner.

    Args:
        features: number of features of x.
        context: number of context features.
        depth: number of couplings.
        hidden: layer widths of each conditioner.
        conditioner: its registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | NICE: Non-linear Independent Components Estimation (Dinh et al., 2014), arXiv:1410.8516

    >>> nice(3).event_shape
    (3,)
    """
    options = {"hidden": hidden, "conditioner": conditioner, "activation": activation, "dropout": dropout}
    layers = stack("nice", Coupling, Shift, features, context, depth, None, **options)
    return assemble(
        "nice", features, context, [*layers, Elementwise(Affine(), features)], tails=tails, data_dtype=data_dtype
    )


@named_flow
def real_nvp(
    features: int,
    context: int = 0,
    *,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """Affine couplings.

    Both directions cost one pass of each conditioner. Arguments as in `nice`.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803

    >>> real_nvp(3, context=2).context_shape
    (2,)
    """
    options = {"hidden": hidden, "conditioner": conditioner, "activation": activation, "dropout": dropout}
    layers = stack("real_nvp", Coupling, Affine, features, context, depth, None, **options)
    return assemble("real_nvp", features, context, layers, tails=tails, data_dtype=data_dtype)


@named_flow
def maf(
    features: int,
    context: int = 0,
    *,
    fast: Fast = "density",
    depth: int = 5,
    hidden: Sequence[int] = (128, 128),
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """Affine autoregressive layers with the order of the features reversed in between.

    Densities cost one pass; samples go one feature at a time, about one pass of arithmetic in all.

    Args:
        features: number of features of x.
        context: number of context features.
        fast: which direction costs one parallel pass.
        depth: number of layers.
        hidden: layer widths of each conditioner.
        conditioner: its registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057

    >>> maf(4).bijection.forward_kind, maf(4).bijection.inverse_kind
    ('sequential', 'exact')
    """
    options = {"hidden": hidden, "conditioner": conditioner, "activation": activation, "dropout": dropout}
    return _affine_autoregressive("maf", features, context, depth, fast, tails, data_dtype, options)


@named_flow
def iaf(
    features: int,
    context: int = 0,
    *,
    fast: Fast = "sampling",
    depth: int = 5,
    hidden: Sequence[int] = (128, 128),
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """The layers of `maf` turned around: samples cost one pass, densities go one feature at a time.

    Arguments as in `maf`.

    References:
        | Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), arXiv:1606.04934

    >>> iaf(4).bijection.forward_kind, iaf(4).bijection.inverse_kind
    ('exact', 'sequential')
    """
    options = {"hidden": hidden, "conditioner": conditioner, "activation": activation, "dropout": dropout}
    return _affine_autoregressive("iaf", features, context, depth, fast, tails, data_dtype, options)


def _affine_autoregressive(
    owner: str,
    features: int,
    context: int,
    depth: int,
    fast: Fast,
    tails: Tails,
    data_dtype: str | None,
    options: dict[str, Any],
) -> Flow:
    flips = between(owner, "flip", features)
    layers = stack(owner, Autoregressive, Affine, features, context, depth, flips, **options)
    return assemble(owner, features, context, layers, fast=fast, tails=tails, data_dtype=data_dtype)


@named_flow
def nsf(
    features: int,
    context: int = 0,
    *,
    layer: Literal["coupling", "autoregressive"] = "autoregressive",
    fast: Fast = "density",
    depth: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 16,
    bound: float = 5.0,
    mix: Mix = "lu",
    conditioner: str = "plain",
    activation: str = "relu",
    dropout: float = 0.0,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """Neural spline flow: rational-quadratic splines in coupling or autoregressive layers.

    Args:
        features: number of features of x.
        context: number of context features.
        layer: ``"autoregressive"`` fits better at equal size; ``"coupling"`` is cheap in both directions.
        fast: which direction of an autoregressive layer costs one parallel pass.
        depth: number of layers.
        hidden: layer widths of each conditioner.
        bins: bins of each spline.
        bound: the splines act on [-bound, bound], in standard deviations of the data.
        mix: what stands between layers: a learned linear map (``"lu"``), a fixed random permutation (``"permute"``),
            the reversed order (``"flip"``), or nothing (``"none"``), which keeps the flow triangular.
        conditioner: the conditioner's registered name.
        activation: its activation.
        dropout: its dropout probability.
        tails: ``"heavy"`` for power-law tails: robust scales and a learned power on each side of each feature.
        data_dtype: ``"float64"`` if x and context are float64 although the model is float32.

    References:
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032

    >>> nsf(6, layer="coupling").bijection.forward_kind
    'exact'
    """
    one_of("nsf", "layer", layer, ("coupling", "autoregressive"))
    options = {"hidden": hidden, "conditioner": conditioner, "activation": activation, "dropout": dropout}

    def spline() -> RationalQuadratic:
        return RationalQuadratic(bins, bound=bound)

    kind = Coupling if layer == "coupling" else Autoregressive
    layers = stack("nsf", kind, spline, features, context, depth, between("nsf", mix, features), **options)
    return assemble("nsf", features, context, layers, fast=fast, tails=tails, data_dtype=data_dtype)
