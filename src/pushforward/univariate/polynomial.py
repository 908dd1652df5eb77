"""Increasing polynomials on a box: sums of squares and Bernstein polynomials, continued by straight tails.

Both learn a shape, an increasing map of [-1, 1] onto itself, and where to put it: a shift and a scale. The mean slope
of a shape is one, so wild parameters bend the map and never blow it up.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pushforward.core.checks import at_least, below_one, positive
from pushforward.core.config import configurable
from pushforward.univariate.base import Boxed

__all__ = ["Bernstein", "Shaped", "Squares", "SumOfSquares", "series", "squares", "uneven"]

LOG_SCALE_BOUND = 5.0  # the scale stays within e^±5, smoothly
HIGHEST_DEGREE = 64  # of a Bernstein polynomial: its binomials are exact in 64-bit integers


class Shaped(Boxed):
    r"""A learned shape on the box, shifted and scaled:

    .. math:: y = \theta_0 + b\, e^{s}\, G(x / b), \qquad s = 5 \tanh(\theta_1 / 5)

    where G increases from G(-1) = -1 to G(1) = 1 and the parameters :math:`\theta_2, \dots` decide it. The box
    [-b, b] is carried onto the interval of half-width :math:`b\, e^{s}` around :math:`\theta_0`.

    A subclass writes ``_prepare_shape`` and ``_shape``.
    """

    min_slope: float

    def _place(self, owner: str, shape_params: int, bound: float, min_slope: float) -> None:
        """Check and keep what all shapes share."""
        positive(owner, "bound", bound)
        below_one(owner, "min_slope", min_slope, "the mean slope of the shape")
        self.bound, self.min_slope, self.num_params = bound, min_slope, 2 + shape_params

    @abstractmethod
    def _prepare_shape(self, params: Tensor) -> Any:
        """Everything about the shape that follows from its own parameters alone."""

    @abstractmethod
    def _shape(self, t: Tensor, shape: Any) -> tuple[Tensor, Tensor]:
        """(G(t), G'(t)) for t in [-1, 1], ends included."""

    def _prepare(self, params: Tensor) -> Any:
        log_scale = LOG_SCALE_BOUND * torch.tanh(params[1] / LOG_SCALE_BOUND)
        return params[0], log_scale, self._prepare_shape(params[2:])

    def _inside(self, x: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        shift, log_scale, shape = prepared
        value, slope = self._shape(x / self.bound, shape)
        return torch.addcmul(shift, value, log_scale.exp(), value=self.bound), log_scale + slope.log()


# --- polynomials in the Chebyshev basis: moderate coefficients make moderate functions -----------------------------


def chebyshev(t: Tensor, degree: int) -> Tensor:
    r""":math:`T_0(t), \dots, T_n(t)`, shape (degree + 1, *s), for t of shape (*s) and a degree of at least one.

    By :math:`T_{m + k} = 2 T_m T_k - T_{m - k}` whole blocks follow from those before them, in log n steps.
    """
    basis = torch.stack([torch.ones_like(t), t])
    while (m := len(basis) - 1) < degree:
        more = min(m, degree - m)
        basis = torch.cat([basis, 2 * basis[m] * basis[1 : more + 1] - basis[m - more : m].flip(0)])
    return basis


def cosines(rows: int, columns: int, half: int, like: Tensor) -> Tensor:
    """cos(π j k / half) for j < rows, k < columns. Whole numbers are reduced first, so the angles are exact."""
    j, k = torch.arange(rows, device=like.device), torch.arange(columns, device=like.device)
    return torch.cos((j[:, None] * k % (2 * half)).to(like.dtype) * (math.pi / half))


def series(values: Tensor) -> Tensor:
    r"""Chebyshev coefficients (n + 1, *s) of the polynomial of degree n with these values at :math:`\cos(\pi j/n)`."""
    n = len(values) - 1
    ends = torch.ones(n + 1, dtype=values.dtype, device=values.device)
    ends[0] = ends[n] = 0.5
    return torch.tensordot(cosines(n + 1, n + 1, n, values) * ends * ends[:, None] * (2 / n), values, 1)


def antiderivative(coefficients: Tensor) -> Tensor:
    """Chebyshev coefficients of an antiderivative whose values at -1 and 1 are opposite numbers."""
    zeros = torch.zeros_like(coefficients[:2])
    below = torch.cat([2 * coefficients[:1], coefficients[1:]])
    above = torch.cat([coefficients[2:], zeros])
    k = torch.arange(1, len(below) + 1, dtype=below.dtype, device=below.device)
    upper = (below - above) / (2 * k).reshape(-1, *(1,) * (below.ndim - 1))  # of T_1, T_2, ...
    return torch.cat([-upper[1::2].sum(dim=0, keepdim=True), upper])


class Squares(NamedTuple):
    """A shape whose slope is a sum of squared polynomials, normalised to mean slope one, plus a least slope."""

    antiderivative: Tensor
    """Chebyshev coefficients of G, (2 degree + 2, *s)."""
    roots: Tensor
    """Chebyshev coefficients of the polynomials that are squared, (degree + 1, polynomials, *s)."""
    weight: Tensor
    """What their squares are multiplied by, (*s)."""
    least: float
    """What is added to the slope."""
    degree: int
    """Of the polynomials that are squared: a number, for in the graph of a numeric inverse sizes of tensors are not."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(G(t), G'(t)). The slope is summed from squares, never from its own expansion: it cannot round below zero."""
        basis = chebyshev(t, 2 * self.degree + 1)
        value = (self.antiderivative * basis).sum(dim=0)
        roots = (self.roots * basis[: self.degree + 1, None]).sum(dim=0)
        return value, torch.addcmul(torch.full_like(t, self.least), self.weight, roots.square().sum(dim=0))


def squares(roots: Tensor, least: float) -> Squares:
    """The shape made from Chebyshev coefficients (degree + 1, polynomials, *s); its integral is in closed form.

    The sum of squares has degree 2n, so its values at 2n + 1 points give its series exactly (to rounding).
    """
    degree = len(roots) - 1
    values = torch.tensordot(cosines(2 * degree + 1, degree + 1, 2 * degree, roots), roots, 1)
    integral = antiderivative(series(values.square().sum(dim=1)))
    # Half the rise from -1 to 1. Where all coefficients vanish the shape is its least slope alone.
    mean = integral[1::2].sum(dim=0).clamp(min=torch.finfo(roots.dtype).tiny)
    weight = (1 - least) / mean
    scaled = integral * weight
    return Squares(torch.cat([scaled[:1], scaled[1:2] + least, scaled[2:]]), roots, weight, least, degree)


def uneven(count: int) -> list[float]:
    """Fixed factors between 1/2 and 3/2, no two alike.

    Parts of a model that are interchangeable at zero parameters would get the same gradients and stay copies of each
    other. Parameters that each enter with a factor of their own leave the identity where it is and break the tie.
    """
    golden = (math.sqrt(5) - 1) / 2
    return [0.5 + (golden * k) % 1 for k in range(1, count + 1)]


@configurable
class SumOfSquares(Shaped):
    r"""An increasing polynomial, the integral of a sum of squares, on [-bound, bound] and straight beyond.

    .. math:: y = \theta_0 + b\, e^{s}\, G(x / b), \qquad
        G'(t) = (1 - \epsilon) \frac{\sum_p q_p(t)^2}{\tfrac12 \int_{-1}^{1} \sum_p q_p^2} + \epsilon

    Every polynomial that is positive on the line is a sum of two squares. The :math:`q_p` are given by Chebyshev
    coefficients; G has degree 2 ``degree`` + 1 and is integrated in closed form. The inverse is powers numerically.

    Args:
        polynomials: number P of squares.
        degree: degree of the polynomials that are squared; the map has P (degree + 1) + 2 parameters.
        bound: half-width b of the box.
        min_slope: least slope :math:`\epsilon` of the shape, as a part of its mean slope.

    Raises:
        ValueError: ``polynomials`` or ``degree`` is below one.

    References:
        | Sum-of-Squares Polynomial Flow (Jaini et al., 2019), arXiv:1905.02325

    >>> import torch
    >>> y, log_slope = SumOfSquares(2, 3)(torch.tensor([1.0]), torch.zeros(10, 1))
    >>> round(y.item(), 5), round(log_slope.item(), 5)
    (1.0, 0.0)
    """

    constant: Tensor
    gains: Tensor
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"polynomials": 2, "degree": 2},
        {"polynomials": 1, "degree": 3, "bound": 3.0, "min_slope": 0.01},
    )

    def __init__(self, polynomials: int = 2, degree: int = 4, *, bound: float = 5.0, min_slope: float = 1e-3) -> None:
        super().__init__()
        at_least("SumOfSquares", "polynomials", polynomials, 1)
        at_least("SumOfSquares", "degree", degree, 1)
        self.polynomials, self.degree = polynomials, degree
        self._place("SumOfSquares", polynomials * (degree + 1), bound, min_slope)
        # At zero parameters each polynomial is a constant: a sum of squares is one only if each of them is constant.
        self.add_constant("constant", [[polynomials**-0.5 if k == 0 else 0.0] * polynomials for k in range(degree + 1)])
        gains = uneven((degree + 1) * polynomials)
        self.add_constant("gains", [gains[k * polynomials : (k + 1) * polynomials] for k in range(degree + 1)])

    def _prepare_shape(self, params: Tensor) -> Squares:
        coefficients = params.unflatten(0, (self.degree + 1, self.polynomials))
        one = (1,) * (params.ndim - 1)
        constant, gains = (t.reshape(*t.shape, *one) for t in (self.constant, self.gains))
        roots = constant + gains * coefficients
        return squares(roots, self.min_slope)

    def _shape(self, t: Tensor, shape: Any) -> tuple[Tensor, Tensor]:
        return shape(t)


