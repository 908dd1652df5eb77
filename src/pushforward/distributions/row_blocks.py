"""Large batches in blocks of rows, so that memory for intermediate results does not grow with the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.chain import innermost
from pushforward.bijections.continuous import NeuralODE
from pushforward.bijections.guided import Guided
from pushforward.bijections.residual import Residual
from pushforward.bijections.triangular import Triangular
from pushforward.core.bijection import Bijection
from pushforward.networks.conv import ConvNet
from pushforward.networks.paired import PairedConditioner
from pushforward.networks.transformer import CausalTransformer
from pushforward.networks.window import CausalWindow
from pushforward.univariate.base import Univariate

__all__ = ["in_row_blocks", "row_width", "solved_in_steps"]

CPU_BYTES, OTHER_BYTES = 1 << 27, 1 << 30
"""Memory for the intermediate results of one block. On a CPU smaller blocks are no slower, on a GPU they may be."""
COPIES = 6
"""How often memory for the widest intermediate result is taken at once: 4 to 10 times in the named flows."""
LEAST_ROWS = 64
"""Of a block, however wide they are: products with fewer rows are slow."""


def row_width(module: nn.Module, stepwise: Collection[nn.Module] = ()) -> int:
    """About how many numbers the widest intermediate result of one row holds.

    Args:
        module: what is computed with.
        stepwise: parts of it that work feature by feature, see `solved_in_steps`.
    """
    widths = [1]
    for part in module.modules():
        # Rows of weights are the outputs of a linear map.
        widths += [p.numel() // p.shape[-1] for p in part.parameters(recurse=False) if p.ndim > 1 and p.numel()]
        if isinstance(part, ConvNet):
            layers: list[Any] = list(part.layers)
            widths.append(max(layer.out_channels for layer in layers) * math.prod(part.in_shape[1:]))
        if isinstance(part, Bijection):
            widths.append(math.prod(part.in_shape))
        univariate = getattr(part, "univariate", None)
        if isinstance(part, Bijection) and isinstance(univariate, Univariate):
            widths.append(univariate.point_width * (1 if part in stepwise else math.prod(part.in_shape)))
        if isinstance(part, NeuralODE | CausalTransformer | CausalWindow):
            widths.append(part.step_width if part in stepwise and isinstance(part, CausalWindow) else part.point_width)
        if isinstance(part, Triangular):
            widths.append(part.rise.point_width * part.in_shape[-1])
    # An accelerated iteration keeps points of earlier passes; a pair of contexts makes two points of each.
    return max(widths) * (2 if any(isinstance(part, Residual | PairedConditioner) for part in module.modules()) else 1)


def solved_in_steps(bijection: Bijection) -> set[nn.Module]:
    """The layers whose inverses `bijection.forward` computes feature by feature from windows of those before, and their
    networks: for them a row takes no more than one feature needs."""
    parts: set[nn.Module] = set()
    for part, backwards in innermost(bijection):
        layer = part.bijection if isinstance(part, Guided) else part
        if backwards and isinstance(layer, Autoregressive) and layer.solver == "sequential":
            windows = [module for module in layer.conditioner.modules() if isinstance(module, CausalWindow)]
            parts |= {layer, *windows} if windows else set()
    return parts


def in_row_blocks(
    function: Callable[..., tuple[Tensor, ...]], width: int, event_ndim: int, x: Tensor, context: Tensor | None
) -> tuple[Tensor, ...]:
    """function(x, context) for a function that treats rows apart, in blocks of rows where the batch is large.

    Args:
        function: from x and context of batch shape (n,), or of the whole one, to tensors of the same batch shape.
        width: of a row, as `row_width` gives it.
        event_ndim: number of trailing axes of x that make up one row.
        x: (*batch, *event).
        context: (*batch, *context_shape), or None.
    """
    batch = x.shape[: x.ndim - event_ndim]
    size = CPU_BYTES if x.device.type == "cpu" else OTHER_BYTES
    rows = max(LEAST_ROWS, size // (COPIES * width * x.element_size()))
    if batch.numel() <= rows:
        return function(x, context)
    blocks = x.reshape(-1, *x.shape[len(batch) :]).split(rows)
    contexts = [None] * len(blocks)
    if context is not None:
        contexts = context.reshape(-1, *context.shape[len(batch) :]).split(rows)
    parts = [function(*pair) for pair in zip(blocks, contexts, strict=True)]
    return tuple(torch.cat(part).reshape(*batch, *part[0].shape[1:]) for part in zip(*parts, strict=True))
