"""The law of one column given what is known of a row: its distribution function, quantiles, mean and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward.distributions.columns.discrete import ColumnType

__all__ = ["ColumnDistribution"]

NODES = 128  # of an integral over quantiles
ENTRIES = 2**22  # of parameters that are spread over levels at once
PLACES = 201  # where an interval of given probability may begin


class ColumnDistribution:
    """One column's law with its parameters fixed, for one row or for a batch of rows.

    Args:
        kind: of the column.
        params: (num_params, 1, n).
        batch: of n rows in all.

    Shape:
        All results are (*batch,), or (*batch, count) for several levels; values in float64. Values that are asked for
        broadcast against the batch; more of them than rows are possible where there is a single row.
    """

    def __init__(self, kind: ColumnType, params: Tensor, batch: tuple[int, ...]) -> None:
        self.kind, self.params, self.batch = kind, params, batch

    def log_prob(self, x: Any) -> Tensor:
        """Log-density, or log-probability of a discrete column, at x of shape (*batch,) or less."""
        return self._at(self.kind.log_prob, x)

    def cdf(self, x: Any) -> Tensor:
        """P(X ≤ x)."""
        return self._at(self.kind.cdf, x)

    def mid_cdf(self, x: Any) -> Tensor:
        """P(X < x) + P(X = x) / 2."""
        return self._at(self.kind.mid_cdf, x)

    def quantile(self, p: float) -> Tensor:
        """The smallest x with P(X ≤ x) ≥ p."""
        self._ask_for_order("quantiles")
        if not 0 < p < 1:
            raise ValueError(f"quantile: p must lie between 0 and 1; got {p}.")
        levels = torch.full(self.params.shape[1:], p, dtype=self.params.dtype, device=self.params.device)
        return self.kind.icdf(levels, self.params).reshape(self.batch)

    def median(self) -> Tensor:
        """The quantile of ½."""
        return self.quantile(0.5)

    def mean(self) -> Tensor:
        """The mean, as the integral of the quantiles (those beyond 1e-6 count as that one)."""
        self._ask_for_order("mean")
        if levels := self.kind.levels:
            share = torch.softmax(self.params, dim=0).to(torch.float64)
            return (share * torch.arange(levels, dtype=torch.float64)[:, None, None]).sum(dim=0).reshape(self.batch)
        u, weight = self._levels()
        return (self._quantiles(u.clamp(1e-6, 1 - 1e-6)) * weight[:, None]).sum(dim=0).reshape(self.batch)

    def _levels(self) -> tuple[Tensor, Tensor]:
        """Nodes and weights of an integral over (0, 1), denser at both ends: u = 3t² - 2t³."""
        t = (torch.arange(NODES, dtype=torch.float64, device=self.params.device) + 0.5) / NODES
        return t.square() * (3 - 2 * t), 6 * t * (1 - t) / NODES

    def crps(self, x: Any) -> Tensor:
        r"""The continuous ranked probability score of x (*batch,), in the column's units; smaller is better. The
        integral of :math:`(F(t) - 1_{t \ge x})^2` over t, as twice the mean quantile loss over 128 levels.

        References:
            | Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007)
        """
        self._ask_for_order("CRPS")
        u, weight = self._levels()
        values = self._quantiles(u.clamp(1e-6, 1 - 1e-6))  # (levels, n)
        truth = torch.as_tensor(x, dtype=torch.float64, device=self.params.device).expand(self.batch).reshape(-1)
        loss = ((truth < values).double() - u[:, None]) * (values - truth)
        return (2 * loss * weight[:, None]).sum(dim=0).reshape(self.batch)

    def interval(self, probability: float = 0.9) -> Tensor:
        """The central interval of this probability, (*batch, 2): as much lies below it as above."""
        return self.around_the_median((1 - self._tail(probability)) / 2)

    def around_the_median(self, half: float) -> Tensor:
        """From the quantile of ½ - half to that of ½ + half, (*batch, 2); the whole line for ½."""
        self._ask_for_order("intervals")
        if half >= 0.5:
            low, high = self.kind.domain.ends
            return torch.tensor([low, high], dtype=torch.float64, device=self.params.device).expand(*self.batch, 2)
        tail = max(0.5 - half, torch.finfo(self.params.dtype).eps)
        return torch.stack([self.quantile(tail), self.quantile(1 - tail)], dim=-1)

    def highest_density_interval(self, probability: float = 0.9) -> Tensor:
        """The shortest interval of this probability, (*batch, 2), among 201 that begin at equally likely places."""
        self._ask_for_order("intervals")
        tail = self._tail(probability)
        low = torch.linspace(0, 1, PLACES, dtype=torch.float64, device=self.params.device) * tail
        ends = torch.stack([low, low + probability]).clamp(1e-6, 1 - 1e-6)  # (2, places)
        values = self._quantiles(ends.flatten()).unflatten(0, (2, PLACES))  # (2, places, n)
        best = (values[1] - values[0]).argmin(dim=0)
        found = values.gather(1, best.expand(2, 1, -1))[:, 0]
        return found.t().reshape(*self.batch, 2)

    def probabilities(self) -> Tensor:
        """Of each category, (*batch, levels)."""
        if not self.kind.levels:
            raise ValueError(f"probabilities: {type(self.kind).__name__} has no categories. Ask for log_prob instead.")
        return torch.softmax(self.params, dim=0)[:, 0].t().reshape(*self.batch, -1)

    def mode(self) -> Tensor:
        """The likeliest category; for other kinds the likeliest of 201 quantiles."""
        if self.kind.levels:
            return self.params.argmax(dim=0).to(torch.float64).reshape(self.batch)
        u = (torch.arange(PLACES, dtype=torch.float64, device=self.params.device) + 0.5) / PLACES
        values = self._quantiles(u)  # (places, n)
        best = self.kind.log_prob(values, self.params.expand(-1, PLACES, -1)).argmax(dim=0)
        return values.gather(0, best[None])[0].reshape(self.batch)

    def centre(self) -> Tensor:
        """The mean, or for categories the likeliest one; of a column of whole numbers the median."""
        if self.kind.levels:
            return self.mode()
        return self.mean() if self.kind.is_density else self.median()

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """So many values for each row, (count, *batch)."""
        n, left, drawn = self.params.shape[-1], count, []
        while left > 0:  # rows stand where columns of the kind would
            some = min(left, max(1, ENTRIES // (n * max(1, len(self.params)))))
            drawn.append(self.kind.sample(self.params.expand(-1, some, -1), generator))
            left -= some
        return torch.cat(drawn).reshape(count, *self.batch)

    def _quantiles(self, u: Tensor) -> Tensor:
        """(levels, n) of levels (levels,)."""
        n, found = self.params.shape[-1], []
        for own in u.to(self.params.dtype).split(max(1, ENTRIES // (n * max(1, len(self.params))))):
            levels = own[:, None].expand(-1, n)  # rows stand where columns of the kind would
            found.append(self.kind.icdf(levels, self.params.expand(-1, len(own), -1)))
        return torch.cat(found)

    def _at(self, function: Callable[[Tensor, Tensor], Tensor], x: Any) -> Tensor:
        x = torch.as_tensor(x, dtype=torch.float64, device=self.params.device)
        shape = torch.broadcast_shapes(x.shape, self.batch)
        params = self.params.reshape(len(self.params), *(1,) * (len(shape) - len(self.batch)), *self.batch)
        params = params.expand(len(params), *shape).reshape(len(params), 1, math.prod(shape))
        return function(x.expand(shape).reshape(1, -1), params).reshape(shape)

    def _tail(self, probability: float) -> float:
        if not 0 < probability < 1 or not math.isfinite(probability):
            raise ValueError(f"interval: probability must lie between 0 and 1; got {probability}.")
        return 1 - probability

    def _ask_for_order(self, what: str) -> None:
        if not self.kind.ordered:
            raise ValueError(f"{type(self.kind).__name__}: there is no order and so no {what}. Use probabilities().")
