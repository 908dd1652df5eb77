"""A flow with the interface of the library zuko."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor

from pushforward.core.distribution import Distribution

__all__ = ["to_zuko"]


def to_zuko(distribution: Distribution) -> Any:
    """A distribution as a ``zuko.lazy.LazyDistribution``: called with a context, or without, it gives a
    ``torch.distributions.Distribution``. It shares the weights.

    Raises:
        ImportError: the package zuko is not installed.

    References:
        | Zuko: Normalizing flows in PyTorch (Rozet et al., 2022), doi:10.5281/zenodo.7625672
    """
    try:
        lazy: Any = import_module("zuko.lazy")
    except ImportError:
        raise ImportError("to_zuko: needs the package zuko. Install it with: pip install zuko") from None

    class Lazy(lazy.LazyDistribution):
        def __init__(self, inner: Distribution) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, c: Tensor | None = None) -> Any:
            return self.inner.as_torch(c)

    return Lazy(distribution)
