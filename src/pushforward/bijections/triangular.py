"""Monotone component maps: triangular maps for small data, each component is increasing in its last variable."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.hermite import hermite_slopes, hermite_values
from pushforward.bijections.layout import to_batch_first, to_features_first
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least, positive
from pushforward.core.config import configurable
from pushforward.core.quadrature import gauss_legendre
from pushforward.univariate.base import Boxed

__all__ = ["MIN_SLOPE", "Triangular", "log_rectified", "rectified", "total_degree"]

MIN_SLOPE = 1e-3
MultiIndex = Sequence[int]


def rectified(s: Tensor) -> Tensor:
    r"""Any number to a slope: :math:`g(s) = \epsilon + (1 - \epsilon) \log_2(1 + e^s)`, with g(0) = 1."""
    return MIN_SLOPE + (1 - MIN_SLOPE) / math.log(2) * nn.functional.softplus(s)


def log_rectified(s: Tensor) -> Tensor:
    """log g(s); the least slope keeps it finite."""
    return torch.log(rectified(s))


class _Rise(Boxed):
    r"""A component along its last variable: :math:`y = \theta_0 + \int_0^x g\bigl(\sum_k \theta_k \phi_k'(t)\bigr) dt`.

    The integrand is analytic, so Gauss-Legendre quadrature on [0, x] converges geometrically.
    """

    nodes: Tensor
    weights: Tensor

    def __init__(self, degree: int, bound: float, nodes: int) -> None:
        super().__init__()
        self.bound, self.num_params = bound, 1 + degree
        for name, values in zip(("nodes", "weights"), gauss_legendre(nodes), strict=True):
            self.add_constant(name, values)

    @property
    def point_width(self) -> int:
        return self.num_params + len(self.nodes)

    def _prepare(self, params: Tensor) -> Tensor:
        return params

    def _inside(self, x: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor]:
        shift, coefficients = prepared[0], prepared[1:]
        t = x[..., None] * self.nodes  # (*s, nodes)
        area = torch.mv(rectified(_combine(coefficients[..., None], t)).flatten(0, -2), self.weights).reshape(x.shape)
        return shift + x * area, log_rectified(_combine(coefficients, x))


def _combine(coefficients: Tensor, t: Tensor) -> Tensor:
    """The sum of coefficients[k - 1] · φ_k'(t)."""
    total = torch.zeros_like(t)
    for coefficient, slope in zip(coefficients, hermite_slopes(t, len(coefficients)), strict=True):
        total = torch.addcmul(total, coefficient, slope)
    return total


