"""An unbiased estimate of log det(I + J) from products with Jᵀ alone: a power series with Russian roulette."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core.execution_mode import needs_derivatives, runs_eagerly
from pushforward.networks.lipschitz import Linearization, LipschitzNetwork

__all__ = ["draw_counts", "draw_signs", "roulette_log_det"]

SMALLEST = 2.0**-53
"""The smallest number above zero that a uniform draw in double precision gives."""


def draw_signs(like: Tensor, probes: int, generator: torch.Generator | None) -> Tensor:
    """Random signs (n, probes, features) for points (n, features)."""
    shape = (like.shape[0], probes, like.shape[1])
    return 2 * torch.randint(0, 2, shape, generator=generator, device=like.device).to(like.dtype) - 1


def draw_counts(like: Tensor, terms: int, decay: float, generator: torch.Generator | None) -> Tensor:
    """How many terms each of n points gets, (n,): ``terms``, and then one more with probability ``decay`` each time."""
    uniform = torch.rand(like.shape[:1], generator=generator, device=like.device, dtype=torch.float64)
    more = ((1 - uniform).log() / math.log(decay)).floor()
    return terms + more.to(torch.int64)


def roulette_log_det(
    network: LipschitzNetwork,
    point: Linearization,
    signs: Tensor,
    counts: Tensor,
    *,
    terms: int,
    decay: float,
    memory_saving: bool,
) -> Tensor:
    r"""An unbiased estimate of log det(I + J) at n points, (n,).

    .. math:: \sum_{k=1}^{N} \frac{(-1)^{k+1}}{k\, P(N \ge k)}\, v^\top J^k v

    with random signs v and a random number N of terms: the first ``terms`` always, each further one with probability
    ``decay``. With decay = L, the Lipschitz constant, the k-th term is at most D Lᵏ / (k L^(k - terms)): the variance
    is finite whatever the weights are. Terms that a point does not get are not computed.

    Args:
        network: g, whose derivative J is.
        point: the derivative of g at the points.
        signs: v, (n, probes, features); the estimate is the mean over the probes.
        counts: N of each point, (n,).
        terms: how many terms every point gets.
        decay: the probability of each further term.
        memory_saving: the gradient by an estimator of its own instead of through all terms. With the same v and N,
            :math:`w = \sum_{k=0}^{N} (-1)^k (J^\top)^k v / P(N \ge k)` is computed without gradients, and
            :math:`w^\top dJ\, v` has the gradient of log det(I + J) as its expectation. It takes the memory of one
            product, and has no derivatives of second order.

    References:
        | Residual Flows for Invertible Generative Modeling (Chen et al., 2019), arXiv:1906.02735
        | Unbiased Estimation with Square Root Convergence for SDE Models (Rhee and Glynn, 2015),
          doi:10.1287/opre.2015.1404
    """
    if runs_eagerly(signs):  # points with many terms first, so that those still computed with are the first ones
        order = counts.argsort(descending=True)
        alive = (len(counts) - counts.bincount().cumsum(0)).tolist()[:-1]  # how many have the k-th term
        point, signs = point.rows(order), signs[order]
        back = order.argsort()
    else:
        longest = terms + math.floor(math.log(SMALLEST) / math.log(decay))
        alive, back = [len(signs)] * longest, None
    if not memory_saving or not needs_derivatives():
        total, _ = _series(network, point, signs, counts, alive, back is None, terms, decay)
    else:
        with torch.no_grad():
            still = Linearization(*(tuple(t.detach() for t in group) for group in point))
            total, w = _series(network, still, signs, counts, alive, back is None, terms, decay)
        slope = (w * network.jvp(point, signs)).sum(dim=-1).mean(dim=-1)
        total = total + (slope - slope.detach())
    return total if back is None else total[back]


def _series(
    network: LipschitzNetwork,
    point: Linearization,
    signs: Tensor,
    counts: Tensor,
    alive: list[int],
    masked: bool,
    terms: int,
    decay: float,
) -> tuple[Tensor, Tensor]:
    """The series and w of `roulette_log_det`. The k-th term is that of the first ``alive[k - 1]`` points; or if
    ``masked``, of those that have as many."""
    total, w, u = signs.new_zeros(len(signs)), signs, signs
    for k, count in enumerate(alive, start=1):
        if count < len(u):
            u, point = u[:count], point.rows(slice(count))
        u = network.vjp(point, u)
        scale = (-1) ** k / decay ** max(0, k - terms)
        term = (-scale / k) * (u * signs[:count]).sum(dim=-1).mean(dim=-1)
        step = scale * u
        if masked:
            taken = counts >= k
            term, step = torch.where(taken, term, 0.0), torch.where(taken[:, None, None], step, 0.0)
        total = _add(total, term)
        if not torch.is_grad_enabled():
            w = _add(w, step)
    return total, w


def _add(total: Tensor, part: Tensor) -> Tensor:
    """total with part added to its first rows."""
    if len(part) == len(total):
        return total + part
    return torch.cat([total[: len(part)] + part, total[len(part) :]])
