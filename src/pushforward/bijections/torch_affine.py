"""Affine transforms of ``torch.distributions`` with the log-determinant of every shape of scale."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from pushforward.core.shapes import sum_event

__all__ = ["AffineTransform", "corrected"]

HOLDERS = {
    td.ComposeTransform: "parts",
    td.IndependentTransform: "base_transform",
    td.CatTransform: "transforms",
    td.StackTransform: "transforms",
}
"""Where transforms keep others that they are made of."""


class AffineTransform(td.AffineTransform):
    """That of torch, with the log-determinant of every shape of scale: torch sums log|scale| over the axes of an event
    that the scale has, and so counts one number for several entries once."""

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        scale = torch.as_tensor(self.scale, dtype=y.dtype, device=y.device)
        return sum_event(scale.abs().log().expand(y.shape), self.event_dim)

    def with_cache(self, cache_size: int = 1) -> td.AffineTransform:
        if self._cache_size == cache_size:
            return self
        return AffineTransform(self.loc, self.scale, self.event_dim, cache_size=cache_size)


def corrected(transform: Any) -> Any:
    """The same object, with every affine map in it as an `AffineTransform` of this module."""
    cls = type(transform)
    if cls is td.AffineTransform:
        return AffineTransform(transform.loc, transform.scale, transform.event_dim, transform._cache_size)
    if cls is type(td.ExpTransform().inv):
        return corrected(transform.inv).inv
    key = HOLDERS.get(cls)
    if key is None:
        return transform
    held, result = getattr(transform, key), copy.copy(transform)
    setattr(result, key, [corrected(part) for part in held] if isinstance(held, list) else corrected(held))
    return result
