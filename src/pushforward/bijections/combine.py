"""Several maps side by side: along an axis, along a new axis, or one on some entries alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.side_by_side import SideBySide, bijections_of, entries_of, numbered
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain
from pushforward.core.entries import product
from pushforward.core.shapes import EventSize, event_axis, event_shape

__all__ = ["Concatenate", "Indexed", "Stack"]


@configurable
class Concatenate(SideBySide):
    r"""Maps of neighbouring pieces of an event, cut along an axis: :math:`y = (T_1(x^{(1)}), T_2(x^{(2)}), \dots)`.

    Log-determinants add up. The pieces do not see each other; context goes to the maps that declare one. Both
    directions cost what those of the maps cost.

    Args:
        parts: the maps; their event shapes are equal along all axes but ``axis``.
        axis: the axis of the event along which the pieces lie.

    Shape:
        ``x``, ``y``: (*batch, *event shape), the sizes along ``axis`` those of the parts in sum, ``ladj``: (*batch,).

    Raises:
        ValueError: the parts' shapes, contexts or domains do not fit together.

    >>> import torch
    >>> from pushforward.bijections import Flip
    >>> Concatenate([Flip(2), Flip(3)])(torch.arange(5.0)).tolist()
    [1.0, 0.0, 4.0, 3.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "parts": [
                {"type": "Coupling", "univariate": {"type": "Affine"}, "features": 2, "context": 1, "hidden": [8]},
                {"type": "Elementwise", "univariate": {"type": "CircularShift"}, "features": 1},
            ]
        },
        {
            "parts": [
                {"type": "Elementwise", "univariate": {"type": "Affine"}, "features": [2, 2]},
                {"type": "Standardize", "features": [1, 2]},
            ],
            "axis": 0,
        },
    )

    def __init__(self, parts: Sequence[Bijection], *, axis: int = -1) -> None:
        super().__init__()
        parts = bijections_of("Concatenate", parts)
        self.axis = event_axis("Concatenate", axis, parts[0].in_shape)
        self.in_shape, self.in_sizes = self._along([part.in_shape for part in parts])
        self.out_shape, self.out_sizes = self._along([part.out_shape for part in parts])
        self._set_parts(parts)
        shapes_in, shapes_out = [part.in_shape for part in parts], [part.out_shape for part in parts]
        self.domain = self._side_by_side([part.domain for part in parts], shapes_in)
        self.codomain = self._side_by_side([part.codomain for part in parts], shapes_out)

    def _along(self, shapes: list[tuple[int, ...]]) -> tuple[tuple[int, ...], list[int]]:
        """The shape of the whole and the size of each part along the axis."""
        others = {(len(shape), (*shape[: self.axis], *shape[len(shape) + self.axis + 1 :])) for shape in shapes}
        if len(others) > 1:
            raise ValueError(
                f"Concatenate: the event shapes of parts may differ along one axis only; got {shapes} for axis "
                f"{self.axis}."
            )
        sizes = [shape[self.axis] for shape in shapes]
        whole = list(shapes[0])
        whole[self.axis] = sum(sizes)
        return tuple(whole), sizes

    def _side_by_side(self, domains: list[Domain], shapes: list[tuple[int, ...]]) -> Domain:
        """The domain of the whole: entries in row-major order, each with that of its part."""
        pieces = [entries_of("Concatenate", d, shape) for d, shape in zip(domains, shapes, strict=True)]
        order = torch.cat(numbered(shapes), dim=self.axis).flatten().tolist()
        every = [domain for piece in pieces for domain in piece]
        whole = list(shapes[0])
        whole[self.axis] = sum(shape[self.axis] for shape in shapes)
        return product(tuple(every[k] for k in order), tuple(whole))

    def _split(self, x: Tensor, *, output: bool) -> list[Tensor]:
        return list(x.split(self.out_sizes if output else self.in_sizes, dim=self.axis))

    def _join(self, pieces: Sequence[Tensor], like: Tensor, *, output: bool) -> Tensor:
        return torch.cat(list(pieces), dim=self.axis)


