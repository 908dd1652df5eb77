"""The masked linear map and the degrees of its units."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pushforward.core.constants import HasConstants

__all__ = ["MaskedLinear", "hidden_degrees"]


class MaskedLinear(HasConstants):
    """A linear map whose output of degree d depends on exactly the inputs of degree ≤ d; both degree lists are sorted.

    Sorted degrees make the mask block-triangular: the rows of one degree are contiguous, and so are the columns, and
    each row reads its columns from the first one on without a gap.

    Args:
        in_degrees: rising, (columns,).
        out_degrees: rising, (rows,).
        repeats: how many times the rows are repeated, one run of rising degrees after the other.

    Shape:
        (columns, n) to (repeats · rows, n).
    """

    mask: Tensor
    ends: Tensor
    derived_constants = ("mask",)

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, repeats: int = 1) -> None:
        super().__init__()
        ins, outs = len(in_degrees), len(out_degrees)
        ends = torch.searchsorted(in_degrees, out_degrees, right=True).repeat(repeats)
        self.add_constant("ends", ends.tolist(), torch.int64)  # how many inputs each row reads, from the first
        self.register_buffer("mask", torch.empty(repeats * outs, ins), persistent=False)
        self._round_constants()
        self.weight = nn.Parameter(torch.empty(repeats * outs, ins))
        self.bias = nn.Parameter(torch.empty(repeats * outs))
        # Variance-preserving for the inputs that a row really reads, not for the masked ones.
        scale = self.ends.clamp(min=1).to(self.weight.dtype).rsqrt()
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(scale[:, None])
            self.bias.uniform_(-1, 1).mul_(scale)
        degrees = torch.arange(int(torch.cat([in_degrees, out_degrees]).max()) + 2, device=in_degrees.device)
        self.out_starts: list[int] = torch.searchsorted(out_degrees, degrees).tolist()
        self.in_starts: list[int] = torch.searchsorted(in_degrees, degrees).tolist()

    def _round_constants(self) -> None:
        super()._round_constants()
        inputs = torch.arange(self.mask.shape[1], device=self.ends.device)
        self.mask = (inputs < self.ends[:, None]).to(self.mask.dtype)

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight * self.mask, h)

    def rows(self) -> list[slice]:
        """The outputs of each degree."""
        return [slice(*pair) for pair in pairwise(self.out_starts)]

    def columns(self) -> list[slice]:
        """The inputs of each degree."""
        return [slice(*pair) for pair in pairwise(self.in_starts)]


def hidden_degrees(width: int, features: int, context: int) -> Tensor:
    """Sorted degrees of a hidden layer: every degree from 1 to features - 1, evenly, and 0 where there is context.

    At least a few units depend on the context alone, whatever the number of features: the first feature needs them.
    """
    alone = max(width // features, min(16, width // 4), 1) if context else 0
    width = max(width - alone, features - 1)
    place = torch.arange(width, device="cpu")
    spread = 1 + (place * (features - 1)) // width if features > 1 else torch.zeros_like(place)
    return torch.cat([place.new_zeros(alone), spread])
