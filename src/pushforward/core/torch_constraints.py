"""Constraints of ``torch.distributions`` as domains of this library."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributions import constraints

from pushforward.core.domain import REAL, Domain, Integers, Interval, Product, Simplex
from pushforward.core.entries import domain_of_each, product

__all__ = ["domain_of_constraint"]

LARGEST = 2**31 - 1
"""The last of the whole numbers that have no upper end."""


def domain_of_constraint(constraint: Any, shape: tuple[int, ...]) -> Domain | None:
    """The domain of events of this shape whose entries, or rows, fulfil a constraint; None where there is none."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if isinstance(constraint, constraints.stack | constraints.cat):
        return _side_by_side(constraint, shape)
    if constraint is constraints.simplex:
        return Simplex()
    if constraint is constraints.boolean:
        return Integers(0, 1)
    if constraint is constraints.real or constraint is constraints.real_vector:
        return REAL
    low, high = getattr(constraint, "lower_bound", None), getattr(constraint, "upper_bound", None)
    if low is None and high is None:
        return None
    whole = bool(getattr(constraint, "is_discrete", False))
    open_end = float(LARGEST) if whole else math.inf
    lows = _ends_of(low, -open_end, shape)
    highs = _ends_of(high, open_end, shape)
    if whole:
        return product(tuple(Integers(int(a), int(b)) for a, b in zip(lows, highs, strict=True)), shape)
    return product(tuple(Interval(a, b) for a, b in zip(lows, highs, strict=True)), shape)


def _side_by_side(constraint: Any, shape: tuple[int, ...]) -> Domain | None:
    """The domain of a vector whose pieces fulfil a constraint each."""
    sizes = getattr(constraint, "lengths", [1] * len(constraint.cseq))
    if len(shape) != 1 or constraint.dim != -1 or sum(sizes) != shape[0]:
        return None
    pieces = [domain_of_constraint(part, (size,)) for part, size in zip(constraint.cseq, sizes, strict=True)]
    entries: list[Domain] = []
    for piece, size in zip(pieces, sizes, strict=True):
        if piece is None or (piece.event_ndim and not isinstance(piece, Product)):
            return None
        entries += domain_of_each(piece, size)
    return product(tuple(entries))


def _ends_of(end: Any, missing: float, shape: tuple[int, ...]) -> list[float]:
    value = torch.as_tensor(missing if end is None else end, dtype=torch.float64, device="cpu").detach()
    ends: list[float] = value.expand(shape).flatten().tolist()
    return ends
