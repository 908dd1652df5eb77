"""The protocol of a distribution: densities and samples, with or without context."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.checks import NotInvertibleError, broadcast, check_context
from pushforward.core.data_start import watch_for_training
from pushforward.core.exactness import Estimate, Exactness
from pushforward.core.inputs import ScreenedInputs
from pushforward.core.moments import average, mean_of_points
from pushforward.core.screening import at_screened, warn_unsolved
from pushforward.core.shapes import unsqueeze_to
from pushforward.core.torch_view import TorchView, torch_view

__all__ = ["Distribution", "FixedContext"]


class Distribution(ScreenedInputs, ABC):
    """Something with a density to evaluate and points to draw.

    A subclass sets ``event_shape``, ``support`` and, if it is conditional, ``context_shape``, and writes the hooks
    ``_log_prob`` and ``_rsample``. The public methods check shapes, screen rows that are not finite or lie outside
    the support, and are final.

    Shape:
        ``x``: (*batch, *event_shape), ``context``: (*batch, *context_shape); batch shapes broadcast.
    """

    reparametrized: bool = True
    """Whether samples carry gradients to the weights; where values are discrete they cannot."""
    learns_from_missing: bool = False
    """Whether `forward` with a generator takes NaN for what is missing."""
    draws_estimates: bool = False
    """Whether `forward` with a generator draws an estimate instead of computing `log_prob`."""
    stochastic: bool = False
    """Whether log_prob draws random numbers; the hook ``_log_prob`` then takes a generator as its third argument."""
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    config: dict[str, Any]
    _start_checked: bool = False
    """Whether `watch_for_training` has nothing more to watch for."""

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
        return x, self._log_prob(*self._arguments(x, context, generator))

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        """Set data-dependent values; most distributions have none."""

    def _mean(self, context: Tensor | None) -> Tensor | None:
        """The mean, (*batch, *event_shape), where there is a closed formula."""
        return None

    def _entropy(self, context: Tensor | None) -> Tensor | None:
        """The entropy in nats, (*batch,), where there is a closed formula."""
        return None

    @property
    def exactness(self) -> Exactness:
        """Whether ``log_prob`` is the log-density itself, an estimate of it (unbiased or not), or a lower bound."""
        return "exact"

    @property
    def is_exact(self) -> bool:
        """Whether ``log_prob`` is the log-density itself."""
        return self.exactness == "exact"

    @property
    def log_prob_kind(self) -> Kind:
        """How densities are computed: in closed form, feature by feature, or by solving equations numerically."""
        return "exact"

    @property
    def sample_kind(self) -> Kind:
        """How samples are computed: in closed form, feature by feature, or by solving equations numerically."""
        return "exact"

    def forward(self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """What losses call, and wrappers such as ``DistributedDataParallel`` and ``torch.compile`` hook, (*batch,).

        Without a generator it is `log_prob`. With one it is what learning maximises: `log_prob` or, drawn with that
        generator, an unbiased estimate of it or of a bound, where that costs less (``draws_estimates``).
        """
        return self.log_prob(x, context) if generator is None else self._estimate_log_prob(x, context, generator)

    def _estimate_log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """What learning maximises, (*batch,); a hook for distributions that have something cheaper than `log_prob`."""
        return self.log_prob(x, context, generator=generator)

    @final
    def log_prob(self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """The log-density of x in nats, or an estimate of it or a lower bound on it, as `exactness` says.

        Args:
            x: (*batch, *event_shape).
            context: (*batch, *context_shape), where the distribution is conditional.
            generator: source of randomness of an estimate; torch's global one by default.

        Returns:
            (*batch,): ``-inf`` outside the support and at ±Inf, NaN where x or context is NaN. Such rows change no
            other row's value or gradient.

        Raises:
            ValueError: a shape or dtype is wrong, or context is missing or unexpected.
        """
        x, context, ok, nan = self._screened(x, context)
        value = self._log_prob(*self._arguments(x, context, generator))
        if self.log_prob_kind == "iterative":
            warn_unsolved(type(self).__name__, value, ok, self.modules())
        value = at_screened(value, ok, nan)
        if self.training and not self._start_checked:
            watch_for_training(self, value)
        return value

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
            warn_unsolved(type(self).__name__, x, ok, self.modules())
        return x if ok is None else torch.where(unsqueeze_to(ok, x.ndim), x, torch.nan)

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
            warn_unsolved(type(self).__name__, x, ok, self.modules())
        if ok is None:
            return x, log_prob
        return torch.where(unsqueeze_to(ok, x.ndim), x, torch.nan), torch.where(ok, log_prob, torch.nan)

    @final
    @torch.no_grad()
    def sample_and_log_prob(
        self,
        shape: tuple[int, ...] | int = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Like `rsample_and_log_prob`, without gradients, and so of discrete values too."""
        return self.rsample_and_log_prob(shape, context, generator=generator)

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

    @torch.no_grad()
    def mean(
        self, context: Tensor | None = None, *, samples: int = 10_000, generator: torch.Generator | None = None
    ) -> Estimate:
        """The mean with its standard error: by a formula where there is one, else the average of ``samples`` points.

        Of angles it is the mean direction; of points of a sphere or simplex the mean of their entries. Where a mean
        does not exist (Cauchy), averages do not settle and their error says nothing.

        Returns:
            (value, error), each (*batch, *event_shape); the error of a formula is zero.
        """
        batch, context, _ = self._sampling((), context)
        exact = self._mean(context)
        if exact is not None:
            value = exact.expand(*batch, *self.event_shape)
            return Estimate(value, torch.zeros_like(value))
        return mean_of_points(self.sample((samples,), context, generator=generator), self.support)

    @torch.no_grad()
    def entropy(
        self, context: Tensor | None = None, *, samples: int = 10_000, generator: torch.Generator | None = None
    ) -> Estimate:
        """The entropy -E[log q(x)] in nats with its standard error: by a formula where there is one, else the average
        over ``samples`` points.

        Where ``log_prob`` is a lower bound, this is an upper bound. On spaces other than the plain ones it is with
        respect to their own measure.

        Returns:
            (value, error), each (*batch,); the error of a formula is zero.
        """
        batch, context, _ = self._sampling((), context)
        exact = self._entropy(context)
        if exact is not None:
            value = exact.expand(batch)
            return Estimate(value, torch.zeros_like(value))
        x = self.sample((samples,), context, generator=generator)
        return average(-self.log_prob(x, context, generator=generator))

    def condition(self, context: Tensor) -> Distribution:
        """This distribution with its *context* fixed: ``flow.condition(c).sample((100,))``."""
        return FixedContext(self, context)

    def as_torch(self, context: Tensor | None = None) -> TorchView:
        """This distribution, with its context fixed if it has one, as a ``torch.distributions.Distribution``, and where
        Pyro has been imported as one of its distributions as well."""
        return torch_view(self, context)

    def given(self, observed: Tensor) -> Distribution:
        """The distribution of the rest of an event, given part of it, where exact conditionals exist.

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
        arguments = {k: v for k, v in getattr(self, "config", {}).items() if k != "type" and not isinstance(v, dict)}
        return ", ".join(f"{key}={reprlib.repr(value)}" for key, value in arguments.items())

    def _arguments(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None) -> tuple[Any, ...]:
        """The arguments of ``_log_prob``: context only if conditional, a generator only if it draws."""
        inputs = x, None if self.context_shape is None else context
        return (*inputs, generator) if self.stochastic else inputs


class FixedContext(Distribution):
    """A conditional distribution with its context fixed; what `Distribution.condition` returns.

    Shape:
        With a context of shape (*batch, *context_shape), samples are (*shape, *batch, *event_shape).

    Raises:
        ValueError: the context has another shape, or the distribution takes none.
    """

    def __init__(self, distribution: Distribution, context: Tensor) -> None:
        super().__init__()
        check_context(type(distribution).__name__, context, distribution.context_shape)
        self.event_shape, self.support = distribution.event_shape, distribution.support
        self.stochastic = distribution.stochastic
        self.distribution = distribution
        self.register_buffer("context", context)

    context: Tensor

    @property
    def dtype(self) -> torch.dtype | None:
        return self.distribution.dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FixedContext:
        context = self.context
        super()._apply(fn, recurse)
        # The context follows the dtype of its reader, which may stay float64 in a float32 model.
        self.context = context.to(device=self.context.device, dtype=self.distribution.context_dtype)
        return self

    @property
    def exactness(self) -> Exactness:
        return self.distribution.exactness

    def given(self, observed: Tensor) -> Distribution:
        return self.distribution.given(observed).condition(self.context)

    def _mean(self, context: Tensor | None) -> Tensor | None:
        return self.distribution._mean(self.context)

    def _entropy(self, context: Tensor | None) -> Tensor | None:
        return self.distribution._entropy(self.context)

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self.distribution.log_prob(x, self.context, generator=generator)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self.distribution.rsample(batch, self.context, generator=generator)

    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        return self.distribution.rsample_and_log_prob(batch, self.context, generator=generator)
