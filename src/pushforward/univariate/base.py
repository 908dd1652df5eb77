"""The protocol of an increasing scalar map, and what maps without a closed inverse share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.config import shown_config
from pushforward.core.constants import HasConstants
from pushforward.core.dispatch import accelerated
from pushforward.core.domain import REAL, Domain
from pushforward.core.execution_mode import needs_derivatives
from pushforward.core.numerics import by_table, concrete_bool, invert_increasing, solve_between

__all__ = ["Boxed", "Iterative", "Univariate", "with_free"]

MANY = 256  # points with the same parameters, from where on a table of the inverse pays


def with_free(params: Tensor, free: Tensor | None) -> Tensor:
    """Conditional parameters (p, *s) followed by the free ones (num_free, *s), given as (num_free, *s) or wider."""
    return params if free is None else torch.cat([params, free.expand(free.shape[0], *params.shape[1:])])


class Univariate(HasConstants, ABC):
    r"""An increasing map of one number, :math:`y = \tau(x; \theta)`, applied entry by entry.

    Parameters lead: they have shape ``(num_params, *s)`` for x of shape ``(*s)``, so that softmax, cumsum and the like
    run over the first axis and vectorise over all points. Where points share them, sizes of one broadcast, and what
    follows from parameters alone is computed once. ``params = 0`` is the identity or the closest member.

    The last ``num_free`` of the parameters are free: the layer learns them per feature instead of letting its
    conditioner decide them.
    """

    features: int | None = None
    """The number of features, where each has a map of its own (`PerFeature`); None: one map for any number."""
    num_params: int
    num_free: int = 0
    domain: Domain = REAL
    codomain: Domain = REAL
    smoothness: int = 0
    """0: continuous, 1: continuous slope, ...; large for analytic maps."""
    inverse_kind: Kind = "exact"
    """"iterative" where the inverse is the root of an equation."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    config: dict[str, Any]

    @abstractmethod
    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log τ'(x)), each of shape (*s)."""

    @abstractmethod
    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """(x, -log τ'(x)), each of shape (*s)."""

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        """y alone, where the slope costs extra."""
        return self.forward(x, params)[0]

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        """x alone, where the slope costs extra."""
        return self.inverse(y, params)[0]

    def forward_with_free(self, x: Tensor, params: Tensor, free: Tensor | None) -> tuple[Tensor, Tensor]:
        """`forward`, with conditional and free parameters given apart, as in `with_free`."""
        return self.forward(x, with_free(params, free))

    def value_with_free(self, x: Tensor, params: Tensor, free: Tensor | None) -> Tensor:
        """`value`, with conditional and free parameters given apart, as in `with_free`."""
        return self.value(x, with_free(params, free))

    def inverse_with_free(self, y: Tensor, params: Tensor, free: Tensor | None) -> tuple[Tensor, Tensor]:
        """`inverse`, with conditional and free parameters given apart, as in `with_free`."""
        return self.inverse(y, with_free(params, free))

    def inverse_value_with_free(self, y: Tensor, params: Tensor, free: Tensor | None) -> Tensor:
        """`inverse_value`, with conditional and free parameters given apart, as in `with_free`."""
        return self.inverse_value(y, with_free(params, free))

    def for_feature(self, j: int) -> Univariate:
        """The map of feature j alone, for points (*s) and the same parameters (num_params, *s)."""
        return self

    def select(self, features: Sequence[int]) -> Univariate:
        """The map of some of the features."""
        return self

    @property
    def point_width(self) -> int:
        """About how many numbers one point needs at once."""
        return self.num_params

    def extra_repr(self) -> str:
        return shown_config(self)


class Iterative(Univariate):
    r"""A map whose inverse is found numerically between two points that a closed formula gives.

    A subclass writes ``_prepare`` (what depends on the parameters alone, computed once for all steps of a solve),
    ``_evaluate`` and ``_bracket``.
    """

    inverse_kind: Kind = "iterative"

    @abstractmethod
    def _prepare(self, params: Tensor) -> Any:
        """Everything that follows from ``params`` alone."""

    @abstractmethod
    def _evaluate(self, x: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        """(y, log τ'(x)) at x."""

    @abstractmethod
    def _bracket(self, y: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        """Two points around τ⁻¹(y): τ(low) ≤ y ≤ τ(high); equal where τ⁻¹(y) is known already."""

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._evaluate(x, self._prepare(params))

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return invert_increasing(self._evaluate, partial(self._root, params), y, self._prepare(params))

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        if needs_derivatives():
            return self.inverse(y, params)[0]
        return self._root(params, y, self._prepare(params))

    def _sketch(self, x: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        """(y, log τ'(x)) as well as a first guess of an inverse needs them."""
        return self._evaluate(x, prepared)

    @torch.no_grad()
    @accelerated()
    def _root(self, params: Tensor, y: Tensor, prepared: Any) -> Tensor:
        """τ⁻¹(y) without gradients: from a table where many points share their parameters."""
        start = None
        if self._many(params, y) and concrete_bool(y.isfinite().all()):
            start = by_table(partial(self._sketch, prepared=prepared), partial(self._bracket, prepared=prepared), y)
        return self._solve(y, prepared, start)

    def _many(self, params: Tensor, y: Tensor) -> bool:
        """Whether so many points share their parameters that a table pays."""
        return params.shape[-1:] == (1,) and not torch.compiler.is_compiling() and y.shape[-1] >= MANY

    def _solve(self, y: Tensor, prepared: Any, start: Tensor | None = None) -> Tensor:
        """τ⁻¹(y) without gradients, from a guess or from scratch."""
        return solve_between(self._evaluate, self._bracket, y, prepared, start)


class Boxed(Iterative):
    r"""A map given on [-bound, bound] and continued straight on beyond, with the slopes that it has at the ends.

    A subclass writes ``_prepare`` and ``_inside``; the slope is continuous across the ends by construction.
    """

    bound: float
    smoothness = 1

    @abstractmethod
    def _inside(self, x: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        """(y, log τ'(x)) for x in the box, ends included."""

    def _evaluate(self, x: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        inside = x.clamp(-self.bound, self.bound)
        y, log_slope = self._inside(inside, prepared)
        return torch.addcmul(y, x - inside, log_slope.exp()), log_slope

    def _bracket(self, y: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        """The box, or beyond it the answer itself."""
        bound = torch.full_like(y, self.bound)
        (bottom, log_left), (top, log_right) = self._inside(-bound, prepared), self._inside(bound, prepared)
        below = -bound + (y - bottom) * torch.exp(-log_left)
        above = bound + (y - top) * torch.exp(-log_right)
        low = torch.where(y >= top, above, torch.where(y <= bottom, below, -bound))
        high = torch.where(y <= bottom, below, torch.where(y >= top, above, bound))
        return low, high
