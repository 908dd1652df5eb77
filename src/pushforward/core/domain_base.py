"""What every set of points says of itself: the protocol that `domain` fills with intervals, spheres and others."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Domain", "Measure", "digits"]

SHOWN = 6
"""Numbers of a point that a sentence shows."""

Measure = Literal["Lebesgue", "surface", "Haar", "counting", "product"]


@dataclass(frozen=True)
class Domain(ABC):
    """A set of points; subclasses say which points it contains and give some of them."""

    @property
    def measure(self) -> Measure:
        """What densities on the set are densities with respect to.

        ``"Lebesgue"``: volume (of the simplex: of all entries but the last, as for Dirichlet densities).
        ``"surface"``: area of the surface. ``"Haar"``: the probability that rotations leave unchanged.
        ``"counting"``: densities are probabilities. ``"product"``: another one of these for each feature.
        """
        return "Lebesgue"

    def dimension(self, event_shape: Sequence[int]) -> int:
        """The intrinsic dimension of the set of events of this shape: how many real numbers move freely.

        Raises:
            ValueError: there are no such events.
        """
        return math.prod(event_shape)

    @property
    def event_ndim(self) -> int:
        """Number of trailing axes that make up one point."""
        return 0

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of an entry."""
        return -math.inf, math.inf

    @abstractmethod
    def contains(self, x: Tensor) -> Tensor:
        """Whether each point lies in the set; shape: that of ``x`` without its last ``event_ndim`` axes."""

    @property
    def words(self) -> str:
        """The set as it is called in sentences."""
        return repr(self)

    @property
    def remedy(self) -> str:
        """What a user can do about points outside, as a sentence."""
        return "Leave such rows out."

    def fault(self, point: Tensor) -> str:
        """Why a point of ``event_ndim`` axes lies outside, as a clause after its numbers."""
        return f"outside of {self.words}"

    def why_outside(self, event: Tensor, first: int = 0) -> str:
        """In words, which columns of an event lie outside of the set, why, and what can be done about it.

        Args:
            event: one event, of finite numbers.
            first: the number of its first column.

        Returns:
            Two sentences; nothing where the event lies in the set.
        """
        outside = (~self.contains(event)).flatten().nonzero()
        if not len(outside):
            return ""
        size = math.prod(event.shape[event.ndim - self.event_ndim :])
        start = int(outside[0]) * size
        point = event.flatten()[start : start + size]
        values = ", ".join(digits(value) for value in point[:SHOWN].tolist()) + (", ..." if size > SHOWN else "")
        start += first
        subject = (
            f"column {start} is {values}" if size == 1 else f"columns {start} to {start + size - 1} are ({values})"
        )
        point = point.reshape(event.shape[event.ndim - self.event_ndim :])
        return f"{subject}, {self.fault(point)}. {self.remedy}"

    @abstractmethod
    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Random points of the set as a tensor of ``shape`` (float64 where the set is continuous)."""

    def anchor(self, x: Tensor) -> Tensor:
        """A fixed inner point of the set that broadcasts against ``x``: stands in for points that are not in it."""
        return x.new_zeros(())

    def tangents(self, x: Tensor) -> Tensor:
        """Directions in which a point can move, as columns that span a unit of the ``measure``.

        With them a log-determinant is one of a square matrix also where points have more entries than dimensions.

        Args:
            x: points, (*s, *point shape).

        Returns:
            (*s, entries of a point, dimension).
        """
        entries = math.prod(x.shape[x.ndim - self.event_ndim :])
        eye = torch.eye(entries, dtype=x.dtype, device=x.device)
        return eye.expand(*x.shape[: x.ndim - self.event_ndim], entries, entries)


def digits(value: float) -> str:
    """A number with the digits that tell a float32 from its neighbours."""
    return f"{value:.9g}"
