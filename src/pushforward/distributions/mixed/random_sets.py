"""Log-probabilities given random sets of observed columns: the training objective and composite likelihoods."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.distributions.mixed.evaluation import ColumnMethod
from pushforward.distributions.mixed.network import ConditionalNetwork

__all__ = ["any_order_estimate", "composite_values", "hide_at_random", "split_at_random"]


def split_at_random(
    network: ConditionalNetwork, present: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Split the entries of each row of a table that are ``present`` (context and columns, n) into a random part that is
    observed and the rest.

    How many are observed is uniform from zero to all but one, and which ones is uniform as well, so that all orders of
    the columns count alike. The context is observed wherever it is not missing.

    Returns:
        what is observed, (context and columns, n), and the targets, (columns, n): entries that are neither missing nor
        observed, at least one where a row has any.
    """
    context, present = network.split(present)
    draws = torch.rand(present.shape, device=present.device, generator=generator).masked_fill_(~present, torch.inf)
    total = present.sum(dim=0)
    count = torch.rand(total.shape, device=present.device, generator=generator).mul_(total).long()
    count = torch.minimum(count, (total - 1).clamp_(min=0))
    observed = draws < draws.sort(dim=0).values.gather(0, count[None])  # those with the smallest draws
    return torch.cat([context, observed]), present ^ observed


def any_order_estimate(network: ConditionalNetwork, table: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """An unbiased estimate of the mean of log q of each row over all orders of its columns, (n,), in one pass.

    References:
        | A Deep and Tractable Density Estimator (Uria, Murray, Larochelle, 2014), arXiv:1310.1757
    """
    present = ~table.isnan()
    observed, targets = split_at_random(network, present, generator)
    filled = network.fill(table, present)
    terms = network.evaluate("log_prob", filled, network.params(network.encode(filled), observed))
    weight = network.split(present)[1].sum(dim=0) / targets.sum(dim=0).clamp(min=1)
    return torch.where(targets, terms, 0.0).sum(dim=0) * weight


def composite_values(network: ConditionalNetwork, rows: Tensor, splits: int, method: ColumnMethod) -> Tensor:
    """A method of the column types at each entry given half of the other columns, the mean over ``splits`` random
    halves, or with no split given none of them: of rows (*batch, context and columns), NaN where an entry is missing,
    (*batch, columns), zero at missing entries."""
    batch, count, first = rows.shape[:-1], len(network.columns), len(network.context)
    generator = torch.Generator().manual_seed(0)
    halves = torch.stack([torch.randperm(count, generator=generator) < count // 2 for _ in range(max(1, splits))])
    sets = torch.cat([halves, ~halves]) if splits else torch.zeros_like(halves)  # each column is a target equally often
    pieces = []
    for piece in rows.reshape(-1, rows.shape[-1]).split(network.piece_size()):
        present = ~piece.t().isnan()
        table = network.fill(piece.t(), present)
        encoded, total = network.encode(table), torch.zeros((), device=rows.device)
        for half in sets.to(rows.device):
            observed = present.clone()
            observed[first:] &= half[:, None]
            targets = [j for j, inside in enumerate(half.tolist()) if not inside]
            if targets:  # one half of a single column is empty
                some = None if len(targets) == count else targets
                params = network.params(encoded, observed, some)
                total = total + network.evaluate(method, table, params, some)
        pieces.append(torch.where(present[first:], total / max(1, splits), 0.0))
    return torch.cat(pieces, dim=-1).t().reshape(*batch, count)


def hide_at_random(table: Tensor, columns: int, share: float, generator: torch.Generator | None) -> Tensor:
    """A table whose first ``columns`` columns are hidden, NaN, at random: in a share of the rows, of each a random
    number of columns, at least one and more often few than many."""
    n = table.shape[1]
    chosen, counts = (torch.rand(n, device=table.device, generator=generator) for _ in range(2))
    count = torch.where(chosen < share, 1 + (counts.square() * columns).floor(), 0.0)
    rank = torch.rand(columns, n, device=table.device, generator=generator).argsort(dim=0).argsort(dim=0)
    return torch.cat([table[:columns].masked_fill(rank < count, torch.nan), table[columns:]])
