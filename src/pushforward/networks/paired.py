"""A conditioner at two contexts at once, such as a label and the absence of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pushforward.networks.conditioner import (
    AutoregressiveConditioner,
    BlockPass,
    Conditioner,
    IncrementalPass,
    ReversePass,
    SupportsReversePass,
)

__all__ = ["PairedAutoregressiveConditioner", "PairedConditioner"]


class PairedConditioner(Conditioner):
    """The parameters that a network gives in each of two contexts, those in the second one behind those in the first.

    Both are computed in one pass with twice as many points.

    Args:
        network: the conditioner.
        context: number of context features, where the network takes them as further inputs.

    Shape:
        ``x``: (in_features, n), ``context``: (2 · context, n), the first context above the second; without it these are
        the first rows of x, as networks that take the context as further inputs have it. Parameters:
        (2 · num_params, ..., n).
    """

    def __init__(self, network: nn.Module, context: int = 0) -> None:
        super().__init__()
        self.network, self.context = network, context

    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            contexts, x = x[: 2 * self.context], x[2 * self.context :]
            return one_above_the_other(self.network(torch.cat([side_by_side(contexts), twice(x)])))
        return one_above_the_other(self.network(twice(x), side_by_side(context)))


class PairedAutoregressiveConditioner(PairedConditioner, AutoregressiveConditioner, SupportsReversePass):
    """A `PairedConditioner` whose network is autoregressive, and which goes feature by feature as that does."""

    def __init__(self, network: nn.Module, context: int = 0) -> None:
        super().__init__(network, context)
        self.group = getattr(network, "group", 1)

    def start(self, like: Tensor, context: Tensor | None = None) -> PairedSteps:
        return PairedSteps(self._inner.start(twice(like), side_by_side(cast(Tensor, context))))

    def start_blocks(self, like: Tensor, context: Tensor | None = None) -> PairedBlocks:
        return PairedBlocks(self._inner.start_blocks(twice(like), side_by_side(cast(Tensor, context))))

    def after(self, x: Tensor, context: Tensor | None, start: int) -> Tensor:
        """`parallel` from some feature on, of networks that have it."""
        return one_above_the_other(self._inner.after(twice(x), side_by_side(cast(Tensor, context)), start))

    @property
    def drops_units(self) -> bool:
        return self._inner.drops_units

    @property
    def has_reverse_pass(self) -> bool:
        return isinstance(self.network, SupportsReversePass) and self.network.has_reverse_pass

    def start_reverse(self, x: Tensor, context: Tensor | None, like: Tensor) -> PairedReverse:
        return PairedReverse(self._inner.start_reverse(twice(x), side_by_side(cast(Tensor, context)), twice(like)))

    @property
    def features(self) -> int:
        return self._inner.features

    @property
    def values(self) -> int:
        """How many features stand in one cell, of networks of grids."""
        return self._inner.values

    @property
    def point_width(self) -> int:
        """About how many numbers one point needs at once in a parallel pass, of networks that say so."""
        return 2 * self._inner.point_width

    @property
    def step_width(self) -> int:
        """About how many numbers one point needs at once in an incremental pass, of networks that say so."""
        return 2 * self._inner.step_width

    @property
    def _inner(self) -> Any:
        return self.network


class PairedSteps(IncrementalPass):
    """The `IncrementalPass` of a `PairedAutoregressiveConditioner`, from that of its network at both contexts."""

    __slots__ = ("steps",)

    def __init__(self, steps: Any) -> None:
        self.steps = steps

    def step(self, previous: Tensor | None) -> Tensor:
        return one_above_the_other(self.steps.step(None if previous is None else twice(previous)))

    def skip(self, inputs: Sequence[Tensor]) -> None:
        """Go on behind some features, of networks that can."""
        self.steps.skip([twice(previous) for previous in inputs])


class PairedBlocks(BlockPass):
    """The `BlockPass` of a `PairedAutoregressiveConditioner`, from that of its network at both contexts."""

    __slots__ = ("passes",)

    def __init__(self, passes: BlockPass) -> None:
        self.passes = passes

    def params(self, inputs: Tensor, start: int, stop: int) -> Tensor:
        return one_above_the_other(self.passes.params(twice(inputs), start, stop))


class PairedReverse(ReversePass):
    """The `ReversePass` of a `PairedAutoregressiveConditioner`: both contexts see the same features, whose cotangents
    are sums of two."""

    def __init__(self, reverse: ReversePass) -> None:
        self.reverse = reverse
        with torch.enable_grad():
            self.params = one_above_the_other(reverse.params)
        self.inside = reverse.inside.chunk(2, dim=-1)[0]

    def step(self, grad_params: Tensor, scale: Tensor) -> Tensor:
        first, second = self.reverse.step(side_by_side(grad_params), twice(scale)).chunk(2, dim=-1)
        return first + second

    def cotangents(self) -> list[tuple[Tensor, Tensor]]:
        return self.reverse.cotangents()


def twice(x: Tensor) -> Tensor:
    """The points (..., n) followed by themselves, (..., 2 n)."""
    return torch.cat([x, x], dim=-1)


def side_by_side(rows: Tensor) -> Tensor:
    """(2 rows, n) as (rows, 2 n)."""
    return torch.cat(rows.chunk(2), dim=-1)


def one_above_the_other(columns: Tensor) -> Tensor:
    """(rows, ..., 2 n) as (2 rows, ..., n)."""
    return torch.cat(columns.chunk(2, dim=-1))
