"""Flows of residual maps, invertible because their networks are contractions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from pushforward.bijections import ActNorm, Chain, Multiscale, Residual, Squeeze
from pushforward.core.bijection import Bijection
from pushforward.distributions import Flow
from pushforward.flows.assembly import assemble, stack
from pushforward.flows.image_assembly import connected, data_side, image_shape
from pushforward.flows.options import DataOptions, Fast, Mix
from pushforward.flows.registry import IMAGE_FLOWS, data_options, named_flow

__all__ = ["multiscale_residual_flow", "residual_flow"]


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


@named_flow(IMAGE_FLOWS)
def multiscale_residual_flow(
    features: Sequence[int],
    context: int = 0,
    *,
    levels: int = 2,
    depth: int = 4,
    hidden: Sequence[int] = (64, 64),
    coefficient: float = 0.9,
    activation: str = "lipswish",
    log_det: Literal["auto", "exact", "unbiased"] = "auto",
    terms: int = 4,
    probes: int = 1,
    gradient: Literal["neumann", "series"] = "neumann",
    latent: Literal["flat", "event"] = "flat",
    values: int | None = None,
    memory: str = "plain",
) -> Flow:
    r"""Residual flow of images: levels of normalisations and of convolutional networks that are contractions.

    .. math:: h \mapsto h + g(h, c), \qquad \operatorname{Lip}(g) \le L < 1

    Each level begins by turning blocks of cells into channels; after each but the last, half of the channels are
    factored out. Every convolution is divided by a certified bound on its norm, zero padding included. Densities cost
    one pass of each network and the log-determinants: of levels with up to 64 entries exact, of larger ones unbiased
    estimates, so that ``log_prob`` is a random number whose expectation is the log-density (`Flow.exactness`); with
    ``values`` it estimates a lower bound. Samples cost some ten passes of each network, and are exact to rounding.

    Args:
        features: the shape (channels, *spatial) of an event, such as (3, 32, 32).
        levels: number of levels; 2 to this power must divide the spatial sizes.
        depth: number of residual layers of each level.
        hidden: channels of the hidden layers of each network.
        coefficient: the Lipschitz constant L of each network.
        activation: ``"lipswish"``, ``"elu"``, ``"softplus"``, ``"tanh"``, ``"sin"`` or ``"relu"``.
        log_det: ``"exact"``, ``"unbiased"``, or ``"auto"``: exact up to 64 entries.
        terms: of an unbiased log-determinant, the terms of the series that every point gets.
        probes: of an unbiased log-determinant, the vectors of random signs for each point.
        gradient: of an unbiased log-determinant, ``"neumann"`` by an estimator of its own that takes little memory, or
            ``"series"``.
        latent: ``"flat"``: latents are vectors; ``"event"``: they have the shape of the data.
        values: of data that are whole numbers 0 .. values - 1, how many there are; uniform noise makes them continuous.
            None: data are real numbers.
        memory: what each level keeps for the backward pass, as in `Chain`.

    Raises:
        ValueError: the sizes do not fit ``levels``, or an option is out of its range.

    References:
        | Invertible Residual Networks (Behrmann et al., 2018), arXiv:1811.00995
        | Residual Flows for Invertible Generative Modeling (Chen et al., 2019), arXiv:1906.02735

    >>> small = multiscale_residual_flow((1, 4, 4), depth=1, hidden=(4,))
    >>> small.exactness, multiscale_residual_flow((3, 8, 8), depth=1, hidden=(4,)).exactness
    ('exact', 'unbiased')
    """
    owner = "multiscale_residual_flow"
    shape = image_shape(owner, features, context, levels, depth)
    scales: list[Bijection] = []
    for level in range(levels):
        parts: list[Bijection] = [Squeeze(shape)]
        shape = parts[0].out_shape
        for _ in range(depth):
            parts.append(ActNorm(shape))
            parts.append(
                Residual(
                    shape,
                    context=context,
                    hidden=hidden,
                    coefficient=coefficient,
                    activation=activation,
                    conditioner="conv",
                    log_det=log_det,
                    terms=terms,
                    probes=probes,
                    gradient=gradient,
                )
            )
        scales.append(Chain(parts, memory=memory))
        shape = (shape[0] // 2, *shape[1:]) if level < levels - 1 else shape
    data = data_side(owner, features, context, values, "uniform", {})
    return connected(owner, features, context, context, Multiscale(scales, latent=latent), data)
