"""The distribution of one column given other entries of its row: probabilities, quantiles, mean and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward.distributions.columns.arcs import circular_distance, mean_direction, mean_distances, shortest_arc
from pushforward.distributions.columns.column_type import ColumnType

__all__ = ["ColumnDistribution"]

NODES = 128  # of an integral over quantiles
ENTRIES = 2**22  # of parameters that are expanded over levels at once
STARTS = 201  # candidates for the lower end of an interval
EXTREME = 1e-6  # the outermost quantiles of an interval


class ColumnDistribution:
    """The distribution of one column with fixed parameters, for one row or for a batch of rows.

    Args:
        column_type: the type of the column.
        params: (num_params, 1, n).
        batch_shape: of the n rows.

    Shape:
        Results are (*batch,), or (*batch, count) for several levels; values are float64. Values at which something is
        evaluated broadcast against the batch; of a single row they may have any shape.

    Of a column on a circle, quantiles and distribution functions count from the cut, its lower end. Mean, median and
    intervals do not depend on it: they are the mean direction, the circular median, and arcs (start, end), whose end is
    smaller than the start where they pass the cut.
    """

    def __init__(self, column_type: ColumnType, params: Tensor, batch_shape: tuple[int, ...]) -> None:
        self.column_type, self.params, self.batch_shape = column_type, params, batch_shape

    def log_prob(self, x: Any) -> Tensor:
        """Log-density at x, or log-probability of x where the column is discrete."""
        return self._at(self.column_type.log_prob, x)

    def cdf(self, x: Any) -> Tensor:
        """P(X ≤ x)."""
        return self._at(self.column_type.cdf, x)

    def mid_cdf(self, x: Any) -> Tensor:
        """The mid-distribution function P(X < x) + P(X = x) / 2."""
        return self._at(self.column_type.mid_cdf, x)

    def quantile(self, p: float) -> Tensor:
        """The smallest x with P(X ≤ x) ≥ p."""
        self._require_order("quantiles")
        if not 0 < p < 1:
            raise ValueError(f"quantile: p must lie between 0 and 1; got {p}.")
        levels = torch.full(self.params.shape[1:], p, dtype=self.params.dtype, device=self.params.device)
        return self.column_type.icdf(levels, self.params).reshape(self.batch_shape)

    def median(self) -> Tensor:
        """The quantile of ½; on a circle the point with the smallest mean distance to all others.

        References:
            | Statistical Analysis of Circular Data (Fisher, 1993), section 2.3.2: the circular median
        """
        circle = self.column_type.circle
        if circle is None:
            return self.quantile(0.5)
        nearest = mean_distances(self._quantiles(self._levels()), circle).argmin(dim=0)
        level = (nearest[None].double() + 0.5) / STARTS
        period = circle.high - circle.low
        for _ in range(2):  # half of the probability lies on each side of the diameter through the median
            x = self._at_levels(level)
            opposite = circle.low + torch.remainder(x - circle.low + period / 2, period)
            halved = self.column_type.mid_cdf(opposite, self.params).double() + 0.5
            change = torch.remainder(halved - level + 0.5, 1.0) - 0.5
            level = torch.remainder(level + change.clamp(-0.5 / STARTS, 0.5 / STARTS), 1.0)
        return self._at_levels(level).reshape(self.batch_shape)

    def median_level(self) -> Tensor:
        """`mid_cdf` of the median of a column on a circle, ½ for others."""
        if self.column_type.circle is None:
            return torch.full(self.batch_shape, 0.5, dtype=torch.float64, device=self.params.device)
        return self.mid_cdf(self.median()).double()

    def probability_from_median(self, x: Any) -> Tensor:
        """The probability between the median and x, from 0 to ½: `around_the_median` of more than that holds x."""
        gap = (self.mid_cdf(x).double() - self.median_level()).abs()
        return gap if self.column_type.circle is None else torch.minimum(gap, 1 - gap)

    def mean(self) -> Tensor:
        """The mean, as an integral of the quantile function with 128 nodes, the outermost at probabilities of 5e-5;
        exact for categories. On a circle the mean direction, which means little where all directions are alike."""
        self._require_order("mean")
        if levels := self.column_type.levels:
            share = torch.softmax(self.params, dim=0).to(torch.float64)
            codes = torch.arange(levels, dtype=torch.float64, device=share.device)[:, None, None]
            return (share * codes).sum(dim=0).reshape(self.batch_shape)
        u, weight = self._quadrature()
        if (circle := self.column_type.circle) is not None:
            return mean_direction(self._quantiles(u), weight, circle).reshape(self.batch_shape)
        return (self._quantiles(u) * weight[:, None]).sum(dim=0).reshape(self.batch_shape)

    def _quadrature(self) -> tuple[Tensor, Tensor]:
        """Nodes and weights (nodes,) of an integral over (0, 1), denser at both ends: the midpoint rule in t, where
        u = 3t² - 2t³. Weights are normalised, so that constants are integrated exactly."""
        t = (torch.arange(NODES, dtype=torch.float64, device=self.params.device) + 0.5) / NODES
        weight = t * (1 - t)
        return t.square() * (3 - 2 * t), weight / weight.sum()

    def crps(self, x: Any) -> Tensor:
        r"""The continuous ranked probability score of x (*batch,), in the column's units; smaller is better. The
        integral of :math:`(F(t) - 1_{t \ge x})^2` over t, as twice the mean quantile loss over 128 levels; on a circle
        :math:`E\,d(X, x) - E\,d(X, X') / 2` with its distance d.

        References:
            | Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007)
            | The Continuous Ranked Probability Score for Circular Variables (Grimit et al., 2006)
        """
        self._require_order("CRPS")
        if (circle := self.column_type.circle) is not None:
            values = self._quantiles(self._levels())
            x = torch.as_tensor(x, dtype=torch.float64, device=self.params.device).expand(self.batch_shape).reshape(-1)
            to_x = circular_distance(values, x, circle).mean(dim=0)
            return (to_x - mean_distances(values, circle).mean(dim=0) / 2).reshape(self.batch_shape)
        u, weight = self._quadrature()
        quantiles = self._quantiles(u)  # (levels, n)
        x = torch.as_tensor(x, dtype=torch.float64, device=self.params.device).expand(self.batch_shape).reshape(-1)
        loss = ((x < quantiles).double() - u[:, None]) * (quantiles - x)
        return (2 * loss * weight[:, None]).sum(dim=0).reshape(self.batch_shape)

    def interval(self, probability: float = 0.9) -> Tensor:
        """The central interval of this probability, (*batch, 2): as much lies below it as above. On a circle, where
        nothing lies below or above, `highest_density_interval`."""
        if self.column_type.circle is not None:
            return self.highest_density_interval(probability)
        return self.around_the_median((1 - self._outside(probability)) / 2)

    def around_the_median(self, half: float) -> Tensor:
        """From the quantile of ½ - half to that of ½ + half, (*batch, 2); the whole domain for ½. On a circle the arc
        with the probability ``half`` on each side of the median."""
        self._require_order("intervals")
        if half >= 0.5:
            low, high = self.column_type.domain.ends
            ends = torch.tensor([low, high], dtype=torch.float64, device=self.params.device)
            return ends.expand(*self.batch_shape, 2)
        if (circle := self.column_type.circle) is not None:
            middle = self.median_level().reshape(1, -1)
            start, end = torch.remainder(middle - half, 1.0), torch.remainder(middle + half, 1.0)
            arc = torch.cat([self._at_levels(start), self._at_levels(end)])
            whole = (end < start) & (arc[0] == arc[1])  # both ends are one value: all others lie between
            arc = torch.where(whole, arc.new_tensor(circle.ends)[:, None], arc)
            return arc.t().reshape(*self.batch_shape, 2)
        tail = max(0.5 - half, torch.finfo(self.params.dtype).eps)
        return torch.stack([self.quantile(tail), self.quantile(1 - tail)], dim=-1)

    def highest_density_interval(self, probability: float = 0.9) -> Tensor:
        """The shortest interval of this probability, (*batch, 2), among 201 whose lower ends are equally likely; on a
        circle the shortest arc."""
        self._require_order("intervals")
        outside = self._outside(probability)
        if (circle := self.column_type.circle) is not None:
            arc = shortest_arc(self._quantiles, circle, probability, self.params, starts=STARTS)
            return arc.reshape(*self.batch_shape, 2)
        low = torch.linspace(0, 1, STARTS, dtype=torch.float64, device=self.params.device) * outside
        ends = torch.stack([low, low + probability]).clamp(EXTREME, 1 - EXTREME)  # (2, starts)
        values = self._quantiles(ends.flatten()).unflatten(0, (2, STARTS))  # (2, starts, n)
        shortest = (values[1] - values[0]).argmin(dim=0)
        return values.gather(1, shortest.expand(2, 1, -1))[:, 0].t().reshape(*self.batch_shape, 2)

    def probabilities(self) -> Tensor:
        """The probability of each category, (*batch, levels)."""
        if not self.column_type.levels:
            name = type(self.column_type).__name__
            raise ValueError(f"probabilities: {name} has no categories. Ask for log_prob instead.")
        return torch.softmax(self.params, dim=0)[:, 0].t().reshape(*self.batch_shape, -1)

    def mode(self) -> Tensor:
        """The likeliest category; for other types the one of 201 quantiles with the largest density or probability."""
        if self.column_type.levels:
            return self.params.argmax(dim=0).to(torch.float64).reshape(self.batch_shape)
        values = self._quantiles(self._levels())  # (starts, n)
        best = self.column_type.log_prob(values, self.params.expand(-1, STARTS, -1)).argmax(dim=0)
        return values.gather(0, best[None])[0].reshape(self.batch_shape)

    def centre(self) -> Tensor:
        """The mean where there is a density, the likeliest category, or else the median."""
        if self.column_type.levels:
            return self.mode()
        return self.mean() if self.column_type.is_density else self.median()

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """``count`` values for each row, (count, *batch)."""
        left, draws = count, []
        while left > 0:
            size = min(left, self._at_once())
            draws.append(self.column_type.sample(self.params.expand(-1, size, -1), generator))
            left -= size
        return torch.cat(draws).reshape(count, *self.batch_shape)

    def _levels(self) -> Tensor:
        """The middles of 201 equal parts of the probability."""
        return (torch.arange(STARTS, dtype=torch.float64, device=self.params.device) + 0.5) / STARTS

    def _at_levels(self, u: Tensor) -> Tensor:
        """The quantiles (1, n) of a level for each row, (1, n)."""
        eps = torch.finfo(self.params.dtype).eps
        return self.column_type.icdf(u.clamp(eps, 1 - eps).to(self.params.dtype), self.params)

    def _quantiles(self, u: Tensor) -> Tensor:
        """The quantiles (levels, n) of levels (levels,)."""
        pieces = []
        for levels in u.to(self.params.dtype).split(self._at_once()):
            wide = levels[:, None].expand(-1, self.params.shape[-1])
            pieces.append(self.column_type.icdf(wide, self.params.expand(-1, len(levels), -1)))
        return torch.cat(pieces)

    def _at_once(self) -> int:
        """How many levels to expand the parameters over, along the axis where columns of the type would stand."""
        return max(1, ENTRIES // max(1, self.params.shape[-1] * len(self.params)))

    def _at(self, function: Callable[[Tensor, Tensor], Tensor], x: Any) -> Tensor:
        x = torch.as_tensor(x, dtype=torch.float64, device=self.params.device)
        shape = torch.broadcast_shapes(x.shape, self.batch_shape)
        params = self.params.reshape(len(self.params), *(1,) * (len(shape) - len(self.batch_shape)), *self.batch_shape)
        params = params.expand(len(params), *shape).reshape(len(params), 1, math.prod(shape))
        return function(x.expand(shape).reshape(1, -1), params).reshape(shape)

    def _outside(self, probability: float) -> float:
        """The probability outside of an interval."""
        if not 0 < probability < 1 or not math.isfinite(probability):
            raise ValueError(f"interval: probability must lie between 0 and 1; got {probability}.")
        return 1 - probability

    def _require_order(self, what: str) -> None:
        if not self.column_type.ordered:
            raise ValueError(
                f"{type(self.column_type).__name__}: there is no order and so no {what}. Use probabilities()."
            )
