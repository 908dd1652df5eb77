"""Rotations of space, and products of spaces whose points take several entries of a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.domain import Domain, Measure, Sphere

__all__ = ["Rotations", "SpaceProduct"]


@dataclass(frozen=True)
class Rotations(Sphere):
    """Rotations of three-dimensional space, SO(3), as unit quaternions (w, x, y, z); the last axis is one rotation.

    A quaternion and its negative are the same rotation, so densities have the same value at both. They are densities
    with respect to the Haar measure, which rotations leave unchanged and which gives all rotations together one: the
    uniform distribution has density one.
    """

    @property
    def measure(self) -> Measure:
        return "Haar"

    def tangents(self, x: Tensor) -> Tensor:
        # All unit quaternions, of area 2 π², cover the rotations twice.
        return (2 * math.pi**2) ** (1 / 3) * super().tangents(x)


@dataclass(frozen=True)
class SpaceProduct(Domain):
    """A domain for each block of neighbouring entries of a vector: ``parts[k]`` for ``sizes[k]`` of them.

    A block holds one point of its part, such as three entries on a sphere, or an entry-wise domain for each entry.

    Raises:
        ValueError: there is no block, or ``sizes`` does not list a positive number for each part.
    """

    parts: tuple[Domain, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) != len(self.sizes) or min(self.sizes) < 1:
            raise ValueError(f"SpaceProduct: sizes must list one positive number per part; got {self.sizes}.")

    @property
    def event_ndim(self) -> int:
        return 1

    @property
    def measure(self) -> Measure:
        measures = {part.measure for part in self.parts}
        return measures.pop() if len(measures) == 1 else "product"

    def dimension(self, event_shape: Sequence[int]) -> int:
        if not event_shape or event_shape[-1] != sum(self.sizes):
            raise ValueError(
                f"SpaceProduct: describes {sum(self.sizes)} entries; got events of shape {tuple(event_shape)}."
            )
        pairs = zip(self.parts, self.sizes, strict=True)
        return math.prod(event_shape[:-1]) * sum(part.dimension((size,)) for part, size in pairs)

    def contains(self, x: Tensor) -> Tensor:
        inside = []
        for part, block in zip(self.parts, x.split(self.sizes, dim=-1), strict=True):
            each = part.contains(block)
            inside.append(each if part.event_ndim else each.all(dim=-1))
        return torch.stack(inside).all(dim=0)

    def why_outside(self, event: Tensor, first: int = 0) -> str:
        for point in event.reshape(-1, sum(self.sizes)):
            for part, block in zip(self.parts, point.split(self.sizes), strict=True):
                if why := part.why_outside(block, first):
                    return why
                first += len(block)
        return ""

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        pairs = zip(self.parts, self.sizes, strict=True)
        return torch.cat([part.example((*shape[:-1], size), generator).double() for part, size in pairs], dim=-1)

    def anchor(self, x: Tensor) -> Tensor:
        blocks = x.split(self.sizes, dim=-1)
        anchors = [part.anchor(block) for part, block in zip(self.parts, blocks, strict=True)]
        return torch.cat([anchor.expand(size) for anchor, size in zip(anchors, self.sizes, strict=True)])

    def tangents(self, x: Tensor) -> Tensor:
        blocks = zip(self.parts, x.split(self.sizes, dim=-1), strict=True)
        bases = [part.tangents(x) if part.event_ndim else super(SpaceProduct, self).tangents(x) for part, x in blocks]
        return block_diagonal(bases)


def block_diagonal(blocks: Sequence[Tensor]) -> Tensor:
    """Matrices (*batch, rows, columns) along the diagonal of one, with zeros elsewhere."""
    widths = [block.shape[-1] for block in blocks]
    rows = []
    for k, block in enumerate(blocks):
        left, right = sum(widths[:k]), sum(widths[k + 1 :])
        rows.append(torch.nn.functional.pad(block, (left, right)))
    return torch.cat(rows, dim=-2)
