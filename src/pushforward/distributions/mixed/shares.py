"""The distributions of categories by themselves, made to agree with their shares."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.distributions.columns.discrete import Categorical
from pushforward.distributions.mixed.network import ConditionalNetwork

__all__ = ["match_shares"]


@torch.no_grad()
def match_shares(network: ConditionalNetwork, rows: Tensor, weights: Tensor | None) -> None:
    """Shift the logits of each column of categories by numbers with which its distribution, given nothing, is that of
    its shares in the rows (n, columns) with weights (n,), counted from one half.

    What a network has learned of a few hundred rows in a few hundred steps is off by as much as a share is uncertain;
    the shares themselves need no learning. The shifts concern all conditionals alike.
    """
    blank = rows.new_full((1, rows.shape[1]), torch.nan)
    weights = torch.ones_like(rows[:, 0]) if weights is None else weights.to(rows.dtype)
    for k, (column_type, group) in enumerate(network.columns):
        if not isinstance(column_type, Categorical):
            continue
        shifts = []
        for j in group:
            logits = network.params_of_rows(j, blank)[:, 0, 0]
            here = ~rows[:, j].isnan()
            counts = torch.bincount(rows[here, j].long(), weights[here], minlength=len(logits)) + 0.5
            shift = counts.log() - logits.double().log_softmax(dim=0)
            shifts.append(shift - shift.mean())
        shift = torch.stack(shifts, dim=1)
        network.scale_params(k, torch.ones_like(shift).to(logits), shift.to(logits))
