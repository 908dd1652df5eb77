"""Families on the real line with long tails on one side, heavy tails on both, or tails of a learned power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain
from pushforward.core.shapes import EventSize
from pushforward.core.student import log1p_square
from pushforward.core.torch_internals import standard_gamma
from pushforward.distributions.draws import uniforms
from pushforward.distributions.parametric import LocationScale, Parametric, Start

__all__ = ["Cauchy", "GeneralizedNormal", "Gumbel"]

LOG_2PI = math.log(2 * math.pi)
EULER = 0.5772156649015329


def _standard(x: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    return (x - loc) * torch.exp(-log_scale)


@configurable
class Gumbel(LocationScale):
    r"""Independent Gumbel variables: largest values of many, with a long upper tail.

    .. math:: q(x) = \prod_j \frac{1}{s_j}\, e^{-z_j - e^{-z_j}}, \qquad z_j = (x_j - \mu_j) / s_j

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
    >>> round(Gumbel(1).mean().value.item(), 4)
    0.5772
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": 0.3, "scale": 0.7},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        limit = math.log(torch.finfo(x.dtype).max) - 2  # beyond, the exponential overflows
        z = _standard(x, *values).clamp(min=-limit)
        return -z - torch.exp(-z) - values[1]

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        return torch.exp(-torch.exp(-_standard(x, *values)))

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        return values[0] - values[1].exp() * torch.log(-u.log())

    def _mean_of(self, *values: Tensor) -> Tensor:
        return values[0] + EULER * values[1].exp()

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return values[1] + EULER + 1


@configurable
class Cauchy(LocationScale):
    r"""Independent Cauchy variables, whose tails are so heavy that there is no mean.

    .. math:: q(x) = \prod_j \frac{1}{\pi s_j (1 + z_j^2)}, \qquad z_j = (x_j - \mu_j) / s_j

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
    >>> Cauchy(1).mean().value.isnan().item()  # it does not exist
    True
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": 0.3, "scale": 0.7},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        z = _standard(x, *values)
        return -log1p_square(z, torch.zeros_like(z)) - values[1] - math.log(math.pi)

    def _cumulative(self, x: Tensor, *values: Tensor) -> Tensor:
        z = _standard(x, *values)
        return torch.atan2(torch.ones_like(z), -z) / math.pi

    def _quantile(self, u: Tensor, *values: Tensor) -> Tensor:
        # From the nearer end, where the quotient has all digits.
        below = u < 0.5
        p = math.pi * torch.where(below, u, 1 - u)
        size = p.cos() / p.sin()
        return values[0] + values[1].exp() * torch.where(below, -size, size)

    def _mean_of(self, *values: Tensor) -> Tensor:
        return torch.full_like(values[0], torch.nan)

    def _entropy_of(self, *values: Tensor) -> Tensor:
        return values[1] + math.log(4 * math.pi)


@configurable
class GeneralizedNormal(Parametric):
    r"""Independent generalized normals with a learned power: from sharper than Laplace to nearly uniform.

    .. math:: q(x) = \prod_j \frac{\beta_j}{2 s_j \Gamma(1 / \beta_j)}\, e^{-|z_j|^{\beta_j}}, \qquad
              z_j = (x_j - \mu_j) / s_j

    Parameters are learned, per feature; scales as logarithms. Densities cost a few operations per feature.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        loc: initial location of each feature, one number or nested lists of the shape of an event.
        scale: initial scale, likewise given; positive.
        power: initial power β: 1 gives Laplace, 2 normal tails; positive.
        context: number of context features, from which a network computes the parameters.
        classes: number of classes with parameters of their own; the context is then a one-hot vector.
        hidden: layer widths of the network.

    Shape:
        ``x``: (*batch, *event shape), ``context``: (*batch, context) or (*batch, classes).

    Raises:
        ValueError: a start value is not finite, or a scale not positive; both ``context`` and ``classes`` are given.

    References:
        | A generalized normal distribution (Nadarajah, 2005), doi:10.1080/02664760500079464

    >>> import torch
    >>> round(GeneralizedNormal(1, power=1.0).log_prob(torch.zeros(1)).exp().item(), 4)
    0.5
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "loc": 0.3, "scale": 0.7, "power": [1.2, 3.0]},
        {"features": 1, "context": 1, "hidden": [8]},
        {"features": 1, "classes": 2},
    )

    def __init__(
        self,
        features: EventSize,
        *,
        loc: Start = 0.0,
        scale: Start = 1.0,
        power: Start = 2.0,
        context: int = 0,
        classes: int = 0,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self._build(features, context, classes, hidden, loc=(loc, False), scale=(scale, True), power=(power, True))

    def _density(self, x: Tensor, *values: Tensor) -> Tensor:
        _, log_scale, log_power = values
        size = _standard(x, *values[:2]).abs().clamp(min=torch.finfo(x.dtype).tiny)
        power, limit = log_power.exp(), math.log(torch.finfo(x.dtype).max) - 2
        fall = torch.exp((power * size.log()).clamp(max=limit))
        return log_power - math.log(2) - log_scale - torch.lgamma(1 / power) - fall

    def _draw(self, values: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        loc, log_scale, log_power = values
        # |z|^β is a gamma variable G of shape 1/β; a draw of it for 1/β + 1 times the power β of a uniform number.
        above = standard_gamma(torch.exp(-log_power) + 1, generator=generator).log() * torch.exp(-log_power)
        u = 2 * uniforms(tuple(loc.shape), loc, generator) - 1  # its sign is the side
        return loc + log_scale.exp() * above.exp() * u

    def _mean_of(self, *values: Tensor) -> Tensor:
        return values[0]

    def _entropy_of(self, *values: Tensor) -> Tensor:
        inverse = torch.exp(-values[2])
        return inverse - values[2] + math.log(2) + values[1] + torch.lgamma(inverse)
