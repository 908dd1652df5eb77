"""Independent groups of features, each with a distribution of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.config import configurable
from pushforward.core.entries import domain_of_each, product
from pushforward.distributions.base import Independent

__all__ = ["Joint"]


@configurable
class Joint(Independent):
    r"""Distributions of groups of features side by side: a uniform angle beside normal numbers, for example.

    .. math:: q(x) = \prod_k q_k(x^{(k)}), \qquad x = (x^{(1)}, x^{(2)}, \dots)

    Args:
        parts: distributions of vectors of independent features, such as `StandardNormal` and `CircularUniform`.

    Raises:
        ValueError: there is no part, or one is not a distribution of such vectors.

    >>> import torch
    >>> from pushforward.distributions import CircularUniform, StandardNormal
    >>> base = Joint([CircularUniform(1), StandardNormal(2)])
    >>> base.log_prob(torch.tensor([[3.0, 0.0, 0.0], [4.0, 0.0, 0.0]])).tolist()  # 4 is no angle in [-π, π)
    [-3.6757540702819824, -inf]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"parts": [{"type": "CircularUniform", "features": 1}, {"type": "StandardNormal", "features": 1}]},
        {"parts": [{"type": "StudentT", "features": 1, "df": 3.0}, {"type": "Uniform", "low": [0.0], "high": [2.0]}]},
    )

    def __init__(self, parts: Sequence[Independent]) -> None:
        super().__init__()
        parts = list(parts)
        if not parts or not all(map(_is_vector, parts)):
            raise ValueError(
                "Joint: parts must list one or more distributions of vectors of independent features without context, "
                "such as StandardNormal(2) or CircularUniform(1). ProductDistribution takes others."
            )
        self.parts = nn.ModuleList(parts)
        self.sizes = [part.event_shape[0] for part in parts]
        self.event_shape = (sum(self.sizes),)
        supports = zip(parts, self.sizes, strict=True)
        self.support = product(tuple(d for part, size in supports for d in domain_of_each(part.support, size)))

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        for part, piece in zip(self._each_part(), x.split(self.sizes, dim=-1), strict=True):
            part._initialize(piece, None)

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._side_by_side(lambda part, x: part._log_probs(x, None), x)

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._side_by_side(lambda part, x: part._cdf(x, None), x)

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return self._side_by_side(lambda part, u: part._icdf(u, None), u)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return torch.cat([part._rsample(batch, None, generator) for part in self._each_part()], dim=-1)

    def _side_by_side(self, hook: Callable[[Any, Tensor], Tensor], x: Tensor) -> Tensor:
        pieces = zip(self._each_part(), x.split(self.sizes, dim=-1), strict=True)
        return torch.cat([hook(part, piece) for part, piece in pieces], dim=-1)

    def _each_part(self) -> list[Any]:
        return list(self.parts)


def _is_vector(part: object) -> bool:
    """Whether this is a distribution of vectors of independent features without context."""
    return isinstance(part, Independent) and len(part.event_shape) == 1 and part.context_shape is None
