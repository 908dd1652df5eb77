"""Passes through a causal transformer that keep the keys and values of the tokens before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.networks.conditioner import BlockPass, IncrementalPass

__all__ = ["KeyValueCache", "TransformerBlocks", "TransformerSteps"]


class KeyValueCache:
    """Keys and values of the tokens so far in one block of a transformer.

    Without gradients they are written into buffers; with gradients they are concatenated, so that nothing recorded is
    overwritten.

    Args:
        like: gives dtype and device, and says whether gradients are recorded.
        tokens: how many there will be.
        rows: points · heads.
        width: of one head.
    """

    __slots__ = ("in_place", "key", "value")  # see `BlockTriangularMatvec`

    def __init__(self, like: Tensor, tokens: int, rows: int, width: int) -> None:
        self.in_place = runs_eagerly_without_grad(like)
        shape = (rows, tokens if self.in_place else 0, width)
        self.key, self.value = like.new_zeros(shape), like.new_zeros(shape)

    def place(self, start: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put keys and values of the tokens from ``start`` on in place of any that were there.

        Returns:
            Keys and values of all tokens up to the last of these, (rows, tokens, width).
        """
        stop = start + key.shape[1]
        if not self.in_place:
            self.key = torch.cat([self.key[:, :start], key], dim=1)
            self.value = torch.cat([self.value[:, :start], value], dim=1)
            return self.key, self.value
        self.key[:, start:stop], self.value[:, start:stop] = key, value
        return self.key[:, :stop], self.value[:, :stop]


class CachedTransformer(Protocol):
    """What the passes need of a causal transformer; see `CausalTransformer`."""

    features: int
    group: int
    channels: int

    def new_cache(self, like: Tensor) -> list[KeyValueCache]: ...

    def embed(self, x: Tensor, context: Tensor | None, start: int, stop: int) -> Tensor: ...

    def advance(self, h: Tensor, cache: Sequence[KeyValueCache], start: int) -> Tensor: ...

    def read_out(self, h: Tensor, start: int) -> Tensor: ...


class TransformerBlocks(BlockPass):
    """The `BlockPass` of a causal transformer: only the tokens of a block pass through it.

    Args:
        network: the transformer.
        like: (features, n), gives dtype, device and number of points.
        context: (context, n).
    """

    __slots__ = ("cache", "context", "network")

    def __init__(self, network: CachedTransformer, like: Tensor, context: Tensor | None) -> None:
        self.network, self.context, self.cache = network, context, network.new_cache(like)

    def params(self, inputs: Tensor, start: int, stop: int) -> Tensor:
        network, group = self.network, self.network.group
        first, last = start // group, (stop - 1) // group
        carried = inputs[max(first - 1, 0) * group * network.channels :]
        h = network.embed(carried, self.context, first, last + 1)
        params = network.read_out(network.advance(h, self.cache, first), first)
        return params[:, start - first * group : stop - first * group]


class TransformerSteps(IncrementalPass):
    """The `IncrementalPass` of a causal transformer: each step, or each group of them, is one token.

    Args:
        network: the transformer.
        like: (features, n), gives dtype, device and number of points.
        context: (context, n).
    """

    __slots__ = ("arrived", "cache", "context", "feature", "network", "params")

    def __init__(self, network: CachedTransformer, like: Tensor, context: Tensor | None) -> None:
        self.network, self.context, self.cache = network, context, network.new_cache(like)
        self.arrived, self.feature = [like[:0]], 0

    def step(self, previous: Tensor | None) -> Tensor:
        network, j = self.network, self.feature
        self.feature += 1
        if previous is not None:
            self.arrived.append(previous)
        if j % network.group == 0:
            token = j // network.group
            h = network.embed(torch.cat(self.arrived), self.context, token, token + 1)
            self.params = network.read_out(network.advance(h, self.cache, token), token)
            self.arrived = self.arrived[:1]
        return self.params[:, j % network.group]
