"""The protocol of a distribution: densities and samples, with or without context."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.checks import NotInvertibleError, broadcast, check_context, check_precision, common_batch
from pushforward.core.constants import HasConstants
from pushforward.core.data_start import warn_if_not_started
from pushforward.core.domain import Domain, Real
from pushforward.core.numerics import concrete_bool

__all__ = ["Distribution", "FixedContext", "warn_unsolved"]

# Magnitudes this near to overflow are treated as infinite: a layer that scales them further would overflow, and
# inf - inf = NaN in one row poisons the weight gradients of all rows.
HEADROOM = 1e-8


class Distribution(HasConstants, ABC):
    """Something with a density to evaluate and points to draw.

    A subclass sets ``event_shape``, ``support`` and, if it is conditional, ``context_shape``, and writes the hooks
    ``_log_prob`` and ``_rsample``. The public methods check shapes, screen rows that are not finite or lie outside
    the support, and are final.

    Shape:
        ``x``: (*batch, *event_shape), ``context``: (*batch, *context_shape); batch shapes broadcast.
    """

    event_shape: tuple[int, ...]
    context_shape: tuple[int, ...] | None = None
    batch_shape: tuple[int, ...] = ()
    """Of what is fixed inside, such as the known part of `given`: samples are (*shape, *batch_shape, *event_shape)."""
    support: Domain
    reparametrized: bool = True
    """Whether samples carry gradients to the weights; where values are discrete they cannot."""
    learns_from_missing: bool = False
    """Whether `estimate` takes NaN for what is missing."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    config: dict[str, Any]
    _start_checked: bool = False
    """Whether `warn_if_not_started` has looked at the parts that start from data."""

    @abstractmethod
    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log q(x | context) of finite rows inside the support, shape (*batch,)."""

    @abstractmethod
    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Points of shape (*batch, *event_shape); context already has batch shape ``batch``."""

    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        x = self._rsample(batch, context, generator)
        return x, self._log_prob(x, context)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        """Set data-dependent values; most distributions have none."""

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of x; None: any floating dtype."""
        return next((t.dtype for t in [*self.parameters(), *self.buffers()] if t.is_floating_point()), None)

    @property
    def context_dtype(self) -> torch.dtype | None:
        """The dtype of the context; None: any floating dtype."""
        return self.dtype

    @property
    def is_exact(self) -> bool:
        """Whether ``log_prob`` is the density itself, not a bound on it."""
        return True

    @property
    def log_prob_kind(self) -> Kind:
        """How densities are computed: in closed form, feature by feature, or by solving equations numerically."""
        return "exact"

    @property
    def sample_kind(self) -> Kind:
        """How samples are computed, in the same words."""
        return "exact"

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The same as `log_prob`: what wrappers such as ``DistributedDataParallel`` and ``torch.compile`` hook."""
        return self.log_prob(x, context)

    def estimate(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What learning maximises: `log_prob`, or an unbiased estimate of it or of a bound that costs less, drawn with
        torch's global generator."""
        log_prob: Tensor = self(x, context)
        return log_prob

    @final
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The log-density of x in nats.

        Returns:
            (*batch,): ``-inf`` outside the support and at ±Inf, NaN where x or context is NaN. Such rows change no
            other row's value or gradient.

        Raises:
            ValueError: a shape or dtype is wrong, or context is missing or unexpected.
        """
        owner = type(self).__name__
        x, context = broadcast(
            owner, "x", x, self.event_shape, context, self.context_shape, self.dtype, self.context_dtype
        )
        if self.training and not self._start_checked:
            warn_if_not_started(self, stacklevel=3)
        x, context = self._spread("x", x, context)
        ok, nan = self._screen(x, self.event_shape)
        if not isinstance(self.support, Real):  # which contains whatever is finite
            inside = self.support.contains(x)
            ok = ok & inside.flatten(ok.ndim).all(-1) if inside.ndim > ok.ndim else ok & inside
        if context is not None and self.context_shape is not None:
            context, context_ok, context_nan = self._screened_context(context)
            ok, nan = ok & context_ok, nan | context_nan
        fixed_ok, fixed_nan = self._fixed_rows()
        ok, nan = ok & fixed_ok, nan | fixed_nan
        x = torch.where(_unsqueeze(ok, x.ndim), x, self.support.anchor(x))
        value = self._log_prob(x, context)
        if self.log_prob_kind == "iterative":
            warn_unsolved(owner, value, ok)
        out = torch.where(nan, torch.nan, -torch.inf).to(value.dtype)
        return torch.where(ok, value, out)

    @final
    @torch.no_grad()
    def sample(
        self,
        shape: tuple[int, ...] | int = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw points, without gradients.

        Args:
            shape: how many points, ``(n,)`` or n; one point by default.
            context: (*batch, *context_shape): draws ``shape`` points for every context.
            generator: source of randomness; torch's global one by default.

        Returns:
            (*shape, *batch, *event_shape).
        """
        return self.rsample(shape, context, generator=generator)

    @final
    def rsample(
        self,
        shape: tuple[int, ...] | int = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Like `sample`, with gradients to the weights and the context.

        Raises:
            ValueError: samples of this distribution carry none (``reparametrized`` is false).
        """
        self._check_reparametrized()
        batch, context, ok = self._sampling(shape, context)
        x = self._rsample(batch, context, generator)
        if self.sample_kind == "iterative":
            warn_unsolved(type(self).__name__, x, ok)
        return x if ok is None else torch.where(_unsqueeze(ok, x.ndim), x, torch.nan)

    @final
    def rsample_and_log_prob(
        self,
        shape: tuple[int, ...] | int = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Points as from `rsample` and their log-densities, of shape (*shape, *batch), in one pass."""
        self._check_reparametrized()
        batch, context, ok = self._sampling(shape, context)
        x, log_prob = self._rsample_and_log_prob(batch, context, generator)
        if self.sample_kind == "iterative":
            warn_unsolved(type(self).__name__, x, ok)
        if ok is None:
            return x, log_prob
        return torch.where(_unsqueeze(ok, x.ndim), x, torch.nan), torch.where(ok, log_prob, torch.nan)

    @final
    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data from a sample: standardisation and other data-dependent starts of a flow once, the
        moments of a normal at every call.

        `fit` calls it; rows that are not finite must be left out.
        """
        owner = type(self).__name__
        x, context = broadcast(
            owner, "x", x, self.event_shape, context, self.context_shape, self.dtype, self.context_dtype
        )
        self._initialize(x, context)

    def condition(self, context: Tensor) -> Distribution:
        """This distribution with its *context* fixed: ``flow.condition(c).sample((100,))``."""
        return FixedContext(self, context)

    def given(self, known: Tensor) -> Distribution:
        """This distribution with *part of its event* fixed, where exact conditionals exist.

        Raises:
            NotInvertibleError: this distribution has no exact conditionals.
        """
        raise self._no_conditionals()

    def marginal(self, features: int) -> Distribution:
        """The distribution of the first ``features`` features, where exact conditionals exist.

        Raises:
            NotInvertibleError: this distribution has no exact conditionals.
        """
        raise self._no_conditionals()

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""The Rosenblatt transform :math:`u_j = F(x_j \mid x_{<j})`, (*batch, features): uniform for its own points.

        Raises:
            NotInvertibleError: this distribution has no exact conditionals.
        """
        raise self._no_conditionals()

    def icdf(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `cdf`: conditional quantiles, one feature after the other.

        Raises:
            NotInvertibleError: this distribution has no exact conditionals.
        """
        raise self._no_conditionals()

    def _check_reparametrized(self) -> None:
        if not self.reparametrized and torch.is_grad_enabled():
            raise ValueError(
                f"{type(self).__name__}: samples carry no gradients, for values may be discrete. Use sample(), or "
                "torch.no_grad()."
            )

    def _no_conditionals(self, because: str = "") -> NotInvertibleError:
        return NotInvertibleError(
            f"{type(self).__name__}: has no exact conditionals on part of the event{because}. "
            "To condition on columns, model them as context: build with context= and use condition()."
        )

    def extra_repr(self) -> str:
        own = {k: v for k, v in getattr(self, "config", {}).items() if k != "type" and not isinstance(v, dict)}
        return ", ".join(f"{key}={value}" for key, value in own.items())

    def _screen(self, x: Tensor, event_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Whether each row can be computed with, and whether it holds a NaN."""
        limit = torch.finfo(x.dtype).max * HEADROOM
        ok, nan = x.abs() <= limit, x.isnan()
        if not event_shape:
            return ok, nan
        start = x.ndim - len(event_shape)
        return ok.flatten(start).all(-1), nan.flatten(start).any(-1)

    def _screened_context(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ok, nan = self._screen(context, self.context_shape or ())
        return torch.where(_unsqueeze(ok, context.ndim), context, 0.0), ok, nan

    def _sampling(
        self, shape: tuple[int, ...] | int, context: Tensor | None
    ) -> tuple[tuple[int, ...], Tensor | None, Tensor | None]:
        """Batch shape of the points to draw, the context expanded to it, and which contexts can be used."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        owner = type(self).__name__
        if any(size < 0 for size in shape):
            raise ValueError(f"{owner}: the sample shape must not be negative; got {shape}.")
        check_context(owner, context, self.context_shape)
        check_precision(owner, self.dtype)
        fixed_ok, _ = self._fixed_rows()
        if context is None or self.context_shape is None:
            batch = (*shape, *self.batch_shape)
            return batch, None, fixed_ok.expand(batch) if isinstance(fixed_ok, Tensor) else None
        dtype = self.context_dtype
        context, _ = broadcast(owner, "context", context, self.context_shape, None, None, dtype, None)
        context, ok, _ = self._screened_context(context)
        batch = (*shape, *common_batch(owner, "context", tuple(ok.shape), "known", self.batch_shape))
        return batch, context.expand(*batch, *self.context_shape), (ok & fixed_ok).expand(batch)

    def _spread(self, name: str, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x and context in their common batch shape with what is fixed inside."""
        if not self.batch_shape:
            return x, context
        batch = tuple(x.shape[: x.ndim - len(self.event_shape)])
        batch = common_batch(type(self).__name__, name, batch, "known", self.batch_shape)
        x = x.expand(*batch, *self.event_shape)
        return x, None if context is None else context.expand(*batch, *(self.context_shape or ()))

    def _fixed_rows(self) -> tuple[Tensor | bool, Tensor | bool]:
        """Whether each row of what is fixed inside can be computed with, and whether it holds a NaN."""
        return True, False


def warn_unsolved(owner: str, value: Tensor, ok: Tensor | None) -> None:
    """One warning if a row that could be computed with came out as NaN: never a silent wrong number."""
    if not value.numel():
        return
    rows = ok.numel() if ok is not None else value.shape[0] if value.ndim else 1
    lost = value.detach().isnan()
    lost = lost if ok is None else lost.reshape(*ok.shape, -1).any(dim=-1) & ok
    if concrete_bool(lost.any()):
        count = int(lost.reshape(rows, -1).any(dim=-1).sum())
        warnings.warn(
            f"{owner}: a numerical inverse did not converge in {count} of {rows} rows; they are NaN. "
            "The map is too steep there for this dtype: try float64, or train with a smaller learning rate.",
            RuntimeWarning,
            stacklevel=3,
        )


def _unsqueeze(mask: Tensor, ndim: int) -> Tensor:
    return mask.reshape(*mask.shape, *(1,) * (ndim - mask.ndim))


class FixedContext(Distribution):
    """A conditional distribution seen with its context fixed; what `Distribution.condition` returns.

    Shape:
        With a context of shape (*batch, *context_shape), samples are (*shape, *batch, *event_shape).
    """

    def __init__(self, distribution: Distribution, context: Tensor) -> None:
        super().__init__()
        check_context(type(distribution).__name__, context, distribution.context_shape)
        self.event_shape, self.support = distribution.event_shape, distribution.support
        self.distribution = distribution
        self.register_buffer("context", context)

    context: Tensor

    @property
    def dtype(self) -> torch.dtype | None:
        return self.distribution.dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FixedContext:
        context = self.context
        super()._apply(fn, recurse)
        # The context goes along with what reads it, which may stay float64 in a float32 model.
        self.context = context.to(device=self.context.device, dtype=self.distribution.context_dtype)
        return self

    @property
    def is_exact(self) -> bool:
        return self.distribution.is_exact

    def given(self, known: Tensor) -> Distribution:
        return self.distribution.given(known).condition(self.context)

    def marginal(self, features: int) -> Distribution:
        return self.distribution.marginal(features).condition(self.context)

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_context("FixedContext", context, None)
        return self.distribution.cdf(x, self.context)

    def icdf(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        check_context("FixedContext", context, None)
        return self.distribution.icdf(u, self.context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.distribution.log_prob(x, self.context)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self.distribution.rsample(batch, self.context, generator=generator)

    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        return self.distribution.rsample_and_log_prob(batch, self.context, generator=generator)
