"""Column types in which single values, such as zero, have a probability of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import finite_numbers
from pushforward.core.config import configurable
from pushforward.core.domain import Interval
from pushforward.distributions.columns.column_type import ColumnType
from pushforward.distributions.columns.terms import CategoricalTerm, InTerms

__all__ = ["Inflated", "ZeroInflated"]

FEWEST = 8
"""Other values from which on the inner type is measured by them alone."""


@configurable
class Inflated(ColumnType):
    r"""Some values with a probability of their own, and otherwise a value of another type.

    .. math:: q(x) = \sum_k \pi_k\, \delta_{v_k}(x) + \Bigl(1 - \sum_k \pi_k\Bigr)\, q_{\mathrm{inner}}(x)

    One of these values contributes a probability, another one of a continuous type a density.

    Args:
        inner: the type of the other values.
        values: those that have a probability of their own, in increasing order.
        columns: how many such columns stand side by side.

    Raises:
        ValueError: ``values`` are not finite, or do not rise.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"inner": {"type": "Continuous"}, "values": [-1.0, 0.5, 40.0]},
        {"inner": {"type": "Integer", "low": 0}, "values": [3.0, 8.0], "columns": 2},
    )
    values: Tensor

    def __init__(self, inner: ColumnType, values: Sequence[float], *, columns: int = 1) -> None:
        super().__init__(columns)
        numbers = finite_numbers(type(self).__name__, "values", values)
        if numbers != sorted(set(numbers)):
            raise ValueError(f"{type(self).__name__}: values must be different numbers, rising; got {numbers}.")
        self.inner = inner if inner.columns == columns else inner.repeated(columns)
        self.is_density, self.ordered, self.smoothing = inner.is_density, inner.ordered, inner.smoothing
        self.is_real = inner.is_real
        self.count = len(numbers)
        """How many single values there are."""
        self.num_params, self.num_inputs = len(numbers) + inner.num_params, len(numbers) + inner.num_inputs
        low, high = inner.domain.ends
        fits = low <= numbers[0] and numbers[-1] <= high
        self.domain = inner.domain if fits else Interval(min(low, numbers[0]), max(high, numbers[-1]))
        self.anchor = inner.domain.anchor(torch.zeros((), dtype=torch.float64, device="cpu")).item()
        self.add_constant("values", numbers, torch.float64)

    def _apply(self, fn: Any, recurse: bool = True) -> Inflated:
        values = self.values
        super()._apply(fn, recurse)
        self.values = values.to(self.like.device)  # moved with the module, but never narrowed
        return self

    def temperature_scaling(self) -> tuple[Tensor, Tensor] | None:
        inner = self.inner.temperature_scaling()
        if inner is None:
            return None
        return torch.cat([torch.ones(self.count), inner[0]]), torch.cat([torch.zeros(self.count), inner[1]])

    def add_noise(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.where(self._find(x)[1], x, self.inner.add_noise(x, generator)) if self.smoothing else x

    def encode(self, x: Tensor) -> Tensor:
        hit = self._find(x)[1]
        inner = self.inner.encode(self._without_values(x, hit)) * ~hit[:, None]
        return torch.cat([self._at(x).movedim(0, 1).to(inner.dtype), inner], dim=1)

    @property
    def shown_values(self) -> list[float] | None:
        return self.values.tolist() if self.inner.shown_values == [] else None

    @property
    def plain_inputs(self) -> list[int]:
        return [*range(self.count), *(self.count + k for k in self.inner.plain_inputs)]

    def position(self, x: Tensor) -> Tensor | None:
        return self.inner.position(x)

    def holds(self, x: Tensor) -> Tensor:
        return self._find(x)[1] | self.inner.holds(x)

    def standardized(self, x: Tensor) -> Tensor:
        inner = self.inner.standardized(x)
        return inner.masked_fill(self._find(x)[1], torch.nan) if self.is_density else inner

    def number(self, x: Tensor) -> Tensor | None:
        return self.inner.standardized(x) if self.is_density else None

    def fitted_params(self, u: Tensor) -> Tensor | None:
        return self.inner.fitted_params(u)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return self.in_terms(x, params).evaluate()

    def in_terms(self, x: Tensor, params: Tensor, *, constant_place: bool = False) -> InTerms:
        smaller, hit = self._find(x)
        codes = torch.where(hit, smaller, self.count)
        logits, inner_params = params.tensor_split((self.count,))
        logits = _with_zero(logits)
        # If the inner type has probabilities, it gives one to each of the values too.
        others = self._without_values(x, hit) if self.is_density else x
        inner = self.inner.in_terms(others, inner_params, constant_place=constant_place)

        def combine(values: Sequence[Tensor]) -> Tensor:
            share, within = values[0], inner.combine(values[1:])
            if self.is_density:
                return share + within.masked_fill(hit, 0.0)
            logit = logits.gather(0, codes[None])[0]
            other = share - logit + within
            return torch.where(hit, torch.logaddexp(share, other), other)

        return InTerms([CategoricalTerm(logits, codes), *inner.terms], combine)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        share = self._log_shares(params).exp()
        below = torch.where(self._over(x) <= x, share[:-1], 0.0).sum(dim=0)
        return (below + share[-1] * self.inner.cdf(x, params[self.count :])).clamp(max=1.0)

    def point_mass(self, x: Tensor, params: Tensor) -> Tensor:
        if not self.is_density:
            return super().point_mass(x, params)
        smaller, hit = self._find(x)
        return torch.where(hit, self._log_shares(params).gather(0, smaller[None])[0].exp(), 0.0)

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        share, inner_params = self._log_shares(params).exp(), params[self.count :]
        values = self._over(p.to(torch.float64)).expand(-1, *p.shape)
        inside = torch.stack([self.inner.cdf(value, inner_params.expand(-1, *p.shape)) for value in values])
        upto = share[:-1].cumsum(dim=0) + share[-1] * inside  # P(X ≤ v_k)
        before = upto - share[:-1]  # P(X < v_k), where v_k has no probability inside
        if not self.is_density:
            masses = [self.inner.point_mass(value, inner_params.expand(-1, *p.shape)) for value in values]
            before = before - share[-1] * torch.stack(masses)
        passed = torch.where(p > upto, share[:-1], 0.0).sum(dim=0)
        eps = torch.finfo(p.dtype).eps
        rest = ((p - passed) / share[-1].clamp(min=torch.finfo(p.dtype).tiny)).clamp(eps, 1 - eps)
        x = self.inner.icdf(rest, inner_params)
        for k, value in enumerate(values):
            x = torch.where((p > before[k]) & (p <= upto[k]), value, x)
        return x

    def _measure(self, x: Tensor) -> Tensor:
        at = self._at(x[None])[:, 0]  # (values, n)
        counts = torch.cat([at.sum(dim=1), (~at.any(dim=0)).sum()[None]]).to(self.like.dtype) + 0.5
        log_share = (counts / counts.sum()).log()
        others = x[~at.any(dim=0)]
        if len(others) < FEWEST:  # too few to tell where others of their kind would lie
            others = x
        return torch.cat([log_share[:-1] - log_share[-1], self.inner._measure(others)])

    def _log_shares(self, params: Tensor) -> Tensor:
        """Log-probabilities of the values, and last of the inner type."""
        return torch.log_softmax(_with_zero(params[: self.count]), dim=0)

    def _over(self, x: Tensor) -> Tensor:
        """The values along a new first axis, (values, 1, ..., 1), to compare with x."""
        return self.values.reshape(-1, *(1,) * x.ndim)

    def _at(self, x: Tensor) -> Tensor:
        """Which of the values x equals, (values, *s)."""
        return x == self._over(x)

    def _find(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How many of the values are smaller than x, and whether it is one of them."""
        x = x.contiguous()
        smaller = torch.searchsorted(self.values, x)
        return smaller, torch.searchsorted(self.values, x, right=True) > smaller

    def _without_values(self, x: Tensor, hit: Tensor) -> Tensor:
        """x with a fixed inner point of the inner type's domain in place of the values, which were hit."""
        return x.masked_fill(hit, self.anchor)


def _with_zero(logits: Tensor) -> Tensor:
    """Logits, and last that of the inner type, to which they are relative."""
    return F.pad(logits, (0, 0) * (logits.ndim - 1) + (0, 1))


@configurable
class ZeroInflated(Inflated):
    """Zero with a probability of its own, and otherwise a value of another type; see `Inflated`.

    Args:
        inner: the type of the other values.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"inner": {"type": "Positive"}},
        {"inner": {"type": "Integer", "low": 0}, "columns": 2},
    )

    def __init__(self, inner: ColumnType, *, columns: int = 1) -> None:
        super().__init__(inner, [0.0], columns=columns)
