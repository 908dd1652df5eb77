"""Convolutional conditioners for events laid out on a grid, such as images.

Layout. Like all networks here they put features first: they map (in_features, n) to (out_features, n) for n points. The
features of a point are its entries in row-major order of an event shape (channels, *spatial), channels first as in
``nn.Conv2d``: (channels, length), (channels, height, width) or (channels, depth, height, width). Context features come
before them. Outputs are in row-major order of (out_channels, *spatial).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.networks.conditioner import Conditioner
from pushforward.networks.mlp import INPUT_LIMIT, check_hidden
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.trunk import activation_of, blocks_of, dropped, trunk

__all__ = ["CONV", "ConvNet", "register_conv"]

CONV: dict[str, Callable[..., nn.Module]] = {}
"""Conditioners by name: factories called as ``factory(in_shape, out_channels, context=, channels=, hidden=,
activation=, dropout=)``, whose module maps (context + prod(in_shape) · channels, n) to
(out_channels · prod(in_shape[1:]), n)."""

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}
"""The convolution for each number of axes of an event."""


def register_conv(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make a convolutional network available as ``conditioner=name`` in `Coupling`.

    Args:
        name: a new name; saved models refer to it.
        factory: called as the factories in ``CONV`` are.

    Raises:
        ValueError: the name is taken.
    """
    if name in CONV:
        raise ValueError(f"register_conv: the name {name!r} is taken. Choose another.")
    CONV[name] = factory


class ConvNet(Conditioner, MixedPrecision):
    """Convolutions of stride one that keep the spatial shape; the last one starts at zero.

    Every convolution adds half of its kernel to the reach of an output, so a plain network of k hidden layers of kernel
    3 sees k + 1 cells in every direction.

    Args:
        in_shape: (in_channels, *spatial) of the entries that the network reads.
        out_channels: number of outputs at each cell of the grid.
        context: number of context features; every cell sees all of them.
        channels: inputs that stand for one entry (2 for an angle: its cosine and sine), next to each other.
        hidden: channels of the hidden layers. A residual network of equal widths has ``max(1, len(hidden) - 1)`` blocks
            of two convolutions between its first and last one.
        residual: whether to add skip connections.
        activation: one of ``ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.
        kernel: size of the kernel along each spatial axis, an odd number.

    Shape:
        (context + prod(in_shape) · channels, n) to (out_channels · prod(spatial), n).

    Raises:
        ValueError: the event is not of channels and one to three spatial axes, ``kernel`` is not odd, or
            another option is out of its range.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_channels: int,
        *,
        context: int = 0,
        channels: int = 1,
        hidden: Sequence[int] = (64, 64),
        residual: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        check_hidden("ConvNet", hidden, residual, activation, dropout)
        if len(in_shape) not in CONVOLUTIONS:
            raise ValueError(
                f"ConvNet: events must have the axes (channels, *spatial) with one to three spatial ones; got shape "
                f"{tuple(in_shape)}. Use a dense conditioner such as 'plain'."
            )
        if not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"ConvNet: kernel must be an odd whole number; got {kernel!r}.")
        self.in_shape, self.context, self.channels, self.kernel = tuple(in_shape), context, channels, kernel
        self.residual, self.activation, self.dropout = residual, activation, dropout
        self.num_blocks = blocks_of(hidden, residual)
        widths = [hidden[0]] * (1 + 2 * self.num_blocks) if residual else list(hidden)
        sizes = [in_shape[0] * channels + context, *widths, out_channels]
        convolution = CONVOLUTIONS[len(in_shape)]
        self.layers = nn.ModuleList(convolution(i, o, kernel, padding=kernel // 2) for i, o in pairwise(sizes))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    @property
    def reach(self) -> int:
        """How many cells in every direction an output sees."""
        return len(self.layers) * (self.kernel // 2)

    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = x if context is None else torch.cat([context, x])
        grid = self._grid(x.clamp(-INPUT_LIMIT, INPUT_LIMIT))
        with self.matmul_scope(x):
            h = self._trunk(grid)
            return self._apply_layer(-1, h).to(x.dtype).flatten(1).t()  # (out_channels · prod(spatial), n)

    def _trunk(self, grid: Tensor) -> Tensor:
        """Everything between the inputs and the last convolution."""
        act = activation_of(self.activation, self.residual)
        return trunk(self._apply_layer, grid, self.num_blocks, self.residual, act, self._drop)

    def _grid(self, x: Tensor) -> Tensor:
        """Features first as (n, channels and context, *spatial); a view where there is no context."""
        entries = x[self.context :].t().reshape(-1, *self.in_shape, self.channels)
        grid = entries.movedim(-1, 2).flatten(1, 2)  # the channels of an entry next to each other
        if not self.context:
            return grid
        spatial = self.in_shape[1:]
        context = x[: self.context].t().reshape(-1, self.context, *(1,) * len(spatial))
        return torch.cat([context.expand(-1, -1, *spatial), grid], dim=1)

    def _apply_layer(self, k: int, h: Tensor) -> Tensor:
        out: Tensor = self.layers[k](h)
        return out

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.dropout > 0 and self.training else h


def _residual_conv(in_shape: Sequence[int], out_channels: int, **options: Any) -> nn.Module:
    return ConvNet(in_shape, out_channels, residual=True, **options)


register_conv("conv", ConvNet)
register_conv("residual_conv", _residual_conv)
