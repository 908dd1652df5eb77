"""Autoregressive flows whose conditioners are transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from pushforward.bijections import Autoregressive, Permute
from pushforward.bijections.autoregressive import SOLVERS
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of, positive
from pushforward.distributions import Flow, Logistic
from pushforward.flows.assembly import assemble, conditioned, stack
from pushforward.flows.options import Fast, Mix, TransformerOptions
from pushforward.flows.registry import data_options, named_flow, network_options
from pushforward.networks.attention import check_attention
from pushforward.univariate import Affine, GaussianMixtureCDF, LogisticMixtureCDF, RationalQuadratic, Univariate

__all__ = ["transformer_flow"]

UNIVARIATES = ("mixture", "logistic_mixture", "spline", "affine")


@named_flow(hidden=(64, 64), activation="gelu")
def transformer_flow(
    features: int,
    context: int = 0,
    *,
    univariate: Literal["mixture", "logistic_mixture", "spline", "affine"] = "mixture",
    components: int = 16,
    bins: int = 16,
    bound: float = 5.0,
    heads: int = 4,
    frequencies: int = 0,
    order: Sequence[int] | None = None,
    depth: int = 2,
    fast: Fast = "density",
    mix: Mix = "flip",
    solver: Literal["sequential", "jacobi"] = "sequential",
    **options: Unpack[TransformerOptions],
) -> Flow:
    r"""Autoregressive flow whose conditioners are causal transformers, the order reversed from layer to layer.

    .. math:: z_j = \tau\bigl(x_j;\ \theta_j\bigr), \qquad \theta_1, \dots, \theta_D = \operatorname{Transformer}(c, x)

    with one token for each feature, which sees the features before it. By default :math:`\tau` is the distribution
    function of a mixture followed by the normal quantile; with ``depth=1`` each feature is a mixture of Gaussians (or
    of logistics) given those before it. Densities cost one pass of each transformer; samples are computed one feature
    at a time from kept keys and values, in all about one pass of arithmetic.

    Args:
        univariate: ``"mixture"`` (of Gaussians), ``"logistic_mixture"``, ``"spline"`` (rational-quadratic) or
            ``"affine"``.
        components: components of each mixture.
        bins: bins of each spline.
        bound: splines act on [-bound, bound], in standard deviations of the data, and are linear outside; components of
            mixtures lie within twice that.
        hidden: width of a token of the transformers, once for each block.
        heads: number of attention heads; it divides the width.
        frequencies: number of learned frequencies, at whose sines and cosines each value is seen as well.
        order: the features in the order of the first layer; by default as they are.
        activation: activation function of the perceptrons in the transformers.
        dropout: dropout probability of the transformers.
        solver: how samples are computed: ``"sequential"``, or ``"jacobi"`` for iterations of parallel passes.
        **options: see `TransformerOptions`.

    Raises:
        ValueError: ``univariate`` or ``solver`` has no such value, ``order`` is none, or an option is out of its range.

    References:
        | Transformer Neural Autoregressive Flows (Patacchiola et al., 2024), arXiv:2401.01855
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057
        | Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762

    >>> flow = transformer_flow(3, depth=1, hidden=(16,))
    >>> flow.log_prob_kind, flow.sample_kind
    ('exact', 'iterative')
    """
    owner = "transformer_flow"
    network, data = network_options(owner, options), data_options(owner, options)
    # Of all options, whichever univariate is chosen, and also where a single feature needs no transformer.
    one_of(owner, "univariate", univariate, UNIVARIATES)
    one_of(owner, "solver", solver, SOLVERS)
    at_least(owner, "components", components, 1)
    at_least(owner, "bins", bins, 2)
    positive(owner, "bound", bound)
    at_least(owner, "frequencies", frequencies, 0)
    check_attention(owner, network["hidden"], heads)
    if order is not None and sorted(order) != list(range(features)):
        raise ValueError(f"{owner}: order must rearrange 0 .. {features - 1}; got {list(order)}.")

    def one_map() -> Univariate:
        if univariate == "mixture":
            return GaussianMixtureCDF(components, bound=2 * bound)
        if univariate == "logistic_mixture":
            return LogisticMixtureCDF(components, bound=2 * bound)
        return RationalQuadratic(bins, bound=bound) if univariate == "spline" else Affine()

    shape = {"heads": heads, "frequencies": frequencies}
    transformer: dict[str, Any] = {"conditioner": "transformer", "conditioner_options": shape, "solver": solver}

    def build(k: int) -> list[Bijection]:
        return [conditioned(Autoregressive, one_map(), features, context, **transformer, **network)]

    layers = stack(owner, build, features, context, depth=depth, mix=mix)
    if order is not None:  # on the data side of all layers
        layers = [Permute(order), *layers] if fast == "density" else [*layers, Permute(order).inv]
    base = Logistic(features) if univariate == "logistic_mixture" else None  # of which a single component is
    return assemble(owner, layers, features, context, fast=fast, base=base, **data)
