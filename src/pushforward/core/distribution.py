"""The protocol of a distribution: densities and samples, with or without context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from pushforward.core.checks import NotInvertibleError, broadcast, check_context
from pushforward.core.domain import Domain

__all__ = ["Conditioned", "Distribution"]

# Magnitudes this near to overflow are treated as infinite: a layer that scales them further would overflow, and
# inf - inf = NaN in one row poisons the weight gradients of all rows.
HEADROOM = 1e-8


class Distribution(nn.Module, ABC):
    """Something with a density to evaluate and points to draw.

    A subclass sets ``event_shape``, ``support`` and, if it is conditional, ``context_shape``, and writes the hooks
    ``_log_prob`` and ``_rsample``. The public methods check shapes, screen rows that are not finite or lie outside
    the support, and are final.

    Shape:
        ``x``: (*batch, *event_shape), ``context``: (*batch, *context_shape); batch shapes broadcast.
    """

    event_shape: tuple[int, ...]
    context_shape: tuple[int, ...] | None = None
    support: Domain
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    config: dict[str, Any]

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

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The same as `log_prob`: what wrappers such as ``DistributedDataParallel`` and ``torch.compile`` hook."""
        return self.log_prob(x, context)

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
        ok, nan = self._screen(x, self.event_shape)
        inside = self.support.contains(x)
        ok = ok & inside.flatten(ok.ndim).all(-1) if inside.ndim > ok.ndim else ok & inside
        if context is not None and self.context_shape is not None:
            context, context_ok, context_nan = self._screened_context(context)
            ok, nan = ok & context_ok, nan | context_nan
        x = torch.where(_unsqueeze(ok, x.ndim), x, self.support.anchor(x))
        value = self._log_prob(x, context)
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
        """Like `sample`, with gradients to the weights and the context."""
        batch, context, ok = self._sampling(shape, context)
        x = self._rsample(batch, context, generator)
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
        batch, context, ok = self._sampling(shape, context)
        x, log_prob = self._rsample_and_log_prob(batch, context, generator)
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
        return Conditioned(self, context)

    def given(self, known: Tensor) -> Distribution:
        """This distribution with *part of its event* fixed, where exact conditionals exist.

        Raises:
            NotInvertibleError: this distribution has no exact conditionals.
        """
        raise NotInvertibleError(
            f"{type(self).__name__}: has no exact conditionals on part of the event. "
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
        if context is None or self.context_shape is None:
            return shape, None, None
        dtype = self.context_dtype
        context, _ = broadcast(owner, "context", context, self.context_shape, None, None, dtype, None)
        context, ok, _ = self._screened_context(context)
        batch = (*shape, *ok.shape)
        return batch, context.expand(*batch, *self.context_shape), ok.expand(batch)


def _unsqueeze(mask: Tensor, ndim: int) -> Tensor:
    return mask.reshape(*mask.shape, *(1,) * (ndim - mask.ndim))


class Conditioned(Distribution):
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Conditioned:
        context = self.context
        super()._apply(fn, recurse)
        # The context goes along with what reads it, which may stay float64 in a float32 model.
        self.context = context.to(device=self.context.device, dtype=self.distribution.context_dtype)
        return self

    @property
    def is_exact(self) -> bool:
        return self.distribution.is_exact

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.distribution.log_prob(x, self.context)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self.distribution.rsample(batch, self.context, generator=generator)

    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        return self.distribution.rsample_and_log_prob(batch, self.context, generator=generator)
