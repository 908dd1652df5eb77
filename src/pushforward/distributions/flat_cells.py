"""Cells of an image amid equal values, of which a sample stands for all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["sampled_cells"]

LEAST_SAVING = 0.2
"""Share of all cells that must be left out: choosing some costs a little as well."""


def sampled_cells(
    x: Tensor, window: tuple[int, int], share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor] | None:
    """Every cell that is not flat, and each flat one with the probability ``share``.

    A cell is flat if its values and all others within so many rows above and cells on each side of it are the same,
    channel by channel. Whether it is depends on its own value as well, so that a value that differs is never left out.

    Args:
        x: images (n, channels, *spatial).
        window: rows above and cells on each side.
        share: between 0 and 1.
        generator: source of randomness.

    Returns:
        numbers of the chosen columns of (cells, n), in order, and how many cells each stands for; None where hardly any
        would be left out.
    """
    n, (above, beside) = len(x), window
    images = x.reshape(n, x.shape[1], -1 if x.ndim == 4 else 1, x.shape[-1])
    both = torch.cat([images, -images], dim=1)
    size = (above + 1, 2 * beside + 1)
    highest = F.max_pool2d(F.pad(both, (beside, beside, above, 0), value=-torch.inf), size, stride=1)
    flat = (highest[:, : x.shape[1]] == -highest[:, x.shape[1] :]).all(dim=1).flatten(1).t().flatten()
    drawn = torch.rand(len(flat), generator=generator, device=generator.device).to(x.device) < share
    chosen = (~flat | drawn).nonzero()[:, 0]
    if len(chosen) > (1 - LEAST_SAVING) * len(flat):
        return None
    return chosen, torch.where(flat[chosen], 1 / share, 1.0).to(x.dtype)
