"""A conditioner for grids that reads a window of the cells before each cell, and remembers what lies beyond."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.core.constants import HasConstants
from pushforward.networks.conditioner import AutoregressiveConditioner, register_masked
from pushforward.networks.grid_reads import cells_around, cells_before, grid_sizes
from pushforward.networks.grid_recurrence import CarriedStates, GridRecurrence, directions_of
from pushforward.networks.mlp import check_hidden
from pushforward.networks.precision import MixedPrecision
from pushforward.networks.trunk import ACTIVATIONS, blocks_of, dropped
from pushforward.networks.window_passes import SeenContext, WindowBlocks, WindowSteps, bounded

__all__ = ["CausalWindow"]

LEAST_TOUCHING = 2
"""Cells that touch a flat one: what a single one holds says nothing about change."""


class CausalWindow(AutoregressiveConditioner, MixedPrecision, HasConstants):
    r"""A perceptron at each cell of a grid, whose inputs are the cells before it within a window around it.

    Cells are in raster order, row by row; the window has so many rows above the cell and reaches so many cells to the
    left and to the right, of the cell's row only to the left. All cells share the weights, but for a learned bias of
    each place, and between a first and a last linear map there are residual blocks:

    .. math:: h \leftarrow h + W_2\, \varphi\bigl(W_1 \varphi(h) + b + V c\bigr)

    This is a masked convolution followed by convolutions of size one. With ``recurrent`` units a `GridRecurrence`
    stands before each residual block: they carry states from cell to cell, to the right, down and along both diagonals,
    so that a cell sees what lies far to the left and above, and, if ``above`` is not 0, to the right as far as it is
    above. An incremental pass costs no more arithmetic than a parallel one, and keeps the cells and the states so far.
    With ``passes_flat`` states go on unchanged at *flat* cells: the cells before that touch one, two at least, have the
    same values, and so have the planes around it. Training then needs the network at the other cells alone (`at`).

    The last layer starts at zero. Inputs are clamped to ±``INPUT_LIMIT``. With several values in a cell (colours), each
    depends on those before it in its cell as well, through hidden units that are shared out among the values.

    Args:
        features: number of cells times values in a cell; a cell's values are neighbours.
        num_params: parameters per feature.
        context: number of context features.
        channels: inputs that stand for one feature (2 for an angle: its cosine and sine).
        hidden: layer widths, which are equal; there are ``max(1, len(hidden) - 1)`` residual blocks.
        activation: one of ``ACTIVATIONS``.
        dropout: probability of dropping a hidden unit in training.
        shape: (width,), (height, width) or (height, width, values) of the grid; by default a sequence of features.
        above: rows of the window above the cell.
        beside: cells of the window on each side.
        recurrent: units of each `GridRecurrence`, at least one for each direction and value of a cell; 0 for a network
            that sees its window alone.
        planes: of an image over the grid that the context ends with, in row-major order of (planes, height, width);
            each cell reads it in the window on all sides of it.
        passes_flat: whether recurrent units, if there are any, pass their states on unchanged at flat cells. Values are
            told apart by the first of the inputs that stand for a feature.

    Shape:
        ``x``: (features · channels, n), ``context``: (context, n), parameters: (num_params, features, n).

    Raises:
        ValueError: the shape does not have as many values as there are features, or a size is out of its range.

    References:
        | Pixel Recurrent Neural Networks (van den Oord et al., 2016), arXiv:1601.06759
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), arXiv:1606.05328
    """

    reads: Tensor
    touching: Tensor
    around: Tensor
    mask: Tensor
    first_mask: Tensor
    last_mask: Tensor

    def __init__(
        self,
        features: int,
        num_params: int,
        *,
        context: int = 0,
        channels: int = 1,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        dropout: float = 0.0,
        shape: Sequence[int] | None = None,
        above: int = 5,
        beside: int = 5,
        recurrent: int = 0,
        planes: int = 0,
        passes_flat: bool = False,
    ) -> None:
        super().__init__()
        owner = "CausalWindow"
        check_hidden(owner, hidden, True, activation, dropout)
        height, width, values = grid_sizes(owner, features, shape)
        at_least(owner, "above", above, 0)
        at_least(owner, "beside", beside, 1)
        at_least(owner, "recurrent", recurrent, 0)
        at_least(owner, "planes", planes, 0)
        if (plain := context - planes * height * width) < 0:
            raise ValueError(
                f"{owner}: the context must hold {planes} numbers for each of {height * width} cells; got {context}."
            )
        if 0 < recurrent < (least := values * len(directions_of(height, width))):
            raise ValueError(
                f"{owner}: recurrent must be 0 or at least {least}, one for each direction and value; got {recurrent}."
            )
        if hidden[0] < values:
            raise ValueError(f"{owner}: hidden layers need a unit for each of the {values} values of a cell.")
        self.features, self.num_params, self.channels = features, num_params, channels
        self.values, self.activation, self.dropout = values, activation, dropout
        self.num_blocks, units, self.recurrent = blocks_of(hidden, True), hidden[0], recurrent
        self.place = nn.Parameter(torch.zeros(units, features // values))  # before what takes long for large grids
        nothing = [[features * channels] * (height * width)]  # outside of the grid, for a grid of one number
        reads = cells_before(height, width, values, channels, above, beside) or nothing * channels
        self.add_constant("reads", reads, torch.int64)
        self.passes_flat = passes_flat and recurrent > 0
        # Features of the cells before that touch one, by their first inputs.
        touching = cells_before(height, width, values, channels, 1, 1)[::channels]
        touching = touching[: len(touching) - (values - 1)] or nothing * values
        self.add_constant("touching", touching, torch.int64)
        # Unit k belongs to one of the values of a cell: it sees the window, and of its cell the values before its own.
        owners = [k * values // units for k in range(units)]
        before = [v for v in range(values - 1) for _ in range(channels)]
        inputs = len(self.reads)
        if values > 1:
            in_window = [1] * (inputs - len(before))
            self.add_constant("first_mask", [in_window + [int(v < k) for v in before] for k in owners])
            self.add_constant("mask", [[int(j <= k) for j in owners] for k in owners])
            rows = [v for _ in range(num_params) for v in range(values)]
            self.add_constant("last_mask", [[int(j <= v) for j in owners] for v in rows])
        self.first = nn.Parameter(torch.randn(units, inputs) * inputs**-0.5)
        if planes:
            self.add_constant("around", cells_around(height, width, planes, above, beside), torch.int64)
        self.planes = planes
        self.of_planes = nn.Parameter(torch.randn(units, self._around) * self._around**-0.5) if planes else None
        layers = 2 * self.num_blocks
        self.weights = nn.Parameter(torch.randn(layers, units, units) * units**-0.5)
        self.biases = nn.Parameter(torch.zeros(layers, units))
        self.of_context = nn.Parameter(torch.randn(1 + self.num_blocks, units, plain) * 0.1) if plain else None
        blocks = self.num_blocks if recurrent else 0
        self.recurrences = nn.ModuleList(
            GridRecurrence(units, recurrent, plain, height, width, owners) for _ in range(blocks)
        )
        self.last_weight = nn.Parameter(torch.zeros(num_params * values, units))
        self.last_bias = nn.Parameter(torch.zeros(num_params * values))

    def parallel(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.after(x, context, 0)

    def after(self, x: Tensor, context: Tensor | None, start: int) -> Tensor:
        """`parallel` at the cells from ``start`` on."""
        first = 0 if self.recurrences else start
        cells = torch.cat([x, torch.zeros_like(x[:1])])
        with self.matmul_scope(x):
            params = self.evaluate(cells, self.seen_of(context), first, self.features // self.values).to(x.dtype)
        return params[:, (start - first) * self.values :]

    def at(self, window: Tensor, context: Tensor | None, flat: Tensor, chosen: Tensor) -> Tensor:
        """`parallel` at some cells of some points, all that are not flat among them, with ``passes_flat``.

        Args:
            window: what each of the chosen cells reads, (inputs, chosen), in the order of ``reads``.
            context: of the points, (context, n).
            flat: of all cells, (cells, n).
            chosen: numbers of columns of (cells, n).

        Returns:
            (num_params, values, chosen).
        """
        cell, point = chosen // flat.shape[-1], chosen % flat.shape[-1]
        with self.matmul_scope(window):
            plain, image = self.seen_of(context)
            around = None if image is None else image[self.around[:, cell], point]
            plain = None if plain is None else plain.index_select(1, point)
            place = self.place.index_select(1, cell)[:, None]
            h = self._first_layer(bounded(window), around, place, plain, (1, len(chosen)))
            h = self._blocks(h, plain, lambda k, h: self.recurrences[k](h, plain, flat=flat, chosen=chosen))
            return self._last_layer(h).to(window.dtype).squeeze(2)

    def flat_cells(
        self, codes: Tensor, image: Tensor | None, start: int = 0, stop: int | None = None, *, in_window: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Which cells are flat, (cells, n), and the values that those around each of them have, (values, cells, n).

        Args:
            codes: numbers that tell values apart, (features, n).
            image: that the cells see, as `seen_of` gives it; None without planes.
            start: number of the first of the cells.
            stop: number of the cell after the last of them; None for all.
            in_window: whether all cells of the window must have the same values, and not only those that touch a cell.
        """
        n, reads = codes.shape[-1], self.touching[:, start:stop]
        enough = (reads < self.features * self.channels).sum(dim=0) >= LEAST_TOUCHING * self.values
        if in_window:
            window = self.reads[: len(self.reads) - (self.values - 1) * self.channels : self.channels, start:stop]
            reads = torch.cat([reads, window])
        seen = codes[(reads // self.channels).clamp(max=self.features - 1)]
        by_value = (len(reads) // self.values, self.values, reads.shape[1], n)
        flat, values = _all_equal(seen, reads < self.features * self.channels, by_value, 0)
        flat = flat & enough[:, None]
        if image is not None:
            around = self.around[:, start:stop]
            by_plane = (self.planes, len(around) // self.planes, around.shape[1], n)
            flat = flat & _all_equal(image[around], around < len(image) - 1, by_plane, 1)[0]
        return flat, values

    def start(self, like: Tensor, context: Tensor | None = None) -> WindowSteps:
        return WindowSteps(self, like, context)

    def start_blocks(self, like: Tensor, context: Tensor | None = None) -> WindowBlocks:
        return WindowBlocks(self, like, context)

    def seen_of(self, context: Tensor | None) -> SeenContext:
        """A context (context, n) as the cells see it."""
        if context is None:
            return SeenContext(None, None)
        plain, image = bounded(context).split([len(context) - (count := self.planes * self.place.shape[1]), count])
        return SeenContext(plain, torch.cat([image, torch.zeros_like(context[:1])]) if self.planes else None)

    def new_states(self, like: Tensor) -> list[CarriedStates]:
        """Empty states for a pass of points like ``like`` (features, n)."""
        cells, n = self.features // self.values, like.shape[-1]
        recurrences: Any = self.recurrences
        return [CarriedStates(recurrence, like, cells, n) for recurrence in recurrences]

    @property
    def drops_units(self) -> bool:
        return self.dropout > 0 and self.training

    @property
    def point_width(self) -> int:
        """About how many numbers one point needs at once."""
        return self.features // self.values * max(len(self.reads) + self._around, self._hidden_width)

    @property
    def step_width(self) -> int:
        """About how many numbers one point needs at once in an incremental pass."""
        carried = len(self.recurrences) * self.recurrent * (self.features // self.values)
        return max(self.features * self.channels + carried, len(self.reads) + self._around, self._hidden_width)

    @property
    def _around(self) -> int:
        return len(self.around) if self.planes else 0

    @property
    def _hidden_width(self) -> int:
        return 4 * max(len(self.first), 3 * self.recurrent)

    def evaluate(
        self, cells: Tensor, seen: SeenContext, start: int, stop: int, states: Sequence[CarriedStates] = ()
    ) -> Tensor:
        """The parameters (num_params, features, n) of the cells from ``start`` to ``stop``.

        Args:
            cells: inputs (features · channels, n), and below them a row of zeros, which stands for what is outside of
                the grid. Nothing is read but the windows.
            seen: of the context, as `seen_of` gives it.
            start: number of the first of the cells.
            stop: number of the cell after the last of them.
            states: of the recurrences at the cells before ``start``, to which those of these cells are added; without,
                ``start`` is 0 where there are recurrences.
        """
        n = cells.shape[-1]
        read = self.reads[:, start:stop]
        # Each input is bounded once: before windows that overlap are read, after the window of a single step.
        few = read.numel() < len(cells)
        inputs = (cells if few else bounded(cells)).index_select(0, read.reshape(-1))
        window = (bounded(inputs) if few else inputs).view(len(read), -1)
        plain, image = seen
        around = None
        if image is not None:
            around = image.index_select(0, self.around[:, start:stop].reshape(-1)).view(len(self.around), -1)
        flat = self.flat_cells(cells[: -1 : self.channels], image, start, stop)[0] if self.passes_flat else None
        h = self._first_layer(window, around, self.place[:, start:stop, None], plain, (stop - start, n))
        h = self._blocks(
            h, plain, lambda k, h: self.recurrences[k](h, plain, start, states[k] if states else None, flat)
        )
        return self._last_layer(h).transpose(1, 2).flatten(1, 2)

    def _first_layer(
        self, window: Tensor, around: Tensor | None, place: Tensor, context: Tensor | None, shape: tuple[int, int]
    ) -> Tensor:
        """The first hidden layer (units, cells, n) from the columns of windows; ``shape`` is (cells, n)."""
        h = (self._masked(self.first, "first_mask") @ window).unflatten(-1, shape) + place
        if around is not None and self.of_planes is not None:
            h = h + (self.of_planes @ around).view_as(h)
        return self._add_context(h, 0, context)

    def _blocks(self, h: Tensor, context: Tensor | None, recurrence: Callable[[int, Tensor], Tensor]) -> Tensor:
        """The last hidden layer (units, cells, n) from the first one."""
        act = ACTIVATIONS[self.activation]
        for block in range(self.num_blocks):
            if self.recurrences:
                h = recurrence(block, h)
            inner = self._add_context(self._apply_layer(2 * block, act(h)), 1 + block, context)
            h = h + self._apply_layer(2 * block + 1, self._drop(act(inner)))
        return h

    def _last_layer(self, h: Tensor) -> Tensor:
        """The parameters (num_params, values, cells, n)."""
        weight, act = self._masked(self.last_weight, "last_mask"), ACTIVATIONS[self.activation]
        outputs = torch.addmm(self.last_bias[:, None], weight, act(h).flatten(1))
        return outputs.view(self.num_params, self.values, *h.shape[1:])

    def _apply_layer(self, k: int, h: Tensor) -> Tensor:
        weight = self._masked(self.weights[k], "mask")
        return torch.addmm(self.biases[k, :, None], weight, h.flatten(1)).view_as(h)

    def _masked(self, weight: Tensor, name: str) -> Tensor:
        return weight * getattr(self, name) if self.values > 1 else weight

    def _add_context(self, h: Tensor, k: int, context: Tensor | None) -> Tensor:
        """h (units, cells, n) beside a linear function of the context."""
        return h if context is None or self.of_context is None else h + (self.of_context[k] @ context)[:, None]

    def _drop(self, h: Tensor) -> Tensor:
        return dropped(h, self.dropout) if self.drops_units else h


def _all_equal(seen: Tensor, inside: Tensor, shape: Sequence[int], dim: int) -> tuple[Tensor, Tensor]:
    """Whether numbers (reads, cells, n) are the same along one axis of ``shape``, of those inside of the grid (reads,
    cells), for all of the other groups (cells, n); and the largest of each group, (groups, cells, n)."""
    outside = ~inside[..., None]
    highest = seen.masked_fill(outside, -torch.inf).view(shape).amax(dim=dim)
    lowest = seen.masked_fill(outside, torch.inf).view(shape).amin(dim=dim)
    return (highest <= lowest).all(dim=0), highest


register_masked("window", CausalWindow)
