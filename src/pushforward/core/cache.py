"""Results that need not be computed again while nothing has changed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["TensorCache"]


class TensorCache:
    """The last result of a function of tensors, valid while they hold the very same numbers.

    The numbers themselves are compared, for there are many ways to change a weight that leave no other trace. Meant for
    small tensors and long functions, where nothing is recorded. Copies and pickles start empty.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[tuple[Tensor, ...], Tensor] | None = None

    def __call__(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """``function(*tensors)``; whoever gets it must not write into it."""
        last = self._last  # read once: another thread may be here, too
        if last is not None and all(map(_same, last[0], tensors)):
            return last[1]
        result = function(*tensors)
        self._last = tuple(tensor.detach().clone() for tensor in tensors), result
        return result

    def __reduce__(self) -> tuple[type[TensorCache], tuple[()]]:
        return TensorCache, ()


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