# --- Bernstein polynomials ------------------------------------------------------------------------------------------


def powers(u: Tensor, highest: int) -> Tensor:
    """1, u, ..., u^highest, shape (highest + 1, *s), whole blocks at a time."""
    blocks = torch.ones_like(u)[None]
    step = u
    while (count := len(blocks)) <= highest:
        blocks = torch.cat([blocks, blocks[: highest + 1 - count] * step])
        step = step * step
    return blocks


@configurable
class Bernstein(Shaped):
    r"""An increasing Bernstein polynomial on [-bound, bound], straight beyond.

    .. math:: y = \theta_0 + b\, e^{s}\, G(x / b), \qquad
        G(2 u - 1) = \sum_{k=0}^{n} c_k \tbinom{n}{k} u^k (1 - u)^{n - k}

    with coefficients that rise from -1 to 1 by softmax shares of at least :math:`\epsilon / n`. Then
    :math:`G' = \sum_k n (c_{k+1} - c_k) / 2\, \tbinom{n-1}{k} u^k (1 - u)^{n-1-k}` is a mean of numbers that are at
    least :math:`\epsilon`: only positive terms are summed, so high degrees lose no digits. The inverse is powers
    numerically.

    Args:
        degree: degree n of the polynomial, at most 64; the map has n + 2 parameters.
        bound: half-width b of the box.
        min_slope: least slope :math:`\epsilon` of the shape, as a part of its mean slope.

    Raises:
        ValueError: the degree is above 64.

    References:
        | Robust normalizing flows using Bernstein-type polynomials (Ramasinghe et al., 2021), arXiv:2102.03509

    >>> import torch
    >>> y, log_slope = Bernstein(4)(torch.tensor([1.0]), torch.zeros(6, 1))
    >>> round(y.item(), 5), abs(round(log_slope.item(), 5))
    (1.0, 0.0)
    """

    choose: Tensor
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"degree": 5},
        {"degree": 16, "bound": 3.0, "min_slope": 0.01},
    )

    def __init__(self, degree: int = 16, *, bound: float = 5.0, min_slope: float = 1e-3) -> None:
        super().__init__()
        at_least("Bernstein", "degree", degree, 2)
        if degree > HIGHEST_DEGREE:
            raise ValueError(
                f"Bernstein: degree must be at most {HIGHEST_DEGREE}; got {degree}. Stack two maps of a lower degree."
            )
        self.degree = degree
        self._place("Bernstein", degree, bound, min_slope)
        # Whole numbers, which no conversion of the module rounds.
        self.add_constant("choose", [math.comb(degree - 1, k) for k in range(degree)], torch.int64)

    def _prepare_shape(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes (n, *s) of the shape at the coefficients, and the coefficients but the last (n, *s)."""
        slopes = self.degree * (1 - self.min_slope) * torch.softmax(params, dim=0) + self.min_slope
        reached = slopes.cumsum(dim=0) * (2 / self.degree)
        return slopes, torch.cat([torch.zeros_like(reached[:1]), reached[:-1]]) - 1

    def _shape(self, t: Tensor, shape: Any) -> tuple[Tensor, Tensor]:
        slopes, coefficients = shape
        u = 0.5 * t + 0.5
        highest = self.degree - 1
        choose = self.choose.to(t.dtype).reshape(-1, *(1,) * t.ndim)
        basis = choose * powers(u, highest) * powers(1 - u, highest).flip(0)  # (n, *s), sums to one
        slope = (basis * slopes).sum(dim=0)
        # Each coefficient of degree n - 1 is c_k + u (c_{k+1} - c_k): one basis serves the value and the slope.
        return torch.addcmul((basis * coefficients).sum(dim=0), u, slope, value=2 / self.degree), slope
