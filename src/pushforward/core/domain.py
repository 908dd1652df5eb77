"""Sets that maps start from and end in.

A domain describes one event, or one entry of it: ``event_ndim`` trailing axes of a tensor belong to one point of the
set. ``Real`` and ``Interval`` apply entry by entry (``event_ndim`` 0), ``Ball`` to the last axis as a whole.

A density on a domain is taken with respect to its ``measure``, and a change of variables needs equal ``dimension`` on
both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.domain_base import Domain, Measure, digits

__all__ = [
    "REAL",
    "Ball",
    "Circle",
    "Domain",
    "Integers",
    "Interval",
    "Measure",
    "Product",
    "Real",
    "Simplex",
    "Sphere",
]


@dataclass(frozen=True)
class Real(Domain):
    """The real line, entry by entry."""

    def contains(self, x: Tensor) -> Tensor:
        return torch.ones_like(x, dtype=torch.bool)

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)


@dataclass(frozen=True)
class Interval(Domain):
    """The closed interval [low, high], entry by entry; an infinite end leaves that side open.

    Raises:
        ValueError: low is not smaller than high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Interval: low must be smaller than high; got [{self.low}, {self.high}].")

    @property
    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def words(self) -> str:
        left = f"[{digits(self.low)}" if math.isfinite(self.low) else "(-inf"
        return f"{left}, {digits(self.high)}]" if math.isfinite(self.high) else f"{left}, inf)"

    @property
    def remedy(self) -> str:
        return "Leave such rows out, or build the model with ends that hold them."

    def contains(self, x: Tensor) -> Tensor:
        return (x >= self.low) & (x <= self.high)

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        u = torch.rand(shape, dtype=torch.float64, generator=generator)
        if math.isfinite(self.low) and math.isfinite(self.high):
            return self.low + (self.high - self.low) * u
        if math.isfinite(self.low):
            return self.low - torch.log1p(-u)
        return self.high + torch.log1p(-u) if math.isfinite(self.high) else torch.logit(u)

    def anchor(self, x: Tensor) -> Tensor:
        if math.isfinite(self.low) and math.isfinite(self.high):
            return x.new_tensor(self.low + 0.5 * (self.high - self.low))
        if math.isfinite(self.low):
            return x.new_tensor(self.low + 1.0)
        return x.new_tensor(self.high - 1.0 if math.isfinite(self.high) else 0.0)


@dataclass(frozen=True)
class Integers(Domain):
    """The whole numbers from low to high, both included, entry by entry."""

    low: int
    high: int

    @property
    def measure(self) -> Measure:
        return "counting"

    def dimension(self, event_shape: Sequence[int]) -> int:
        return 0

    @property
    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def words(self) -> str:
        return f"the whole numbers from {self.low} to {self.high}"

    @property
    def remedy(self) -> str:
        return "Leave such rows out, or build the model with ends that hold them."

    def contains(self, x: Tensor) -> Tensor:
        return (x >= self.low) & (x <= self.high) & (x == x.round())

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return torch.randint(self.low, self.high + 1, shape, generator=generator)

    def anchor(self, x: Tensor) -> Tensor:
        return x.new_tensor(self.low)


@dataclass(frozen=True)
class Circle(Domain):
    """Points of a circle, cut open at low: [low, high), entry by entry; angles in [-π, π) by default.

    Raises:
        ValueError: the ends are not finite, or low is not smaller than high.
    """

    low: float = -math.pi
    high: float = math.pi

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"Circle: low must be finite and smaller than high; got [{self.low}, {self.high}).")

    @property
    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def words(self) -> str:
        return f"[{digits(self.low)}, {digits(self.high)})"

    @property
    def remedy(self) -> str:
        if self == Circle():
            return "Wrap angles: (x + torch.pi) % (2 * torch.pi) - torch.pi."
        low = "" if self.low == 0 else f" {'-' if self.low > 0 else '+'} {digits(abs(self.low))}"
        back = low.translate(str.maketrans("+-", "-+"))
        return f"Wrap angles: {f'(x{low})' if low else 'x'} % {digits(self.high - self.low)}{back}."

    def contains(self, x: Tensor) -> Tensor:
        return (x >= self.low) & (x < self.high)

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return self.low + (self.high - self.low) * torch.rand(shape, dtype=torch.float64, generator=generator)

    def anchor(self, x: Tensor) -> Tensor:
        return x.new_tensor(self.low + 0.5 * (self.high - self.low))


