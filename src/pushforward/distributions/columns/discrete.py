"""What a column of a table can hold, and its law given others: a density, a probability of each value, or both."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core.checks import at_least, finite_numbers
from pushforward.core.config import build, configurable
from pushforward.core.constants import HasConstants
from pushforward.core.domain import Domain, Integers, Interval

__all__ = ["Boolean", "Categorical", "ColumnType", "Constant", "Inflated", "Ordinal", "ZeroInflated"]


class ColumnType(HasConstants, ABC):
    """A kind of column: how its values are seen by a network, and the law that parameters from a network give them.

    One module stands for ``columns`` columns of the kind side by side, so that they are computed together.

    Shape:
        Values: (columns, n) in float64, whatever the dtype of the weights, in the column's own units; categories as
        0, 1, ... . Parameters lead, (num_params, columns, n), in the dtype of the weights, as all that is computed.
        Zero parameters give a law that fits no column in particular; `start` gives those that fit the whole column.
    """

    num_params: int
    num_inputs: int
    """Numbers that a network sees of a value."""
    domain: Domain
    ordered: bool = True
    """Whether values have an order, so that there are quantiles."""
    is_density: bool = True
    """Whether `log_prob` is a density, in units of one over the column's, or a probability."""
    levels: int = 0
    """How many categories there are; 0 for kinds without."""
    smoothing: float = 0.0
    """Of the law that is learned, where a kind can be smoothed."""
    each_its_own: ClassVar[tuple[str, ...]] = ()
    """Names of tensors (columns, ...) that each column has for itself."""
    config: dict[str, Any]
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __init__(self, columns: int) -> None:
        super().__init__()
        at_least(type(self).__name__, "columns", columns, 1)
        self.columns = columns
        self.add_constant("like", 0.0)  # has the dtype of the model; its value is not used

    like: Tensor

    def holds(self, x: Tensor) -> Tensor:
        """Where x (columns, n) is something to which laws of the kind give a density or a probability."""
        return self.domain.contains(x)

    @property
    def has_ranks(self) -> bool:
        """Whether quantiles say something of it: values have an order, and there are more than two."""
        return self.ordered and self.levels != 2

    def one(self, k: int) -> ColumnType:
        """ColumnType k alone, sharing its numbers with this module."""
        return self._cut(slice(k, k + 1), 1)

    def some(self, columns: Sequence[int]) -> ColumnType:
        """These columns alone, with copies of what each has for itself."""
        return self._cut(list(columns), len(columns))

    def _cut(self, which: slice | list[int], count: int) -> ColumnType:
        if self.columns == count:
            return self
        twin: ColumnType = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        own = {**self._parameters, **self._buffers}
        cut = {name: t[which] if name in self.each_its_own and t is not None else t for name, t in own.items()}
        parts = {
            n: part._cut(which, count) if isinstance(part, ColumnType) else part for n, part in self._modules.items()
        }
        twin.__dict__.update(_parameters={}, _buffers=cut, _modules=parts, columns=count)
        return twin

    def beside(self, columns: int) -> ColumnType:
        """A fresh module for so many columns of this kind."""
        module: ColumnType = build({**self.config, "columns": columns})
        return module

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """What a network sees, (columns, num_inputs, n)."""

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-density or log-probability of x, (columns, n); -inf outside of the domain."""

    @abstractmethod
    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        """P(X ≤ x), (columns, n)."""

    def mid_cdf(self, x: Tensor, params: Tensor) -> Tensor:
        """P(X < x) + P(X = x) / 2: the distribution function where there is a density, the middle of its step where x
        has a probability, so that `icdf` takes it back to x."""
        return self.cdf(x, params) - 0.5 * self.jump(x, params)

    def jump(self, x: Tensor, params: Tensor) -> Tensor:
        """P(X = x)."""
        return self.log_prob(x, params).exp() if not self.is_density else torch.zeros_like(x, dtype=params.dtype)

    @abstractmethod
    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        """The smallest x with P(X ≤ x) ≥ p, (columns, n), in float64."""

    def tempering(self) -> tuple[Tensor, Tensor] | None:
        """(a, b), each (num_params,), with which exp(-a t) params + b t is the same law made less sure of itself, by
        about exp(t); None where a kind has no such thing."""
        return None

    def add_noise(self, x: Tensor) -> Tensor:
        """What is learned from where x was seen: x itself, or where there is smoothing x with noise."""
        return x

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A value for each, (columns, n)."""
        u = torch.rand(params.shape[1:], dtype=torch.float64, device=params.device, generator=generator)
        eps = torch.finfo(params.dtype).eps
        return self.icdf(u.clamp(eps, 1 - eps).to(params.dtype), params)

    def initialize(self, x: Tensor, seen: Tensor) -> Tensor:
        """Measure where (columns, n) is seen what the kind keeps of the whole column, such as mean and scale, once;
        gives parameters (num_params, columns) from which learning starts."""
        starts = [self.one(k)._start(own[mask]) for k, (own, mask) in enumerate(zip(x, seen, strict=True))]
        return torch.stack(starts, dim=-1)

    @abstractmethod
    def _start(self, x: Tensor) -> Tensor:
        """Parameters (num_params,) for the values (n,) of a single column, after measuring them; n may be zero."""

    def extra_repr(self) -> str:
        own = {k: v for k, v in getattr(self, "config", {}).items() if k != "type" and not isinstance(v, dict)}
        return ", ".join(f"{key}={value}" for key, value in own.items())


