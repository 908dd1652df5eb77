"""Importance-weighted averages, which tighten lower bounds on log-densities."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness

__all__ = ["ImportanceWeighted"]


@configurable
class ImportanceWeighted(Distribution):
    r"""A distribution whose lower bounds on log-densities are averaged as densities, over several draws.

    .. math:: \log \frac1K \sum_{k=1}^K e^{b_k(x)}, \qquad \mathbb{E}\, b_k(x) \le \mathbb{E} \log \frac1K \sum_k
        e^{b_k(x)} \le \log q(x)

    where the :math:`b_k` are independent draws of the bound of a flow with surjections, such as `Dequantize` or
    `Augment`, each the logarithm of an unbiased estimate of the density. The result is a lower bound too, a tighter one
    the larger K is, and tends to the log-density. Train with it, or score with it what was trained with one draw.
    Densities cost K of the distribution's; samples are its own.

    Args:
        distribution: what is averaged, with its weights; exact densities stay what they are.
        samples: the number K of draws.

    Shape:
        ``x``: (*batch, *event_shape), ``context``: that of ``distribution``.

    Raises:
        ValueError: ``samples`` is below one, or log-densities are estimates, whose exponentials have another
            mean.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2015), arXiv:1509.00519
        | SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows (Nielsen et al., 2020), arXiv:2007.02731

    >>> import torch
    >>> from pushforward.bijections import Abs
    >>> from pushforward.distributions import Flow, StandardNormal
    >>> ImportanceWeighted(Flow(StandardNormal(1), Abs(1)), 8).exactness
    'bound'
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            # Fair signs are those of a normal given its absolute value: every draw is the density itself.
            "distribution": {
                "type": "Flow",
                "base": {"type": "StandardNormal", "features": 2},
                "bijection": {"type": "Abs", "features": 2},
            },
            "samples": 3,
        },
    )

    takes_any_module: ClassVar[tuple[str, ...]] = ("distribution",)

    def __init__(self, distribution: Distribution, samples: int = 16) -> None:
        super().__init__()
        at_least("ImportanceWeighted", "samples", samples, 1)
        if distribution.exactness in ("unbiased", "consistent"):
            raise ValueError(
                f"ImportanceWeighted: log-densities of {type(distribution).__name__} are estimates, whose "
                "exponentials have another mean. Average its log_prob over draws instead."
            )
        self.distribution, self.samples = distribution, samples
        self.event_shape, self.context_shape = distribution.event_shape, distribution.context_shape
        self.support, self.stochastic = distribution.support, distribution.stochastic
        self.reparametrized = distribution.reparametrized

    @property
    def dtype(self) -> torch.dtype | None:
        return self.distribution.dtype

    @property
    def context_dtype(self) -> torch.dtype | None:
        return self.distribution.context_dtype

    @property
    def exactness(self) -> Exactness:
        return self.distribution.exactness

    @property
    def log_prob_kind(self) -> Kind:
        return self.distribution.log_prob_kind

    @property
    def sample_kind(self) -> Kind:
        return self.distribution.sample_kind

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        self.distribution._initialize(x, context)

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        count = self.samples if self.stochastic else 1  # without draws all are the same
        x = x.expand(count, *x.shape)
        context = None if context is None else context.expand(count, *context.shape)
        bounds = self.distribution._log_prob(*self.distribution._arguments(x, context, generator))
        return bounds.logsumexp(dim=0) - math.log(count)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self.distribution._rsample(batch, context, generator)