@dataclass(frozen=True)
class Ball(Domain):
    """The open Euclidean ball ‖x‖ < radius around the origin; the last axis is one point."""

    radius: float = 1.0

    @property
    def event_ndim(self) -> int:
        return 1

    def dimension(self, event_shape: Sequence[int]) -> int:
        return _points(self, event_shape) * event_shape[-1]

    @property
    def words(self) -> str:
        return f"the open ball of radius {digits(self.radius)}"

    @property
    def remedy(self) -> str:
        return "Leave such rows out, or scale all points so that they are shorter."

    def fault(self, point: Tensor) -> str:
        return f"of length {digits(point.norm().item())}, outside of {self.words}"

    def contains(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=-1) < self.radius

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        z = torch.randn(shape, dtype=torch.float64, generator=generator)
        radius = torch.rand((*shape[:-1], 1), dtype=torch.float64, generator=generator) ** (1 / shape[-1])
        return self.radius * radius * z / z.norm(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Sphere(Domain):
    """The unit sphere ‖x‖ = 1; the last axis is one point."""

    @property
    def event_ndim(self) -> int:
        return 1

    @property
    def measure(self) -> Measure:
        return "surface"

    def dimension(self, event_shape: Sequence[int]) -> int:
        return _points(self, event_shape) * (event_shape[-1] - 1)

    @property
    def words(self) -> str:
        return "the unit sphere"

    @property
    def remedy(self) -> str:
        return "Divide points by their norm: x / x.norm(dim=-1, keepdim=True)."

    def fault(self, point: Tensor) -> str:
        return f"of norm {digits(point.norm().item())}, where points of {self.words} have norm 1"

    def contains(self, x: Tensor) -> Tensor:
        return (x.norm(dim=-1) - 1).abs() <= 32 * torch.finfo(x.dtype).eps

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        z = torch.randn(shape, dtype=torch.float64, generator=generator)
        return z / z.norm(dim=-1, keepdim=True)

    def anchor(self, x: Tensor) -> Tensor:
        return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[0]

    def tangents(self, x: Tensor) -> Tensor:
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, x.shape[-1])
        # The first column is x up to its sign, the others are orthonormal to it.
        return torch.linalg.qr(torch.cat([x[..., None], eye], dim=-1))[0][..., 1:]


@dataclass(frozen=True)
class Simplex(Domain):
    """Non-negative entries that sum to one; the last axis is one point."""

    @property
    def event_ndim(self) -> int:
        return 1

    def dimension(self, event_shape: Sequence[int]) -> int:
        return _points(self, event_shape) * (event_shape[-1] - 1)

    @property
    def words(self) -> str:
        return "the simplex"

    @property
    def remedy(self) -> str:
        return "Make shares not negative, and divide them by their sum: x / x.sum(dim=-1, keepdim=True)."

    def fault(self, point: Tensor) -> str:
        least, total = digits(point.min().item()), digits(point.sum().item())
        return f"the least of them {least} and their sum {total}, where shares are not negative and sum to 1"

    def contains(self, x: Tensor) -> Tensor:
        close = (x.sum(dim=-1) - 1).abs() <= 4 * x.shape[-1] * torch.finfo(x.dtype).eps
        return (x >= 0).all(dim=-1) & close

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return torch.softmax(torch.randn(shape, dtype=torch.float64, generator=generator), dim=-1)

    def anchor(self, x: Tensor) -> Tensor:
        return x.new_full((x.shape[-1],), 1 / x.shape[-1])

    def tangents(self, x: Tensor) -> Tensor:
        eye = torch.eye(x.shape[-1] - 1, dtype=x.dtype, device=x.device)
        return torch.cat([eye, -torch.ones_like(eye[:1])]).expand(*x.shape, x.shape[-1] - 1)


@dataclass(frozen=True)
class Product(Domain):
    """An entry-wise domain for each feature: the last axis of a point is (parts[0], parts[1], ...).

    For events of several axes ``shape`` is their shape, and ``parts`` lists the entries in row-major order.

    Raises:
        ValueError: there is no part, one is not entry-wise, or their number is not that of the entries of ``shape``.
    """

    parts: tuple[Domain, ...]
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.parts or any(part.event_ndim for part in self.parts):
            raise ValueError("Product: parts must be one or more entry-wise domains, such as Real or Interval.")
        if self.shape is not None and math.prod(self.shape) != len(self.parts):
            raise ValueError(f"Product: shape {self.shape} must hold one entry per part; got {len(self.parts)} parts.")

    @property
    def event_ndim(self) -> int:
        return 1 if self.shape is None else len(self.shape)

    @property
    def measure(self) -> Measure:
        measures = {part.measure for part in self.parts}
        return measures.pop() if len(measures) == 1 else "product"

    def dimension(self, event_shape: Sequence[int]) -> int:
        points = _points(self, event_shape)
        return points * sum(part.dimension(()) for part in self.parts)

    def contains(self, x: Tensor) -> Tensor:
        return self.contains_each(x).flatten(-self.event_ndim).all(dim=-1)

    def why_outside(self, event: Tensor, first: int = 0) -> str:
        each = zip(self.parts * (event.numel() // len(self.parts)), event.flatten(), strict=True)
        return next((why for j, (part, x) in enumerate(each) if (why := part.why_outside(x, first + j))), "")

    def contains_each(self, x: Tensor) -> Tensor:
        """Whether each entry lies in its own domain; shape: that of ``x``."""
        entries = x.flatten(-self.event_ndim)
        inside = [part.contains(entries[..., j]) for j, part in enumerate(self.parts)]
        return torch.stack(inside, dim=-1).reshape(x.shape)

    def example(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        batch = shape[: len(shape) - self.event_ndim]
        columns = [part.example(batch, generator).to(torch.float64) for part in self.parts]
        return torch.stack(columns, dim=-1).reshape(shape)

    def anchor(self, x: Tensor) -> Tensor:
        return torch.stack([part.anchor(x) for part in self.parts]).reshape(self.shape or (-1,))


REAL = Real()


def _points(domain: Domain, event_shape: Sequence[int]) -> int:
    """How many points of the domain an event of this shape holds."""
    ndim, name = domain.event_ndim, type(domain).__name__
    if len(event_shape) < ndim:
        raise ValueError(f"{name}: a point has {ndim} or more axes; got events of shape {tuple(event_shape)}.")
    if isinstance(domain, Product) and tuple(event_shape[-ndim:]) != (domain.shape or (len(domain.parts),)):
        raise ValueError(f"{name}: describes {len(domain.parts)} entries; got events of shape {tuple(event_shape)}.")
    return math.prod(event_shape[:-ndim])
