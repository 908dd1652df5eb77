"""Rows that cannot be computed with: found before the first layer, and reported after the last one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from pushforward.core.numerics import concrete_bool

__all__ = ["HEADROOM", "at_screened", "screen", "warn_unsolved"]

# Magnitudes this near to overflow are treated as infinite: a layer that scales them further would overflow, and
# inf - inf = NaN in one row poisons the weight gradients of all rows.
HEADROOM = 1e-8


def screen(x: Tensor, event_ndim: int) -> tuple[Tensor, Tensor]:
    """(whether each event is finite with some headroom, whether it holds a NaN), both of batch shape."""
    limit = torch.finfo(x.dtype).max * HEADROOM
    usable, nan = x.abs() <= limit, x.isnan()
    if not event_ndim:
        return usable, nan
    return usable.flatten(-event_ndim).all(-1), nan.flatten(-event_ndim).any(-1)


def at_screened(log_prob: Tensor, ok: Tensor, nan: Tensor) -> Tensor:
    """Log-densities of rows: -inf where a row is not ``ok``, NaN where it holds a NaN."""
    return torch.where(ok, log_prob, torch.where(nan, torch.nan, -torch.inf).to(log_prob.dtype))


UNSOLVED = (
    "a numerical inverse did not converge in {rows}; they are NaN. The map is too steep there for this dtype: try "
    "float64, or train with a smaller learning rate."
)


def warn_unsolved(owner: str, value: Tensor, usable: Tensor | None, parts: Iterable[object] = ()) -> None:
    """Warn once if a usable row came out as NaN: a numerical inverse or another solver did not converge there.

    Args:
        owner: the class whose name the warning carries.
        value: (*batch, *event) results of any kind.
        usable: (*batch,) rows whose input was finite; None: all of them.
        parts: what computed them; the first with an attribute ``unsolved`` that is not empty gives the sentence.
    """
    if not value.numel():
        return
    rows = usable.numel() if usable is not None else value.shape[0] if value.ndim else 1
    unsolved = value.detach().isnan()
    if usable is not None:
        unsolved = unsolved.reshape(*usable.shape, -1).any(dim=-1) & usable
    if concrete_bool(unsolved.any()):
        count = int(unsolved.reshape(rows, -1).any(dim=-1).sum())
        sentence = next((text for part in parts if (text := getattr(part, "unsolved", ""))), UNSOLVED)
        warnings.warn(f"{owner}: {sentence.format(rows=f'{count} of {rows} rows')}", RuntimeWarning, stacklevel=3)
