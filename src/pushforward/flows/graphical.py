"""Flows whose dependences follow a graph that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from pushforward.bijections import Elementwise, GraphAutoregressive
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of, positive
from pushforward.distributions import Flow
from pushforward.flows.assembly import assemble, stack
from pushforward.flows.options import Fast, Options
from pushforward.flows.registry import data_options, named_flow, network_options
from pushforward.univariate import Affine, IntegratedNetwork, RationalQuadratic, Univariate

__all__ = ["graphical"]


@named_flow()
def graphical(
    features: int,
    context: int = 0,
    *,
    edges: Sequence[Sequence[int]] | None = None,
    context_adjacency: Sequence[Sequence[Any]] | None = None,
    univariate: Literal["spline", "affine", "integrated"] = "spline",
    bins: int = 16,
    bound: float = 5.0,
    depth: int = 1,
    fast: Fast = "density",
    **options: Unpack[Options],
) -> Flow:
    r"""Graphical normalizing flow: each feature is transformed by a map that its parents in a graph decide.

    .. math:: z_j = \tau\bigl(x_j;\ \theta_j(x_{\mathrm{pa}(j)}, c)\bigr)

    With ``depth=1`` the model has exactly the conditional independences of the graph, a Bayesian network; deeper stacks
    let each feature depend on further ancestors as well. Densities cost one pass of each conditioner; samples cost one
    pass for each level of the graph: the number of features on its longest path, not the number of all features.

    Args:
        edges: the graph as pairs [parent, child]; by default all earlier features are parents of each one.
        context_adjacency: which of the context features each feature depends on: a row of booleans for each feature; by
            default on all.
        univariate: ``"spline"`` (rational-quadratic), ``"affine"``, or ``"integrated"`` (the integral of a positive
            network).
        bins: bins of each spline.
        **options: see `Options`.

    Raises:
        ValueError: the graph has a cycle or names features that there are not, or an option is out of its range.

    References:
        | Graphical Normalizing Flows (Wehenkel and Louppe, 2020), arXiv:2006.02548

    >>> chain_of_causes = graphical(4, edges=[[0, 1], [1, 2], [2, 3]], univariate="affine")
    >>> chain_of_causes.log_prob_kind, chain_of_causes.sample_kind
    ('exact', 'sequential')
    """
    one_of("graphical", "univariate", univariate, ("spline", "affine", "integrated"))
    at_least("graphical", "bins", bins, 2)
    positive("graphical", "bound", bound)
    network, data = network_options("graphical", options), data_options("graphical", options)
    pairs = [[i, j] for j in range(features) for i in range(j)] if edges is None else edges

    def one_map() -> Univariate:
        if univariate == "affine":
            return Affine()
        return RationalQuadratic(bins, bound=bound) if univariate == "spline" else IntegratedNetwork(bound=bound)

    def build(k: int) -> list[Bijection]:
        if features == 1 and context_adjacency is None:
            return [Elementwise(one_map(), 1, context=context, **network)]
        graph = {"edges": pairs, "context_adjacency": context_adjacency}
        return [GraphAutoregressive(one_map(), features, context=context, **graph, **network)]

    layers = stack("graphical", build, features, context, depth=depth)
    return assemble("graphical", layers, features, context, fast=fast, **data)