@configurable
class Stack(SideBySide):
    r"""Maps of equal event shape side by side along a new axis: the k-th map transforms the k-th slice of the event.

    Log-determinants add up; context goes to the maps that declare one. Both directions cost what those of the maps
    cost.

    Args:
        parts: the maps.
        axis: the place of the new axis in the event.

    Shape:
        ``x``, ``y``: (*batch, *event shape), which has ``len(parts)`` entries along ``axis``, ``ladj``: (*batch,).

    Raises:
        ValueError: the parts' shapes, contexts or domains do not fit together.

    >>> import torch
    >>> from pushforward.bijections import Flip, Permute
    >>> Stack([Flip(2), Permute([0, 1])])(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[2.0, 1.0], [3.0, 4.0]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"parts": [{"type": "LU", "features": 3}, {"type": "Standardize", "features": 3}]},
        {
            "parts": [
                {"type": "Elementwise", "univariate": {"type": "CircularShift"}, "features": 2},
                {"type": "Elementwise", "univariate": {"type": "Affine"}, "features": 2, "context": 1, "hidden": [8]},
            ],
            "axis": 1,
        },
    )

    def __init__(self, parts: Sequence[Bijection], *, axis: int = 0) -> None:
        super().__init__()
        parts = bijections_of("Stack", parts)
        for name in ("in_shape", "out_shape"):
            if len(shapes := {getattr(part, name) for part in parts}) > 1:
                raise ValueError(f"Stack: all parts must have one event shape; got {sorted(shapes)}. Try Concatenate.")
        self.axis = event_axis("Stack", axis, (*parts[0].in_shape, 1))
        if len(parts[0].in_shape) != len(parts[0].out_shape):
            raise ValueError(
                f"Stack: parts must keep the number of axes; got {parts[0].in_shape} and {parts[0].out_shape}."
            )
        self.in_shape = self._with_axis(parts[0].in_shape, len(parts))
        self.out_shape = self._with_axis(parts[0].out_shape, len(parts))
        self._set_parts(parts)
        self.domain = self._stacked([part.domain for part in parts], parts[0].in_shape)
        self.codomain = self._stacked([part.codomain for part in parts], parts[0].out_shape)

    def _with_axis(self, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
        place = self.axis + len(shape) + 1
        return (*shape[:place], size, *shape[place:])

    def _stacked(self, domains: list[Domain], shape: tuple[int, ...]) -> Domain:
        if len(set(domains)) == 1 and domains[0].event_ndim == 1 and self.axis != -1:
            return domains[0]  # whole vectors, which still lie along the last axis
        pieces = [entries_of("Stack", domain, shape) for domain in domains]
        order = torch.stack(numbered([shape] * len(pieces)), dim=self.axis).flatten().tolist()
        every = [domain for piece in pieces for domain in piece]
        return product(tuple(every[k] for k in order), self._with_axis(shape, len(domains)))

    def _split(self, x: Tensor, *, output: bool) -> list[Tensor]:
        return list(x.unbind(self.axis))

    def _join(self, pieces: Sequence[Tensor], like: Tensor, *, output: bool) -> Tensor:
        return torch.stack(list(pieces), dim=self.axis)


@configurable
class Indexed(SideBySide):
    r"""A map of some entries along an axis, while the others stay as they are.

    .. math:: y_I = T(x_I), \qquad y_j = x_j \quad (j \notin I)

    The entries that stay are real numbers; for entries of another kind beside each other there is `Concatenate`. Both
    directions cost what those of the map cost.

    Args:
        bijection: the map T of the chosen entries, in the order of ``index``.
        index: which entries.
        features: number of features, or the shape of the whole event.
        axis: the axis of the event along which entries are chosen.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: an index occurs twice or is not one of an entry, or the map is not for that many entries.

    >>> import torch
    >>> from pushforward.bijections import Flip
    >>> Indexed(Flip(2), [0, 3], 4)(torch.arange(4.0)).tolist()
    [3.0, 1.0, 2.0, 0.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "bijection": {"type": "Coupling", "univariate": {"type": "Affine"}, "features": 2, "hidden": [8]},
            "index": [3, 0],
            "features": 4,
        },
        {"bijection": {"type": "Standardize", "features": [1, 2]}, "index": [1], "features": [2, 2], "axis": 0},
    )
    index: Tensor
    order_back: Tensor

    def __init__(self, bijection: Bijection, index: Sequence[int], features: EventSize, *, axis: int = -1) -> None:
        super().__init__()
        (bijection,) = bijections_of("Indexed", [bijection])
        self.in_shape = self.out_shape = shape = event_shape("Indexed", features)
        self.axis = event_axis("Indexed", axis, shape)
        size = shape[self.axis]
        for entry in index:
            at_least("Indexed", "index", entry, 0)
        chosen = list(index)
        if not chosen or len(set(chosen)) != len(chosen) or max(chosen) >= size:
            raise ValueError(f"Indexed: index must list different ones of the {size} entries; got {chosen}.")
        part_shape = list(shape)
        part_shape[self.axis] = len(chosen)
        for name in ("in_shape", "out_shape"):
            if getattr(bijection, name) != tuple(part_shape):
                raise ValueError(
                    f"Indexed: {len(chosen)} entries of {shape} make events of shape {tuple(part_shape)}; the "
                    f"bijection has {name} {getattr(bijection, name)}."
                )
        order = [*chosen, *(j for j in range(size) if j not in set(chosen))]
        self.add_constant("index", order, torch.int64)
        self.add_constant("order_back", sorted(range(size), key=order.__getitem__), torch.int64)
        self.chosen = len(chosen)
        self._set_parts([bijection])
        self.domain = self._beside_reals(bijection.domain, tuple(part_shape), order)
        self.codomain = self._beside_reals(bijection.codomain, tuple(part_shape), order)

    def _beside_reals(self, domain: Domain, part_shape: tuple[int, ...], order: list[int]) -> Domain:
        every = entries_of("Indexed", domain, part_shape)
        numbers = torch.full(self.in_shape, -1, device="cpu")
        place = torch.arange(len(every), device="cpu").reshape(part_shape)
        numbers.index_copy_(self.axis, torch.tensor(order[: self.chosen], device="cpu"), place)
        return product(tuple(REAL if k < 0 else every[k] for k in numbers.flatten().tolist()), self.in_shape)

    def _split(self, x: Tensor, *, output: bool) -> list[Tensor]:
        return [x.index_select(self.axis, self.index[: self.chosen])]

    def _join(self, pieces: Sequence[Tensor], like: Tensor, *, output: bool) -> Tensor:
        rest = like.index_select(self.axis, self.index[self.chosen :]).to(pieces[0].dtype)
        return torch.cat([pieces[0], rest], dim=self.axis).index_select(self.axis, self.order_back)
