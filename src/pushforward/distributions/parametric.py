"""Independent features whose parameters are learned numbers, those of a class, or computed from a context."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.core.distribution import Distribution
from pushforward.core.shapes import EventSize, event_shape, sum_event
from pushforward.distributions.base import Independent, Uniform
from pushforward.distributions.draws import uniforms
from pushforward.networks.context_parameters import ContextParameters

__all__ = ["LocationScale", "Parametric", "ParametricQuantiles"]

LOG_LIMIT = 20.0  # of the size of the logarithm of a parameter that depends on a context

Start = float | Sequence[Any]
"""One number for all features, or nested lists of the shape of an event."""


class Parametric(Distribution):
    """Independent features of one family, with the same number of parameters each.

    Without context the parameters are learned. With ``context`` a network computes them from it; with ``classes`` they
    are those of a class, and the context is its one-hot vector (mixed memberships mix the parameters).

    A subclass names its parameters in its constructor, through ``_build``, and writes ``_density`` and ``_draw``.
    Positive parameters reach these as logarithms.
    """

    sizes: tuple[int, ...]

    def _build(
        self,
        features: EventSize,
        context: int,
        classes: int,
        hidden: Sequence[int],
        **start: tuple[Start, bool],
    ) -> None:
        """Set up the parameters.

        Args:
            features: number of features, or the shape of an event.
            context: number of context features.
            classes: number of classes.
            hidden: layer widths of the network that reads the context.
            **start: of each parameter, by name, the initial value and whether it is positive.
        """
        owner = type(self).__name__
        self.event_shape = event_shape(owner, features)
        at_least(owner, "context", context, 0)
        at_least(owner, "classes", classes, 0)
        if context and classes:
            raise ValueError(
                f"{owner}: give context or classes; got {context} and {classes}. To use both, append the one-hot "
                "vectors to the context."
            )
        values = [value for name, (start_of, up) in start.items() for value in self._start(owner, name, start_of, up)]
        self.num_params = len(start)
        self.is_log = [is_positive for _, is_positive in start.values()]
        self.source = ContextParameters(owner, values, context, hidden)
        self.of_class = nn.Parameter(torch.zeros(classes, len(values))) if classes else None
        self.context_shape = (context or classes,) if context or classes else None

    def _start(self, owner: str, name: str, value: Start, is_positive: bool) -> list[float]:
        """The initial value for each entry, its logarithm where it must be positive."""
        try:
            numbers = torch.as_tensor(value, dtype=torch.float64, device="cpu").expand(self.event_shape).flatten()
        except (TypeError, ValueError, RuntimeError):
            numbers = torch.tensor([math.nan])
        if not bool((numbers.isfinite() & ((numbers > 0) | (not is_positive))).all()):
            kind = "positive number" if is_positive else "finite number"
            raise ValueError(f"{owner}: {name} must be a {kind}, or one for each feature; got {value!r}.")
        return (numbers.log() if is_positive else numbers).tolist()

    def _values(self, context: Tensor | None) -> tuple[Tensor, ...]:
        """Each parameter, (*batch, *event_shape), without batch axes where there is no context."""
        if self.of_class is not None and context is not None:
            raw = self.source(None) + context @ self.of_class
        else:
            raw = self.source(context)
        values = raw.unflatten(-1, (self.num_params, *self.event_shape)).unbind(-1 - len(self.event_shape))
        if context is None:
            return values
        # No context, however far from those of the data, makes an exponential overflow.
        return tuple(
            LOG_LIMIT * torch.tanh(value / LOG_LIMIT) if is_log else value
            for value, is_log in zip(values, self.is_log, strict=True)
        )

    @abstractmethod
    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        """The log-density of each entry."""

    @abstractmethod
    def _draw(self, values: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        """A point for each entry of the parameters, which have the shape of the points."""

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._density(x, *self._values(context))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return sum_event(self._log_probs(x, context), len(self.event_shape))

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        values = tuple(value.expand(*batch, *self.event_shape) for value in self._values(context))
        return self._draw(values, generator)

    def _mean(self, context: Tensor | None) -> Tensor | None:
        return self._mean_of(*self._values(context))

    def _entropy(self, context: Tensor | None) -> Tensor | None:
        entropy = self._entropy_of(*self._values(context))
        return None if entropy is None else sum_event(entropy, len(self.event_shape))

    def _mean_of(self, *values: Tensor) -> Tensor | None:
        """The mean of each entry, where there is a formula."""
        return None

    def _entropy_of(self, *values: Tensor) -> Tensor | None:
        """The entropy of each entry, where there is a formula."""
        return None


class ParametricQuantiles(Parametric, Independent):
    """Such features with distribution functions and quantiles; a subclass writes ``_cumulative`` and ``_quantile``.

    Points are drawn as quantiles of uniform numbers.
    """

    def _build(
        self,
        features: EventSize,
        context: int,
        classes: int,
        hidden: Sequence[int],
        **start: tuple[Start, bool],
    ) -> None:
        super()._build(features, context, classes, hidden, **start)
        # With a context the features themselves are no noise: they depend on it.
        ends = [torch.full(self.event_shape, end, dtype=torch.float64, device="cpu").tolist() for end in (0.0, 1.0)]
        self.uniform = None if self.context_shape is None else Uniform(*ends)

    @property
    def noise(self) -> Independent:
        return self if self.uniform is None else self.uniform

    @abstractmethod
    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        """P(X ≤ x) of each entry."""

    @abstractmethod
    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        """x with P(X ≤ x) = u, of each entry."""

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._cumulative(x, *self._values(context))

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return self._quantile(u, *self._values(context))

    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.uniform is None:
            return super()._to_noise_and_slopes(x, context)
        return self._cdf(x, context), self._log_probs(x, context)

    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        return noise if self.uniform is None else self._icdf(noise, context)

    def _draw(self, values: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        return self._quantile(uniforms(tuple(values[0].shape), values[0], generator), *values)


class LocationScale(ParametricQuantiles):
    """Such features with a location and a positive scale, which are all of their parameters."""

    def __init__(
        self,
        features: EventSize,
        *,
        loc: Start = 0.0,
        scale: Start = 1.0,
        context: int = 0,
        classes: int = 0,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self._build(features, context, classes, hidden, loc=(loc, False), scale=(scale, True))
