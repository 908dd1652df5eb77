"""Convolutional conditioners of well-known image flows: gated residual blocks, and the three layers of Glow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pushforward.networks.conv import CONVOLUTIONS, ConvNet, register_conv
from pushforward.networks.trunk import ACTIVATIONS

__all__ = ["GatedConvNet", "GlowConvNet"]


class GatedConvNet(ConvNet):
    r"""Gated residual blocks between a first and a last convolution.

    .. math:: h \leftarrow h + a \odot \sigma(b), \qquad (a, b) = W_1 \varphi\bigl(W_3 \varphi(h)\bigr)

    with a convolution :math:`W_3` of the given kernel and one :math:`W_1` of size one. A gate lets a block pass its
    input unchanged; products of features give more than sums of them. With ``hidden`` of k equal widths there are
    max(1, k - 1) blocks; the last convolution starts at zero.

    Args:
        in_shape: (in_channels, *spatial) of the entries that the network reads.
        out_channels: number of outputs at each cell of the grid.
        **options: those of `ConvNet` but ``residual``.

    Shape:
        (context + prod(in_shape) · channels, n) to (out_channels · prod(spatial), n).

    References:
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), arXiv:1606.05328
        | Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design (Ho et
          al., 2019), arXiv:1902.00275
    """

    def __init__(self, in_shape: Sequence[int], out_channels: int, **options: Any) -> None:
        super().__init__(in_shape, out_channels, **options, residual=True)
        first: Any = self.layers[0]
        width = first.out_channels
        for k in range(self.num_blocks):
            # The second convolution of a block: of size one, and twice as wide for the gates.
            self.layers[2 * k + 2] = CONVOLUTIONS[len(in_shape)](width, 2 * width, 1)

    @property
    def reach(self) -> int:
        return (self.num_blocks + 2) * (self.kernel // 2)

    def _trunk(self, grid: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        h = self._apply_layer(0, grid)
        for k in range(self.num_blocks):
            inner = self._drop(act(self._apply_layer(2 * k + 1, act(h))))
            value, gate = self._apply_layer(2 * k + 2, inner).chunk(2, dim=1)
            h = h + value * torch.sigmoid(gate)
        return act(h)


class GlowConvNet(ConvNet):
    """The conditioner of Glow: convolutions, those between the first and the last one of size one.

    Args:
        in_shape: (in_channels, *spatial) of the entries that the network reads.
        out_channels: number of outputs at each cell of the grid.
        **options: those of `ConvNet` but ``residual``; Glow has two hidden layers of 512 channels.

    Shape:
        (context + prod(in_shape) · channels, n) to (out_channels · prod(spatial), n).

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039
    """

    def __init__(self, in_shape: Sequence[int], out_channels: int, **options: Any) -> None:
        super().__init__(in_shape, out_channels, **options)
        for k in range(1, len(self.layers) - 1):
            layer: Any = self.layers[k]
            self.layers[k] = CONVOLUTIONS[len(in_shape)](layer.in_channels, layer.out_channels, 1)

    @property
    def reach(self) -> int:
        return 2 * (self.kernel // 2)


register_conv("gated_conv", GatedConvNet)
register_conv("glow_conv", GlowConvNet)
