"""How named flows are put together: layers of one kind, what stands between them, and what stands at the ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from pushforward.bijections import LU, Autoregressive, Chain, Coupling, Elementwise, Flip, Permute, Standardize
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.distributions import Flow, StandardNormal
from pushforward.univariate import TailTransform, Univariate

__all__ = ["Fast", "Mix", "Tails", "assemble", "between", "stack"]

Fast = Literal["density", "sampling"]
Mix = Literal["lu", "permute", "flip", "none"]
Tails = Literal["normal", "heavy"]


def assemble(
    owner: str,
    features: int,
    context: int,
    layers: Sequence[Bijection],
    *,
    fast: str = "density",
    tails: str = "normal",
    data_dtype: str | None = None,
) -> Flow:
    """A flow from standard normals through ``layers``, standardised on the data side.

    With ``fast="density"`` the layers' forward direction goes from data to latent, otherwise from latent to data.
    Layers that end in straight lines give normal tails; with ``tails="heavy"`` a map with a learned power on each side
    of each feature stands on their data side, behind a linear map where the flow is not triangular anyway.
    """
    one_of(owner, "fast", fast, ("density", "sampling"))
    one_of(owner, "tails", tails, ("normal", "heavy"))
    heavy = tails == "heavy"
    ends: list[Bijection] = [Standardize(features, robust=heavy, data_dtype=data_dtype)]
    if heavy and not all(layer.is_triangular for layer in layers):
        ends.append(LU(features))
    if heavy:
        ends.append(Elementwise(TailTransform(), features))
    context_map = Standardize(context, data_dtype=data_dtype) if context else None
    back = [part.inv for part in reversed(ends)]
    bijection = Chain([*ends, *layers]).inv if fast == "density" else Chain([*layers, *back])
    return Flow(StandardNormal(features), bijection, context_map=context_map)


def stack(
    owner: str,
    kind: type[Coupling] | type[Autoregressive],
    univariate: Callable[[], Univariate],
    features: int,
    context: int,
    depth: int,
    between: Callable[[int], Bijection] | None,
    **options: Any,
) -> list[Bijection]:
    """``depth`` layers of one kind with a rearrangement between neighbours; couplings take turns in what moves."""
    at_least(owner, "features", features, 1)
    at_least(owner, "context", context, 0)
    at_least(owner, "depth", depth, 1)
    layers: list[Bijection] = []
    for k in range(depth):
        if k and between is not None and features > 1:
            layers.append(between(k))
        if features == 1:
            layers.append(Elementwise(univariate(), 1, context=context, **options))
        elif kind is Coupling:
            layers.append(Coupling(univariate(), features, context=context, swap=k % 2 == 1, **options))
        else:
            layers.append(Autoregressive(univariate(), features, context=context, **options))
    return layers


def between(owner: str, mix: str, features: int) -> Callable[[int], Bijection] | None:
    """What stands between the k-th layer and the one before it: a learned linear map, a fixed permutation, the
    reversed order, or nothing, which keeps a stack of triangular maps triangular."""
    one_of(owner, "mix", mix, ("lu", "permute", "flip", "none"))
    if mix == "none":
        return None

    def build(k: int) -> Bijection:
        if mix == "lu":
            return LU(features)
        return Flip(features) if mix == "flip" else Permute(_shuffled(features, k))

    return build


def _shuffled(features: int, k: int) -> list[int]:
    """A permutation that depends on its place in the stack alone: the same in every run, kept in the config."""
    return torch.randperm(features, generator=torch.Generator().manual_seed(k), device="cpu").tolist()
