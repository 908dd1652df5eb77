"""Whole numbers on a grid, such as the pixels of an image, with a probability for each given those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Integers
from pushforward.core.execution_mode import runs_eagerly
from pushforward.core.screening import at_screened
from pushforward.core.shapes import event_shape
from pushforward.distributions.draws import uniforms
from pushforward.distributions.grid_rest import GridRest
from pushforward.distributions.row_blocks import in_row_blocks, row_width
from pushforward.networks import CausalWindow

__all__ = ["DiscreteGrid"]

LEAST_SHARE = 1e-4
"""Of flat cells: random numbers of 24 bits draw much smaller shares too often."""
NEAR_EDGE = 4.0
"""How much likelier training draws a flat cell whose window holds other values: it has more to teach."""


@configurable
class DiscreteGrid(Distribution):
    r"""Whole numbers 0 .. levels - 1 at the cells of a grid: each has a probability given the cells before it.

    .. math:: q(x) = \prod_j q(x_j \mid x_{<j}, c), \qquad
        q(x_j = v \mid x_{<j}, c) = \operatorname{softmax}_v \theta_j(x_{<j}, c)

    Cells are in raster order, row by row, and the channels of a cell one after the other. `networks.CausalWindow`
    computes the logits from a window of the cells before, each of whose values it sees as a few learned numbers, and
    from what it remembers of the others. These are probabilities of the numbers themselves, not densities: -log2 q is
    the length of a code. Log-probabilities cost one pass, samples one small step for each number. `initialize`, which
    `fit` calls, sets the probabilities of an untrained grid to the frequencies of the levels.

    A cell is *flat* where the cells before that touch it, two at least, have the same values (`networks.CausalWindow`).
    With ``flat_share`` recurrent units pass their states on unchanged at flat cells. Of flat cells that have the values
    of their neighbours there is next to nothing to learn: of these a training step draws a share, and four times that
    share of those whose window holds other values, and each counts for as many as it stands for. This estimate of the
    log-probability is unbiased and takes a fraction of the work; `log_prob` is exact always. From the same weights a
    model with ``flat_share`` gives other probabilities than one without; with the share 1 training computes all cells.

    Args:
        shape: (channels, *spatial) of an event, with one or two spatial axes.
        levels: how many values a number has.
        context: number of context features, those of planes included.
        hidden: layer widths of the network, which are equal.
        activation: its activation.
        dropout: its dropout probability.
        above: rows of the window above a cell.
        beside: cells of the window on each side of it.
        recurrent: units that carry what lies beyond the window from cell to cell, before each residual block; see
            `networks.GridRecurrence`. 0 for none.
        planes: of an image over the grid that the context ends with, in row-major order of (planes, *spatial); each
            cell sees it in the window on all sides. Such a model restores, enlarges or colours images.
        embedding: learned numbers that stand for each value, but no more than there are levels.
        flat_share: the share of the flat cells with the values of their neighbours that a training step draws, from
            1e-4 to 1; None for recurrent units that have a say at all cells, all of which are computed.

    Shape:
        x: (*batch, *shape), whole numbers in a floating dtype; context: (*batch, context).

    Raises:
        ValueError: a size or the share is out of its range.

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
            "recurrent": 0,
            "embedding": 2,
        },
        {
            "shape": [2, 2, 2],
            "levels": 3,
            "context": 5,
            "planes": 1,
            "hidden": [6, 6],
            "recurrent": 8,
            "beside": 1,
            "flat_share": 0.5,
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
        above: int = 2,
        beside: int = 3,
        recurrent: int = 64,
        planes: int = 0,
        embedding: int = 16,
        flat_share: float | None = None,
    ) -> None:
        super().__init__()
        owner = "DiscreteGrid"
        self.event_shape = event_shape(owner, shape)
        if not 2 <= len(self.event_shape) <= 3:
            raise ValueError(f"{owner}: shape must be (channels, *spatial) with one or two spatial sizes; got {shape}.")
        at_least(owner, "levels", levels, 2)
        at_least(owner, "context", context, 0)
        at_least(owner, "embedding", embedding, 1)
        if flat_share is not None and not LEAST_SHARE <= flat_share <= 1:
            raise ValueError(f"{owner}: flat_share must be from {LEAST_SHARE} to 1, or None; got {flat_share}.")
        self.flat_share = flat_share
        self.context_shape = (context,) if context else None
        self.levels, self.support = levels, Integers(0, levels - 1)
        embedding = min(embedding, levels)
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
            recurrent=recurrent,
            planes=planes,
            passes_flat=flat_share is not None,
        )

    @property
    def draws_estimates(self) -> bool:  # type: ignore[override]
        """Whether training sees a share of the cells."""
        return self.flat_share is not None

    @property
    def sample_kind(self) -> Kind:
        return "sequential"

    def given(self, observed: Tensor) -> Distribution:
        """The exact distribution of the last rows of cells, given the first.

        .. math:: q(x_{> k} \\mid x_{\\le k}) = \\prod_{j > k} q(x_j \\mid x_{<j})

        Log-probabilities cost one pass over the other cells (over all with recurrent units), samples one small step
        for each number of the others.

        Args:
            observed: the first rows (*batch, channels, rows, width) of an image, or the first cells (*batch, channels,
                cells) of a sequence, at least one and not all.

        Returns:
            a distribution of the others, (channels, height - rows, width) or (channels, width - cells). Where a row of
            ``observed`` holds no levels, its log-probabilities are -inf (NaN at a NaN), and samples are NaN.

        Raises:
            ValueError: the shape or dtype of ``observed`` is wrong.
        """
        return GridRest(self, observed)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        """Before any training, the probabilities are the frequencies of the levels, those of each channel by itself."""
        weight, bias = self.network.last_weight, self.network.last_bias
        if weight.any() or bias.any():
            return
        numbers = x.reshape(-1, *self.event_shape).transpose(0, 1).flatten(1).long()
        numbers = numbers.clamp(0, self.levels - 1)  # (channels, ...)
        counts = torch.stack([of_channel.bincount(minlength=self.levels) for of_channel in numbers], dim=-1)
        log_frequencies = (counts + 0.5).log().to(bias)
        bias.copy_((log_frequencies - log_frequencies.mean(dim=0)).flatten())

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._log_prob_after(x, context, 0)

    def _log_prob_after(self, x: Tensor, context: Tensor | None, start: int) -> Tensor:
        """The log-probability of the cells from ``start`` on, given those before."""
        width = max(row_width(self.network), self.levels * self.network.features)
        ndim = len(self.event_shape)
        return in_row_blocks(lambda x, context: (self._of_rows(x, context, start),), width, ndim, x, context)[0]

    def _estimate_log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """In training, the log-probability estimated from all cells but some of the flat ones."""
        if not self.training or self.flat_share is None or not runs_eagerly(x):  # compiled graphs have fixed sizes
            return super()._estimate_log_prob(x, context, generator)
        x, context, ok, nan = self._screened(x, context)
        index = self._to_features(x)
        n = index.shape[-1]
        columns = self._context_columns(context, n)
        flat, chosen, weights = self._drawn_cells(index, columns, generator)
        outputs = self.network.at(self._windows(index, chosen), columns, flat, chosen)
        values = index.unflatten(0, (-1, self.network.values)).transpose(0, 1).flatten(1)[:, chosen]
        log_probs = self._logits(outputs).log_softmax(dim=0).gather(0, values[None])[0].sum(dim=0) * weights
        return at_screened(log_probs.new_zeros(n).index_add(0, chosen % n, log_probs).view(ok.shape), ok, nan)

    def _drawn_cells(
        self, index: Tensor, context: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The cells at which a training step computes the network.

        Args:
            index: values (features, n).
            context: (context, n).
            generator: source of what is drawn.

        Returns:
            which cells are flat, (cells, n); numbers of columns of (cells, n), all others and some of those; and how
            many cells each of these columns stands for.
        """
        codes, image = self.seen_as.detach()[0][index], self.network.seen_of(context).image
        flat, neighbours = self.network.flat_cells(codes, image)
        by_value = codes.unflatten(0, (-1, self.network.values)).transpose(0, 1)
        predictable = flat & (by_value == neighbours).all(dim=0)
        window_is_flat, _ = self.network.flat_cells(codes, image, in_window=True)
        share = 1.0 if self.flat_share is None else self.flat_share
        of_predictable = torch.where(window_is_flat, share, min(1.0, NEAR_EDGE * share))
        shares = torch.where(predictable, of_predictable, 1.0).flatten()
        drawn = torch.rand(shares.shape, generator=generator, device=generator.device).to(index.device) < shares
        chosen = drawn.nonzero()[:, 0]
        return flat, chosen, (1 / shares[chosen]).to(self.seen_as.dtype)

    def _windows(self, index: Tensor, chosen: Tensor) -> Tensor:
        """What the network reads at some columns of (cells, n), (inputs, chosen), of values (features, n)."""
        n, embedding = index.shape[-1], len(self.seen_as)
        table = torch.cat([self.seen_as.t(), self.seen_as.new_zeros(1, embedding)])  # at last, what is outside
        values = torch.cat([index, index.new_full((1, n), self.levels)])
        reads = (self.network.reads[::embedding] // embedding).t()
        return F.embedding(values[reads[chosen // n], (chosen % n)[:, None]], table).flatten(1).t()

    def _of_rows(self, x: Tensor, context: Tensor | None, start: int) -> Tensor:
        """`_log_prob_after` of each row."""
        batch = x.shape[: x.ndim - len(self.event_shape)]
        index = self._to_features(x)  # (features, n)
        columns = self._context_columns(context, math.prod(batch))
        outputs = self.network.after(self._embed(index).flatten(0, 1), columns, start)
        logits = self._logits(outputs)  # (levels, features, n)
        index = index[start * self.network.values :]
        log_probs = logits.log_softmax(dim=0).gather(0, index[None])[0]
        return log_probs.sum(dim=0).reshape(batch)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self._drawn_after(None, batch, context, generator)

    def _drawn_after(
        self,
        observed: Tensor | None,
        batch: tuple[int, ...],
        context: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Events (*batch, *event_shape) whose first numbers are those observed, (numbers, n)."""
        count, features = math.prod(batch), self.network.features
        before = 0 if observed is None else len(observed)
        # All random numbers are drawn at first, so that points do not depend on the blocks in which they are computed.
        noise = uniforms((count, features - before), self.seen_as, generator)
        rows = noise if observed is None else torch.cat([observed.t().to(noise), noise], dim=1)
        context = None if context is None else context.reshape(count, context.shape[-1])
        # What was observed goes through the network at once.
        width = max(self.network.point_width if before else self.network.step_width, self.levels)

        def draw(rows: Tensor, context: Tensor | None) -> tuple[Tensor]:
            return (self._drawn(rows[:, :before].t().long(), rows[:, before:].t(), context),)

        (drawn,) = in_row_blocks(draw, width, 1, rows, context)
        return self._to_event(drawn.t(), batch)

    def _drawn(self, observed: Tensor, noise: Tensor, context: Tensor | None) -> Tensor:
        """Numbers (n, features), the first of which are observed; the others from uniform ones, (numbers, n)."""
        count = noise.shape[-1]
        drawn = [*observed]
        steps = self.network.start(noise.new_empty(self.network.features, count), self._context_columns(context, count))
        steps.skip([self.seen_as[:, value] for value in drawn])
        previous = self.seen_as[:, drawn[-1]] if drawn else None
        usable = torch.ones(count, dtype=torch.bool, device=noise.device)
        for u in noise:
            cumulated = self._logits(steps.step(previous)).softmax(dim=0).cumsum(dim=0)  # (levels, n)
            usable = usable & cumulated[-1].isfinite()
            drawn.append((cumulated[:-1] <= u * cumulated[-1]).sum(dim=0))
            previous = self.seen_as[:, drawn[-1]]
        values = torch.stack(drawn, dim=1).to(noise.dtype)
        return values.masked_fill(~usable[:, None], torch.nan)  # where weights are no numbers

    def _context_columns(self, context: Tensor | None, count: int) -> Tensor | None:
        """Contexts of so many events as the network takes them, (context, n)."""
        return None if context is None else context.reshape(count, context.shape[-1]).t()

    def _logits(self, outputs: Tensor) -> Tensor:
        """The logits (levels, ...) from the outputs of the network."""
        return outputs

    def _embed(self, index: Tensor) -> Tensor:
        """What the network sees of values (features, n): (features, embedding, n)."""
        return self.seen_as[:, index].movedim(0, 1)

    def _to_features(self, x: Tensor) -> Tensor:
        """Events (*batch, channels, *spatial) to whole numbers (features, n), the channels of a cell side by side."""
        events = x.reshape(-1, *self.event_shape).movedim(1, -1)
        return events.flatten(1).t().long().contiguous()

    def _to_event(self, values: Tensor, batch: tuple[int, ...]) -> Tensor:
        """The inverse of `_to_features`, of numbers in the dtype of the weights."""
        channels, *spatial = self.event_shape
        events = values.t().unflatten(1, (*spatial, channels)).movedim(-1, 1)
        return events.reshape(*batch, *self.event_shape)


def _waves(levels: int, embedding: int) -> Tensor:
    """(embedding, levels): values between -1 and 1, then waves of them, each twice as fast."""
    values = torch.linspace(-1, 1, levels)
    waves = [values, *((2**k * torch.pi / 2 * (values + 1)).cos() for k in range(embedding - 1))]
    return torch.stack(waves)
