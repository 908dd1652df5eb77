"""The protocol of an invertible map between event shapes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, cast, final

import torch
from torch import Tensor

from pushforward.core.capabilities import SupportsSlopes
from pushforward.core.checks import NotInvertibleError, broadcast
from pushforward.core.config import configurable, shown_config
from pushforward.core.constants import HasConstants
from pushforward.core.domain import REAL, Domain
from pushforward.core.exactness import Exactness
from pushforward.core.shapes import sum_event

__all__ = ["ALL_PROPERTIES", "KINDS", "Bijection", "Inverse", "Kind", "Lifts", "StochasticMap", "TriangularMap"]

Kind = Literal["exact", "sequential", "iterative", "none"]
"""How a direction is computed. "exact": a closed formula, in one pass. "sequential": closed formulas, one feature at a
time. "iterative": a numerical search for a root, or steps of a solver whose error is checked; a row where it fails is
NaN. "none": not available."""

KINDS: tuple[Kind, ...] = ("exact", "sequential", "iterative", "none")
"""From the cheapest to the most expensive: what is made of several parts costs as much as the most expensive one."""


Lifts = Literal["none", "forward", "inverse"]
"""The direction in which a map goes from a space onto a surface in one of higher dimension."""

ALL_PROPERTIES = frozenset({"round_trip", "inverse_ladj", "jacobian", "left_inverse", "right_inverse"})
"""What a map may keep. ``"round_trip"``: each direction undoes the other. ``"inverse_ladj"``: their ladj are opposite.
``"jacobian"``: ladj is the log-volume of the Jacobian, log abs det J or, of a lift,
½ log det JᵀJ. ``"left_inverse"``: T⁻¹(T(x)) is x, and ladj there is minus that of T(x);
``"right_inverse"``: the same of T(T⁻¹(y)). Surjections keep one of these two, whatever their other direction draws."""

SWAPPED = {"left_inverse": "right_inverse", "right_inverse": "left_inverse"}
"""The properties of an inverse by those of its map; the others are the same."""


class Bijection(HasConstants, ABC):
    r"""An invertible map :math:`y = T(x)` with its :math:`\log|\det \nabla T(x)|`.

    A subclass sets ``in_shape`` and ``out_shape`` (event shapes) in its constructor and writes the two hooks
    ``_forward_and_ladj`` and ``_inverse_and_ladj``; everything public is final and checks its input once. Abilities
    that only some maps have are in `pushforward.core.capabilities`; maps that draw random numbers are `StochasticMap`.

    Shape:
        ``x``: (*batch, *in_shape), ``y``: (*batch, *out_shape), ``context``: (*batch, *context_shape),
        ``ladj``: (*batch,). Batch shapes of x and context broadcast.
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    context_shape: tuple[int, ...] | None = None
    domain: Domain = REAL
    codomain: Domain = REAL
    forward_kind: Kind = "exact"
    inverse_kind: Kind = "exact"
    log_det: Exactness = "exact"
    """Whether ladj is the log-determinant, an unbiased estimate of it, or makes log-densities a lower bound: that of
    `inverse_and_ladj`, from which flows compute densities, and of `forward_and_ladj` too where the next is None."""
    forward_log_det: Exactness | None = None
    """The same of `forward_and_ladj`, where it differs: surjections are exact in one direction and bound in the
    other."""
    keeps_dimension: bool = True
    """Whether inputs and outputs have the same dimension, as in a change of variables."""
    lifts: Lifts = "none"
    """The direction that ends on a surface of lower dimension than its space. Volumes on a surface do not multiply with
    the determinants of what follows, so that in a `Chain` nothing but rearrangements may."""
    stochastic: bool = False
    """Whether the hooks draw random numbers; they then take a generator as their third argument."""
    is_triangular: bool = False
    """Whether y_j depends on x_1..x_j alone and increases in x_j (entries of an event in row-major order), which makes
    the map one that `SupportsSlopes`."""
    keeps_domain: bool = False
    """Whether the map takes every entry-wise domain to itself: rearrangements of features do."""
    accuracy: float = 0.0
    """How far values and ladj may be from those of the map itself beyond rounding, such as by the steps of a solver."""
    unsolved: str = ""
    """What a warning says of rows that are NaN because a solver failed there; "{rows}" stands for their number."""
    properties: frozenset[str] = ALL_PROPERTIES
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    config: dict[str, Any]

    @abstractmethod
    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(y, ladj) at x; called with checked, broadcast tensors."""

    @abstractmethod
    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(x, ladj) at y, ladj being that of the inverse map."""

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._forward_and_ladj(x, context)[0]

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self._inverse_and_ladj(y, context)[0]

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        """Set data-dependent values from x, which is an output of `forward` if ``inverse``; most maps have none."""

    @property
    def data_dependent(self) -> bool:
        """Whether `initialize` sets something, here or in a part."""
        return False

    @property
    def has_shape(self) -> bool:
        """Whether event shapes are decided; those of maps of other libraries may follow from their neighbours."""
        return True

    def set_shape(self, shape: tuple[int, ...], *, space: Domain | None = None, output: bool = False) -> None:
        """Decide event shapes, where they are not, from that of the inputs, or of the outputs, and spaces from that in
        which the inputs live."""

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of the weights; None where there are none."""
        return next((p.dtype for p in self.parameters()), None)

    @property
    def in_dtype(self) -> torch.dtype | None:
        """The dtype that x must have; None: any floating dtype."""
        return self.dtype

    @property
    def out_dtype(self) -> torch.dtype | None:
        """The dtype that y must have; None: any floating dtype."""
        return self.dtype

    @final  # type: ignore[misc]  # nn.Module declares forward as an attribute
    def forward(self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """y = T(x). Maps that draw random numbers take them from ``generator``, by default torch's global one."""
        return self._forward(*self._enter(x, context, generator))

    @final
    def inverse(self, y: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """x = T⁻¹(y)."""
        return self._inverse(*self._enter(y, context, generator, inverse=True))

    @final
    def forward_and_ladj(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """y = T(x) and log|det ∇T(x)|, of shape (*batch,)."""
        return self._forward_and_ladj(*self._enter(x, context, generator))

    @final
    def inverse_and_ladj(
        self, y: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """x = T⁻¹(y) and log|det ∇T⁻¹(y)|, of shape (*batch,)."""
        return self._inverse_and_ladj(*self._enter(y, context, generator, inverse=True))

    @final
    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None, *, inverse: bool = False) -> None:
        """Set what depends on data (such as the mean of `Standardize`) from a sample, once.

        Args:
            x: a sample of inputs of `forward`, or of its outputs if ``inverse``.
            context: the sample's context, where the map has one.
            inverse: whether data are the outputs of `forward`.
        """
        x, context = self._checked(x, context, inverse)
        self._initialize(x, context, inverse=inverse)

    @property
    def inv(self) -> Bijection:
        """The inverse map, sharing the weights; ``T.inv.inv is T``."""
        return Inverse(self)

    def _arguments(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None) -> tuple[Any, ...]:
        """The arguments of a hook: context only for a map that declares one, a generator only for one that draws."""
        context = None if self.context_shape is None else context
        return (x, context, generator) if self.stochastic else (x, context)

    def _enter(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None, inverse: bool = False
    ) -> tuple[Any, ...]:
        return self._arguments(*self._checked(x, context, inverse), generator)

    def _checked(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor | None]:
        owner = type(self).__name__
        if (self.inverse_kind if inverse else self.forward_kind) == "none":
            raise NotInvertibleError(f"{owner}: this direction has no known formula. Flip the map with .inv.")
        name, shape = ("y", self.out_shape) if inverse else ("x", self.in_shape)
        dtype = self.out_dtype if inverse else self.in_dtype
        return broadcast(owner, name, x, shape, context, self.context_shape, dtype, self.dtype)

    def extra_repr(self) -> str:
        return shown_config(self)


class TriangularMap(Bijection, SupportsSlopes):
    r"""An increasing triangular map: :math:`y_j = T_j(x_1, \dots, x_j)`, increasing in :math:`x_j`.

    Its Jacobian is triangular, so :math:`\log|\det|` is the sum of the log-slopes :math:`\log \partial_j T_j`. A
    subclass writes ``_forward_and_slopes`` and ``_inverse_and_slopes``. Compositions and inverses of such maps are
    triangular too.

    References:
        | Triangular transformations of measures (Bogachev et al., 2005), doi:10.1070/SM2005v196n03ABEH000882
    """

    is_triangular = True

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slopes = self._forward_and_slopes(x, context)
        return y, sum_event(log_slopes, len(self.in_shape))

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slopes = self._inverse_and_slopes(y, context)
        return x, sum_event(log_slopes, len(self.in_shape))


class StochasticMap(Bijection):
    """A map that draws random numbers: to estimate its log-determinant, or for its values where it is a surjection.

    Its hooks take a generator (None: torch's global one) from which everything random is drawn, so that a seed decides
    all results. A subclass states in ``log_det`` what its ladj is.

    References:
        | FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2018),
          arXiv:1810.01367
        | SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows (Nielsen et al., 2020), arXiv:2007.02731
    """

    stochastic = True

    @abstractmethod
    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]: ...

    def _forward(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self._forward_and_ladj(x, context, generator)[0]

    def _inverse(self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self._inverse_and_ladj(y, context, generator)[0]


OPPOSITE: dict[Lifts, Lifts] = {"none": "none", "forward": "inverse", "inverse": "forward"}


@configurable
class Inverse(Bijection, SupportsSlopes):
    r"""A map run backwards: :math:`T^{-1}`, with the two directions and their costs swapped.

    >>> import torch
    >>> from pushforward.bijections import Flip, Inverse
    >>> flip = Flip(2)
    >>> flip.inv.inv is flip
    True
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bijection": {"type": "LU", "features": 3}},
        {"bijection": {"type": "RadialSquash", "features": 2}},
    )
    takes_any_module: ClassVar[tuple[str, ...]] = ("bijection",)

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection
        self.in_shape, self.out_shape = bijection.out_shape, bijection.in_shape
        self.context_shape = bijection.context_shape
        self.domain, self.codomain = bijection.codomain, bijection.domain
        self.forward_kind, self.inverse_kind = bijection.inverse_kind, bijection.forward_kind
        self.log_det, self.forward_log_det = bijection.forward_log_det or bijection.log_det, bijection.log_det
        self.stochastic, self.is_triangular = bijection.stochastic, bijection.is_triangular
        self.accuracy = bijection.accuracy
        self.keeps_domain, self.keeps_dimension = bijection.keeps_domain, bijection.keeps_dimension
        self.lifts: Lifts = OPPOSITE[bijection.lifts]
        self.properties = frozenset(SWAPPED.get(name, name) for name in bijection.properties)

    @property
    def data_dependent(self) -> bool:
        return self.bijection.data_dependent

    @property
    def in_dtype(self) -> torch.dtype | None:
        return self.bijection.out_dtype

    @property
    def out_dtype(self) -> torch.dtype | None:
        return self.bijection.in_dtype

    @property
    def inv(self) -> Bijection:
        return self.bijection

    # The arguments of a hook are those of the inner map's hook of the other direction.

    def _forward_and_ladj(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        return self.bijection._inverse_and_ladj(*arguments)

    def _inverse_and_ladj(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        return self.bijection._forward_and_ladj(*arguments)

    def _forward(self, *arguments: Any) -> Tensor:
        return self.bijection._inverse(*arguments)

    def _inverse(self, *arguments: Any) -> Tensor:
        return self.bijection._forward(*arguments)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return cast(SupportsSlopes, self.bijection)._inverse_and_slopes(x, context)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return cast(SupportsSlopes, self.bijection)._forward_and_slopes(y, context)

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        self.bijection._initialize(x, context, inverse=not inverse)
