"""Standardisation of data to mean zero and scale one, inside the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import TriangularMap
from pushforward.core.checks import one_of
from pushforward.core.config import configurable
from pushforward.core.constants import moved_wide
from pushforward.core.numerics import quartiles
from pushforward.core.screening import HEADROOM
from pushforward.core.shapes import EventSize, event_shape

__all__ = ["Standardize"]

QUARTILES = 1.3489795003921634  # the distance between those of a standard normal


@configurable
class Standardize(TriangularMap):
    r"""Subtract the mean and divide by the standard deviation of the data: :math:`y = (x - \mu) / \sigma`.

    It starts as the identity; `initialize` measures the data once. Mean and scale are kept and used in float64,
    whatever the dtype of the model: epoch seconds in float32 lose two minutes. Both directions cost one pass.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32); every entry has a mean and scale.
        data_dtype: ``"float64"`` if x is float64 although the model is float32; by default x has the model's dtype.
        robust: measure the median and the distance between the quartiles instead (over 1.35, the same scale for a
            normal): mean and standard deviation of heavy-tailed data are decided by its largest values.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``ladj``: (*batch,).

    Raises:
        ValueError: ``data_dtype`` has no such value.

    >>> import torch
    >>> part = Standardize(1)
    >>> part.initialize(torch.tensor([[1.0], [3.0]]))
    >>> part(torch.tensor([[1.0], [3.0]])).tolist()
    [[-1.0], [1.0]]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 1},
        {"features": 3},
        {"features": 2, "data_dtype": "float64"},
        {"features": 2, "robust": True},
        {"features": [2, 2, 3]},
    )
    mean: Tensor
    scale: Tensor
    initialized: Tensor
    like: Tensor

    def __init__(self, features: EventSize, *, data_dtype: str | None = None, robust: bool = False) -> None:
        super().__init__()
        one_of("Standardize", "data_dtype", data_dtype, (None, "float64"))
        self.in_shape = self.out_shape = event_shape("Standardize", features)
        self.wide, self.robust = data_dtype == "float64", robust
        self.register_buffer("mean", torch.zeros(self.in_shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.in_shape, dtype=torch.float64))
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))
        self.add_constant("like", 0.0)  # has the dtype of the model; its value is not used

    @property
    def data_dependent(self) -> bool:
        return True

    @property
    def dtype(self) -> torch.dtype | None:
        return self.like.dtype

    @property
    def in_dtype(self) -> torch.dtype | None:
        return torch.float64 if self.wide else self.like.dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Standardize:
        kept = self.mean, self.scale
        super()._apply(fn, recurse)
        self.mean, self.scale = (
            moved_wide(before, after) for before, after in zip(kept, (self.mean, self.scale), strict=True)
        )
        return self

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if inverse or bool(self.initialized):
            return
        flat = x.reshape(-1, *self.in_shape).to(torch.float64)
        mean = flat.mean(dim=0)
        scale = (flat - mean).square().mean(dim=0).sqrt()
        if self.robust:
            low, mean, high = quartiles(flat)
            # Where half of the values are equal the quartiles may coincide: use the standard deviation there.
            scale = torch.where(high > low, (high - low) / QUARTILES, scale)
        self.mean.copy_(mean)
        # A constant entry keeps the scale one: no division by zero.
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))
        self.initialized.fill_(True)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        limit = torch.finfo(self.like.dtype).max * HEADROOM
        return ((x.to(torch.float64) - self.mean) / self.scale).clamp(-limit, limit).to(self.like.dtype)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return torch.addcmul(self.mean, y.to(torch.float64), self.scale).to(self.in_dtype)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, context), self._log_slopes(-1, x)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._inverse(y, context), self._log_slopes(1, y)

    def _log_slopes(self, sign: int, x: Tensor) -> Tensor:
        return (sign * self.scale.log()).to(self.like.dtype).expand(x.shape)
