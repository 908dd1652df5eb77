"""The protocol of an increasing scalar map, and what maps without a closed inverse share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.constants import HasConstants
from pushforward.core.domain import REAL, Domain
from pushforward.core.execution_mode import needs_derivatives
from pushforward.core.native_build import Compilable, compiled
from pushforward.core.numerics import by_table, concrete_bool, invert_increasing, solve_between
from pushforward.core.reference import REFERENCES, log_width, narrow

__all__ = ["Boxed", "Iterative", "Univariate", "with_free"]

MANY = 256  # points with the same parameters, from where on a table of the inverse pays


def with_free(params: Tensor, free: Tensor | None) -> Tensor:
    """Conditional parameters (p, *s) followed by the free ones (num_free, *s), given as (num_free, *s) or wider."""
    return params if free is None else torch.cat([params, free.expand(free.shape[0], *params.shape[1:])])


class Univariate(HasConstants, Compilable, ABC):
    r"""An increasing map of one number, :math:`y = \tau(x; \theta)`, applied entry by entry.

    Parameters lead: they have shape ``(num_params, *s)`` for x of shape ``(*s)``, so that softmax, cumsum and the like
    run over the first axis and vectorise over all points. Where points share them, sizes of one stand for the whole
    axis, and what follows from parameters alone is computed once. ``params = 0`` is the identity or the closest member.

    The last ``num_free`` of the parameters are free: the layer learns them per feature instead of letting its
    conditioner decide them.
    """

    num_params: int
    num_free: int = 0
    domain: Domain = REAL
    codomain: Domain = REAL
    smoothness: int = 0
    """0: continuous, 1: continuous slope, ...; large for analytic maps."""
    reference: ClassVar[str] = "gaussian"
    """Of y, one of `core.reference.REFERENCES`, where the map alone is to stand for a distribution."""
    inverse_kind: Kind = "exact"
    """"iterative" where the inverse is the root of an equation."""
    inverse_is_long: bool = False
    """Whether the inverse is a closed formula of so many operations that one kernel for them pays."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    config: dict[str, Any]
    _step: Callable[[Tensor, Tensor], Tensor] | None = None

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

    def forward_from(self, x: Tensor, params: Tensor, free: Tensor | None) -> tuple[Tensor, Tensor]:
        """`forward` of what a conditioner decides and what it does not, as `with_free` takes them."""
        return self.forward(x, with_free(params, free))

    def recompute_from_output(self, x: Tensor, y: Tensor, params: Tensor, free: Tensor | None) -> tuple[Tensor, Tensor]:
        """`forward_from` recorded for its gradients alone, where its y is known: what it gives is not looked at."""
        return self.forward_from(x, params, free)

    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-density of x where y follows the law that the map is named after, a standard normal for most."""
        y, log_slope = self.forward(x, params)
        return REFERENCES[self.reference].log_density(y) + log_slope

    def log_tails(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """The logs of the probabilities below and above x, under that law."""
        y = self.value(x, params)
        return REFERENCES[self.reference].log_below(y), REFERENCES[self.reference].log_below(-y)

    def log_mass(self, low: Tensor, high: Tensor, params: Tensor, width: Tensor | None = None) -> Tensor:
        """The log of the probability between low and high, under that law; no digits are lost far out, nor where low
        and high are close and their ``width``, from low to high, is given."""
        width = high - low if width is None else width
        ends = self.value(low, params), self.value(high, params)
        between = ends[1] - ends[0]
        small = narrow(width) | narrow(50 * between)  # where the map is flat, its ends may round to one number
        tiny = log_width(width) + self.log_density((low + high) / 2, params)
        return torch.where(small, tiny, REFERENCES[self.reference].log_mass(*ends, torch.where(small, 1.0, between)))

    def quantile(self, p: Tensor, params: Tensor) -> Tensor:
        """x below which the probability is p, under that law."""
        return self.inverse_value(REFERENCES[self.reference].point(p), params)

    def compile_step(self, *, backend: Any = "inductor", **options: Any) -> None:
        """Compile `step` if the inverse is long."""
        super().compile_step(backend=backend)
        if self.inverse_is_long:
            self._step = compiled(self.inverse_value, backend=backend, **options)

    def step(self, y: Tensor, params: Tensor) -> Tensor:
        """`inverse_value` for one feature of many in turn, without gradients: after `compile_step` in one kernel, where
        small operations would take longer than their arithmetic."""
        return (self._step or self.inverse_value)(y, params)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_step", None)
        return state

    def start(self, x: Tensor) -> Tensor | None:
        """Parameters (num_params, features) from which learning goes well for data like the sample x (features, n):
        those that bring it near the standard law. None: zeros, as for most maps."""
        return None

    def widening(self) -> Tensor | None:
        """The direction (num_params,) of parameters in which the law grows wider around the same places: t times it
        makes it about exp(t) times as wide. None where there is none."""
        return None

    @property
    def point_width(self) -> int:
        """About how many numbers one point needs at once."""
        return self.num_params

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in getattr(self, "config", {}).items() if key != "type")


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
