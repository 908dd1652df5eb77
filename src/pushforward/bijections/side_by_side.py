"""What maps of parts of an event share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pushforward.bijections.inherited import inherit
from pushforward.core.bijection import Bijection
from pushforward.core.domain import Domain
from pushforward.core.entries import domain_of_each

__all__ = ["SideBySide", "bijections_of", "entries_of", "numbered"]


class SideBySide(Bijection):
    """Maps of parts of an event. A subclass writes ``_split`` and ``_join``, for tensors with any batch axes, and calls
    ``_set_parts`` at the end of its constructor."""

    @abstractmethod
    def _split(self, x: Tensor, *, output: bool) -> list[Tensor]:
        """The part of x, an output of the map if ``output``, for each of the maps."""

    @abstractmethod
    def _join(self, pieces: Sequence[Tensor], like: Tensor, *, output: bool) -> Tensor:
        """The inverse of `_split`; ``like`` is the event that was split before."""

    def _set_parts(self, parts: Sequence[Bijection]) -> None:
        owner = type(self).__name__
        contexts = {part.context_shape for part in parts} - {None}
        if len(contexts) > 1:
            shapes = sorted(map(str, contexts))
            raise ValueError(f"{owner}: all parts must take the same context; got shapes {shapes}.")
        self.parts = nn.ModuleList(parts)
        self.context_shape = next(iter(contexts), None)
        inherit(self, parts)

    def _each(self) -> list[Any]:
        return list(self.parts)

    @property
    def data_dependent(self) -> bool:
        return any(part.data_dependent for part in self._each())

    @property
    def in_dtype(self) -> torch.dtype | None:
        return next((dtype for part in self._each() if (dtype := part.in_dtype) is not None), None)

    @property
    def out_dtype(self) -> torch.dtype | None:
        return next((dtype for part in self._each() if (dtype := part.out_dtype) is not None), None)

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._pairs("_forward_and_ladj", x, context, generator, inverse=False)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._pairs("_inverse_and_ladj", y, context, generator, inverse=True)

    def _forward(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self._join(self._apply_each("_forward", x, context, generator, inverse=False), x, output=True)

    def _inverse(self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self._join(self._apply_each("_inverse", y, context, generator, inverse=True), y, output=False)

    def _pairs(
        self, hook: str, x: Tensor, context: Tensor | None, generator: torch.Generator | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        pieces, ladjs = zip(*self._apply_each(hook, x, context, generator, inverse=inverse), strict=True)
        total = ladjs[0]
        for ladj in ladjs[1:]:
            total = total + ladj
        return self._join(pieces, x, output=not inverse), total

    def _apply_each(
        self, hook: str, x: Tensor, context: Tensor | None, generator: torch.Generator | None, *, inverse: bool
    ) -> list[Any]:
        pieces = zip(self._each(), self._split(x, output=inverse), strict=True)
        return [getattr(part, hook)(*part._arguments(piece, context, generator)) for part, piece in pieces]

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        for part, piece in zip(self._each(), self._split(x, output=inverse), strict=True):
            part._initialize(*part._arguments(piece, context, None)[:2], inverse=inverse)


def bijections_of(owner: str, parts: Any) -> list[Bijection]:
    """The parts in a list; refuse anything else."""
    if isinstance(parts, Bijection | str) or not hasattr(parts, "__iter__"):
        raise ValueError(f"{owner}: parts must list one or more bijections; got {type(parts).__name__}.")
    parts = list(parts)
    wrong = next((part for part in parts if not isinstance(part, Bijection)), None)
    if not parts or wrong is not None:
        what = "none" if not parts else type(wrong).__name__
        raise ValueError(f"{owner}: parts must list one or more bijections; got {what}.")
    return cast(list[Bijection], parts)


def entries_of(owner: str, domain: Domain, shape: tuple[int, ...]) -> tuple[Domain, ...]:
    """The domain of each entry; refuse one that describes whole vectors."""
    entries = domain_of_each(domain, torch.Size(shape).numel())
    if entries[0].event_ndim:
        raise ValueError(
            f"{owner}: {domain} describes whole vectors, not their entries, and cannot be put beside other entries."
        )
    return entries


def numbered(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """The entries of all pieces numbered through, each piece in its shape."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    runs = torch.arange(sum(sizes), device="cpu").split(sizes)
    return [run.reshape(shape) for run, shape in zip(runs, shapes, strict=True)]
