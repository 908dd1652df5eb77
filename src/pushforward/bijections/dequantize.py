"""Whole numbers made continuous by noise of less than one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product as index_product
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.bijections.coupling import Coupling
from pushforward.core.bijection import StochasticMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Integers, Interval
from pushforward.core.noise import uniform
from pushforward.core.shapes import EventSize, event_shape, sum_event
from pushforward.univariate.elementary import Affine

__all__ = ["Dequantize", "VariationalDequantize"]


class _Dequantization(StochasticMap):
    """Integers 0 .. levels - 1 to points of their cells, divided by the number of levels, and perhaps their logits."""

    log_det = "exact"
    forward_log_det = "bound"
    keeps_dimension = False
    properties = frozenset({"left_inverse"})

    def _set_cells(self, features: EventSize, levels: int, logit: bool) -> None:
        owner = type(self).__name__
        self.in_shape = self.out_shape = event_shape(owner, features)
        at_least(owner, "levels", levels, 2)
        self.count, self.logit = levels, logit
        self.domain = Integers(0, levels - 1)
        self.codomain = REAL if logit else Interval(0.0, 1.0)
        self.log_cells = math.prod(self.in_shape) * math.log(levels)

    def _to_points(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """y and log|dy/du|."""
        # Rounding must not carry a point into the next cell: noise closer to an edge than that is moved in.
        edge = 8 * self.count * torch.finfo(x.dtype).eps
        p = (x + u.clamp(edge, 1 - edge)) / self.count
        return (torch.logit(p) if self.logit else p), self._log_slope(p, x)

    def _to_cells(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, u and log|dy/du|."""
        p = torch.sigmoid(y) if self.logit else y
        scaled = p * self.count
        x = scaled.detach().floor().clamp(0, self.count - 1)
        return x, scaled - x, self._log_slope(p, y)

    def _log_slope(self, p: Tensor, like: Tensor) -> Tensor:
        if not self.logit:
            return like.new_full(like.shape[: like.ndim - len(self.in_shape)], -self.log_cells)
        tiny = torch.finfo(p.dtype).tiny  # a logit so large that its sigmoid is one
        slopes = p.clamp(min=tiny).log() + (1 - p).clamp(min=tiny).log()
        return -sum_event(slopes, len(self.in_shape)) - self.log_cells


