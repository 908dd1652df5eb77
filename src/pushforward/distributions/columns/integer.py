"""The column type of whole numbers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.config import configurable
from pushforward.core.domain import Integers
from pushforward.distributions.columns.scaled import FAR, LAST, Scaled, exp_up_to, log_up_to, turning_point
from pushforward.distributions.columns.terms import InTerms, ScalarTerm
from pushforward.univariate.base import Univariate

__all__ = ["Integer"]

LARGEST = 2**53
"""Up to here all whole numbers are float64."""


@configurable
class Integer(Scaled):
    r"""Whole numbers, with a probability each: what a continuous distribution has between k - ½ and k + ½.

    .. math:: q(k) = F(k + \tfrac12) - F(k - \tfrac12), \qquad
              F(\mathrm{low} - \tfrac12) = 0,\ F(\mathrm{high} + \tfrac12) = 1

    The probabilities are exact: no noise is added to the values, as dequantisation would.

    Args:
        low: the smallest number, if there is one.
        high: the largest number, if there is one.
        skewed: whether F is a distribution of log(k - low + 1), for numbers of many magnitudes; beyond most
            of the numbers that were measured the logarithm goes straight on, so that the tail has all moments.
        univariate: the map whose distribution the transformed column has, as in `Continuous`.
        columns: how many such columns stand side by side.

    Raises:
        ValueError: ``low`` is not below ``high``, or ``skewed`` lacks a ``low`` to count from.

    References:
        | PixelCNN++ (Salimans et al., 2017), arXiv:1701.05517, §2.1
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"low": 0, "high": 7, "columns": 2},
        {"low": 1, "skewed": True, "univariate": {"type": "Affine"}},
    )
    is_density = False
    per_column = (*Scaled.per_column, "last")
    last: Tensor

    def __init__(
        self,
        low: int | None = None,
        high: int | None = None,
        *,
        skewed: bool = False,
        univariate: Univariate | None = None,
        columns: int = 1,
    ) -> None:
        super().__init__(univariate, columns)
        if skewed and low is None:
            raise ValueError("Integer: skewed=True counts from a smallest number; give low.")
        self.skewed = skewed
        self.low, self.high = -LARGEST if low is None else int(low), LARGEST if high is None else int(high)
        if self.low >= self.high:
            raise ValueError(
                f"Integer: low must be smaller than high; got {low} and {high}. Use Constant for one value."
            )
        self.domain = Integers(self.low, self.high)
        self.register_buffer("last", torch.full((columns, 1), LAST, dtype=torch.float64))  # of k - low + 1

    def _unconstrain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = log_up_to(self.last, (x - (self.low - 1)).clamp(min=0.5))[0] if self.skewed else x
        return v, torch.zeros_like(v)  # no density is computed from it

    def _constrain(self, v: Tensor) -> Tensor:
        return exp_up_to(self.last, v) + (self.low - 1) if self.skewed else v

    def _measure(self, x: Tensor) -> Tensor:
        if len(x):
            self.last[0] = turning_point(x - (self.low - 1))
        return super()._measure(x)

    def in_terms(self, x: Tensor, params: Tensor, *, constant_place: bool = False) -> InTerms:
        below, above = (self._standardize64(self._unconstrain(x + half)[0]) for half in (-0.5, 0.5))
        # The difference of ends has no digits where numbers have many, such as seconds since 1970.
        width = self._width(x) / self.scale
        first, last = x <= self.low, x >= self.high
        below, above = below.masked_fill(first, -FAR), above.masked_fill(last, FAR)
        width = torch.where(first | last, above - below, width)
        placed = self._placed(params, constant_place)
        ends, width = placed.points(torch.stack([below, above])), placed.widths(width)
        inside = self.domain.contains(x)
        return InTerms(
            [ScalarTerm(self.distribution, self.kind, placed.params, low=ends[0], high=ends[1], width=width)],
            lambda values: values[0].masked_fill(~inside, -torch.inf),
        )

    def _width(self, x: Tensor) -> Tensor:
        """The distance of x - ½ and x + ½ on the scale where they are standardised."""
        if not self.skewed:
            return torch.ones_like(x)
        start = (x - self.low + 0.5).clamp(min=0.5)
        straight = (start + 1 - torch.maximum(start, self.last)).clamp(0.0, 1.0)
        return torch.log1p((1 - straight) / start) + straight / self.last

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        below = self._below(self._unconstrain(x.floor() + 0.5)[0], params)
        return torch.where(x < self.low, 0.0, torch.where(x >= self.high, 1.0, below))

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        return (super().icdf(p, params) - 0.5).ceil().clamp(self.low, self.high) + 0.0  # no -0
