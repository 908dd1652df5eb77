"""Flows of residual maps, invertible because their networks are contractions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from pushforward.bijections import Residual
from pushforward.core.bijection import Bijection
from pushforward.distributions import Flow
from pushforward.flows.assembly import assemble, stack
from pushforward.flows.options import DataOptions, Fast, Mix
from pushforward.flows.registry import data_options, named_flow

__all__ = ["residual_flow"]


@named_flow()
def residual_flow(
    features: int,
    context: int = 0,
    *,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    coefficient: float = 0.9,
    activation: str = "lipswish",
    log_det: Literal["auto", "exact", "unbiased"] = "auto",
    terms: int = 4,
    probes: int = 1,
    gradient: Literal["neumann", "series"] = "neumann",
    fast: Fast = "density",
    mix: Mix = "lu",
    **options: Unpack[DataOptions],
) -> Flow:
    r"""Residual flow (i-ResNet): each layer adds a network whose Lipschitz constant is certified to be below one.

    .. math:: z = x + g(x, c), \qquad \operatorname{Lip}(g) \le L < 1, \qquad
        \log |\det| = \log \det(I + \nabla g) = \sum_{k \ge 1} \frac{(-1)^{k+1}}{k} \operatorname{tr} (\nabla g)^k

    Every output of a layer depends on every input. Densities cost one pass of each network and the log-determinant:
    exact up to 64 features, of more an unbiased estimate, so that ``log_prob`` is a random number whose expectation is
    the log-density (`Flow.exactness`). Samples cost some ten passes of each network, and are exact to rounding.

    With ``activation="elu"`` and ``log_det="exact"`` the layers are those of i-ResNets, whose truncated series is the
    exact log-determinant here; ``log_det="unbiased"`` with ``"lipswish"`` are those of residual flows.

    Args:
        depth: number of residual layers.
        hidden: layer widths of each network.
        coefficient: the Lipschitz constant L of each network.
        activation: ``"lipswish"``, ``"elu"``, ``"softplus"``, ``"tanh"``, ``"sin"`` or ``"relu"``.
        log_det: ``"exact"``, ``"unbiased"``, or ``"auto"``: exact up to 64 features.
        terms: of an unbiased log-determinant, the terms of the series that every point gets.
        probes: of an unbiased log-determinant, the vectors of random signs for each point.
        gradient: of an unbiased log-determinant, ``"neumann"`` by an estimator of its own that takes little memory, or
            ``"series"``.
        **options: see `DataOptions`.

    References:
        | Invertible Residual Networks (Behrmann et al., 2018), arXiv:1811.00995
        | Residual Flows for Invertible Generative Modeling (Chen et al., 2019), arXiv:1906.02735

    >>> residual_flow(2).exactness, residual_flow(100, depth=2).exactness
    ('exact', 'unbiased')
    """
    data = data_options("residual_flow", options)

    def build(k: int) -> list[Bijection]:
        return [
            Residual(
                features,
                context=context,
                hidden=hidden,
                coefficient=coefficient,
                activation=activation,
                log_det=log_det,
                terms=terms,
                probes=probes,
                gradient=gradient,
            )
        ]

    layers = stack("residual_flow", build, features, context, depth=depth, mix=mix)
    return assemble("residual_flow", layers, features, context, fast=fast, **data)