@configurable
class Categorical(ColumnType):
    """One of some categories, each with a probability of its own.

    Args:
        levels: number of categories; values are 0 .. levels - 1.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"levels": 3}, {"levels": 100, "columns": 2})
    is_density = False
    ordered = False
    each_its_own = ("embedding",)
    MOST_ONE_HOT = 64
    EMBEDDING = 16

    def __init__(self, levels: int, *, columns: int = 1) -> None:
        super().__init__(columns)
        at_least(type(self).__name__, "levels", levels, 1)
        self.levels = self.num_params = levels
        self.domain = Integers(0, levels - 1)
        self.embedding: nn.Parameter | None = None
        self.num_inputs = levels
        if levels > self.MOST_ONE_HOT:
            self.num_inputs = self.EMBEDDING
            self.embedding = nn.Parameter(torch.randn(columns, levels, self.EMBEDDING) / math.sqrt(self.EMBEDDING))

    def tempering(self) -> tuple[Tensor, Tensor]:
        return torch.ones(self.num_params), torch.zeros(self.num_params)

    def encode(self, x: Tensor) -> Tensor:
        codes = self._codes(x)
        if self.embedding is None:
            return F.one_hot(codes, self.levels).movedim(-1, 1).to(self.like.dtype)
        wide = codes[..., None].expand(*codes.shape, self.EMBEDDING)
        return self.embedding.gather(1, wide).movedim(-1, 1)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        log_probs = torch.log_softmax(params, dim=0)
        found = log_probs.gather(0, self._codes(x)[None])[0]
        return torch.where(self.domain.contains(x), found, -torch.inf)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        total = torch.softmax(params, dim=0).cumsum(dim=0).gather(0, self._codes(x.floor())[None])[0]
        return torch.where(x < 0, 0.0, torch.where(x >= self.levels - 1, 1.0, total))

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        sums = torch.softmax(params, dim=0).cumsum(dim=0)[:-1]  # the last is one, whatever it rounds to
        return (p > sums).sum(dim=0).to(torch.float64)

    def _start(self, x: Tensor) -> Tensor:
        counts = torch.bincount(x.long(), minlength=self.levels).to(self.like.dtype)
        share = (counts + 0.5) / (counts.sum() + 0.5 * self.levels)
        return share.log() - share.log().mean()

    def _codes(self, x: Tensor) -> Tensor:
        return x.clamp(0, self.levels - 1).long()


@configurable
class Ordinal(Categorical):
    """One of some categories that have an order, such as school grades: probabilities as of `Categorical`, and
    quantiles."""

    ordered = True


@configurable
class Boolean(Categorical):
    """False or true, as 0 and 1, in this order."""

    ordered = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"columns": 2})

    def __init__(self, *, columns: int = 1) -> None:
        super().__init__(2, columns=columns)


@configurable
class Constant(ColumnType):
    """The same value in every row: probability one, and nothing to learn.

    Args:
        value: what the column holds.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"value": 2.5}, {"columns": 2})
    is_density = False
    num_params = num_inputs = 0

    def __init__(self, value: float = 0.0, *, columns: int = 1) -> None:
        super().__init__(columns)
        self.value = float(value)
        self.domain = Interval(self.value, math.nextafter(self.value, math.inf))  # as narrow as they get

    def encode(self, x: Tensor) -> Tensor:
        return self.like.new_zeros(x.shape[0], 0, x.shape[1])

    def holds(self, x: Tensor) -> Tensor:
        return x == self.value

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return torch.where(x == self.value, 0.0, -torch.inf).to(self.like.dtype)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        return (x >= self.value).to(self.like.dtype)

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        return torch.full(p.shape, self.value, dtype=torch.float64, device=p.device)

    def _start(self, x: Tensor) -> Tensor:
        return self.like.new_zeros(0)


