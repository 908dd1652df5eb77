"""Models of whole numbers on grids, led by their context and more or less sure of each number."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from pushforward.core.checks import not_negative, positive
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.distributions.context_pair import ContextPair, Nested
from pushforward.distributions.discrete_grid import DiscreteGrid
from pushforward.networks.paired import PairedAutoregressiveConditioner

__all__ = ["GuidedGrid"]


@configurable
class GuidedGrid(DiscreteGrid):
    r"""A `DiscreteGrid` whose probabilities are those with a label, divided by a power of those without, and sharpened.

    .. math:: q(x_j = v \mid x_{<j}, c) \propto \left[p(v \mid c) \left(\frac{p(v \mid c) + \varepsilon}{p(v \mid u)
        + \varepsilon}\right)^w\right]^{1 / T}

    with the probabilities :math:`p(v \mid c)` of the grid given the numbers before, a weight w, a temperature T and a
    context u that stands for no label. For :math:`\varepsilon = 0` logits are extrapolated. But a network has hardly
    learned what is rarer than :math:`\varepsilon`, and a quotient of such probabilities would make likely what neither
    context allows.

    This is a model of the same kind, with exact probabilities, samples and conditionals. With w > 0 passes of the
    network have twice as many points.

    Args:
        grid: the model, whose weights are shared.
        weight: w, at least 0.
        unconditional: u, see `ContextPair`; zeros by default.
        temperature: T, positive; the smaller it is, the more often is the likeliest value drawn.
        floor: :math:`\varepsilon`, at least 0.

    Shape:
        x: (*batch, *shape), whole numbers in a floating dtype; context: (*batch, context).

    Raises:
        ValueError: the weight or the floor is negative, the temperature not positive, or there is a weight and no
            context.

    References:
        | Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), arXiv:2207.12598
        | Contrastive Decoding: Open-ended Text Generation as Optimization (Li et al., 2023), arXiv:2210.15097, which
          leaves out what is rare under the first of two models

    >>> grid = DiscreteGrid((1, 1, 2), levels=4, context=1, hidden=(8, 8))
    >>> GuidedGrid(grid, weight=1.5).log_prob(torch.zeros(1, 1, 2), torch.ones(1)).exp().item()  # before training
    0.0625
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "grid": {
                "type": "DiscreteGrid", "shape": [1, 1, 2], "levels": 3, "context": 2, "hidden": [6, 6], "beside": 1,
            },
            "weight": 1.5,
            "unconditional": [0.0, None],
            "temperature": 0.7,
            "floor": 0.01,
        },
        {
            "grid": {"type": "DiscreteGrid", "shape": [1, 1, 2], "levels": 3, "hidden": [6, 6], "beside": 1},
            "temperature": 2.0,
        },
    )  # fmt: skip

    def __init__(
        self,
        grid: DiscreteGrid,
        *,
        weight: float = 0.0,
        unconditional: Nested = None,
        temperature: float = 1.0,
        floor: float = 1e-4,
    ) -> None:
        Distribution.__init__(self)
        not_negative("GuidedGrid", "weight", weight)
        positive("GuidedGrid", "temperature", temperature)
        not_negative("GuidedGrid", "floor", floor)
        if weight and not grid.context_shape:
            raise ValueError(
                "GuidedGrid: guidance leads towards a context, and the grid has none. Build it with context=."
            )
        self.event_shape, self.context_shape = grid.event_shape, grid.context_shape
        self.levels, self.support = grid.levels, grid.support
        self.grid, self.weight, self.temperature, self.floor = grid, weight, temperature, floor
        self.flat_share = None  # it is computed at all cells
        self.contexts = None
        if weight and grid.context_shape:
            self.contexts = ContextPair(grid.context_shape, unconditional=unconditional)

    # What the grid holds stays there: a part with two names would be saved twice.

    @property
    def seen_as(self) -> Tensor:  # type: ignore[override]
        return self.grid.seen_as

    @property
    def network(self) -> Any:  # type: ignore[override]
        return PairedAutoregressiveConditioner(self.grid.network) if self.contexts else self.grid.network

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        self.grid._initialize(x, context)

    def _context_columns(self, context: Tensor | None, count: int) -> Tensor | None:
        columns = self.grid._context_columns
        if self.contexts is None or context is None:
            return columns(context, count)
        pair = self.contexts(context.reshape(count, context.shape[-1]))
        return torch.cat([cast(Tensor, columns(part, count)) for part in pair.chunk(2, dim=-1)])

    def _logits(self, outputs: Tensor) -> Tensor:
        if self.contexts is None:
            return self.grid._logits(outputs) / self.temperature
        log_probs, unconditional = (self.grid._logits(part).log_softmax(dim=0) for part in outputs.chunk(2))
        log_floor = log_probs.new_tensor(self.floor).log()
        ratio = torch.logaddexp(log_probs, log_floor) - torch.logaddexp(unconditional, log_floor)
        return (log_probs + self.weight * ratio) / self.temperature
