"""The passes of a `CausalWindow` cell by cell and block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.networks.conditioner import BlockPass, IncrementalPass
from pushforward.networks.trunk import INPUT_LIMIT

__all__ = ["SeenContext", "WindowBlocks", "WindowSteps", "bounded"]


class SeenContext(NamedTuple):
    """The parts of a context, bounded."""

    plain: Tensor | None
    """Features of no place, (features, n)."""
    image: Tensor | None
    """The numbers of the planes, and below them a row of zeros, which stands for what is outside of the grid."""


def bounded(inputs: Tensor) -> Tensor:
    return inputs.clamp(-INPUT_LIMIT, INPUT_LIMIT)


class WindowSteps(IncrementalPass):
    """The `IncrementalPass` of a `CausalWindow`: the network at one cell after the other.

    Args:
        network: the conditioner.
        like: (features, n), gives dtype, device and number of points.
        context: (context, n).
    """

    __slots__ = ("arrived", "cells", "complete", "feature", "network", "seen", "states")

    def __init__(self, network: Any, like: Tensor, context: Tensor | None) -> None:
        self.network, self.seen, self.feature = network, network.seen_of(context), 0
        self.states, self.complete = network.new_states(like), 0  # so many cells have their states
        cells = like.new_zeros(network.features * network.channels + 1, like.shape[-1])
        # Where gradients are recorded, nothing is overwritten.
        self.cells = cells if runs_eagerly_without_grad(like) else None
        self.arrived: list[Tensor] = [cells]

    def skip(self, inputs: Sequence[Tensor]) -> None:
        """Go on behind some features, whose inputs (channels, n) are all there; the last arrives in the next step."""
        for previous in inputs[:-1]:
            self._arrive(previous, self.feature)
            self.feature += 1
        self.feature += len(inputs[-1:])

    def step(self, previous: Tensor | None) -> Tensor:
        network, j = self.network, self.feature
        self.feature += 1
        if previous is not None:
            self._arrive(previous, j - 1)
        cell, value = divmod(j, network.values)
        cells = self.cells
        if cells is None:
            filling, *arrived = self.arrived
            cells = torch.cat([*arrived, filling[j * network.channels :]])
        first = self.complete if self.states else cell
        params = network.evaluate(cells, self.seen, first, cell + 1, self.states)
        self.complete = self.feature // network.values
        return params[:, (cell - first) * network.values + value]

    def _arrive(self, previous: Tensor, j: int) -> None:
        channels = self.network.channels
        if self.cells is None:
            self.arrived.append(previous)
        else:
            self.cells[j * channels : (j + 1) * channels] = previous


class WindowBlocks(BlockPass):
    """The `BlockPass` of a `CausalWindow`: only the cells of a block are evaluated.

    Args:
        network: the conditioner.
        like: (features, n), gives dtype, device and number of points.
        context: (context, n).
    """

    __slots__ = ("network", "seen", "states")

    def __init__(self, network: Any, like: Tensor, context: Tensor | None) -> None:
        self.network, self.seen, self.states = network, network.seen_of(context), network.new_states(like)

    def params(self, inputs: Tensor, start: int, stop: int) -> Tensor:
        values = self.network.values
        first, last = start // values, (stop - 1) // values
        cells = torch.cat([inputs, torch.zeros_like(inputs[:1])])
        params = self.network.evaluate(cells, self.seen, first, last + 1, self.states)
        return params[:, start - first * values : stop - first * values]
