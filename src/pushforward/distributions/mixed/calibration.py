"""How confident the distributions of a model's columns are, fitted to held-out rows: temperature scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.entries import holds_each
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.mixed.evaluation import evaluated
from pushforward.distributions.mixed.network import ConditionalNetwork
from pushforward.distributions.mixed.random_sets import split_at_random

__all__ = ["calibrate_temperature"]

ROWS, COPIES = 4_096, 16
"""How many rows, and how many random sets of observed columns for each, are used at most."""
ENTRIES, ENTRIES_OF_GROUP, FEWEST_ROWS = 2**24, 2**21, 128
"""Of the parameters of all rows, and of those of one group of columns that are looked at, at most, but for so few rows:
a column may have thousands of categories. The latter number is also that of the parameters that are tried at once."""
HALVINGS = 5
"""Of the distance of the points, from one half, at which temperatures are tried."""
PRIOR = 0.25
"""Standard deviation of the normal prior on log-temperatures."""


@torch.no_grad()
def calibrate_temperature(network: ConditionalNetwork, rows: Tensor, weights: Tensor | None = None) -> Tensor:
    """Scale the parameters of each column by the temperature that fits rows (n, context and columns) best.

    The factors are folded into the weights of the network's last layer and the base parameters.

    Args:
        network: the conditional distributions.
        rows: NaN where an entry is missing.
        weights: of the rows, (n,); equal by default.

    Returns:
        the log-temperature of each column, (columns,); 0 where a type has none.
    """
    most = min(ROWS, max(FEWEST_ROWS, ENTRIES // max(1, network.num_params)))
    copies = min(COPIES, max(1, most // len(rows))) if network.order == "any" else 1
    generator = torch.Generator(rows.device).manual_seed(0)
    table = network.add_noise(rows[:most].repeat(copies, 1).t(), generator)
    present = ~table.isnan()
    filled = network.fill(table, present)
    fixed = network.order == "fixed"  # whose network sees what stands before a column alone
    observed, targets = (present, network.split(present)[1]) if fixed else split_at_random(network, present, generator)
    targets = targets & holds_each(network.support, network.split(table)[1].t()).t()  # others have probability zero
    of_rows = torch.ones(len(rows), dtype=torch.float64, device=rows.device) if weights is None else weights
    target_weights = targets * of_rows[:most].repeat(copies)
    effective_rows = float(of_rows.sum().square() / of_rows.square().sum())
    params = network.params(network.encode(filled), observed)
    x = network.split(filled)[1]
    log_temperatures = x.new_zeros(len(network.columns))
    parts: list[_Part] = []
    for k, (column_type, group) in enumerate(network.columns):
        scaling = column_type.temperature_scaling()
        if scaling is None:
            continue
        extra = len(params[k]) - column_type.num_params  # location and scale are of the linear part
        slope, shift = (F.pad(t.to(params[k]), (0, extra))[:, None] for t in scaling)
        some = max(FEWEST_ROWS, ENTRIES_OF_GROUP // max(1, network.base_params[k].numel()))
        values, weighed, p = (t[..., :some] for t in (x[group], target_weights[group], params[k]))
        shares = weighed / weighed.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        parts.append(_Part(k, column_type, values, p, shares, slope, shift))
    for some_parts in _batched(parts):
        sizes = [len(part.values) for part in some_parts]
        best = _maximize(partial(_objective, some_parts, effective_rows), sum(sizes), some_parts[0].params)
        for part, t in zip(some_parts, best.split(sizes), strict=True):
            factor, shift = part.scaling(t[None])
            count = part.column_type.num_params
            network.scale_params(part.group, factor[:count, :, 0], shift[:count, :, 0])
            log_temperatures[network.columns.positions[part.group]] = t.to(log_temperatures)
    return log_temperatures


class _Part(NamedTuple):
    """A group of columns whose temperatures are fitted."""

    group: int
    column_type: ColumnType
    values: Tensor  # (columns, n)
    params: Tensor
    weights: Tensor  # (columns, n), zero where there is no target; of each column they sum to one
    slope: Tensor
    shift: Tensor

    def scaling(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """By what log-temperatures t (points, columns) multiply the parameters, and what they add, (num_params,
        columns, points)."""
        t = t.t()
        return (-self.slope[..., None] * t).exp(), self.shift[..., None] * t

    def scaled(self, t: Tensor) -> tuple[ColumnType, Tensor, Tensor]:
        """The type, and its values and parameters at all points, (columns, points · n)."""
        factor, shift = (change[..., None] for change in self.scaling(t))
        params = (self.params[:, :, None] * factor + shift).flatten(2)
        return self.column_type, self.values.repeat(1, len(t)), params

    def mean(self, log_prob: Tensor) -> Tensor:
        """The weighted means (points, columns) of log-probabilities at all points."""
        log_prob, weights = log_prob.unflatten(1, (-1, self.weights.shape[1])), self.weights[:, None]
        return torch.where(weights > 0, weights * log_prob, 0.0).sum(dim=2).t()


def _batched(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Parts that are tried together."""
    some: list[_Part] = []
    for part in parts:
        if some and sum(p.params.numel() for p in [*some, part]) > ENTRIES_OF_GROUP:
            yield some
            some = []
        some.append(part)
    if some:
        yield some


def _objective(parts: Sequence[_Part], rows: float, t: Tensor) -> Tensor:
    """The weighted mean log-probability of each column as a function of its log-temperature, plus a log-prior, (points,
    columns)."""
    sizes = [len(part.values) for part in parts]
    at_once = max(1, ENTRIES_OF_GROUP // sum(part.params.numel() for part in parts))
    means = []
    for points in t.split(at_once):
        pairs = zip(parts, points.split(sizes, dim=1), strict=True)
        log_probs = evaluated("log_prob", [part.scaled(each) for part, each in pairs])
        means.append(torch.cat([part.mean(each) for part, each in zip(parts, log_probs, strict=True)], dim=1))
    return torch.cat(means) - t.double().square() / (2 * PRIOR**2 * rows)


def _maximize(function: Callable[[Tensor], Tensor], count: int, like: Tensor) -> Tensor:
    """The maximiser in [-2, 2] of each of ``count`` scalar functions of (points, count): the best point of a grid, then
    the best of it and its neighbours at half the distance, again and again."""
    grid = torch.linspace(-2, 2, 9).to(like)[:, None].expand(-1, count)
    value, index = function(grid).max(dim=0)
    best, step = grid.gather(0, index[None]), 0.5
    for _ in range(HALVINGS):
        step /= 2
        points = torch.cat([best, best - step, best + step])
        value, index = torch.cat([value[None], function(points[1:])]).max(dim=0)
        best = points.gather(0, index[None])
    return best[0]
