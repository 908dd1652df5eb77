"""What layers of univariate maps share: the features-first layout, free parameters and conditioners by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.checks import one_of
from pushforward.core.domain import REAL, Circle, Domain, Product
from pushforward.core.entries import domain_of_each
from pushforward.networks import MASKED, AutoregressiveConditioner, Conditioner
from pushforward.univariate.base import Univariate

__all__ = [
    "channels",
    "check_conditional",
    "check_univariate",
    "context_features_first",
    "embed",
    "embed_slope",
    "free_params",
    "make_conditioner",
    "to_batch_first",
    "to_features_first",
]


def to_features_first(x: Tensor) -> Tensor:
    """(*batch, features) as (features, n). No copy where it comes from `to_batch_first`."""
    return x.reshape(-1, x.shape[-1]).t()


def context_features_first(context: Tensor | None) -> Tensor | None:
    """(*batch, context) as (context, n), or None."""
    return None if context is None else to_features_first(context)


def to_batch_first(columns: Tensor, batch: tuple[int, ...]) -> Tensor:
    """(features, n) as (*batch, features), without a copy."""
    return columns.t().reshape(*batch, columns.shape[0])


def channels(domain: Domain) -> int:
    """Number of conditioner inputs for each feature of this domain: two where one of them is an angle."""
    return 2 if any(isinstance(part, Circle) for part in domain_of_each(domain, 1)) else 1


def embed(domain: Domain, columns: Tensor, start: int = 0) -> Tensor:
    """Conditioner inputs (features · channels, n), feature by feature, from the columns (features, n) of the features
    from ``start`` on: the numbers themselves, or the cosine and sine of an angle (a function of the angle itself would
    jump where the circle closes). Beside angles the second input of a number is zero."""
    if isinstance(domain, Product) and channels(domain) > 1:
        return _feature_by_feature(domain, columns, start, _of_angle, _of_number).flatten(-3, -2)
    return _of_angle(columns).flatten(-3, -2) if isinstance(domain, Circle) else columns


def embed_slope(domain: Domain, columns: Tensor) -> Tensor:
    """Derivative of each channel of `embed` with respect to its feature, (features, channels, n)."""
    if isinstance(domain, Product) and channels(domain) > 1:
        return _feature_by_feature(domain, columns, 0, _slope_of_angle, _slope_of_number)
    return _slope_of_angle(columns) if isinstance(domain, Circle) else torch.ones_like(columns)[..., None, :]


def _feature_by_feature(
    domain: Product,
    columns: Tensor,
    start: int,
    of_angle: Callable[[Tensor], Tensor],
    of_number: Callable[[Tensor], Tensor],
) -> Tensor:
    """(features, 2, n) of the features from ``start`` on, each by the function for its domain."""
    parts = domain.parts[start : start + columns.shape[-2]]
    rows = zip(parts, columns.split(1, dim=-2), strict=True)
    return torch.cat([(of_angle if isinstance(part, Circle) else of_number)(x) for part, x in rows], dim=-3)


def _of_angle(x: Tensor) -> Tensor:
    return torch.stack([x.cos(), x.sin()], dim=-2)


def _slope_of_angle(x: Tensor) -> Tensor:
    return torch.stack([-x.sin(), x.cos()], dim=-2)


def _of_number(x: Tensor) -> Tensor:
    return torch.stack([x, torch.zeros_like(x)], dim=-2)


def _slope_of_number(x: Tensor) -> Tensor:
    return torch.stack([torch.ones_like(x), torch.zeros_like(x)], dim=-2)


def check_univariate(owner: str, univariate: object, features: int) -> None:
    """Refuse anything but a `Univariate`, and one that has maps for another number of features."""
    if not isinstance(univariate, Univariate):
        raise ValueError(f"{owner}: univariate must be a Univariate; got {univariate!r}. Try univariate.Affine().")
    if univariate.features not in (None, features):
        raise ValueError(
            f"{owner}: univariate has maps for {univariate.features} features; got {features} features. Give both the "
            "same number."
        )


def check_conditional(owner: str, univariate: Univariate) -> None:
    """Refuse a map without parameters, which a conditioner would have nothing to decide of."""
    if univariate.num_params <= univariate.num_free:
        name = type(univariate).__name__
        remedy = "Use Elementwise without context."
        if REAL in (univariate.domain, univariate.codomain):
            parts = f"[Affine(), {name}()]" if univariate.domain == REAL else f"[{name}(), Affine()]"
            remedy = f"Use Composed({parts}), or Elementwise without context."
        raise ValueError(f"{owner}: univariate {name} has no parameters that a conditioner could decide. {remedy}")


def free_params(univariate: Univariate, features: int) -> nn.Parameter | None:
    """The parameters of the univariate that the layer learns itself, (num_free, features), starting at zero."""
    return nn.Parameter(torch.zeros(univariate.num_free, features)) if univariate.num_free else None


def make_conditioner(
    owner: str,
    kinds: dict[str, Callable[..., nn.Module]],
    name: str,
    *args: Any,
    extra: Any = None,
    **options: Any,
) -> Any:
    """Build the conditioner registered as ``name``; refuse one of the wrong kind. ``extra``, a mapping or None, holds
    options that not every conditioner has; one that this has not is refused."""
    one_of(owner, "conditioner", name, tuple(kinds))
    if extra is not None:
        names = [p.name for p in inspect.signature(kinds[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
        allowed = [key for key in names if key not in options]
        if unknown := [key for key in extra if key not in allowed]:
            raise ValueError(
                f"{owner}: conditioner {name!r} has no option {unknown[0]!r} of its own; conditioner_options may name "
                f"{', '.join(allowed) or 'none'}."
            )
        options |= dict(extra)
    conditioner = kinds[name](*args, **options)
    needed = AutoregressiveConditioner if kinds is MASKED else Conditioner
    if not isinstance(conditioner, needed):
        raise ValueError(
            f"{owner}: conditioner {name!r} must be a networks.{needed.__name__}; got {type(conditioner).__name__}. "
            "Subclass it and write its abstract methods."
        )
    return conditioner
