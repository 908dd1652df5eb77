"""The residual map x + g(x) of a network g with a Lipschitz constant below one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from pushforward.bijections.contraction import attach_solution_gradients, identity_plus_jacobian, solve_contraction
from pushforward.bijections.power_series import draw_counts, draw_signs, roulette_log_det
from pushforward.core.bijection import Kind, StochasticMap
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.core.execution_mode import needs_derivatives, runs_eagerly
from pushforward.core.numerics import unshared
from pushforward.core.shapes import EventSize, event_shape
from pushforward.networks.lipschitz import LIPSCHITZ, Layers, Linearization, LipschitzNetwork

__all__ = ["Residual"]

EXACT_UP_TO = 64
"""Entries of an event up to which ``log_det="auto"`` is exact."""


@configurable
class Residual(StochasticMap):
    r"""A residual map, invertible because its network is a contraction.

    .. math:: y = x + g(x, c), \qquad \|g(x, c) - g(x', c)\| \le L\, \|x - x'\| \text{ for all } c, \quad L < 1

    The Lipschitz constant is certified, not estimated: every weight is divided by an upper bound on its norm, and
    activations have slopes of at most one. It starts at the identity.

    Forward costs one pass of g. The inverse is the fixed point of :math:`x = y - g(x)`, by accelerated iteration, one
    pass of g each; rows whose certified error is too large are NaN. The log-determinant is

    * exact with ``log_det="exact"``: the Jacobian by one product with each of the D unit vectors, all at once, and its
      determinant, :math:`O(D^3)`;
    * a random estimate with ``log_det="unbiased"``: the power series
      :math:`\sum_k \frac{(-1)^{k+1}}{k} \operatorname{tr} J^k`, its traces estimated with random signs and its length
      drawn by Russian roulette. Its expectation is the log-determinant and its variance is finite; a point costs
      about ``terms`` + 1 / (1 - L) products. `estimate_ladj` averages draws and states the standard error.

    A truncated series is not offered: it is neither exact nor unbiased, nor a bound.

    Args:
        features: number of features D, or the sizes of an event of several axes.
        context: number of context features.
        hidden: widths of the hidden layers of g; channels where it is convolutional.
        coefficient: the Lipschitz constant L. Closer to 1 a map can do more, and its inverse takes longer.
        activation: ``"lipswish"``, ``"elu"``, ``"softplus"``, ``"tanh"``, ``"sin"`` or ``"relu"``.
        conditioner: ``"plain"``, ``"conv"`` (events of shape (channels, *spatial)) or the name of a network of one's
            own, see `networks.register_lipschitz`.
        log_det: ``"exact"``, ``"unbiased"`` or ``"auto"``, which is exact for events of up to 64 entries.
        terms: terms of the series that every point gets.
        probes: vectors of random signs for each point.
        gradient: of an unbiased log-determinant, ``"neumann"`` by an unbiased estimator of its own in the memory of one
            product, or ``"series"`` through all terms.

    Shape:
        ``x``, ``y``: (*batch, features) or (*batch, *features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: an option is out of its range.

    References:
        | Invertible Residual Networks (Behrmann et al., 2018), arXiv:1811.00995
        | Residual Flows for Invertible Generative Modeling (Chen et al., 2019), arXiv:1906.02735

    >>> import torch
    >>> layer = Residual(2, hidden=(8,))
    >>> layer(torch.tensor([1.0, 2.0])).tolist(), layer.inverse_kind, layer.log_det
    ([1.0, 2.0], 'iterative', 'exact')
    """

    inverse_kind: Kind = "iterative"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "context": 2, "hidden": [8, 8], "coefficient": 0.5},
        {"features": [2, 3, 3], "hidden": [4], "conditioner": "conv", "activation": "elu", "coefficient": 0.5},
        {
            "features": 3,
            "hidden": [8],
            "coefficient": 0.5,
            "log_det": "unbiased",
            "terms": 3,
            "probes": 2,
            "gradient": "series",
        },
    )

    def __init__(
        self,
        features: EventSize,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        coefficient: float = 0.9,
        activation: str = "lipswish",
        conditioner: str = "plain",
        log_det: str = "auto",
        terms: int = 4,
        probes: int = 1,
        gradient: str = "neumann",
    ) -> None:
        super().__init__()
        at_least("Residual", "context", context, 0)
        at_least("Residual", "terms", terms, 1)
        at_least("Residual", "probes", probes, 1)
        one_of("Residual", "conditioner", conditioner, tuple(LIPSCHITZ))
        one_of("Residual", "log_det", log_det, ("auto", "exact", "unbiased"))
        one_of("Residual", "gradient", gradient, ("neumann", "series"))
        self.in_shape = self.out_shape = event_shape("Residual", features)
        self.context_shape = (context,) if context else None
        if log_det == "auto":
            log_det = "exact" if math.prod(self.in_shape) <= EXACT_UP_TO else "unbiased"
        self.log_det = "exact" if log_det == "exact" else "unbiased"
        self.stochastic = log_det == "unbiased"
        self.coefficient, self.terms, self.probes, self.gradient = coefficient, terms, probes, gradient
        self.network = LIPSCHITZ[conditioner](
            self.in_shape, context=context, hidden=hidden, activation=activation, coefficient=coefficient
        )

    def lipschitz_bound(self) -> float:
        """A certified bound on the Lipschitz constant of g with the present weights, in every context."""
        with torch.no_grad():
            return float(self._network().bound())

    @torch.no_grad()
    def estimate_ladj(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 64, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The mean of several draws of log|det ∇T(x)| and its standard error, both (*batch,), without gradients.

        Args:
            x: (*batch, *features).
            context: (*batch, context), where the map has one.
            draws: how many; exact log-determinants need one, and have the error zero.
            generator: source of randomness; torch's global one by default.

        Raises:
            ValueError: there are fewer than two draws of an unbiased log-determinant.
        """
        if not self.stochastic:
            ladj = self.forward_and_ladj(x, context)[1]
            return ladj, torch.zeros_like(ladj)
        at_least("Residual.estimate_ladj", "draws", draws, 2, "One draw has no standard error.")
        mean = square = torch.zeros((), dtype=x.dtype, device=x.device)
        for count in range(1, draws + 1):
            ladj = self.forward_and_ladj(x, context, generator=generator)[1]
            before, mean = mean, mean + (ladj - mean) / count
            square = square + (ladj - before) * (ladj - mean)
        return mean, (square / (draws * (draws - 1))).sqrt()

    def _network(self) -> LipschitzNetwork:
        return cast(LipschitzNetwork, self.network)

    def _flat(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Layers]:
        """Points (n, features), and what the network computes with at their contexts."""
        context = None if context is None else context.reshape(-1, context.shape[-1])
        return x.reshape(-1, math.prod(self.in_shape)), self._network().prepare(context)

    def _batch(self, like: Tensor) -> tuple[int, ...]:
        return tuple(like.shape[: like.ndim - len(self.in_shape)])

    def _forward_and_ladj(
        self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        flat, layers = self._flat(x, context)
        value, point = self._network().linearize(flat, layers)
        ladj = self._log_det(flat, point, generator)
        return (flat + value).reshape(x.shape), ladj.reshape(self._batch(x))

    def _forward(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        flat, layers = self._flat(x, context)
        return (flat + self._network().value(flat, layers)).reshape(x.shape)

    def _inverse_and_ladj(
        self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        flat, layers = self._flat(y, context)
        x, ok = self._solve(flat, layers)
        ladj = self._log_det(x, self._network().linearize(x, layers)[1], generator)
        x, ladj = torch.where(ok, x, torch.nan), torch.where(ok[:, 0], -ladj, torch.nan)
        return x.reshape(y.shape), ladj.reshape(self._batch(y))

    def _inverse(self, y: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        x, ok = self._solve(*self._flat(y, context))
        return torch.where(ok, x, torch.nan).reshape(y.shape)

    def _solve(self, y: Tensor, layers: Layers) -> tuple[Tensor, Tensor]:
        """x (n, features), zero in rows that were not solved, and which rows were, (n, 1)."""
        network, apart = self._network(), unshared(layers)
        root = solve_contraction(lambda x: network.value(x, apart), y, self.coefficient)
        ok = root.isfinite().all(dim=-1, keepdim=True)
        x = torch.where(ok, root, 0.0)
        if not needs_derivatives():
            return x, ok
        # A row without a root goes through the formulas at zero, where it has a solution: its NaN would reach the
        # gradients of weights that all rows share.
        target = torch.where(ok, y, network.value(torch.zeros_like(y), layers).detach())
        dense = not self.stochastic or not runs_eagerly(y)
        return attach_solution_gradients(network, layers, target, x, self.coefficient, dense=dense), ok

    def _log_det(self, x: Tensor, point: Linearization, generator: torch.Generator | None) -> Tensor:
        """log det(I + J), (n,): positive, for J is smaller than I."""
        network = self._network()
        if not self.stochastic:
            return torch.linalg.slogdet(identity_plus_jacobian(network, point))[1]
        signs = draw_signs(x, self.probes, generator)
        counts = draw_counts(x, self.terms, self.coefficient, generator)
        return roulette_log_det(
            network,
            point,
            signs,
            counts,
            terms=self.terms,
            decay=self.coefficient,
            memory_saving=self.gradient == "neumann",
        )
