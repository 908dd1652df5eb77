"""The column type of numbers most of which repeat: each value that was seen twice has a probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.checks import finite_numbers
from pushforward.core.config import configurable
from pushforward.core.constants import moved_wide
from pushforward.core.domain import Interval
from pushforward.core.numerics import concrete_bool
from pushforward.distributions.columns.column_type import WAVES, ColumnType, waves
from pushforward.distributions.columns.inflated import FEWEST
from pushforward.distributions.columns.scaled import Placed, Scaled
from pushforward.distributions.columns.terms import InTerms, ScalarTerm
from pushforward.univariate.base import Univariate

__all__ = ["Repeated"]

FARTHEST = 8.2
"""Of a normal score of a number: the next one to it in float64 is a probability of one. The latent distribution counts
between these ends alone, however far other columns move it, so that nothing is lost beyond."""
FARTHEST_PLACE = 6.0
"""Of the distribution of normal scores: numbers have hardly any digits to tell scores apart where they are higher."""
SCORES = 1_024
"""Normal scores to which the first parameters are fitted, at most."""


@configurable
class Repeated(Scaled):
    r"""Numbers of which many repeat: some values have a probability, others a density, or a probability that is smooth.

    A continuous distribution, that of a latent number z, is cut at the normal scores of the column's own distribution:

    .. math:: q(v_k) = F(z_k) - F(z_k^-), \qquad q(x) = f(z(x))\, z'(x) \text{ elsewhere}, \qquad
              z(x) = \Phi^{-1}(G(x)), \quad G = \sum_k \pi_k 1_{v_k \le x} + \pi_0\, G_{\mathrm{inner}}(x)

    The shares π were measured, and so was the distribution of the other values. If F is standard normal, q is the
    distribution of the whole column; given other columns F moves, and probabilities of values that are near each other
    move together. So a few rows for each value suffice, where `Inflated` has to learn one number for each.

    Args:
        inner: the type of the other values.
        values: those that have a probability, in increasing order.
        univariate: the map whose distribution z has, as in `Continuous`.
        columns: how many such columns stand side by side.

    Raises:
        ValueError: ``values`` are not finite, or do not rise, or the inner type has no order.

    References:
        | On the distribution transform, Sklar's theorem, and the empirical copula process (Rüschendorf, 2009)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"inner": {"type": "Continuous"}, "values": [-1.0, 0.5, 40.0]},
        {
            "inner": {"type": "Integer", "low": 0},
            "values": [3.0, 8.0],
            "columns": 2,
            "univariate": {"type": "Affine"},
        },
    )
    per_column = (*Scaled.per_column, "shares", "base", "before", "upto")
    values: Tensor
    shares: Tensor
    """Of the values, and last of all others, (columns, values + 1)."""
    base: Tensor
    """Parameters of the distribution of the others, (columns, parameters of the inner type)."""
    before: Tensor
    """P(X < v) in the whole column for each of the values, (columns, values)."""
    upto: Tensor

    def __init__(
        self, inner: ColumnType, values: Sequence[float], *, univariate: Univariate | None = None, columns: int = 1
    ) -> None:
        super().__init__(univariate, columns)
        numbers = finite_numbers(type(self).__name__, "values", values)
        if numbers != sorted(set(numbers)):
            raise ValueError(f"{type(self).__name__}: values must be different numbers, rising; got {numbers}.")
        if not inner.ordered:
            raise ValueError(f"{type(self).__name__}: {type(inner).__name__} has no order. Use a type of numbers.")
        self.inner = inner if inner.columns == columns else inner.repeated(columns)
        self.is_density = inner.is_density
        self.num_inputs = WAVES + inner.num_inputs
        low, high = inner.domain.ends
        fits = low <= numbers[0] and numbers[-1] <= high
        self.domain = inner.domain if fits else Interval(min(low, numbers[0]), max(high, numbers[-1]))
        self.add_constant("values", numbers, torch.float64)
        share = 1 / (len(numbers) + 1)
        self.register_buffer("shares", torch.full((columns, len(numbers) + 1), share, dtype=torch.float64))
        self.register_buffer("base", torch.zeros(columns, inner.num_params, dtype=torch.float64))
        before, upto = self._ranks(self.values.expand(columns, -1))
        self.register_buffer("before", before)
        self.register_buffer("upto", upto)

    def _apply(self, fn: Any, recurse: bool = True) -> Repeated:
        values = self.values
        super()._apply(fn, recurse)
        self.values = moved_wide(values, self.values)  # moved with the module, but never narrowed
        return self

    def holds(self, x: Tensor) -> Tensor:
        return self._find(x)[1] | self.inner.holds(x)

    def encode(self, x: Tensor) -> Tensor:
        place = self._score(x).float().to(self.like.dtype)  # without digits that depend on the number of columns
        return torch.cat([waves(place), self.inner.encode(self._inner_point(x))], dim=1)

    @property
    def shown_values(self) -> None:
        return None  # inputs are the waves of two numbers

    @property
    def plain_inputs(self) -> list[int]:
        return [0, *(WAVES + k for k in self.inner.plain_inputs)]

    def standardized(self, x: Tensor) -> Tensor:
        return torch.where(self.holds(x), self._score(x), torch.nan)

    def _placed(self, params: Tensor, constant_place: bool = False) -> Placed:
        placed = super()._placed(params, constant_place)
        if placed.location is None:
            return placed
        return placed._replace(location=placed.location.clamp(-FARTHEST_PLACE, FARTHEST_PLACE))

    def in_terms(self, x: Tensor, params: Tensor, *, constant_place: bool = False) -> InTerms:
        at, before, upto = self._look_up(x)
        placed = self._placed(params, constant_place)
        terms = [self._cell(before, upto, at if self.is_density else None, placed)]
        if self.is_density and concrete_bool(at.all()) is not True:
            score = _score_of(before)
            log_normal = -0.5 * (score.square() + math.log(2 * math.pi))
            single = self.inner.log_prob(self._inner_point(x), self._base_params(x)) + self.shares[:, -1:].log()
            z, offset = placed.points(score), placed.log_slopes(single - log_normal)
            terms.append(ScalarTerm(self.distribution, self.kind, placed.params, z, offset))
        terms.append(self._between(placed))
        holds = at | self.inner.holds(x)

        def combine(values: Sequence[Tensor]) -> Tensor:
            *values, between = values
            value = values[0] if len(values) == 1 else torch.where(at, values[0], values[1])
            return (value - between).masked_fill(~holds, -torch.inf)

        return InTerms(terms, combine)

    def _cell(self, before: Tensor, upto: Tensor, cell: Tensor | None, placed: Placed) -> ScalarTerm:
        """The log-probability of the z between two probabilities of the column, of any interval where there is no
        ``cell``."""
        low, high = _score_of(before), _score_of(upto)
        if cell is not None:
            low, high = torch.where(cell, low, 0.0), torch.where(cell, high, 1.0)
        return self._interval(low, high, placed)

    def _between(self, placed: Placed) -> ScalarTerm:
        """The log-probability of all z that the numbers of the column stand for, (columns, n)."""
        ends = placed.params.new_full(placed.params.shape[1:], FARTHEST, dtype=torch.float64)
        return self._interval(-ends, ends, placed)

    def _interval(self, low: Tensor, high: Tensor, placed: Placed) -> ScalarTerm:
        """The log-probability of the z between two normal scores."""
        low_end, high_end = placed.points(torch.stack([low, high])).unbind()
        return ScalarTerm(
            self.distribution, self.kind, placed.params, low=low_end, high=high_end, width=placed.widths(high - low)
        )

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        low, high = self.domain.ends
        placed = self._placed(params)
        score = _score_of(self._look_up(x)[2])
        inside = self._interval(torch.full_like(score, -FARTHEST), score, placed).evaluate()
        below = (inside - self._between(placed).evaluate()).exp().clamp(max=1.0)
        return torch.where(x < low, 0.0, torch.where(x >= high, 1.0, below))

    def point_mass(self, x: Tensor, params: Tensor) -> Tensor:
        if not self.is_density:
            return super().point_mass(x, params)
        at, before, upto = self._look_up(x)
        placed = self._placed(params)
        mass = self._cell(before, upto, at, placed).evaluate() - self._between(placed).evaluate()
        return torch.where(at, mass.exp(), 0.0)

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        placed = self._placed(params)
        ends = placed.params.new_full(placed.params.shape[1:], FARTHEST, dtype=torch.float64)
        low, high = (self.distribution.log_tail(placed.points(end), placed.params).exp() for end in (-ends, ends))
        z = placed.values(self.distribution.quantile(low + p * (high - low), placed.params)).clamp(-FARTHEST, FARTHEST)
        t = torch.special.ndtr(z)  # where to look in the distribution of the column
        before, upto, atoms = (_rows_of(table, t) for table in (self.before, self.upto, self._upto_values()))
        k = torch.searchsorted(upto, t)  # the first value with P(X ≤ v) ≥ t
        last = len(self.values) - 1
        at = (k <= last) & (t > before.gather(1, k.clamp(max=last)))
        eps = torch.finfo(torch.float64).eps
        rest = ((t - atoms.gather(1, k)) / self.shares[:, -1:]).clamp(eps, 1 - eps)
        others = self.inner.icdf(rest, self._base_params(rest))
        return torch.where(at, self.values[k.clamp(max=last)], others)

    def _measure(self, x: Tensor) -> Tensor:
        at = x == self.values[:, None]  # (values, n)
        others = x[~at.any(dim=0)]
        counts = torch.cat([at.sum(dim=1).double(), others.new_full((1,), len(others) + 0.5)])
        self.shares[0] = counts / counts.sum() if len(x) else 1 / len(counts)
        # Its parameters stay, whatever the others start from. Too few do not tell where others of their kind would lie,
        # and a shape fitted to values that repeat would have spikes there.
        self.inner.fits_shape = len(others) >= FEWEST
        if len(others) < FEWEST:
            others = x
        self.base[0] = self.inner._measure(others).double()
        before, upto = self._ranks(self.values[None])
        self.before.copy_(before)
        self.upto.copy_(upto)
        count = min(max(len(x), 2), SCORES)
        scores = torch.special.ndtri((torch.arange(count, dtype=torch.float64, device=x.device) + 0.5) / count)
        params = self.fitted_params(scores)
        return self.like.new_zeros(self.num_params) if params is None else params

    def _look_up(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where x is one of the values, and what `_ranks` gives, which is stored for them."""
        k, at = self._find(x)
        if concrete_bool(at.all()) is not True:
            return at, *self._ranks(x)
        return at, _rows_of(self.before, k).gather(1, k), _rows_of(self.upto, k).gather(1, k)

    def _ranks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < x) and P(X ≤ x) in the whole column, each (columns, n)."""
        k, at = self._find(x)
        atoms = _rows_of(self._upto_values(), k)
        base = self._base_params(x)
        inner = self.inner.cdf(x, base)
        mass = torch.zeros_like(inner) if self.is_density else self.inner.point_mass(x, base)
        others = self.shares[:, -1:]
        before = atoms.gather(1, k) + others * (inner - mass).clamp(min=0.0)
        return before, atoms.gather(1, k + at) + others * inner

    def _upto_values(self) -> Tensor:
        """The probability of the values before each one, and last of all of them, (columns, values + 1)."""
        sums = self.shares[:, :-1].cumsum(dim=1)
        return torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1)

    def _score(self, x: Tensor) -> Tensor:
        """The normal score of x, in the middle of the scores that mean a value."""
        _, before, upto = self._look_up(x)
        return _score_of(0.5 * (before + upto))

    def _find(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How many of the values are smaller than x, and whether it is one of them."""
        x = x.contiguous()
        smaller = torch.searchsorted(self.values, x)
        return smaller, torch.searchsorted(self.values, x, right=True) > smaller

    def _inner_point(self, x: Tensor) -> Tensor:
        """x, with a fixed inner point of the inner type's domain where that does not hold x."""
        return torch.where(self.inner.holds(x), x, self.inner.domain.anchor(x))

    def _base_params(self, x: Tensor) -> Tensor:
        return self.base.t()[..., None].expand(-1, *x.shape)


def _rows_of(table: Tensor, like: Tensor) -> Tensor:
    """Numbers (columns, values) for each row of a tensor: several rows of one column, such as its quantiles, too."""
    return table.expand(like.shape[0], -1).contiguous()


def _score_of(p: Tensor) -> Tensor:
    """The standard normal quantiles of probabilities, as far as numbers of a column have them."""
    return torch.special.ndtri(p.clamp(0.0, 1.0)).clamp(-FARTHEST, FARTHEST)
