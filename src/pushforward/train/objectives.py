"""What training makes small."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution

__all__ = ["mean_log_likelihood", "negative_log_likelihood"]


def negative_log_likelihood(
    model: Distribution, x: Tensor, context: Tensor | None, weights: Tensor | None = None
) -> Tensor:
    """The mean of -log q(x | context) in nats, each row counted by its weight."""
    log_prob = model.estimate(x, context)
    return -(log_prob.mean() if weights is None else (log_prob * weights).sum() / weights.sum())


@torch.no_grad()
def mean_log_likelihood(
    model: Distribution, x: Tensor, context: Tensor | None, weights: Tensor | None, batch_size: int
) -> float:
    """The same over all rows, with the sign turned, batch by batch in evaluation mode; sums in float64. An estimate is
    drawn the same way each time, so that two looks can be compared."""
    was_training = model.training
    model.eval()
    total = mass = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            log_prob = model.estimate(x[part], None if context is None else context[part]).double()
            weight = torch.ones_like(log_prob) if weights is None else weights[part].double()
            total += float((log_prob * weight).sum())
            mass += float(weight.sum())
    model.train(was_training)
    return total / mass
