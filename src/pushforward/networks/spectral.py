"""Spectral normalisation with a certified bound: linear layers and convolutions whose norms provably stay in a limit.

Power iteration, the usual way, approaches the largest singular value from below, so that a layer scaled by it may still
exceed its limit. The bounds here are never below the true norm. They are functions of the weights alone: there is no
state to update in training, and a saved layer keeps its numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CONVOLVE", "SpectralConv", "SpectralLayer", "SpectralLinear", "conv_norm_bound", "norm_bound"]

SQUARINGS = 5
"""The bound of an n × n matrix is at most :math:`n^{1/128}` times its norm: 1.04 for n = 128."""

GRID = 8
"""Frequencies along an axis for each cell of a kernel's reach; at least 12."""

CONVOLVE: dict[int, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    1: (F.conv1d, F.conv_transpose1d),
    2: (F.conv2d, F.conv_transpose2d),
    3: (F.conv3d, F.conv_transpose3d),
}
"""The convolution and its adjoint for each number of spatial axes."""


def norm_bound(matrix: Tensor, squarings: int = SQUARINGS) -> Tensor:
    r"""An upper bound on the largest singular value, by Gram iteration.

    .. math:: \sigma_{\max}(W) \le \bigl\| (W W^*)^{2^s} \bigr\|_F^{1 / 2^{s+1}}
        \le r^{1 / 2^{s+2}}\, \sigma_{\max}(W)

    for a matrix of rank r and s squarings; a factor for rounding, some units of the last place for each row and column,
    is included. It is differentiable, at matrices with equal singular values and at zero too. It costs s + 1 products
    of matrices of the smaller side.

    Args:
        matrix: (*s, rows, columns), real or complex.
        squarings: how often the Gram matrix is squared.

    Returns:
        (*s,).

    References:
        | Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration (Delattre et al., 2023),
          arXiv:2305.16173

    >>> import torch
    >>> round(norm_bound(torch.diag(torch.tensor([3.0, 1.0]))).item(), 3)
    3.0
    """
    rows, columns = matrix.shape[-2:]
    largest = _or_one(matrix.detach().abs().amax(dim=(-2, -1)))
    matrix = matrix / largest[..., None, None]
    gram = matrix @ matrix.mH if rows <= columns else matrix.mH @ matrix
    # The scales cancel exactly, so that they may count as constants in the derivatives.
    log_scale = torch.zeros_like(largest)
    for k in range(squarings):
        if k % 2 == 0:  # between, entries fall to the fourth power of the rank at most
            size = _or_one(_square(gram.detach()).sqrt())
            gram = gram / size[..., None, None]
            log_scale = log_scale + size.log()
        gram = gram @ gram
        log_scale = 2 * log_scale
    square = _square(gram)
    safe = torch.where(square > 0, square, 1.0)
    power = 2 ** (squarings + 1)
    bound = largest * torch.exp((0.5 * safe.log() + log_scale) / power)
    margin = 1 + 2 * (rows + columns) * torch.finfo(bound.dtype).eps
    return torch.where(square > 0, margin * bound, 0.0)


def conv_norm_bound(kernel: Tensor, sizes: Sequence[int]) -> Tensor:
    r"""An upper bound on the norm of a convolution of stride one with zero padding, as a map of whole grids.

    Padding with zeros is a part of a convolution on a torus of r more cells, r being the reach of the kernel. There the
    norm is the largest over all frequencies of the norm of a matrix of channels,

    .. math:: \hat K(\omega) = \sum_t K_t e^{-i \omega \cdot t}

    Small tori are exact. On large ones fewer frequencies, N along an axis, do: what lies between them is at most
    :math:`1 / \cos(\pi r / N)` times larger, as :math:`\operatorname{Re} u^* \hat K(\omega) v` is a trigonometric
    polynomial of degree r for all vectors u and v. It costs one `norm_bound` for each of the N^axes / 2 frequencies.

    Args:
        kernel: (out_channels, in_channels, *kernel sizes), the sizes odd.
        sizes: of the grid along each spatial axis.

    Returns:
        ().

    References:
        | Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration (Delattre et al., 2023),
          arXiv:2305.16173
        | The Singular Values of Convolutional Layers (Sedghi et al., 2018), arXiv:1805.10408
        | Schwankung von Polynomen zwischen Gitterpunkten (Ehlich and Zeller, 1964), doi:10.1007/BF01111276
    """
    points, factor = [], 1.0 + 32 * torch.finfo(kernel.dtype).eps
    for size, width in zip(sizes, kernel.shape[2:], strict=True):
        reach = width // 2
        grid = max(12, GRID * reach) if reach else 1
        exact = max(size + reach, width)
        points.append(min(exact, grid))
        if grid < exact and reach:
            factor /= math.cos(math.pi * reach / grid)
    spectrum = torch.fft.rfftn(kernel, s=points, dim=tuple(range(2, kernel.ndim)))
    return factor * norm_bound(spectrum.flatten(2).movedim(2, 0)).amax()


class SpectralLayer(nn.Module, ABC):
    """A linear map whose norm is at most ``limit``: the weight times ``limit / max(bound, limit)``.

    ``bound`` is a certified bound on the norm of the weight, so that weights within the limit stay as they are.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    limit: float

    @abstractmethod
    def bound(self) -> Tensor:
        """An upper bound on the norm of the map with the weight as it is, ()."""

    def normalized_weight(self) -> Tensor:
        """The weight, scaled down to a map whose norm is at most the limit."""
        return self.weight * (self.limit / self.bound().clamp(min=self.limit))


class SpectralLinear(SpectralLayer):
    """A linear layer of norm at most ``limit``.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        limit: the largest norm.
    """

    def __init__(self, in_features: int, out_features: int, limit: float) -> None:
        super().__init__()
        layer = nn.Linear(in_features, out_features)
        self.weight = layer.weight  # type: ignore[assignment]  # torch types it as a Tensor
        self.bias, self.limit = layer.bias, limit

    def bound(self) -> Tensor:
        return norm_bound(self.weight)


class SpectralConv(SpectralLayer):
    """A convolution of stride one, padded with zeros to keep the grid, of norm at most ``limit``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        sizes: of the grid along its one to three axes.
        limit: the largest norm.
        kernel: size of the kernel along each axis, an odd number.
    """

    def __init__(
        self, in_channels: int, out_channels: int, sizes: Sequence[int], limit: float, *, kernel: int = 3
    ) -> None:
        super().__init__()
        kinds: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
        layer = kinds[len(sizes)](in_channels, out_channels, kernel, padding=kernel // 2)
        self.weight, self.bias, self.limit, self.sizes = layer.weight, layer.bias, limit, tuple(sizes)

    def bound(self) -> Tensor:
        return conv_norm_bound(self.weight, self.sizes)


def _square(matrix: Tensor) -> Tensor:
    """The squared Frobenius norm, (*s,)."""
    entries = matrix.real.square() + matrix.imag.square() if matrix.is_complex() else matrix.square()
    return entries.sum(dim=(-2, -1))


def _or_one(size: Tensor) -> Tensor:
    return torch.where(size > 0, size, 1.0)