@configurable
class Dequantize(_Dequantization):
    r"""Add uniform noise to whole numbers, which makes them points of the unit cube; the inverse rounds down.

    .. math:: y = (x + u) / L, \quad u \sim U[0, 1)^D, \qquad \log P(x) \ge \mathbb{E}\bigl[\log p(y)\bigr] - D \log L

    From data to latent (``Flow(base, Chain([Dequantize(D), ...]).inv)``) log-probabilities are a lower bound, and each
    evaluation draws one estimate of it; `pushforward.distributions.ImportanceWeighted` tightens it. Probabilities are
    with respect to counting, and are zero for whatever is no whole number from 0 to L - 1. Both directions cost a few
    operations per entry.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        levels: the number L of values 0 .. L - 1 of each entry; 256 for images of eight bits.
        logit: give the logits of y, which fill the whole line, instead of y.

    Shape:
        ``x``: (*batch, *event shape), whole numbers of floating dtype, ``y``: (*batch, *event shape) in [0, 1],
        ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two levels.

    References:
        | RNADE: The real-valued neural autoregressive density-estimator (Uria et al., 2013), arXiv:1306.0186
        | A note on the evaluation of generative models (Theis et al., 2015), arXiv:1511.01844

    >>> import torch
    >>> part = Dequantize(2, levels=4)
    >>> part.inverse(part(torch.tensor([0.0, 3.0]))).tolist()
    [0.0, 3.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "levels": 4},
        {"features": [1, 2, 2], "logit": True},
    )

    def __init__(self, features: EventSize, *, levels: int = 256, logit: bool = False) -> None:
        super().__init__()
        self._set_cells(features, levels, logit)

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return self._to_points(x, uniform(x.shape, x, generator))

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, _, log_slope = self._to_cells(y)
        return x, -log_slope


@configurable
class VariationalDequantize(_Dequantization):
    r"""Add noise to whole numbers whose distribution a conditional flow learns from them.

    .. math:: y = (x + u) / L, \quad u = \sigma(w) \sim q(\cdot \mid x), \qquad
        \log P(x) \ge \mathbb{E}_q\bigl[\log p(y) - \log q(u \mid x)\bigr] - D \log L

    w is logistic noise moved by ``depth`` affine couplings: the first moves every entry by a function of x, the others
    move half of them each by x and the other half. At the start q is uniform, as in `Dequantize`, and the better it
    fits the density of the rest of the flow the tighter is the bound. Forward and inverse cost one pass of the
    couplings.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        levels: the number L of values 0 .. L - 1 of each entry; 256 for images of eight bits.
        context: number of context features, which the noise depends on as well.
        depth: number of couplings.
        hidden: layer widths of each conditioner.
        conditioner: its registered name, as in `Coupling`; ``"conv"`` and the like for images.
        activation: its activation.
        logit: give the logits of y, which fill the whole line, instead of y.

    Shape:
        ``x``: (*batch, *event shape), whole numbers of floating dtype, ``y``: (*batch, *event shape) in [0, 1],
        ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two levels, or an option of the couplings is out of its range.

    References:
        | Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design (Ho et
          al., 2019), arXiv:1902.00275

    >>> import torch
    >>> part = VariationalDequantize(2, levels=4)
    >>> part.inverse(part(torch.tensor([0.0, 3.0]))).tolist()
    [0.0, 3.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 2, "levels": 4, "hidden": [8], "context": 1},
        {
            "features": [1, 2, 2],
            "logit": True,
            "hidden": [4],
            "conditioner": "conv",
            "activation": "tanh",
            "depth": 3,
        },
    )

    def __init__(
        self,
        features: EventSize,
        *,
        levels: int = 256,
        context: int = 0,
        depth: int = 2,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "relu",
        logit: bool = False,
    ) -> None:
        super().__init__()
        at_least("VariationalDequantize", "depth", depth, 1)
        self._set_cells(features, levels, logit)
        self.context_shape = (context,) if context else None
        shape = self.in_shape
        both = (2 * shape[0], *shape[1:])  # x, then the noise
        options: dict[str, Any] = {"hidden": hidden, "conditioner": conditioner, "activation": activation}
        couplings: list[Coupling] = []
        for k in range(depth):
            split: dict[str, Any] = {"mask": _mask(shape, k % 2)} if k else {}
            couplings.append(Coupling(Affine(), both, context=context, **split, **options))
        self.couplings = nn.ModuleList(couplings)

    def _with_levels(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.cat([2 * x / (self.count - 1) - 1, noise], dim=-len(self.in_shape))

    def _log_q(self, start: Tensor, w: Tensor, ladj: Tensor) -> Tensor:
        """log q(u | x) for u = σ(w), w being where the couplings move ``start``."""
        logistic = F.logsigmoid(start) + F.logsigmoid(-start)
        log_slope = F.logsigmoid(w) + F.logsigmoid(-w)
        return sum_event(logistic - log_slope, len(self.in_shape)) - ladj

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        u = uniform(x.shape, x, generator)
        start = torch.logit(u, eps=torch.finfo(x.dtype).eps)
        event, total = self._with_levels(x, start), self._zeros(x)
        for coupling in self._each_coupling():
            event, ladj = coupling._forward_and_ladj(event, context)
            total = total + ladj
        w = event.chunk(2, dim=-len(self.in_shape))[1]
        y, log_slope = self._to_points(x, torch.sigmoid(w))
        return y, log_slope - self._log_q(start, w, total)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        x, u, log_slope = self._to_cells(y)
        w = torch.logit(u, eps=torch.finfo(y.dtype).eps)
        event, total = self._with_levels(x, w), self._zeros(x)
        for coupling in self._each_coupling()[::-1]:
            event, ladj = coupling._inverse_and_ladj(event, context)
            total = total - ladj
        start = event.chunk(2, dim=-len(self.in_shape))[1]
        return x, self._log_q(start, w, total) - log_slope

    def _zeros(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.ndim - len(self.in_shape)])

    def _each_coupling(self) -> list[Any]:
        return list(self.couplings)


def _mask(shape: tuple[int, ...], parity: int) -> list[Any]:
    """Of (x, noise): keep x, and the noise where the sum of an entry's indices has this parity; at least one moves."""
    total = math.prod(shape)
    keeps = [sum(index) % 2 == parity and total > 1 for index in index_product(*map(range, shape))]
    nested: list[Any] = torch.tensor([True] * total + keeps, device="cpu").reshape(2 * shape[0], *shape[1:]).tolist()
    return nested