@configurable
class Triangular(TriangularMap):
    r"""An increasing triangular map whose components are sums of products of Hermite functions, made monotone.

    .. math:: S_j(x) = f_j(x_{<j}, 0) + \int_0^{x_j} g\bigl(\partial_j f_j(x_{<j}, t)\bigr) dt, \qquad
       f_j(x) = \sum_{\alpha \in A_j} w_\alpha \prod_i \phi_{\alpha_i}(x_i)

    with the functions :math:`\phi_k` of `hermite` and a softplus g with a least slope. With few terms it is the model
    of choice for small data (`fit_triangular` selects the terms): S_j depends only on the features that occur in its
    terms, and :math:`w = 0` is the identity.

    Each variable is clamped to the box [-bound, bound], except in terms of degree one; in x_j, a component is continued
    linearly outside. The map is thus affine far from the origin, onto, and its slopes are bounded. The integral is
    computed by Gauss-Legendre quadrature. Forward costs one pass; the inverse is solved one feature at a time.

    Args:
        terms: for each component a list of multi-indices. One of component j = 1, ..., D holds ``context + j`` degrees:
            those of the context features, then those of x_1 to x_j.
        context: number of context features, which come before x_1 in every component.
        bound: half the width of the box, in units of x.
        nodes: of the quadrature.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: a list of terms is empty where a map needs one, or a multi-index is not one.

    References:
        | On the representation and learning of monotone triangular transport maps (Baptista, Marzouk, Zahm, 2023),
          arXiv:2009.10303

    >>> import torch
    >>> bend = Triangular([[[1]], [[2, 0], [0, 1]]])  # S_2 = w φ_2(x_1) + g(v) x_2
    >>> with torch.no_grad():
    ...     _ = bend.weights.copy_(torch.tensor([0.0, -1.0, 0.0]))
    >>> bend(torch.tensor([0.0, 0.5])).tolist(), bend(torch.tensor([9.0, 0.5]))[1].item() > 1.9
    ([0.0, 0.5], True)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"terms": [[[0], [1], [2], [3]]]},
        {"terms": [[[1]], [[1, 0], [2, 0], [0, 1], [0, 2], [1, 1]], [[1, 0, 0], [0, 2, 0], [0, 1, 1], [1, 1, 1]]]},
        {
            "terms": [[[0, 0, 1], [1, 0, 0], [0, 2, 1]], [[1, 0, 1, 0], [0, 1, 0, 2], [0, 0, 0, 1]]],
            "context": 2,
            "bound": 3.0,
            "nodes": 40,
        },
    )
    inverse_kind: Kind = "iterative"
    factors: Tensor
    places: Tensor

    def __init__(
        self, terms: Sequence[Sequence[MultiIndex]], *, context: int = 0, bound: float = 4.0, nodes: int = 32
    ) -> None:
        super().__init__()
        at_least("Triangular", "context", context, 0)
        positive("Triangular", "bound", bound)
        at_least("Triangular", "nodes", nodes, 2)
        _check_terms(terms, context)
        features = len(terms)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.bound = bound
        every = [alpha for component in terms for alpha in component]
        self.degree = max((max(alpha) for alpha in every), default=1)
        last_degree = max((alpha[-1] for alpha in every), default=1)
        self.rise = _Rise(last_degree, bound, nodes)
        self.starts = list(itertools.accumulate((len(component) for component in terms), initial=0))
        self.weights = nn.Parameter(torch.zeros(len(every)))
        # For each term: the rows of the table whose product it is, and the parameter of `_Rise` that it contributes to.
        rows = [self._rows(alpha) for alpha in every]
        width = max((len(r) for r in rows), default=1)
        padded = [r + [0] * (width - len(r)) for r in rows]
        places = [j * (1 + last_degree) + alpha[-1] for j, component in enumerate(terms) for alpha in component]
        self.add_constant("factors", padded or [[0]], torch.int64)
        self.add_constant("places", places, torch.int64)

    def _rows(self, alpha: MultiIndex) -> list[int]:
        """Rows of the table for all variables but the last; row 0 holds ones."""
        block = 1 + self.degree
        linear = sum(alpha) == 1
        return [1 + i * block + (0 if linear else d) for i, d in enumerate(alpha[:-1]) if d] or [0]

    def _table(self, columns: Tensor) -> Tensor:
        """A row of ones; then each of the variables (variables, n) and φ_1 to φ_K of it, clamped to the box."""
        values = hermite_values(columns.clamp(-self.bound, self.bound), self.degree)
        return torch.cat([columns.new_ones(1, columns.shape[1]), torch.stack([columns, *values], dim=1).flatten(0, 1)])

    def _params(self, table: Tensor, start: int, stop: int) -> Tensor:
        """Parameters of `_Rise` for components start to stop, (num_params, stop - start, n)."""
        terms = slice(self.starts[start], self.starts[stop])
        factors = self.factors[terms].unbind(dim=1)
        products = functools.reduce(torch.mul, (table.index_select(0, rows) for rows in factors))  # (terms, n)
        count = self.rise.num_params
        empty = products.new_zeros((stop - start) * count, products.shape[1])
        summed = empty.index_add(0, self.places[terms] - start * count, self.weights[terms, None] * products)
        return summed.unflatten(0, (-1, count)).movedim(1, 0)

    def _context_columns(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The context as columns, (context, n); no rows without one."""
        return to_features_first(x)[:0] if context is None else to_features_first(context)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        columns = to_features_first(x)
        table = self._table(torch.cat([self._context_columns(x, context), columns[:-1]]))
        y, log_slopes = self.rise(columns, self._params(table, 0, len(columns)))
        return to_batch_first(y, x.shape[:-1]), to_batch_first(log_slopes, x.shape[:-1])

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        columns = to_features_first(y)
        variables, log_slopes = [self._context_columns(y, context)], []
        for j, column in enumerate(columns):
            params = self._params(self._table(torch.cat(variables)), j, j + 1)
            x, log_slope = self.rise.inverse(column[None], params)
            variables.append(x)
            log_slopes.append(log_slope)
        batch = y.shape[:-1]
        return to_batch_first(torch.cat(variables[1:]), batch), to_batch_first(torch.cat(log_slopes), batch)


def _check_terms(terms: Sequence[Sequence[MultiIndex]], context: int) -> None:
    if not terms:
        raise ValueError("Triangular: terms must list the multi-indices of at least one component; got none.")
    for j, component in enumerate(terms):
        seen = set()
        for alpha in component:
            degrees = tuple(alpha)
            whole = all(isinstance(d, int) and not isinstance(d, bool) and d >= 0 for d in degrees)
            if len(degrees) != context + j + 1 or not whole or degrees in seen:
                raise ValueError(
                    f"Triangular: terms[{j}] must hold different lists of {context + j + 1} degrees, those of the "
                    f"context and of x_1 to x_{j + 1}; got {list(alpha)}{' twice' if degrees in seen else ''}."
                )
            seen.add(degrees)


def total_degree(features: int, degree: int, *, context: int = 0) -> list[list[list[int]]]:
    """Terms for `Triangular`: in each component all multi-indices whose degrees add up to at most ``degree``.

    Raises:
        ValueError: ``features`` or ``degree`` is below one.

    >>> total_degree(2, 2)
    [[[0], [1], [2]], [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]]]
    """
    at_least("total_degree", "features", features, 1)
    at_least("total_degree", "degree", degree, 1)

    def up_to(size: int, rest: int) -> list[list[int]]:
        return [[]] if size == 0 else [[d, *tail] for d in range(rest + 1) for tail in up_to(size - 1, rest - d)]

    return [up_to(context + j, degree) for j in range(1, features + 1)]
