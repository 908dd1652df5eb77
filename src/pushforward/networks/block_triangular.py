"""A block-triangular product whose input arrives piece by piece."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["BlockTriangularMatvec"]

# Steps per block. Inside a block each step multiplies by a few columns only; what came before the block is multiplied
# once per block, by one large product instead of one thin one per step.
BLOCK = 12


class BlockTriangularMatvec:
    r"""y = M x + b, where x arrives in pieces and the t-th rows of M read pieces 0 .. t alone.

    All steps together cost about one product with the lower block triangle of M.

    Args:
        matrix: M, (rows, columns).
        rows: for each step, the slice of rows that it completes.
        columns: for each step, the slice of columns that its piece fills. Slices of consecutive steps touch, in
            rising or in falling order.
        like: has the dtype, the device, the number n of points and, under vmap, the extra axes of the pieces.
        bias: b, (rows,).

    Without gradients the pieces are written into one buffer; with gradients they are concatenated, so that nothing
    recorded is overwritten.
    """

    # torch.compile loses assignments to attributes in a __dict__ made before it traces a while-loop (a numeric
    # inverse); __slots__ avoid that.
    __slots__ = (
        "before",
        "bias",
        "block_start",
        "buffer",
        "columns",
        "keep_graph",
        "local",
        "matrix",
        "pieces",
        "recent",
        "rows",
        "slots",
        "step",
    )

    def __init__(
        self, matrix: Tensor, rows: Sequence[slice], columns: Sequence[slice], like: Tensor, bias: Tensor | None = None
    ) -> None:
        self.matrix, self.rows, self.columns, self.bias = matrix, rows, columns, bias
        self.keep_graph = torch.is_grad_enabled()
        self.step, self.block_start = 0, 0
        self.pieces: list[Tensor] = []
        # Zeros: columns of a block that are not filled yet add nothing.
        self.buffer = like.new_zeros((0 if self.keep_graph else matrix.shape[1], like.shape[-1]))

    def push(self, piece: Tensor) -> Tensor:
        """Append the next piece of x (columns of this step, n); returns the rows that it completes (rows of this step,
        n)."""
        if not self.keep_graph:
            self.slot().copy_(piece)
            return self.completed()
        if self.step % BLOCK == 0:
            self._open()
        offset = self.step - self.block_start
        self.step += 1
        self.pieces.append(piece)
        recent = torch.cat(_ordered(self.pieces[self.block_start :], self.columns))
        return torch.addmm(self.before[offset], self._filled(self.local[offset]), recent)

    def slot(self) -> Tensor:
        """Where to write the next piece, if nothing is recorded. Write it, then call `completed`, once a step: the two
        are `push` without a copy."""
        if self.step % BLOCK == 0:
            self._open()
        return self.slots[self.step - self.block_start]

    def completed(self, out: Tensor | None = None) -> Tensor:
        """The rows that the piece written into `slot` completes."""
        offset = self.step - self.block_start
        self.step += 1
        return torch.addmm(self.before[offset], self.local[offset], self.recent, out=out)

    def _open(self) -> None:
        """Start a block: multiply everything that came before it, and slice M for the steps of the block."""
        start, stop = self.step, min(self.step + BLOCK, len(self.rows))
        self.block_start = start
        rows, columns = _span(self.rows[start:stop]), _span(self.columns[start:stop])
        matrix = self.matrix[rows]
        bias = None if self.bias is None else self.bias[rows, None]
        if start:
            done = _span(self.columns[:start])
            x = torch.cat(_ordered(self.pieces, self.columns)) if self.keep_graph else self.buffer[done]
            before = matrix[:, done] @ x if bias is None else torch.addmm(bias, matrix[:, done], x)
        else:
            before = self.buffer.new_zeros(len(matrix), self.buffer.shape[-1])
            before = before if bias is None else before + bias
        self.before = _split(before, self.rows[start:stop])
        self.local = _split(matrix[:, columns], self.rows[start:stop])
        if not self.keep_graph:
            self.recent = self.buffer[columns]
            self.slots = _split(self.recent, self.columns[start:stop])

    def _filled(self, local: Tensor) -> Tensor:
        """The columns of the pieces of this block so far."""
        span, done = (
            _span(self.columns[self.block_start : self.block_start + BLOCK]),
            _span(self.columns[self.block_start : self.step]),
        )
        return local[:, done.start - span.start : done.stop - span.start]


def _span(slices: Sequence[slice]) -> slice:
    """From the first to the last of slices that touch, in rising or in falling order."""
    first, last = slices[0], slices[-1]
    return slice(min(first.start, last.start), max(first.stop, last.stop))


def _falling(slices: Sequence[slice]) -> bool:
    return slices[0].start > slices[-1].start


def _ordered(pieces: list[Tensor], slices: Sequence[slice]) -> list[Tensor]:
    return pieces[::-1] if _falling(slices) else pieces


def _split(matrix: Tensor, slices: Sequence[slice]) -> Sequence[Tensor]:
    """The rows of each step, in the order of steps."""
    sizes = [s.stop - s.start for s in slices]
    if _falling(slices):
        return torch.split_with_sizes(matrix, sizes[::-1])[::-1]
    return torch.split_with_sizes(matrix, sizes)
