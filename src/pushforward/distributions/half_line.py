"""Families on the half line and on the interval from zero to one, with learned parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import Domain, Interval
from pushforward.core.shapes import EventSize
from pushforward.core.special import ndtr
from pushforward.distributions.base import normal_log_probs
from pushforward.distributions.draws import log_gamma_draws, normals
from pushforward.distributions.parametric import LocationScale, Parametric, ParametricQuantiles, Start

__all__ = ["Exponential", "Gamma", "LogNormal", "Weibull"]

EULER = 0.5772156649015329
HALF_LINE, UNIT = Interval(0.0, math.inf), Interval(0.0, 1.0)


def _log(x: Tensor) -> Tensor:
    """log x, finite at zero, the end of the half line."""
    return x.clamp(min=torch.finfo(x.dtype).tiny).log()


def _exp(t: Tensor) -> Tensor:
    """The exponential where it stays in the dtype, its last value beyond."""
    return t.clamp(max=math.log(torch.finfo(t.dtype).max) - 2).exp()


@configurable
class Exponential(ParametricQuantiles):
    r"""Independent exponential variables on the half line.

    .. math:: q(x) = \prod_j \lambda_j\, e^{-\lambda_j x_j}, \qquad x_j \ge 0

    Parameters are learned, per feature, as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        rate: initial rate λ, one number or nested lists of the shape of an event; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not positive; both ``context`` and ``classes`` are given.


    >>> import torch
    >>> Exponential(1, rate=2.0).log_prob(torch.tensor([[0.0], [-1.0]])).exp().tolist()
    [2.0, 0.0]
    """

    support: Domain = HALF_LINE
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "rate": [1.0, 2.0]},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def __init__(
        self,
        features: EventSize,
        *,
        rate: Start = 1.0,
        context: int = 0,
        classes: int = 0,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self._build(features, context, classes, hidden, rate=(rate, True))

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        return values[0] - values[0].exp() * x

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        return -torch.expm1(-values[0].exp() * x)

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        return -torch.log1p(-u) * torch.exp(-values[0])

    def _mean_of(self, *values: Tensor) -> Tensor:
        return torch.exp(-values[0])

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return 1 - values[0]


@configurable
class Weibull(ParametricQuantiles):
    r"""Independent Weibull variables on the half line: life times with a learned shape.

    .. math:: q(x) = \prod_j \frac{k_j}{s_j} t_j^{k_j - 1} e^{-t_j^{k_j}}, \qquad t_j = x_j / s_j

    Parameters are learned, per feature, as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        scale: initial scale s, one number or nested lists of the shape of an event; positive.
        shape: initial shape k: 1 is exponential; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not positive; both ``context`` and ``classes`` are given.


    >>> import torch
    >>> round(Weibull(1).cdf(torch.ones(1)).item(), 4)
    0.6321
    """

    support: Domain = HALF_LINE
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "scale": 2.0, "shape": 1.5},
        {"features": 1, "context": 1, "hidden": [8], "shape": 2.0},
        {"features": 1, "classes": 2},
    )

    def __init__(
        self,
        features: EventSize,
        *,
        scale: Start = 1.0,
        shape: Start = 1.0,
        context: int = 0,
        classes: int = 0,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self._build(features, context, classes, hidden, scale=(scale, True), shape=(shape, True))

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        log_scale, log_shape = values
        log_ratio = _log(x) - log_scale
        grown = log_shape.exp() * log_ratio
        return log_shape - log_scale + grown - log_ratio - _exp(grown)

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        return -torch.expm1(-_exp(values[1].exp() * (_log(x) - values[0])))

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        return _exp(values[0] + torch.log(-torch.log1p(-u)) * torch.exp(-values[1]))

    def _mean_of(self, *values: Tensor) -> Tensor:
        return _exp(values[0] + torch.lgamma(1 + torch.exp(-values[1])))

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return EULER * (1 - torch.exp(-values[1])) + values[0] - values[1] + 1


@configurable
class LogNormal(LocationScale):
    r"""Independent variables on the half line whose logarithms are normal.

    .. math:: q(x) = \prod_j \frac{1}{x_j}\, N(\log x_j;\ \mu_j, \sigma_j^2)

    Parameters are learned, per feature; scales as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        loc: initial mean of the logarithm, one number or nested lists of the shape of an event.
        scale: initial standard deviation of the logarithm; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not finite, or a scale not positive; both ``context`` and ``classes`` are given.


    >>> import torch
    >>> round(LogNormal(1).cdf(torch.ones(1)).item(), 4)
    0.5
    """

    support: Domain = HALF_LINE
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": 0.5, "scale": 0.6},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        log_x = _log(x)
        return normal_log_probs((log_x - values[0]) * torch.exp(-values[1])) - values[1] - log_x

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        return ndtr((_log(x) - values[0]) * torch.exp(-values[1]))

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        return _exp(values[0] + values[1].exp() * torch.special.ndtri(u))

    def _draw(self, values: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        return _exp(values[0] + values[1].exp() * normals(tuple(values[0].shape), values[0], generator))

    def _mean_of(self, *values: Tensor) -> Tensor:
        return _exp(values[0] + 0.5 * torch.exp(2 * values[1]))

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return values[0] + values[1] + 0.5 * (1 + math.log(2 * math.pi))


@configurable
class Gamma(Parametric):
    r"""Independent gamma variables on the half line.

    .. math:: q(x) = \prod_j \frac{\lambda_j^{a_j}}{\Gamma(a_j)}\, x_j^{a_j - 1} e^{-\lambda_j x_j}

    Parameters are learned, per feature, as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        shape: initial shape a, one number or nested lists of the shape of an event; positive.
        rate: initial rate λ; positive.
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
    >>> round(Gamma(1, shape=3.0, rate=2.0).mean().value.item(), 4)
    1.5
    """

    support: Domain = HALF_LINE
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "shape": 2.5, "rate": [1.0, 2.0]},
        {"features": 1, "context": 1, "hidden": [8], "shape": 2.0},
        {"features": 1, "classes": 2, "shape": 1.5},
    )

    def __init__(
        self,
        features: EventSize,
        *,
        shape: Start = 1.0,
        rate: Start = 1.0,
        context: int = 0,
        classes: int = 0,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self._build(features, context, classes, hidden, shape=(shape, True), rate=(rate, True))

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        log_shape, log_rate = values
        shape = log_shape.exp()
        return shape * log_rate + (shape - 1) * _log(x) - log_rate.exp() * x - torch.lgamma(shape)

    def _draw(self, values: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        return _exp(log_gamma_draws(values[0].exp(), generator) - values[1])

    def _mean_of(self, *values: Tensor) -> Tensor:
        return _exp(values[0] - values[1])

    def _entropy_of(self, *values: Tensor) -> Tensor:
        shape = values[0].exp()
        return shape - values[1] + torch.lgamma(shape) + (1 - shape) * torch.digamma(shape)
