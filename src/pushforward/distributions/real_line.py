"""Families on the real line with learned locations and scales."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain
from pushforward.core.special import ndtr
from pushforward.distributions.base import normal_log_probs
from pushforward.distributions.draws import normals
from pushforward.distributions.parametric import LocationScale

__all__ = ["DiagonalNormal", "Laplace", "Logistic"]

LOG_2PI = math.log(2 * math.pi)
EULER = 0.5772156649015329


def _standard(x: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    return (x - loc) * torch.exp(-log_scale)


@configurable
class DiagonalNormal(LocationScale):
    r"""Independent normals with learned means and scales, also per class or from a context.

    .. math:: q(x) = \prod_j N(x_j;\ \mu_j(c), \sigma_j(c)^2)

    Parameters are learned, per feature; scales as logarithms. Densities cost a few
    operations per feature. It is the base of class-conditional and conditional flows.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        loc: initial location of each feature, one number or nested lists of the shape of an event.
        scale: initial scale, likewise given; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not finite, or a scale not positive; both ``context`` and ``classes`` are given.


    >>> import torch
    >>> round(DiagonalNormal(1, classes=2).log_prob(torch.zeros(1), torch.tensor([1.0, 0.0])).item(), 4)
    -0.9189
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": [0.0, 1.0], "scale": 0.7},
        {"features": 2, "context": 2, "hidden": [8]},
        {"features": [2, 2], "classes": 3},
    )

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        return normal_log_probs(_standard(x, *values)) - values[1]

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        return ndtr(_standard(x, *values))

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        return values[0] + values[1].exp() * torch.special.ndtri(u)

    def _draw(self, values: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        return values[0] + values[1].exp() * normals(tuple(values[0].shape), values[0], generator)

    def _mean_of(self, *values: Tensor) -> Tensor:
        return values[0]

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return values[1] + 0.5 * (1 + LOG_2PI)


@configurable
class Laplace(LocationScale):
    r"""Independent Laplace variables: sharp peaks and exponential tails.

    .. math:: q(x) = \prod_j \frac{1}{2 s_j}\, e^{-|x_j - \mu_j| / s_j}

    Parameters are learned, per feature; scales as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        loc: initial location of each feature, one number or nested lists of the shape of an event.
        scale: initial scale, likewise given; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not finite, or a scale not positive; both ``context`` and ``classes`` are given.


    >>> import torch
    >>> round(Laplace(1).log_prob(torch.zeros(1)).exp().item(), 4)
    0.5
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": 0.3, "scale": 0.7},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        return -_standard(x, *values).abs() - values[1] - math.log(2)

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        z = _standard(x, *values)
        tail = 0.5 * torch.exp(-z.abs())
        return torch.where(z < 0, tail, 1 - tail)

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        below = u < 0.5
        size = -torch.log(2 * torch.where(below, u, 1 - u))
        return values[0] + values[1].exp() * torch.where(below, -size, size)

    def _mean_of(self, *values: Tensor) -> Tensor:
        return values[0]

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return values[1] + 1 + math.log(2)


@configurable
class Logistic(LocationScale):
    r"""Independent logistic variables: like normals, with exponential tails.

    .. math:: q(x) = \prod_j \sigma(z_j)\, \sigma(-z_j) / s_j, \qquad z_j = (x_j - \mu_j) / s_j

    Parameters are learned, per feature; scales as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        loc: initial location of each feature, one number or nested lists of the shape of an event.
        scale: initial scale, likewise given; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not finite, or a scale not positive; both ``context`` and ``classes`` are given.


    >>> import torch
    >>> round(Logistic(1).cdf(torch.zeros(1)).item(), 4)
    0.5
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": 0.3, "scale": 0.7},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        z = _standard(x, *values)
        return F.logsigmoid(z) + F.logsigmoid(-z) - values[1]

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        return torch.sigmoid(_standard(x, *values))

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        return values[0] + values[1].exp() * (u.log() - torch.log1p(-u))

    def _mean_of(self, *values: Tensor) -> Tensor:
        return values[0]

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return values[1] + 2
