"""Flows for images and other events on grids: multiscale stacks of couplings with convolutional conditioners.

Every function takes the shape (channels, *spatial) of an event, with one to three spatial axes. Data are standardised
channel by channel inside the model, or, with ``values=256``, are whole numbers that are dequantised there; densities
are then lower bounds on log-probabilities of such numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from pushforward.bijections import (
    LU,
    ActNorm,
    Chain,
    Convolution1x1,
    Coupling,
    Flip,
    Haar,
    Multiscale,
    Permute,
    Pointwise,
    Squeeze,
)
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of, positive
from pushforward.distributions import Flow
from pushforward.flows.assembly import shuffled
from pushforward.flows.image_assembly import connected, context_inside, data_side, image_shape
from pushforward.flows.options import NetworkOptions
from pushforward.flows.registry import IMAGE_FLOWS, named_flow, network_options
from pushforward.univariate import Affine, Composed, LogisticMixtureCDF, RationalQuadratic, Shift, Univariate

__all__ = ["glow", "multiscale_real_nvp"]

Step = Literal["affine", "additive", "spline", "mixture"]
Dequantization = Literal["uniform", "variational"]
Condition = Literal["layers", "latents"]


@named_flow(IMAGE_FLOWS, conditioner="glow_conv")
def glow(
    features: Sequence[int],
    context: int = 0,
    *,
    levels: int = 2,
    depth: int = 8,
    coupling: Step = "affine",
    bins: int = 8,
    bound: float = 5.0,
    mix: Literal["lu", "permute", "flip"] = "lu",
    squeeze: Literal["cells", "haar"] = "cells",
    learn_prior: bool = True,
    latent: Literal["flat", "event"] = "flat",
    values: int | None = None,
    dequantize: Dequantization = "uniform",
    memory: str = "plain",
    condition: Condition = "layers",
    **options: Unpack[NetworkOptions],
) -> Flow:
    r"""Glow: levels of steps of normalisation, a linear map of the channels, and a coupling of channels.

    .. math:: h \mapsto \mathrm{coupling}\bigl(W \tfrac{h - \mu}{\sigma} + b\bigr)

    Each level begins by turning blocks of cells into channels; after each but the last, half of the channels are
    factored out. The normalisation measures each channel once, at `initialize`. Both directions cost one pass of each
    conditioner.

    Args:
        features: the shape (channels, *spatial) of an event, such as (3, 32, 32).
        levels: number of levels; 2 to this power must divide the spatial sizes.
        depth: number of steps of each level.
        coupling: ``"affine"``, ``"additive"`` (of volume one), ``"spline"`` (rational-quadratic), or ``"mixture"``
            (distribution functions of mixtures of logistics, then affine, as in Flow++).
        bins: bins of each spline, or components of each mixture.
        bound: splines act on [-bound, bound] and are linear outside.
        mix: the map of the channels in each step: ``"lu"`` (a learned linear map, that is a 1 × 1 convolution),
            ``"permute"`` (a fixed random permutation) or ``"flip"`` (the reversed order).
        squeeze: ``"cells"``: the cells of a block become channels as they are; ``"haar"``: as averages and differences.
        learn_prior: whether location and scale of what is factored out are learned functions of what goes on.
        latent: ``"flat"``: latents are vectors; ``"event"``: they have the shape of the data.
        values: of data that are whole numbers 0 .. values - 1, how many there are; None: data are real numbers.
        dequantize: the noise that makes whole numbers continuous: ``"uniform"``, or ``"variational"``: learned.
        memory: what each level keeps for the backward pass, as in `Chain`.
        condition: where the context acts: ``"layers"``: in the networks of all couplings, or ``"latents"``: on location
            and scale of each latent alone. The same images given other classes cost little then, which makes for fast
            classifiers (`HybridLikelihood`), as in IB-INN.
        **options: see `NetworkOptions`.

    Raises:
        ValueError: the sizes do not fit ``levels``, or an option is out of its range.

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039
        | Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design (Ho et
          al., 2019), arXiv:1902.00275
        | Training Normalizing Flows with the Information Bottleneck for Competitive Generative Classification
          (Ardizzone et al., 2020), arXiv:2001.06448, for ``condition="latents"``

    >>> glow((3, 8, 8), values=256, depth=1, hidden=(8, 8)).event_shape
    (3, 8, 8)
    """
    shape = image_shape("glow", features, context, levels, depth)
    one_of("glow", "mix", mix, ("lu", "permute", "flip"))
    one_of("glow", "squeeze", squeeze, ("cells", "haar"))
    univariate = _univariate("glow", coupling, bins, bound)
    network = network_options("glow", options)
    inside = context_inside("glow", context, condition)
    scales: list[Bijection] = []
    for level in range(levels):
        start: Bijection = Squeeze(shape) if squeeze == "cells" else Haar(shape)
        shape = start.out_shape
        parts = [start]
        for k in range(depth):
            parts += [ActNorm(shape), _mixed(mix, shape, k)]
            parts.append(Coupling(univariate(), shape, context=inside, swap=k % 2 == 1, **network))
        if level < levels - 1:
            parts += _prior(shape, inside, learn_prior, network)
            scales.append(Chain(parts, memory=memory))
            shape = (shape[0] // 2, *shape[1:])
    scales.append(Chain(parts, memory=memory))
    data = data_side("glow", features, inside, values, dequantize, network)
    return connected("glow", features, context, inside, Multiscale(scales, latent=latent), data)


@named_flow(IMAGE_FLOWS, conditioner="residual_conv")
def multiscale_real_nvp(
    features: Sequence[int],
    context: int = 0,
    *,
    levels: int = 2,
    depth: int = 3,
    coupling: Step = "affine",
    bins: int = 8,
    bound: float = 5.0,
    learn_prior: bool = False,
    latent: Literal["flat", "event"] = "flat",
    values: int | None = None,
    dequantize: Dequantization = "uniform",
    memory: str = "plain",
    condition: Condition = "layers",
    **options: Unpack[NetworkOptions],
) -> Flow:
    r"""Real NVP for images: couplings of a checkerboard of cells, then of channels, at several scales.

    .. math:: y_a = x_a, \qquad y_b = \mu(x_a, c) + \sigma(x_a, c)\, x_b

    Each level but the last has ``depth`` couplings on alternating checkerboards, turns blocks of 2 × 2 cells into
    channels, has ``depth`` couplings of halves of the channels, and factors half of the channels out; the last level
    has ``depth + 1`` checkerboards. With ``coupling="mixture"``, ``conditioner="gated_conv"`` and
    ``dequantize="variational"`` it has the ingredients of Flow++ but attention. Both directions cost one pass of each
    conditioner.

    Args:
        features: the shape (channels, *spatial) of an event, such as (3, 32, 32).
        levels: number of levels; 2 to this power, less one, must divide the spatial sizes.
        depth: number of couplings on checkerboards, and of channels, of each level.
        coupling: ``"affine"``, ``"additive"`` (of volume one), ``"spline"`` (rational-quadratic), or ``"mixture"``
            (distribution functions of mixtures of logistics, then affine, as in Flow++).
        bins: bins of each spline, or components of each mixture.
        bound: splines act on [-bound, bound] and are linear outside.
        learn_prior: whether location and scale of what is factored out are learned functions of what goes on.
        latent: ``"flat"``: latents are vectors; ``"event"``: they have the shape of the data.
        values: of data that are whole numbers 0 .. values - 1, how many there are; None: data are real numbers.
        dequantize: the noise that makes whole numbers continuous: ``"uniform"``, or ``"variational"``: learned.
        memory: what each level keeps for the backward pass, as in `Chain`.
        condition: where the context acts: ``"layers"``: in the networks of all couplings, or ``"latents"``: on location
            and scale of each latent alone. The same images given other classes cost little then, which makes for fast
            classifiers (`HybridLikelihood`), as in IB-INN.
        **options: see `NetworkOptions`.

    Raises:
        ValueError: the sizes do not fit ``levels``, or an option is out of its range.

    References:
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803
        | Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design (Ho et
          al., 2019), arXiv:1902.00275
        | Training Normalizing Flows with the Information Bottleneck for Competitive Generative Classification
          (Ardizzone et al., 2020), arXiv:2001.06448, for ``condition="latents"``

    >>> multiscale_real_nvp((1, 4, 4), depth=1, hidden=(8, 8)).event_shape
    (1, 4, 4)
    """
    owner = "multiscale_real_nvp"
    shape = image_shape(
        owner, features, context, levels - 1 if isinstance(levels, int) and levels > 1 else levels, depth
    )
    univariate = _univariate(owner, coupling, bins, bound)
    network = network_options(owner, options)
    inside = context_inside(owner, context, condition)

    def on_cells(shape: tuple[int, ...], count: int) -> list[Bijection]:
        masks: Any = ({"mask": "checkerboard", "swap": k % 2 == 1} for k in range(count))
        return [ActNorm(shape), *(Coupling(univariate(), shape, context=inside, **mask, **network) for mask in masks)]

    scales: list[Bijection] = []
    for _ in range(levels - 1):
        parts = on_cells(shape, depth)
        parts.append(Squeeze(shape))
        shape = parts[-1].out_shape
        parts.append(ActNorm(shape))
        parts += [Coupling(univariate(), shape, context=inside, swap=k % 2 == 1, **network) for k in range(depth)]
        parts += _prior(shape, inside, learn_prior, network)
        scales.append(Chain(parts, memory=memory))
        shape = (shape[0] // 2, *shape[1:])
    scales.append(Chain(on_cells(shape, depth + 1), memory=memory))
    data = data_side(owner, features, inside, values, dequantize, network)
    return connected(owner, features, context, inside, Multiscale(scales, latent=latent), data)


def _univariate(owner: str, coupling: str, bins: int, bound: float) -> Any:
    """What makes the map of the moved entries, one object for each coupling."""
    one_of(owner, "coupling", coupling, ("affine", "additive", "spline", "mixture"))
    at_least(owner, "bins", bins, 2 if coupling == "spline" else 1)
    positive(owner, "bound", bound)

    def build() -> Univariate:
        if coupling == "spline":
            return RationalQuadratic(bins, bound=bound)
        if coupling == "mixture":
            return Composed([LogisticMixtureCDF(bins), Affine()])
        return Affine() if coupling == "affine" else Shift()

    return build


def _mixed(mix: str, shape: tuple[int, ...], k: int) -> Bijection:
    """The linear map of the channels in the k-th step of a level."""
    channels, size = shape[0], shape[1:]
    if mix == "lu":
        return Convolution1x1(LU(channels), size)
    return Pointwise(Flip(channels) if mix == "flip" else Permute(shuffled(channels, k)), size)


def _prior(shape: tuple[int, ...], context: int, learn_prior: bool, network: NetworkOptions) -> list[Bijection]:
    """A coupling that standardises the channels that are factored out by functions of those that go on."""
    return [Coupling(Affine(), shape, context=context, **network)] if learn_prior else []
