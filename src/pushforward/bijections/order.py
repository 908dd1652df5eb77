"""Surjections that keep an order statistic: sorting and max-pooling; and a map onto sorted vectors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.bijections.squeeze import blocks_first, blocks_last, check_blocks
from pushforward.bijections.surjective import Surjection
from pushforward.core.bijection import TriangularMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.noise import uniform
from pushforward.core.reference import log1mexp
from pushforward.core.shapes import EventSize, event_shape, sum_event
from pushforward.core.sorted import Sorted

__all__ = ["Ascending", "MaxPool", "Sort"]


@configurable
class Sort(Surjection):
    r"""Sort the entries along the last axis; the order that is lost is uniform over all n! orders.

    .. math:: y = (x_{(1)}, \dots, x_{(n)}), \qquad \log p(x) = \log p(y) - \log n!

    From data to latent densities are exact and do not depend on the order of the entries: a density of sets. With
    `Ascending` behind it the latent space is all of :math:`\mathbb{R}^n`. Both directions cost one sort.

    Args:
        features: number of entries n, or the shape of an event, each of whose rows is sorted by itself.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    References:
        | SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows (Nielsen et al., 2020), arXiv:2007.02731

    >>> import torch
    >>> Sort(3).forward_and_ladj(torch.tensor([2.0, 3.0, 1.0]))
    (tensor([1., 2., 3.]), tensor(-1.7918))
    """

    codomain = Sorted()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 3}, {"features": [2, 3]})

    def __init__(self, features: EventSize) -> None:
        super().__init__()
        self.in_shape = self.out_shape = event_shape("Sort", features)
        self.log_orders = math.lgamma(self.in_shape[-1] + 1) * math.prod(self.in_shape[:-1])

    def _constant(self, x: Tensor, value: float) -> Tensor:
        return x.new_full(x.shape[: x.ndim - len(self.in_shape)], value)

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return x.sort(dim=-1).values, self._constant(x, -self.log_orders)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        order = uniform(y.shape, y, generator).argsort(dim=-1)
        return y.gather(-1, order), self._constant(y, self.log_orders)


@configurable
class Ascending(TriangularMap):
    r"""A bijection from all vectors to the sorted ones: the first entry, then positive steps.

    .. math:: y_1 = x_1, \qquad y_j = y_{j-1} + \log(1 + e^{x_j})

    Both directions cost a few operations per entry.

    Args:
        features: number of entries.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature.

    >>> import torch
    >>> [round(value, 4) for value in Ascending(3)(torch.zeros(3)).tolist()]
    [0.0, 0.6931, 1.3863]
    """

    codomain = Sorted()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 1}, {"features": 4})

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("Ascending", "features", features, 1)
        self.in_shape = self.out_shape = (features,)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y = torch.cat([x[..., :1], F.softplus(x[..., 1:])], dim=-1).cumsum(dim=-1)
        return y, torch.cat([torch.zeros_like(x[..., :1]), F.logsigmoid(x[..., 1:])], dim=-1)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        steps = y.diff(dim=-1).clamp(min=torch.finfo(y.dtype).tiny)  # equal entries have no finite preimage
        rest = log1mexp(steps)  # log(1 - exp(-step)), minus the log-slope of the inverse
        x = torch.cat([y[..., :1], steps + rest], dim=-1)
        return x, torch.cat([torch.zeros_like(y[..., :1]), -rest], dim=-1)


@configurable
class MaxPool(Surjection):
    r"""The largest entry of each block of an image; where it was and how far the others lie below it is drawn.

    .. math:: y = \max_{i \in \text{block}} x_i, \qquad
        \log q(x \mid y) = \sum_{\text{blocks}} \Bigl[-\log n + \sum_{i \ne i^*} \bigl(\log \lambda - \lambda (y -
        x_i)\bigr)\Bigr]

    The place is uniform over the n entries of a block and the gaps are exponential with one learned rate for each
    channel. From data to latent densities are exact. Both directions cost a few operations per entry.

    Args:
        features: the shape (channels, *spatial) of an event, with one to three spatial axes.
        kernel: the size of a block along each spatial axis; it must divide their sizes.

    Shape:
        ``x``: (*batch, channels, *spatial), ``y``: (*batch, channels, *spatial / kernel), ``ladj``: (*batch,).

    Raises:
        ValueError: the event is no such shape, or ``kernel`` does not divide it.

    References:
        | SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows (Nielsen et al., 2020), arXiv:2007.02731

    >>> import torch
    >>> MaxPool([1, 2, 2])(torch.tensor([[[1.0, 2.0], [4.0, 3.0]]])).tolist()
    [[[4.0]]]
    """

    keeps_dimension = False
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": [2, 4, 2]},
        {"features": [1, 6], "kernel": 3},
    )

    def __init__(self, features: EventSize, kernel: int = 2) -> None:
        super().__init__()
        self.in_shape = event_shape("MaxPool", features)
        check_blocks("MaxPool", self.in_shape, "kernel", kernel)
        self.kernel, self.cells = kernel, kernel ** (len(self.in_shape) - 1)
        self.out_shape = (self.in_shape[0], *(size // kernel for size in self.in_shape[1:]))
        self.log_rate = nn.Parameter(torch.zeros(self.in_shape[0], *(1,) * (len(self.in_shape) - 1)))

    def _log_q(self, gaps: Tensor) -> Tensor:
        """Of gaps (*batch, channels, *spatial, cells), one of which is zero."""
        rate = self.log_rate.exp()
        log_q = (self.cells - 1) * self.log_rate - math.log(self.cells) - rate * gaps.sum(dim=-1)
        return sum_event(log_q, len(self.in_shape))

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        blocks = blocks_last(x, self.in_shape, self.kernel)
        y = blocks.amax(dim=-1)
        return y, self._log_q(y[..., None] - blocks)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        drawn = uniform((2, *y.shape, self.cells), y, generator)
        largest = drawn[0] == drawn[0].amax(dim=-1, keepdim=True)
        gaps = -torch.log1p(-drawn[1]) * torch.exp(-self.log_rate)[..., None]
        gaps = torch.where(largest, 0.0, gaps)
        return blocks_first(y[..., None] - gaps, self.in_shape, self.kernel), -self._log_q(gaps)