@configurable
class Inflated(ColumnType):
    r"""Some values with a probability of their own, and otherwise a value of another kind.

    .. math:: q(x) = \sum_k \pi_k\, \delta_{v_k}(x) + \Bigl(1 - \sum_k \pi_k\Bigr)\, q_{\mathrm{inner}}(x)

    One of these values contributes a probability, another one of a continuous kind a density.

    Args:
        inner: the kind of the other values.
        values: those that have a probability of their own, rising.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"inner": {"type": "Continuous"}, "values": [-1.0, 0.5, 40.0]},
        {"inner": {"type": "Integer", "low": 0}, "values": [3.0, 8.0], "columns": 2},
    )
    values: Tensor

    def __init__(self, inner: ColumnType, values: Sequence[float], *, columns: int = 1) -> None:
        super().__init__(columns)
        own = finite_numbers(type(self).__name__, "values", values)
        if own != sorted(set(own)):
            raise ValueError(f"{type(self).__name__}: values must be different numbers, rising; got {own}.")
        self.inner = inner if inner.columns == columns else inner.beside(columns)
        self.is_density, self.ordered = inner.is_density, inner.ordered
        self.num_params, self.num_inputs = len(own) + inner.num_params, len(own) + inner.num_inputs
        low, high = inner.domain.ends
        fits = low <= own[0] and own[-1] <= high
        self.domain = inner.domain if fits else Interval(min(low, own[0]), max(high, own[-1]))
        self.add_constant("values", own, torch.float64)

    def tempering(self) -> tuple[Tensor, Tensor] | None:
        inner = self.inner.tempering()
        if inner is None:
            return None
        values = len(self.values)
        return torch.cat([torch.ones(values), inner[0]]), torch.cat([torch.zeros(values), inner[1]])

    def encode(self, x: Tensor) -> Tensor:
        at = self._at(x)  # (values, columns, n)
        inner = self.inner.encode(self._others(x, at)) * ~at.any(dim=0)[:, None]
        return torch.cat([at.movedim(0, 1).to(inner.dtype), inner], dim=1)

    def holds(self, x: Tensor) -> Tensor:
        return self._at(x).any(dim=0) | self.inner.holds(x)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        log_share = self._log_shares(params)
        at = self._at(x)
        hit = at.any(dim=0)
        own = torch.where(at, log_share[:-1], 0.0).sum(dim=0)
        others = log_share[-1] + self.inner.log_prob(self._others(x, at), params[len(self.values) :])
        if self.is_density:
            return torch.where(hit, own, others)
        # A value may come from either part; the kind inside says what it gives it.
        inner = log_share[-1] + self.inner.log_prob(x, params[len(self.values) :])
        return torch.where(hit, torch.logaddexp(own, inner), inner)

    def cdf(self, x: Tensor, params: Tensor) -> Tensor:
        share = self._log_shares(params).exp()
        below = torch.where(self._spread(x) <= x, share[:-1], 0.0).sum(dim=0)
        return (below + share[-1] * self.inner.cdf(x, params[len(self.values) :])).clamp(max=1.0)

    def jump(self, x: Tensor, params: Tensor) -> Tensor:
        if not self.is_density:
            return super().jump(x, params)
        return torch.where(self._at(x), self._log_shares(params)[:-1].exp(), 0.0).sum(dim=0)

    def icdf(self, p: Tensor, params: Tensor) -> Tensor:
        share, inner_params = self._log_shares(params).exp(), params[len(self.values) :]
        places = self._spread(p.to(torch.float64)).expand(-1, *p.shape)
        inside = torch.stack([self.inner.cdf(at, inner_params.expand(-1, *p.shape)) for at in places])
        upto = share[:-1].cumsum(dim=0) + share[-1] * inside  # P(X ≤ v_k)
        before = upto - share[:-1]  # P(X < v_k), where v_k has no probability inside
        if not self.is_density:
            jumps = [self.inner.jump(at, inner_params.expand(-1, *p.shape)) for at in places]
            before = before - share[-1] * torch.stack(jumps)
        passed = torch.where(p > upto, share[:-1], 0.0).sum(dim=0)
        eps = torch.finfo(p.dtype).eps
        rest = ((p - passed) / share[-1].clamp(min=torch.finfo(p.dtype).tiny)).clamp(eps, 1 - eps)
        found = self.inner.icdf(rest, inner_params)
        for k, at in enumerate(places):
            found = torch.where((p > before[k]) & (p <= upto[k]), at, found)
        return found

    def _start(self, x: Tensor) -> Tensor:
        at = self._at(x[None])[:, 0]  # (values, n)
        counts = torch.cat([at.sum(dim=1), (~at.any(dim=0)).sum()[None]]).to(self.like.dtype) + 0.5
        log_share = (counts / counts.sum()).log()
        return torch.cat([log_share[:-1] - log_share[-1], self.inner._start(x[~at.any(dim=0)])])

    def _log_shares(self, params: Tensor) -> Tensor:
        """Of the values, and last of the kind inside."""
        logits = params[: len(self.values)]
        return torch.log_softmax(torch.cat([logits, torch.zeros_like(logits[:1])]), dim=0)

    def _spread(self, x: Tensor) -> Tensor:
        return self.values.reshape(-1, *(1,) * x.ndim)

    def _at(self, x: Tensor) -> Tensor:
        """Which of the values x is, (values, *s)."""
        return x == self._spread(x)

    def _others(self, x: Tensor, at: Tensor) -> Tensor:
        """x, and in place of the values another one that the inner kind may hold."""
        return torch.where(at.any(dim=0), self.inner.domain.anchor(x), x)


@configurable
class ZeroInflated(Inflated):
    """Zero with a probability of its own, and otherwise a value of another kind; see `Inflated`.

    Args:
        inner: the kind of the other values.
        columns: how many such columns stand side by side.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"inner": {"type": "Positive"}},
        {"inner": {"type": "Integer", "low": 0}, "columns": 2},
    )

    def __init__(self, inner: ColumnType, *, columns: int = 1) -> None:
        super().__init__(inner, [0.0], columns=columns)
