"""Optional abilities of bijections, each declared by inheriting from a small class.

What every bijection can do is in `Bijection`. A map that can do more inherits from one of these classes as well.
Callers ask with ``isinstance`` whether it recomputes, but with ``is_triangular`` whether it has slopes: `Chain` and
`Inverse` inherit from `SupportsSlopes` whatever their parts are, and have slopes only if their parts have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["RecomputedPass", "SupportsRecompute", "SupportsSlopes"]


class SupportsSlopes(ABC):
    r"""The map is increasing and triangular, and returns the diagonal of its Jacobian.

    Its log-determinant is the sum of these log-slopes, :math:`\log|\det| = \sum_j \log \partial_j T_j`. For the hooks
    to be called, ``is_triangular`` must be true: compositions have the hooks whatever their parts are.
    """

    @abstractmethod
    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(y, log ∂y_j/∂x_j), both of shape (*batch, *event_shape)."""

    @abstractmethod
    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(x, log ∂x_j/∂y_j), both of shape (*batch, *event_shape)."""


class RecomputedPass(NamedTuple):
    """A pass recomputed from its output, with autograd."""

    x: Tensor
    """The input of the pass."""
    outputs: tuple[Tensor, Tensor]
    """(output, ladj), computed from the leaves."""
    leaves: tuple[Tensor, ...]
    """Leaf tensors of the recomputed graph: x, or the parts it is made of."""
    join: Callable[..., Tensor]
    """Takes the gradients with respect to the leaves to the gradient with respect to x."""


class SupportsRecompute(ABC):
    """The map recomputes a pass from its output in a cheaper way than by its inverse followed by the pass."""

    @abstractmethod
    def _recompute_from_output(self, y: Tensor, context: Tensor | None, *, inverse: bool) -> RecomputedPass:
        """The pass (of the inverse map if ``inverse``) whose output was y."""
