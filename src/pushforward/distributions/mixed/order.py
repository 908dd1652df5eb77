"""The order in which a mixed-type model that has learned any order agrees best with a table."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.distributions.mixed.network import ConditionalNetwork

__all__ = ["choose_order"]

JUDGED, FEWEST_JUDGED = 512, 128
"""Rows that decide, at most; of tables with many columns fewer."""
ENTRIES = 2**22
"""Of the tables whose terms are computed, at most: then the order found so far is good enough."""
ROUNDS = 2
"""Columns of wide tables are moved so far at most that these terms do for about so many rounds over the columns."""
LEAST_GAIN, DEEPEST = 1e-3, 0.5
"""Nats a row that the rows gain where a column is moved, and that they may lose on its way."""


@torch.no_grad()
def choose_order(network: ConditionalNetwork, rows: Tensor, weights: Tensor | None = None) -> list[int]:
    """The columns in an order in which no column moved to another place would make the rows likelier; of wide tables,
    to a place nearby, as far as the terms reach that may be computed.

    Orders differ where the network has not learned to agree with itself: mostly by columns that are easier to predict
    from others than to predict others from. A column is moved by exchanging neighbours, each of which changes two terms
    of log q. It may have to pass several, some at a loss, to end where the rows are likelier: with single exchanges
    alone half of the models of one table ended a nat short. The search is that of the linear ordering problem.

    References:
        | A Survey on the Linear Ordering Problem for Weighted or Unweighted Tournaments (Charon and Hudry, 2007)

    Args:
        network: of a model that has learned any order.
        rows: (*batch, context and columns), NaN where an entry is missing; the first of them decide.
        weights: (*batch,), of the rows.
    """
    first, count = len(network.context), len(network.columns)
    judged = min(JUDGED, max(FEWEST_JUDGED, ENTRIES // (rows.shape[-1] * 2 * ROUNDS * count**2)))
    weights = (rows.new_ones(1) if weights is None else weights).expand(rows.shape[:-1]).reshape(-1)[:judged]
    rows = rows.reshape(-1, rows.shape[-1])[:judged]
    order, terms, left = list(network.order_of_columns), {}, ENTRIES // max(1, rows.numel())
    farthest = max(1, left // (2 * ROUNDS * count))
    pieces = [_Piece(network, piece.t()) for piece in rows.split(network.piece_size())]

    def term(j: int, others: frozenset[int]) -> Tensor:
        """log q of column j given others and the context, (n,)."""
        nonlocal left
        if (j, others) not in terms:
            shown = torch.tensor([True] * first + [k in others for k in range(count)], device=rows.device)
            terms[j, others] = torch.cat([piece.log_prob(j, shown) for piece in pieces])
            left -= 1
        return terms[j, others]

    def gain(before: frozenset[int], j: int, k: int) -> float:
        """Nats a row from putting k before j, its neighbour after these columns."""
        values = term(k, before) + term(j, before | {k}) - term(j, before) - term(k, before | {j})
        return float((weights * values).sum() / weights.sum())

    def best_place(j: int) -> tuple[float, int]:
        """The gain from moving column j to the best place, and that place."""
        others, start = [k for k in order if k != j], order.index(j)
        places = [(0.0, start)]
        for way, passed in ((-1, range(start - 1, -1, -1)), (1, range(start, count - 1))):
            total = 0.0
            for i in passed[:farthest]:
                if left <= 0 or total < -DEEPEST:
                    break
                total -= way * gain(frozenset(others[:i]), others[i], j)
                places.append((total, i if way < 0 else i + 1))
        return max(places)

    settled = False
    while not settled and left > 0:
        settled = True
        for j in tuple(order):
            won, place = best_place(j)
            if won > LEAST_GAIN:
                order.remove(j)
                order.insert(place, j)
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
