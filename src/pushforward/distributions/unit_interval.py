"""Families between zero and one, and of shares that sum to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least, positive
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Domain, Interval, Simplex
from pushforward.core.shapes import EventSize
from pushforward.distributions.draws import log_gamma_draws
from pushforward.distributions.parametric import Parametric, Start

__all__ = ["Beta", "Dirichlet"]

EULER = 0.5772156649015329
HALF_LINE, UNIT = Interval(0.0, math.inf), Interval(0.0, 1.0)


def _log(x: Tensor) -> Tensor:
    """log x, finite at zero, the end of the half line."""
    return x.clamp(min=torch.finfo(x.dtype).tiny).log()


def _exp(t: Tensor) -> Tensor:
    """The exponential where it stays in the dtype, its last value beyond."""
    return t.clamp(max=math.log(torch.finfo(t.dtype).max) - 2).exp()


@configurable
class Beta(Parametric):
    r"""Independent beta variables between zero and one.

    .. math:: q(x) = \prod_j \frac{x_j^{a_j - 1} (1 - x_j)^{b_j - 1}}{B(a_j, b_j)}

    Parameters are learned, per feature, as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        a: initial power at zero, plus one: a number or nested lists of the shape of an event; positive.
        b: initial power at one, plus one; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not positive; both ``context`` and ``classes`` are given.

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018), arXiv:1805.08498

    >>> import torch
    >>> round(Beta(1, a=3.0, b=1.0).mean().value.item(), 4)
    0.75
    """

    support: Domain = UNIT
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "a": 2.5, "b": [1.5, 3.0]},
        {"features": 1, "context": 1, "hidden": [8], "a": 2.0, "b": 2.0},
        {"features": 1, "classes": 2, "a": 1.5, "b": 2.0},
    )

    def __init__(
        self,
        features: EventSize,
        *,
        a: Start = 1.0,
        b: Start = 1.0,
        context: int = 0,
        classes: int = 0,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self._build(features, context, classes, hidden, a=(a, True), b=(b, True))

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        a, b = values[0].exp(), values[1].exp()
        log_norm = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        rest = torch.log1p(-x.clamp(max=1 - torch.finfo(x.dtype).eps / 2))
        return (a - 1) * _log(x) + (b - 1) * rest - log_norm

    def _draw(self, values: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        first, second = (log_gamma_draws(value.exp(), generator) for value in values)
        return torch.sigmoid(first - second)

    def _mean_of(self, *values: Tensor) -> Tensor:
        return torch.sigmoid(values[0] - values[1])

    def _entropy_of(self, *values: Tensor) -> Tensor:
        a, b = values[0].exp(), values[1].exp()
        log_norm = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        inner = (a - 1) * torch.digamma(a) + (b - 1) * torch.digamma(b)
        return log_norm - inner + (a + b - 2) * torch.digamma(a + b)


@configurable
class Dirichlet(Distribution):
    r"""The Dirichlet distribution of shares that sum to one, with learned concentrations.

    .. math:: q(x) = \frac{\Gamma(\sum_k a_k)}{\prod_k \Gamma(a_k)} \prod_k x_k^{a_k - 1}

    with respect to Lebesgue measure of all shares but the last. Concentrations of one give the uniform distribution.
    Densities cost a few operations per share.

    Args:
        features: number K of shares.
        concentration: initial concentration, one number or one for each share; positive.

    Shape:
        ``x``: (*batch, features).

    Raises:
        ValueError: there are fewer than two shares, or a concentration is not positive.

    >>> import torch
    >>> round(Dirichlet(3).log_prob(torch.tensor([0.5, 0.25, 0.25])).exp().item(), 4)
    2.0
    """

    support: Domain = Simplex()
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "concentration": [1.5, 2.0, 3.0]},
        {"features": 4, "concentration": 2.0},
    )

    def __init__(self, features: int, concentration: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        at_least("Dirichlet", "features", features, 2, "One share is always one.")
        start = list(concentration) if isinstance(concentration, Sequence) else [concentration] * features
        if len(start) != features:
            raise ValueError(f"Dirichlet: concentration must list one number per share; got {len(start)}.")
        for value in start:
            positive("Dirichlet", "concentration", value)
        self.event_shape = (features,)
        self.log_concentration = nn.Parameter(torch.tensor(start).log())

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        a = self.log_concentration.exp()
        return torch.lgamma(a.sum()) - torch.lgamma(a).sum() + ((a - 1) * _log(x)).sum(dim=-1)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        a = self.log_concentration.exp().expand(*batch, *self.event_shape)
        return torch.softmax(log_gamma_draws(a, generator), dim=-1)

    def _mean(self, context: Tensor | None) -> Tensor:
        return torch.softmax(self.log_concentration, dim=-1)

    def _entropy(self, context: Tensor | None) -> Tensor:
        a = self.log_concentration.exp()
        inner = ((a - 1) * torch.digamma(a)).sum()
        return torch.lgamma(a).sum() - torch.lgamma(a.sum()) + (a.sum() - len(a)) * torch.digamma(a.sum()) - inner
