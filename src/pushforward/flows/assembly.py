"""Assembly of named flows: a stack of layers, the maps between them, the data side and the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pushforward.bijections import LU, Autoregressive, Chain, Coupling, Elementwise, Flip, Permute, Standardize
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.core.distribution import Distribution
from pushforward.core.shapes import EventSize
from pushforward.distributions import Flow, StandardNormal
from pushforward.flows.options import Fast, Mix, NetworkOptions, Options, Tails
from pushforward.flows.registry import data_options, network_options
from pushforward.networks import DENSE, MASKED
from pushforward.univariate import TailTransform, Univariate

__all__ = ["assemble", "conditioned", "connect", "shuffled", "stack", "stacked"]

MIXES = ("lu", "permute", "flip", "none")


def stacked(
    owner: str,
    kind: type[Coupling] | type[Autoregressive],
    univariate: Callable[[], Univariate],
    features: int,
    context: int,
    options: Options,
    *,
    depth: int,
    fast: Fast = "density",
    mix: Mix = "none",
) -> Flow:
    """A flow of ``depth`` layers of one kind with maps of one type."""
    network, data = network_options(owner, options), data_options(owner, options)

    def build(k: int) -> list[Bijection]:
        return [conditioned(kind, univariate(), features, context, swap=k % 2 == 1, **network)]

    layers = stack(owner, build, features, context, depth=depth, mix=mix)
    return assemble(owner, layers, features, context, fast=fast, **data)


def conditioned(
    kind: type[Coupling] | type[Autoregressive],
    univariate: Univariate,
    features: int,
    context: int,
    *,
    swap: bool = False,
    **network: Any,
) -> Bijection:
    """One layer. A single feature has no other feature to depend on: its layer is `Elementwise`, with a plain
    perceptron where the conditioner is one for several features alone."""
    if features == 1:
        if network.get("conditioner") in set(MASKED) - set(DENSE):
            network = {**network, "conditioner": "plain"}
        network = {name: value for name, value in network.items() if name in NetworkOptions.__annotations__}
        return Elementwise(univariate, 1, context=context, **network)
    if kind is Coupling:
        return Coupling(univariate, features, context=context, swap=swap, **network)
    return Autoregressive(univariate, features, context=context, **network)


def stack(
    owner: str,
    build: Callable[[int], Sequence[Bijection]],
    features: int,
    context: int,
    *,
    depth: int,
    mix: Mix = "none",
    mixes: tuple[str, ...] = MIXES,
) -> list[Bijection]:
    """The layers ``build(0), ..., build(depth - 1)`` with a map that mixes the features between neighbours."""
    at_least(owner, "features", features, 1)
    at_least(owner, "context", context, 0)
    at_least(owner, "depth", depth, 1)
    one_of(owner, "mix", mix, mixes)
    layers: list[Bijection] = []
    for k in range(depth):
        if k and features > 1:
            layers += _between(mix, features, k)
        layers += build(k)
    return layers


def _between(mix: Mix, features: int, k: int) -> list[Bijection]:
    """The map in front of the k-th layer; none where the stack is to stay triangular."""
    if mix == "none":
        return []
    if mix == "lu":
        return [LU(features)]
    return [Flip(features) if mix == "flip" else Permute(shuffled(features, k))]


def shuffled(features: int, k: int) -> list[int]:
    """A permutation that depends only on its position in the stack: the same in every run, kept in the config."""
    return torch.randperm(features, generator=torch.Generator().manual_seed(k), device="cpu").tolist()


def assemble(
    owner: str,
    layers: Sequence[Bijection],
    features: EventSize,
    context: int,
    *,
    fast: Fast = "density",
    base: Distribution | None = None,
    tails: Tails = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """A flow from ``base``, by default standard normals, through ``layers``, standardised on the data side.

    Layers that are linear far out give normal tails. With ``tails="heavy"`` a map with a learned power on each side of
    each feature stands on their data side, behind a linear map where the flow is not triangular anyway.
    """
    one_of(owner, "tails", tails, ("normal", "heavy"))
    heavy = tails == "heavy"
    data_side: list[Bijection] = [Standardize(features, robust=heavy, data_dtype=data_dtype)]
    if heavy and isinstance(features, int) and not all(layer.is_triangular for layer in layers):
        data_side.append(LU(features))
    if heavy:
        data_side.append(Elementwise(TailTransform(), features))
    base = StandardNormal(features) if base is None else base
    return connect(owner, base, layers, data_side, context, fast=fast, data_dtype=data_dtype)


def connect(
    owner: str,
    base: Distribution,
    layers: Sequence[Bijection],
    data_side: Sequence[Bijection],
    context: int,
    *,
    fast: Fast,
    data_dtype: str | None,
) -> Flow:
    """The flow of ``base`` through ``layers``. ``data_side`` maps from data towards latent, as the layers do for fast
    densities; for fast samples the layers map from latent to data."""
    one_of(owner, "fast", fast, ("density", "sampling"))
    to_data = [part.inv for part in reversed(data_side)]
    bijection = Chain([*data_side, *layers]).inv if fast == "density" else Chain([*layers, *to_data])
    context_map = Standardize(context, data_dtype=data_dtype) if context else None
    return Flow(base, bijection, context_map=context_map)
