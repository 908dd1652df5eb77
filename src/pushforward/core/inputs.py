"""What a distribution does with its inputs before any hook sees them: checks, common batch shapes, unusable rows."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from pushforward.core.checks import broadcast, check_context, check_precision, common_batch
from pushforward.core.constants import HasConstants
from pushforward.core.domain import Domain, Real
from pushforward.core.screening import screen
from pushforward.core.shapes import unsqueeze_to

__all__ = ["ScreenedInputs"]


class ScreenedInputs(HasConstants):
    """Events and contexts of stated shapes and dtypes, among which rows may be infinite, NaN or outside the support.

    Such rows are replaced by points that can be computed with, and reported as masks: a NaN that enters a layer would
    reach the weight gradients of all rows, even if it is left out of the loss afterwards.
    """

    event_shape: tuple[int, ...]
    context_shape: tuple[int, ...] | None = None
    batch_shape: tuple[int, ...] = ()
    """Batch shape of fixed inputs, such as the values that `given` fixes: samples are
    (*shape, *batch_shape, *event_shape)."""
    support: Domain

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of x; None: any floating dtype."""
        return next((t.dtype for t in [*self.parameters(), *self.buffers()] if t.is_floating_point()), None)

    @property
    def context_dtype(self) -> torch.dtype | None:
        """The dtype of the context; None: any floating dtype."""
        return self.dtype

    def _screened(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """(x and context with unusable rows replaced, which rows are usable, which hold a NaN)."""
        x, context = broadcast(
            type(self).__name__, "x", x, self.event_shape, context, self.context_shape, self.dtype, self.context_dtype
        )
        x, context = self._spread("x", x, context)
        ok, nan = screen(x, len(self.event_shape))
        if not isinstance(self.support, Real):  # which contains whatever is finite
            inside = self.support.contains(x)
            ok = ok & inside.flatten(ok.ndim).all(-1) if inside.ndim > ok.ndim else ok & inside
        if context is not None and self.context_shape is not None:
            context, context_ok, context_nan = self._screened_context(context)
            ok, nan = ok & context_ok, nan | context_nan
        fixed_ok, fixed_nan = self._fixed_rows()
        ok, nan = ok & fixed_ok, nan | fixed_nan
        x = torch.where(unsqueeze_to(ok, x.ndim), x, self.support.anchor(x))
        return x, context, ok, nan

    def _screened_context(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ok, nan = screen(context, len(self.context_shape or ()))
        return torch.where(unsqueeze_to(ok, context.ndim), context, 0.0), ok, nan

    def _sampling(
        self, shape: tuple[int, ...] | int, context: Tensor | None
    ) -> tuple[tuple[int, ...], Tensor | None, Tensor | None]:
        """(batch shape of the points to draw, the context expanded to it, which of its rows are usable)."""
        asked: Any = shape
        sizes: list[Any] = [asked] if isinstance(asked, Integral) else list(asked)
        owner = type(self).__name__
        if not all(isinstance(size, Integral) and int(size) >= 0 for size in sizes):
            raise ValueError(f"{owner}: the sample shape must be whole numbers of at least 0; got {shape}.")
        shape = tuple(map(int, sizes))
        check_context(owner, context, self.context_shape)
        check_precision(owner, self.dtype)
        fixed_ok, _ = self._fixed_rows()
        if context is None or self.context_shape is None:
            batch = (*shape, *self.batch_shape)
            return batch, None, fixed_ok.expand(batch) if isinstance(fixed_ok, Tensor) else None
        dtype = self.context_dtype
        context, _ = broadcast(owner, "context", context, self.context_shape, None, None, dtype, None)
        context, ok, _ = self._screened_context(context)
        batch = (*shape, *common_batch(owner, "context", tuple(ok.shape), "observed", self.batch_shape))
        return batch, context.expand((*batch, *self.context_shape)), (ok & fixed_ok).expand(batch)

    def _spread(self, name: str, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x and context, expanded to their common batch shape with the fixed inputs."""
        if not self.batch_shape:
            return x, context
        batch = tuple(x.shape[: x.ndim - len(self.event_shape)])
        batch = common_batch(type(self).__name__, name, batch, "observed", self.batch_shape)
        x = x.expand((*batch, *self.event_shape))
        return x, None if context is None else context.expand((*batch, *(self.context_shape or ())))

    def _fixed_rows(self) -> tuple[Tensor | bool, Tensor | bool]:
        """(whether each row of the fixed inputs is usable, whether it holds a NaN)."""
        return True, False
