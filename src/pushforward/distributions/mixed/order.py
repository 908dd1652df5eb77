"""The order in which a mixed-type model that has learned any order agrees best with a table."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.distributions.mixed.network import ConditionalNetwork

__all__ = ["choose_order"]

JUDGED = 1_024
"""Rows that decide, at most."""
ENTRIES = 2**22
"""Of the tables whose terms are computed, at most: then the order found so far is good enough."""
LEAST_GAIN = 1e-3
"""Nats a row that the rows gain where two neighbours are exchanged."""


@torch.no_grad()
def choose_order(network: ConditionalNetwork, rows: Tensor, weights: Tensor | None = None) -> list[int]:
    """The columns in an order in which no two neighbours exchanged would make the rows likelier.

    Orders differ where the network has not learned to agree with itself: mostly by columns that are easier to predict
    from others than to predict others from. Exchanging neighbours changes two terms of log q, so that sweeps over the
    columns, as in bubble sort, cost few passes of the network.

    Args:
        network: of a model that has learned any order.
        rows: (*batch, context and columns), NaN where an entry is missing; the first of them decide.
        weights: (*batch,), of the rows.
    """
    first, count = len(network.context), len(network.columns)
    weights = (rows.new_ones(1) if weights is None else weights).expand(rows.shape[:-1]).reshape(-1)[:JUDGED]
    rows = rows.reshape(-1, rows.shape[-1])[:JUDGED]
    order, terms, left = list(network.order_of_columns), {}, ENTRIES // max(1, rows.numel())
    pieces = [_Piece(network, piece.t()) for piece in rows.split(network.piece_size())]

    def term(j: int, others: frozenset[int]) -> Tensor:
        """log q of column j given others and the context, (n,)."""
        nonlocal left
        if (j, others) not in terms:
            shown = torch.tensor([True] * first + [k in others for k in range(count)], device=rows.device)
            terms[j, others] = torch.cat([piece.log_prob(j, shown) for piece in pieces])
            left -= 1
        return terms[j, others]

    settled = False
    while not settled and left > 0:
        settled = True
        for i in range(count - 1):
            before, (j, k) = frozenset(order[:i]), order[i : i + 2]
            gain = term(k, before) + term(j, before | {k}) - term(j, before) - term(k, before | {j})
            if left > 0 and (weights * gain).sum() > LEAST_GAIN * weights.sum():
                order[i : i + 2] = k, j
                settled = False
    return order


class _Piece:
    """Some of the rows as the network sees them, and the log-probabilities of single columns given others."""

    def __init__(self, network: ConditionalNetwork, table: Tensor) -> None:
        self.network, self.present = network, ~table.isnan()
        self.table = network.fill(table, self.present)
        self.encoded = network.encode(self.table)

    def log_prob(self, j: int, shown: Tensor) -> Tensor:
        """log q of column j given the entries of the columns that are shown, (n,); zero where it is missing."""
        place = len(self.network.context) + j
        params = self.network.params_of(j, self.encoded, self.present & shown[:, None])
        values = self.network.columns.column_type(j).log_prob(self.table[place : place + 1], params)
        return torch.where(self.present[place], values[0], 0.0)
