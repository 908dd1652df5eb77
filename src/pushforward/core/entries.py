"""Domains of the single entries of an event."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.domain import Domain, Product

__all__ = ["contains_each", "domain_of_each", "ends", "holds_each", "product", "restrict"]


def product(parts: tuple[Domain, ...], event_shape: tuple[int, ...] | None = None) -> Domain:
    """The domain of events whose entries, in row-major order, have the domains ``parts``; where all agree, that one.
    Without ``event_shape`` events are vectors."""
    if len(set(parts)) == 1:
        return parts[0]
    return Product(parts, None if event_shape is None or len(event_shape) == 1 else event_shape)


def domain_of_each(domain: Domain, entries: int) -> tuple[Domain, ...]:
    """The domain of each entry of an event, in row-major order."""
    return domain.parts if isinstance(domain, Product) else (domain,) * entries


def contains_each(domain: Domain, x: Tensor) -> Tensor:
    """Whether each entry lies in the domain of its feature: entry-wise domains and products of them."""
    return domain.contains_each(x) if isinstance(domain, Product) else domain.contains(x)


def holds_each(domain: Domain, x: Tensor) -> Tensor:
    """Whether each entry is a finite one of the domain of its feature."""
    return contains_each(domain, x) & (x.abs() < torch.inf)


def restrict(domain: Domain, start: int, stop: int) -> Domain:
    """The domain of the features from start to stop."""
    return product(domain.parts[start:stop]) if isinstance(domain, Product) else domain


def ends(domain: Domain, features: int) -> list[tuple[float, float]]:
    """The smallest and the largest value of each feature."""
    return [part.ends for part in domain_of_each(domain, features)]
