"""Missing entries of rows filled in, one column after the other: samples, means and quantiles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.distributions.columns.column_distribution import ColumnDistribution
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.mixed.network import ConditionalNetwork

__all__ = ["expected", "from_mid_cdf", "impute"]

Choose = Callable[[int, ColumnType, Tensor, Tensor], Tensor]
"""A value for each row from the number of a column, its type, its parameters (num_params, 1, n) and the numbers of the
n rows."""


def impute(
    network: ConditionalNetwork,
    x: Tensor,
    context: Tensor | None,
    generator: torch.Generator | None,
    *,
    stop: int | None = None,
) -> Tensor:
    """x (*batch, columns) with its NaNs drawn given what is there, each column given the ones drawn before; column
    ``stop`` and those after it are left."""
    return _fill_in(network, x, context, lambda j, t, params, rows: t.sample(params, generator)[0], stop=stop)


def expected(network: ConditionalNetwork, x: Tensor, context: Tensor | None) -> Tensor:
    """x (*batch, columns) with the `ColumnDistribution.centre` in place of each NaN, given what is there."""

    def centre(j: int, column_type: ColumnType, params: Tensor, rows: Tensor) -> Tensor:
        return ColumnDistribution(column_type, params, (len(rows),)).centre()

    return _fill_in(network, x, context, centre, reveal=False)


def from_mid_cdf(network: ConditionalNetwork, u: Tensor, context: Tensor | None) -> Tensor:
    """Rows (*batch, columns) with these values u of their mid-distribution functions, given the columns before."""
    dtype = network.base_params[0].dtype
    eps = torch.finfo(dtype).eps
    levels = u.reshape(-1, u.shape[-1]).t().clamp(eps, 1 - eps).to(dtype)
    blank = torch.full_like(u, torch.nan)
    return _fill_in(network, blank, context, lambda j, t, params, rows: t.icdf(levels[j, rows][None], params)[0])


@torch.no_grad()
def _fill_in(
    network: ConditionalNetwork,
    x: Tensor,
    context: Tensor | None,
    choose: Choose,
    *,
    reveal: bool = True,
    stop: int | None = None,
) -> Tensor:
    """x (*batch, columns) with NaNs replaced by what is chosen for them, in the order of the network and before column
    ``stop``; ``reveal``: whether later columns are conditioned on it."""
    rows, first = network.join(x, context), len(network.context)
    table = rows.reshape(-1, rows.shape[-1]).t().clone()
    sequence = network.order_of_columns
    columns = sequence if stop is None else sequence[: sequence.index(stop)]
    for piece in torch.arange(table.shape[1], device=x.device).split(network.piece_size()):
        observed = ~table[:, piece].isnan()
        for j in columns:
            missing = ~observed[first + j]
            if not bool(missing.any()):
                continue
            chosen = piece[missing]
            encoded = network.encode(network.fill(table[:, chosen], observed[:, missing]))
            params = network.params_of(j, encoded, observed[:, missing])
            values = choose(j, network.columns.column_type(j), params, chosen)
            table[first + j, chosen] = values.to(table.dtype)
            if reveal:
                observed[first + j] = True
    return table[first:].t().reshape(*rows.shape[:-1], len(network.columns))
