"""Maps applied one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from pushforward.bijections.inherited import inherit
from pushforward.bijections.recompute import by_inversion, by_storing, recomputes, step
from pushforward.core.bijection import Bijection, Inverse, Lifts
from pushforward.core.capabilities import SupportsSlopes
from pushforward.core.checks import one_of
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain, Product
from pushforward.core.execution_mode import MEMORY, current_execution

__all__ = ["Chain", "innermost"]


@configurable
class Chain(Bijection, SupportsSlopes):
    r"""Apply ``parts[0]`` first, then the others: :math:`T = T_n \circ \dots \circ T_1`; log-determinants add up.

    Args:
        parts: at least one bijection; each must start where the one before it ends, in shape and in domain. Context
            goes to the parts that declare one.
        memory: what is kept for the backward pass of log-densities. ``"plain"``: everything. ``"checkpoint"``: the
            input of each part, from which the rest is recomputed; gradients are the same bit for bit. ``"invert"``: not
            even that for parts that cost one pass in both directions, such as couplings; their input is recomputed from
            their output, with its rounding errors, and there are no second derivatives. Chains with parts that draw
            random numbers keep everything.

    Shape:
        ``x``: (*batch, *parts[0].in_shape), ``y``: (*batch, *parts[-1].out_shape), ``ladj``: (*batch,).

    Raises:
        ValueError: neighbours do not fit, or ``memory`` has no such value.

    References:
        | Training Deep Nets with Sublinear Memory Cost (Chen et al., 2016), arXiv:1604.06174, for
          ``memory="checkpoint"``
        | The Reversible Residual Network: Backpropagation Without Storing Activations (Gomez et al., 2017),
          arXiv:1707.04585, for ``memory="invert"``

    >>> import torch
    >>> from pushforward.bijections import Flip, Permute
    >>> Chain([Flip(3), Permute([1, 2, 0])])(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [2.0, 1.0, 3.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"parts": [{"type": "LU", "features": 2}, {"type": "RadialSquash", "features": 2}]},
        {
            "parts": [
                {"type": "Standardize", "features": 3},
                {"type": "Autoregressive", "univariate": {"type": "Affine"}, "features": 3, "hidden": [8]},
                {"type": "Flip", "features": 3},
                {
                    "type": "Coupling",
                    "univariate": {"type": "RationalQuadratic", "bins": 4},
                    "features": 3,
                    "context": 2,
                    "hidden": [8],
                },
            ]
        },
        {
            "parts": [
                {"type": "LU", "features": 2},
                {"type": "Coupling", "univariate": {"type": "Affine"}, "features": 2, "hidden": [8]},
                {"type": "Autoregressive", "univariate": {"type": "Affine"}, "features": 2, "hidden": [8]},
            ],
            "memory": "checkpoint",
        },
        {
            "parts": [
                {"type": "LU", "features": 2},
                {"type": "Coupling", "univariate": {"type": "Affine"}, "features": 2, "context": 1, "hidden": [8]},
            ],
            "memory": "invert",
        },
    )

    takes_any_module: ClassVar[tuple[str, ...]] = ("parts",)

    def __init__(self, parts: Sequence[Bijection], *, memory: str = "plain") -> None:
        super().__init__()
        one_of("Chain", "memory", memory, MEMORY)
        self.memory = memory
        parts = _listed(parts)
        for a, b in pairwise(parts):
            if a.has_shape:
                b.set_shape(a.out_shape, space=a.codomain)
        for b, a in pairwise(parts[::-1]):
            if b.has_shape and not a.has_shape:
                a.set_shape(b.in_shape, output=True)
        for k, (a, b) in enumerate(pairwise(parts)):
            names = f"parts[{k}] ({type(a).__name__})", f"parts[{k + 1}] ({type(b).__name__})"
            if a.out_shape != b.in_shape:
                raise ValueError(
                    f"Chain: {names[0]} ends in shape {a.out_shape} but {names[1]} starts from {b.in_shape}. "
                    "Build both for events of the same shape."
                )
        self.domain, self.codomain = _ends(parts)
        self.lifts: Lifts = _lifts(parts)
        self.keeps_domain = all(part.keeps_domain for part in parts)
        contexts = {part.context_shape for part in parts} - {None}
        if len(contexts) > 1:
            raise ValueError(f"Chain: all parts must take the same context; got shapes {sorted(map(str, contexts))}.")
        self.parts = nn.ModuleList(parts)
        self.in_shape, self.out_shape = parts[0].in_shape, parts[-1].out_shape
        self.context_shape = next(iter(contexts), None)
        inherit(self, parts)
        self.is_triangular = all(part.is_triangular for part in parts)

    @property
    def data_dependent(self) -> bool:
        return any(part.data_dependent for part in self._in_order(False))

    @property
    def in_dtype(self) -> torch.dtype | None:
        return next((d for part in self._in_order(False) if (d := part.in_dtype) is not None), None)

    @property
    def out_dtype(self) -> torch.dtype | None:
        return next((d for part in self._in_order(True) if (d := part.out_dtype) is not None), None)

    def _in_order(self, backwards: bool) -> list[Any]:
        return list(self.parts)[::-1] if backwards else list(self.parts)

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._travel(x, context, generator, inverse=False)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._travel(y, context, generator, inverse=True)

    def _travel(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        parts = self._in_order(inverse)
        memory = current_execution().memory or self.memory
        if recomputes(memory, x) and not self.stochastic:  # a second pass would draw other numbers
            x, ladjs = (by_inversion if memory == "invert" else by_storing)(parts, x, context, inverse)
        else:
            ladjs = []
            for part in parts:
                x, ladj = step(part, x, context, inverse, generator)
                ladjs.append(ladj)
        total = ladjs[0]
        for ladj in ladjs[1:]:
            total = total + ladj
        return x, total

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._slopes(x, context, inverse=False)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._slopes(y, context, inverse=True)

    def _slopes(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Diagonals of triangular matrices multiply: log-slopes add up feature by feature."""
        total: Tensor | None = None
        for part in self._in_order(inverse):
            hook = part._inverse_and_slopes if inverse else part._forward_and_slopes
            x, slopes = hook(*part._arguments(x, context, None))
            total = slopes if total is None else total + slopes
        return x, cast(Tensor, total)  # a chain has parts

    def _forward(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        for part in self._in_order(False):
            x = part._forward(*part._arguments(x, context, generator))
        return x

    def _inverse(self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        for part in self._in_order(True):
            y = part._inverse(*part._arguments(y, context, generator))
        return y

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        parts = self._in_order(inverse)
        last = max((k for k, part in enumerate(parts) if part.data_dependent), default=-1)
        # What is set depends on the data alone, not on torch's global generator.
        draws = torch.Generator(x.device).manual_seed(0) if self.stochastic else None
        for k, part in enumerate(parts[: last + 1]):
            arguments = part._arguments(x, context, draws)
            part._initialize(*arguments[:2], inverse=inverse)
            if k < last:  # nothing after the last such part needs to see the data
                x = (part._inverse if inverse else part._forward)(*arguments)


def innermost(bijection: Bijection, inverse: bool = False) -> list[tuple[Bijection, bool]]:
    """The parts of nested chains and inverses in the order in which ``forward`` applies them (of the inverse map if
    ``inverse``), each with whether it is applied backwards.

    >>> from pushforward.bijections import Chain, Flip, Permute
    >>> [(type(part).__name__, backwards) for part, backwards in innermost(Chain([Flip(2), Permute([1, 0])]).inv)]
    [('Permute', True), ('Flip', True)]
    """
    if isinstance(bijection, Inverse):
        return innermost(bijection.bijection, not inverse)
    if isinstance(bijection, Chain):
        return [pair for part in bijection._in_order(inverse) for pair in innermost(part, inverse)]
    return [(bijection, inverse)]


def _lifts(parts: list[Bijection]) -> Lifts:
    """The direction in which the chain ends on a surface; refuses parts that act on the space around one."""
    name = "none"
    for order, direction in ((range(len(parts)), "forward"), (range(len(parts))[::-1], "inverse")):
        lift: int | None = None
        for k in order:
            if lift is not None and not parts[k].keeps_domain:
                raise ValueError(
                    f"Chain: parts[{lift}] ({type(parts[lift]).__name__}) ends on a surface, and its volume there does "
                    f"not multiply with the determinant of parts[{k}] ({type(parts[k]).__name__}). Put that part on "
                    "the side of lower dimension, or use it as the bijection of CurvedLift."
                )
            if parts[k].lifts == direction:
                lift, name = k, direction
    return cast(Lifts, name)


def _listed(parts: Any) -> list[Bijection]:
    """The parts in a list; refuses anything else."""
    if isinstance(parts, Bijection):
        raise ValueError(
            f"Chain: parts must list one or more bijections; got {type(parts).__name__}. Put it in a list."
        )
    if isinstance(parts, str) or not hasattr(parts, "__iter__"):
        raise ValueError(f"Chain: parts must list one or more bijections; got {parts!r}. Use Chain([first, second]).")
    listed = list(parts)
    if not listed:
        raise ValueError("Chain: parts must list one or more bijections; got an empty list.")
    for k, part in enumerate(listed):
        if not isinstance(part, Bijection):
            name = part.__name__ if isinstance(part, type) else type(part).__name__
            remedy = (
                "Give an object, not its class."
                if isinstance(part, type)
                else "Wrap a univariate in Elementwise, a list in Chain."
            )
            raise ValueError(f"Chain: parts must list one or more bijections; parts[{k}] is {name}. {remedy}")
    return listed


def _ends(parts: list[Bijection]) -> tuple[Domain, Domain]:
    """The domain and the codomain of a chain; refuses neighbours whose domains do not fit."""
    bound = [(k, part) for k, part in enumerate(parts) if not part.keeps_domain]
    for (j, a), (k, b) in pairwise(bound):
        # Parts between the two may reorder features, which is harmless where all features have the same domain.
        if a.codomain != b.domain or (k > j + 1 and isinstance(a.codomain, Product)):
            raise ValueError(
                f"Chain: parts[{j}] ({type(a).__name__}) ends in {a.codomain} but parts[{k}] ({type(b).__name__}) "
                f"starts from {b.domain}. Put a map between these two domains there."
            )
    if not bound:
        return REAL, REAL
    (first, a), (last, b) = bound[0], bound[-1]
    for k, domain in ((first - 1, a.domain), (last + 1, b.codomain)):
        if 0 <= k < len(parts) and isinstance(domain, Product):
            raise ValueError(
                f"Chain: parts[{k}] ({type(parts[k]).__name__}) reorders features that live on different domains, "
                f"{domain}. Leave it out, or build the part next to it in the other order."
            )
    return a.domain, b.codomain
