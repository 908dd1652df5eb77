"""The first normalizing flows, and their successor: bends along a plane, around a point, along several planes."""

from __future__ import annotations

from typing import Unpack

from pushforward.bijections import Planar, Radial, Sylvester
from pushforward.core.bijection import Bijection
from pushforward.distributions import Flow
from pushforward.flows.assembly import assemble, stack
from pushforward.flows.options import Fast, Options
from pushforward.flows.registry import data_options, named_flow, network_options

__all__ = ["planar", "radial", "sylvester"]


@named_flow(hidden=(64, 64))
def planar(
    features: int,
    context: int = 0,
    *,
    negative_slope: float | None = None,
    depth: int = 16,
    fast: Fast = "density",
    **options: Unpack[Options],
) -> Flow:
    r"""Planar flow: each layer bends space along one family of parallel planes.

    .. math:: y = x + \hat u\, h(w^\top x + b)

    Densities cost two products with vectors a layer; for samples, each layer solves one equation for one number of each
    point. Each layer does little: many are needed, and with many features other flows fit better.

    Args:
        negative_slope: slope below zero of a leaky rectifier h, whose inverse is a closed formula; by default h is
            tanh.
        fast: the direction that needs no search for a root: ``"density"`` (`log_prob`) or ``"sampling"`` (`sample`), as
            in variational inference.
        **options: see `Options`; the networks compute the parameters from the context.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015), arXiv:1505.05770

    >>> planar(3).bijection.forward_kind, planar(3, fast="sampling").bijection.forward_kind
    ('iterative', 'exact')
    """
    network, data = network_options("planar", options), data_options("planar", options)

    def build(k: int) -> list[Bijection]:
        return [Planar(features, negative_slope=negative_slope, context=context, **network)]

    layers = stack("planar", build, features, context, depth=depth)
    return assemble("planar", layers, features, context, fast=fast, **data)


@named_flow(hidden=(64, 64))
def radial(features: int, context: int = 0, *, depth: int = 16, **options: Unpack[Options]) -> Flow:
    r"""Radial flow: each layer pushes points away from a learned centre, or pulls them to it.

    .. math:: y = x + \beta\, \frac{x - x_0}{\alpha + \|x - x_0\|}

    Both directions are closed formulas and cost one norm a layer. Each layer does little: many are needed, and with
    many features other flows fit better.

    Args:
        **options: see `Options`; the networks compute the parameters from the context.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015), arXiv:1505.05770

    >>> radial(3).bijection.forward_kind, radial(3).bijection.inverse_kind
    ('exact', 'exact')
    """
    network, data = network_options("radial", options), data_options("radial", options)

    def build(k: int) -> list[Bijection]:
        return [Radial(features, context=context, **network)]

    layers = stack("radial", build, features, context, depth=depth)
    return assemble("radial", layers, features, context, **data)


@named_flow(hidden=(64, 64))
def sylvester(
    features: int,
    context: int = 0,
    *,
    rank: int | None = None,
    method: str = "householder",
    depth: int = 8,
    fast: Fast = "density",
    **options: Unpack[Options],
) -> Flow:
    r"""Sylvester flow: each layer bends space along several orthogonal directions at once.

    .. math:: y = x + Q R\, \tanh(\tilde R\, Q^\top x + b)

    Densities cost four products with matrices a layer; for samples, each layer solves ``rank`` equations of one number
    each, one after the other.

    Args:
        rank: directions of each layer; by default as many as there are features.
        method: what the directions are made of: ``"householder"``, ``"cayley"`` or ``"exponential"``; see
            `bijections.Sylvester`.
        fast: the direction that needs no search for a root: ``"density"`` (`log_prob`) or ``"sampling"`` (`sample`), as
            in variational inference.
        **options: see `Options`; the networks compute the parameters from the context.

    References:
        | Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018), arXiv:1803.05649

    >>> sylvester(3).bijection.forward_kind, sylvester(3).bijection.inverse_kind
    ('iterative', 'exact')
    """
    network, data = network_options("sylvester", options), data_options("sylvester", options)

    def build(k: int) -> list[Bijection]:
        return [Sylvester(features, rank=rank, method=method, context=context, **network)]

    layers = stack("sylvester", build, features, context, depth=depth)
    return assemble("sylvester", layers, features, context, fast=fast, **data)
