"""What layers of univariate maps share: the features-first layout and the parameters their conditioner leaves free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.checks import one_of
from pushforward.core.domain import Circle, Domain
from pushforward.univariate.base import Univariate

__all__ = [
    "channels",
    "check_univariate",
    "context_columns",
    "embed",
    "embed_slope",
    "free_params",
    "from_columns",
    "make_conditioner",
    "to_columns",
]


def to_columns(x: Tensor) -> Tensor:
    """(*batch, features) as (features, n). No copy where it comes from `from_columns`."""
    return x.reshape(-1, x.shape[-1]).t()


def context_columns(context: Tensor | None) -> Tensor | None:
    """(*batch, context) as (context, n), or None."""
    return None if context is None else to_columns(context)


def from_columns(columns: Tensor, batch: tuple[int, ...]) -> Tensor:
    """(features, n) as (*batch, features), without a copy."""
    return columns.t().reshape(*batch, columns.shape[0])


def channels(domain: Domain) -> int:
    """How many inputs a conditioner gets for each feature of this domain."""
    return 2 if isinstance(domain, Circle) else 1


def embed(domain: Domain, columns: Tensor) -> Tensor:
    """What a conditioner sees of (features, n): the numbers themselves, of an angle its cosine and sine (a network of
    the angle would jump where the circle closes). Shape (features · channels, n), feature by feature."""
    if channels(domain) == 1:
        return columns
    return torch.stack([columns.cos(), columns.sin()], dim=-2).flatten(-3, -2)


def embed_slope(domain: Domain, columns: Tensor) -> Tensor:
    """Derivative of each channel of `embed` in its feature, (features, channels, n)."""
    if channels(domain) == 1:
        return torch.ones_like(columns)[:, None]
    return torch.stack([-columns.sin(), columns.cos()], dim=-2)


def check_univariate(owner: str, univariate: object) -> None:
    """Refuse anything but a `Univariate`."""
    if not isinstance(univariate, Univariate):
        raise ValueError(f"{owner}: univariate must be a Univariate; got {univariate!r}. Try univariate.Affine().")


def free_params(univariate: Univariate, features: int) -> nn.Parameter | None:
    """The parameters of the univariate that no conditioner decides, (num_free, features), starting at zero."""
    return nn.Parameter(torch.zeros(univariate.num_free, features)) if univariate.num_free else None


def make_conditioner(
    owner: str, kinds: dict[str, Callable[..., nn.Module]], name: str, *args: Any, **options: Any
) -> nn.Module:
    """Build the conditioner registered as ``name``."""
    one_of(owner, "conditioner", name, tuple(kinds))
    return kinds[name](*args, **options)
