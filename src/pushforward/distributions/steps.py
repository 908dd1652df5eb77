"""Where a point is after each part of a map."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pushforward.bijections.chain import innermost
from pushforward.core.bijection import Bijection

__all__ = ["Step", "steps_of"]


class Step(NamedTuple):
    """A point after one part of a flow.

    Attributes:
        name: of the part, "inverse of ..." where its inverse is applied.
        x: where the point is now, (*batch, *event shape of the part).
        ladj: log|det| of the Jacobian matrix of this part there, (*batch,).
    """

    name: str
    x: Tensor
    ladj: Tensor


def steps_of(bijection: Bijection, z: Tensor, context: Tensor | None = None) -> list[Step]:
    """Each part of nested chains and inverses in turn, from z on; their log-determinants sum to that of the whole."""
    steps = []
    for part, backwards in innermost(bijection):
        told = context if part.context_shape is not None else None
        z, ladj = (part.inverse_and_ladj if backwards else part.forward_and_ladj)(z, told)
        steps.append(Step("inverse of " * backwards + type(part).__name__, z, ladj))
    return steps
