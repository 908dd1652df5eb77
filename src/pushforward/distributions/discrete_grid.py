"""Whole numbers on a grid, such as the pixels of an image, with a probability for each given those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Integers
from pushforward.core.shapes import event_shape
from pushforward.distributions.row_blocks import in_row_blocks, row_width
from pushforward.networks import CausalWindow

__all__ = ["DiscreteGrid"]


@configurable
class DiscreteGrid(Distribution):
    r"""Whole numbers 0 .. levels - 1 at the cells of a grid: each has a probability given the cells before it.

    .. math:: q(x) = \prod_j q(x_j \mid x_{<j}, c), \qquad
        q(x_j = v \mid x_{<j}, c) = \operatorname{softmax}_v \theta_j(x_{<j}, c)

    Cells are in raster order, row by row, and the channels of a cell one after the other. `networks.CausalWindow`
    computes the logits from a window of the cells before, each of whose values it sees as a few learned numbers. These
    are probabilities of the numbers themselves, not densities: -log2 q is the length of a code. Log-probabilities cost
    one pass, samples one small step for each number.

    Args:
        shape: (channels, *spatial) of an event, with one or two spatial axes.
        levels: how many values a number has.
        context: number of context features.
        hidden: layer widths of the network, which are equal.
        activation: its activation.
        dropout: its dropout probability.
        above: rows of the window above a cell.
        beside: cells of the window on each side of it.
        embedding: learned numbers that stand for each value.

    Shape:
        x: (*batch, *shape), whole numbers in a floating dtype; context: (*batch, context).

    Raises:
        ValueError: a size is out of its range.

    References:
        | Pixel Recurrent Neural Networks (van den Oord et al., 2016), arXiv:1601.06759

    >>> import torch
    >>> grid = DiscreteGrid((1, 2, 2), levels=4, hidden=(8, 8))
    >>> grid.log_prob(torch.zeros(1, 2, 2)).exp().item()  # of 256 images, which are equally likely before training
    0.00390625
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"shape": [1, 2, 2], "levels": 4, "hidden": [8, 8], "above": 1, "beside": 1},
        {
            "shape": [2, 3],
            "levels": 3,
            "context": 2,
            "hidden": [6, 6, 6],
            "activation": "tanh",
            "dropout": 0.1,
            "embedding": 2,
        },
    )
    reparametrized = False

    def __init__(
        self,
        shape: Sequence[int],
        *,
        levels: int = 256,
        context: int = 0,
        hidden: Sequence[int] = (96, 96, 96),
        activation: str = "silu",
        dropout: float = 0.0,
        above: int = 7,
        beside: int = 7,
        embedding: int = 3,
    ) -> None:
        super().__init__()
        owner = "DiscreteGrid"
        self.event_shape = event_shape(owner, shape)
        if not 2 <= len(self.event_shape) <= 3:
            raise ValueError(f"{owner}: shape must be (channels, *spatial) with one or two spatial sizes; got {shape}.")
        at_least(owner, "levels", levels, 2)
        at_least(owner, "context", context, 0)
        at_least(owner, "embedding", embedding, 1)
        self.context_shape = (context,) if context else None
        self.levels, self.support = levels, Integers(0, levels - 1)
        channels, *spatial = self.event_shape
        self.seen_as = nn.Parameter(_waves(levels, embedding))
        self.network = CausalWindow(
            channels * math.prod(spatial),
            levels,
            context=context,
            channels=embedding,
            hidden=hidden,
            activation=activation,
            dropout=dropout,
            shape=(1, *spatial, channels)[-3:],
            above=above,
            beside=beside,
        )

    @property
    def sample_kind(self) -> Kind:
        return "sequential"

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        width = max(row_width(self.network), self.levels * self.network.features)
        return in_row_blocks(lambda *rows: (self._of_rows(*rows),), width, len(self.event_shape), x, context)[0]

    def _of_rows(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The log-probability of each row."""
        batch = x.shape[: x.ndim - len(self.event_shape)]
        index = self._to_features(x)  # (features, n)
        context = None if context is None else context.reshape(math.prod(batch), context.shape[-1]).t()
        logits = self.network(self._embed(index).flatten(0, 1), context)  # (levels, features, n)
        log_probs = logits.gather(0, index[None])[0] - logits.logsumexp(dim=0)
        return log_probs.sum(dim=0).reshape(batch)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        count = math.prod(batch)
        context = None if context is None else context.reshape(count, context.shape[-1]).t()
        like = self.seen_as.new_empty(self.network.features, count)
        steps, previous, drawn = self.network.start(like, context), None, []
        for _ in range(self.network.features):
            probabilities = steps.step(previous).softmax(dim=0).t()  # (n, levels)
            value = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
            drawn.append(value)
            previous = self.seen_as[:, value]
        return self._to_event(torch.stack(drawn), batch)

    def _embed(self, index: Tensor) -> Tensor:
        """What the network sees of values (features, n): (features, embedding, n)."""
        return self.seen_as[:, index].movedim(0, 1)

    def _to_features(self, x: Tensor) -> Tensor:
        """Events (*batch, channels, *spatial) to whole numbers (features, n), the channels of a cell side by side."""
        events = x.reshape(-1, *self.event_shape).movedim(1, -1)
        return events.flatten(1).t().long().contiguous()

    def _to_event(self, values: Tensor, batch: tuple[int, ...]) -> Tensor:
        """The inverse of `_to_features`, in the dtype of the weights."""
        channels, *spatial = self.event_shape
        events = values.t().unflatten(1, (*spatial, channels)).movedim(-1, 1)
        return events.reshape(*batch, *self.event_shape).to(self.seen_as.dtype)


def _waves(levels: int, embedding: int) -> Tensor:
    """(embedding, levels): values between -1 and 1, then waves of them, each twice as fast."""
    values = torch.linspace(-1, 1, levels)
    waves = [values, *((2**k * torch.pi / 2 * (values + 1)).cos() for k in range(embedding - 1))]
    return torch.stack(waves)
