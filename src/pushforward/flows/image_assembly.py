"""What flows of events on grids share: their shape, the data side and the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushforward.bijections import Dequantize, Elementwise, Multiscale, Pointwise, Standardize, VariationalDequantize
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.core.shapes import event_shape
from pushforward.distributions import Flow, StandardNormal
from pushforward.flows.assembly import connect
from pushforward.flows.options import NetworkOptions
from pushforward.univariate import Affine

__all__ = ["connected", "context_inside", "data_side", "dequantized", "image_shape"]

CONTEXT_HIDDEN = (64,)
"""Hidden layers between a context and the latents: those of the options are convolutions, and a class needs few."""


def image_shape(owner: str, features: Sequence[int], context: int, levels: int, depth: int) -> tuple[int, ...]:
    """The event shape; refuse sizes that ``levels`` halvings do not fit."""
    shape = event_shape(owner, features)
    at_least(owner, "context", context, 0)
    at_least(owner, "levels", levels, 1)
    at_least(owner, "depth", depth, 1)
    if not 2 <= len(shape) <= 4 or any(size % 2**levels for size in shape[1:]):
        raise ValueError(
            f"{owner}: features must be (channels, *spatial) with one to three spatial sizes that {2**levels} divides; "
            f"got {shape}. Pad the data, or take fewer levels."
        )
    return shape


def data_side(
    owner: str,
    features: Sequence[int],
    context: int,
    values: int | None,
    dequantize: str,
    network: NetworkOptions,
) -> list[Bijection]:
    """From data to real numbers of mean zero and scale one in each channel."""
    one_of(owner, "dequantize", dequantize, ("uniform", "variational"))
    shape = tuple(features)
    scale = Pointwise(Standardize(shape[0]), shape[1:])
    if values is None:
        return [scale]
    return [dequantized(owner, shape, context, values, dequantize, network, logit=True), scale]


def dequantized(
    owner: str,
    shape: tuple[int, ...],
    context: int,
    values: int,
    dequantize: str,
    network: NetworkOptions,
    *,
    logit: bool,
) -> Bijection:
    """From whole numbers to points of the unit cube, or to their logits."""
    at_least(owner, "values", values, 2)
    if dequantize == "uniform":
        return Dequantize(shape, levels=values, logit=logit)
    chosen = {name: option for name, option in dict[str, Any](network).items() if name != "dropout"}
    return VariationalDequantize(shape, levels=values, context=context, logit=logit, **chosen)


def context_inside(owner: str, context: int, condition: str) -> int:
    """Number of context features that layers see; none where the context acts on the latents alone."""
    one_of(owner, "condition", condition, ("layers", "latents"))
    return context if condition == "layers" else 0


def connected(
    owner: str, features: Sequence[int], context: int, inside: int, scales: Multiscale, data: list[Bijection]
) -> Flow:
    """The flow of standard normals through the scales. Where layers see no context (``inside``, as `context_inside`
    gives it), it moves and scales each latent."""
    layers: list[Bijection] = [scales]
    if context and not inside:
        layers.append(Elementwise(Affine(), scales.out_shape, context=context, hidden=CONTEXT_HIDDEN))
    return connect(owner, StandardNormal(scales.out_shape), layers, data, context, fast="density", data_dtype=None)
