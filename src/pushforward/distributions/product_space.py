"""Distributions on products of spaces: a sphere beside numbers beside angles, each given those before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Circle, Domain
from pushforward.core.entries import domain_of_each
from pushforward.core.spaces import SpaceProduct
from pushforward.distributions.of_parts import OfParts

__all__ = ["ProductDistribution"]


@configurable
class ProductDistribution(OfParts):
    r"""Points of several spaces side by side in one vector, each distributed given those before it.

    .. math:: q(x) = \prod_k q_k\bigl(x^{(k)} \mid x^{(1)}, \dots, x^{(k - 1)}, c\bigr)

    with respect to the product of the measures of the spaces. A part that takes a context gets the entries before it,
    angles among them as cosine and sine, followed by the context of the whole; a part without context is independent of
    the others. Any joint density can be written in this way. Densities and points cost those of the parts.

    Args:
        parts: distributions of vectors, each on its own space: flows on spheres, tori, simplices or R^D, or bases.
        context: number of context features of the whole, which go to all parts that take a context.

    Shape:
        ``x``: (*batch, entries of all parts), ``context``: (*batch, context).

    Raises:
        ValueError: there is no part, one is no distribution of vectors, or its context has the wrong size.

    >>> import torch
    >>> from pushforward.distributions import DiagonalNormal, SphericalUniform
    >>> product = ProductDistribution([SphericalUniform(3), DiagonalNormal(2, context=3, hidden=(8,))])
    >>> product.log_prob(torch.tensor([[0.0, 0.0, 1.0, 5.0, 0.0], [0.0, 0.0, 2.0, 5.0, 0.0]])).isfinite().tolist()
    [True, False]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "parts": [
                {"type": "SphericalUniform", "features": 3},
                {"type": "DiagonalNormal", "features": 1, "context": 4, "hidden": [8]},
            ],
            "context": 1,
        },
        {
            "parts": [
                {"type": "VonMises", "features": 1},
                {"type": "Dirichlet", "features": 3},
                {"type": "Laplace", "features": 1, "context": 5, "hidden": [8]},
            ]
        },
    )

    def __init__(self, parts: Sequence[Distribution], *, context: int = 0) -> None:
        super().__init__()
        parts = list(parts)
        if not parts or not all(isinstance(part, Distribution) and len(part.event_shape) == 1 for part in parts):
            raise ValueError("ProductDistribution: parts must list one or more distributions of vectors.")
        self.sizes = [part.event_shape[0] for part in parts]
        before = 0
        for k, (part, size) in enumerate(zip(parts, self.sizes, strict=True)):
            if part.context_shape not in (None, (before + context,)):
                raise ValueError(
                    f"ProductDistribution: parts[{k}] ({type(part).__name__}) takes contexts of shape "
                    f"{part.context_shape}; those before it and the context are {before + context} numbers. Build it "
                    f"with context={before + context}."
                )
            before += sum(2 if isinstance(entry, Circle) else 1 for entry in _entries(part.support, size))
        self.parts = nn.ModuleList(parts)
        self.event_shape = (sum(self.sizes),)
        self.context_shape = (context,) if context else None
        self.support: Domain = SpaceProduct(tuple(part.support for part in parts), tuple(self.sizes))
        self.reparametrized = all(part.reparametrized for part in parts)
        self._take_kinds(parts)

    def _each(self) -> list[Any]:
        return list(self.parts)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        seen: list[Tensor] = []
        for part, block in zip(self._each(), x.split(self.sizes, dim=-1), strict=True):
            part._initialize(block, self._context_of(part, seen, context))
            seen.append(_embedded(part.support, block))

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        seen: list[Tensor] = []
        total = []
        for part, block in zip(self._each(), x.split(self.sizes, dim=-1), strict=True):
            total.append(part._log_prob(*part._arguments(block, self._context_of(part, seen, context), generator)))
            seen.append(_embedded(part.support, block))
        return torch.stack(total).sum(dim=0)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        seen: list[Tensor] = []
        blocks = []
        for part in self._each():
            block = part._rsample(batch, self._context_of(part, seen, context), generator)
            blocks.append(block)
            seen.append(_embedded(part.support, block))
        return torch.cat(blocks, dim=-1)

    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        blocks, total = [], []
        for part in self._each():
            arguments = batch, self._context_of(part, seen, context), generator
            block, log_prob = part._rsample_and_log_prob(*arguments)
            blocks.append(block)
            total.append(log_prob)
            seen.append(_embedded(part.support, block))
        return torch.cat(blocks, dim=-1), torch.stack(total).sum(dim=0)

    def _context_of(self, part: Distribution, seen: list[Tensor], context: Tensor | None) -> Tensor | None:
        if part.context_shape is None:
            return None
        return torch.cat(seen if context is None else [*seen, context], dim=-1)


def _entries(support: Domain, size: int) -> tuple[Domain, ...]:
    """The domain of each entry; of points on a curved space, that space."""
    if isinstance(support, SpaceProduct):
        pairs = zip(support.parts, support.sizes, strict=True)
        return tuple(entry for part, width in pairs for entry in _entries(part, width))
    return domain_of_each(support, size)


def _embedded(support: Domain, block: Tensor) -> Tensor:
    """What later parts see of a block: its entries, of angles the cosine and the sine (they have no first point)."""
    columns = []
    for entry, x in zip(_entries(support, block.shape[-1]), block.unbind(dim=-1), strict=True):
        if isinstance(entry, Circle):
            low, high = entry.ends
            turn = (x - low) * (2 * torch.pi / (high - low)) - torch.pi
            columns += [turn.cos(), turn.sin()]
        else:
            columns.append(x)
    return torch.stack(columns, dim=-1)
