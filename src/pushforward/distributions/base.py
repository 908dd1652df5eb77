"""The simple densities that flows push forward: independent features, with cdf and quantiles."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.checks import positive
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Circle, Domain, Interval
from pushforward.core.entries import product, restrict
from pushforward.core.noise import normal, uniform
from pushforward.core.reference import REFERENCES
from pushforward.core.shapes import EventSize, event_numbers, event_shape, sum_event
from pushforward.core.special import ndtr
from pushforward.core.student import student_cdf, student_icdf, student_log_density
from pushforward.core.torch_internals import standard_gamma
from pushforward.distributions.autoregressive import AutoregressiveDistribution

__all__ = ["CircularUniform", "Independent", "Normal", "StandardNormal", "StudentT", "Uniform", "normal_log_probs"]

LOG_2PI = math.log(2 * math.pi)


def normal_log_probs(z: Tensor) -> Tensor:
    """Standard normal log-densities, entry by entry.

    Points whose square would overflow are moved in: a finite, very small density in their place, and no infinity that
    a zero gradient could turn into NaN.
    """
    return REFERENCES["gaussian"].log_density(z)


class Independent(AutoregressiveDistribution):
    r"""Independent features, :math:`q(x) = \prod_j q_j(x_j)`: the noise of autoregressive distributions.

    A subclass writes ``_log_probs``, ``_cdf`` and ``_icdf`` feature by feature.
    """

    independent = True

    @abstractmethod
    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor: ...

    @property
    def noise(self) -> Independent:
        return self

    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return x, torch.zeros_like(x)

    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        return noise

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return sum_event(self._log_probs(x, context), len(self.event_shape))

    def _why_no_conditionals(self) -> str:
        if len(self.event_shape) == 1:
            return ""
        return f", for events of shape {self.event_shape} are not vectors, whose features come one after the other"

    def columns(self, start: int, stop: int) -> Independent:
        """The distribution of the features from start to stop."""
        return _Columns(self, start, stop)


class _Columns(Independent):
    """Some neighbouring features of independent ones."""

    def __init__(self, whole: Independent, start: int, stop: int) -> None:
        super().__init__()
        self.whole, self.start, self.stop = whole, start, stop
        self.event_shape, self.support = (stop - start,), restrict(whole.support, start, stop)

    def _apart(self, hook: Callable[..., Tensor], x: Tensor, filling: Tensor) -> Tensor:
        wide = filling.expand(*x.shape[:-1], *self.whole.event_shape)
        wide = torch.cat([wide[..., : self.start], x, wide[..., self.stop :]], dim=-1)
        return hook(wide, None)[..., self.start : self.stop]

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._apart(self.whole._log_probs, x, self.whole.support.anchor(x))

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._apart(self.whole._cdf, x, self.whole.support.anchor(x))

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return self._apart(self.whole._icdf, u, u.new_tensor(0.5))

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self.whole._rsample(batch, None, generator)[..., self.start : self.stop]


@configurable
class StandardNormal(Independent):
    r"""Independent standard normals, :math:`z \sim N(0, I)`.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).

    >>> import torch
    >>> round(StandardNormal(2).log_prob(torch.zeros(2)).item(), 4)
    -1.8379
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 1}, {"features": 3}, {"features": [2, 2, 3]})
    like: Tensor

    def __init__(self, features: EventSize) -> None:
        super().__init__()
        self.event_shape = event_shape("StandardNormal", features)
        self.add_constant("like", 0.0)  # has the dtype and device of the model; its value is not used

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        return normal_log_probs(x)

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return ndtr(x)

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return torch.special.ndtri(u)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return _randn((*batch, *self.event_shape), self.like, generator)


@configurable
class Normal(Independent):
    r"""Independent normals with learned means and standard deviations.

    `initialize` sets both to those of the data (the maximum-likelihood fit).

    Args:
        loc: initial mean of each feature; nested lists for events of several axes.
        scale: initial standard deviation of each feature, in lists like those of ``loc``; one by default.

    Raises:
        ValueError: there is not one positive ``scale`` for each ``loc``, or a value is not finite.

    >>> import torch
    >>> round(Normal([1.0], [2.0]).log_prob(torch.tensor([1.0])).item(), 4)
    -1.6121
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"loc": [0.5]},
        {"loc": [0.0, 1.0], "scale": [0.5, 2.0]},
        {"loc": [[[0.0, 1.0]], [[-1.0, 0.5]]]},
    )

    def __init__(self, loc: Sequence[Any], scale: Sequence[Any] | None = None) -> None:
        super().__init__()
        means = event_numbers("Normal", "loc", loc)
        scales = torch.ones_like(means) if scale is None else event_numbers("Normal", "scale", scale)
        if scales.shape != means.shape or not bool((scales > 0).all()):
            raise ValueError(f"Normal: scale must be {means.numel()} positive numbers; got {scale!r}.")
        self.loc = nn.Parameter(torch.tensor(means.tolist()))
        self.log_scale = nn.Parameter(torch.tensor(scales.log().tolist()))
        self.event_shape = tuple(means.shape)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        flat = x.reshape(-1, *self.event_shape)
        self.loc.copy_(flat.mean(dim=0))
        self.log_scale.copy_(flat.std(dim=0, correction=0).clamp(min=torch.finfo(x.dtype).tiny).log())

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        return normal_log_probs(self._standard(x)) - self.log_scale

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return ndtr(self._standard(x))

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return torch.addcmul(self.loc, self.log_scale.exp(), torch.special.ndtri(u))

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self.loc) * (-self.log_scale).exp()

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        z = _randn((*batch, *self.event_shape), self.loc, generator)
        return self.loc + self.log_scale.exp() * z


@configurable
class Uniform(Independent):
    r"""Independent uniforms on [low, high].

    Args:
        low: lower end of each feature; nested lists for events of several axes.
        high: upper end of each feature, in lists like those of ``low``.

    Raises:
        ValueError: ``low`` does not lie below ``high``, feature by feature, or a value is not finite.

    >>> import torch
    >>> Uniform([0.0], [2.0]).log_prob(torch.tensor([[1.0], [3.0]])).tolist()
    [-0.6931471824645996, -inf]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"low": [0.0], "high": [1.0]},
        {"low": [-1.0, 0.0], "high": [1.0, 3.0]},
        {"low": [[-1.0, 0.0], [0.0, 0.0]], "high": [[1.0, 3.0], [1.0, 2.0]]},
    )
    low: Tensor
    high: Tensor

    def __init__(self, low: Sequence[Any], high: Sequence[Any]) -> None:
        super().__init__()
        ends = event_numbers("Uniform", "low", low), event_numbers("Uniform", "high", high)
        if ends[0].shape != ends[1].shape:
            raise ValueError(f"Uniform: low and high must be lists of one shape; got {low} and {high}.")
        if not bool((ends[0] < ends[1]).all()):
            raise ValueError(f"Uniform: low must lie below high, feature by feature; got {low} and {high}.")
        self.add_constant("low", ends[0].tolist())
        self.add_constant("high", ends[1].tolist())
        self.event_shape = tuple(ends[0].shape)
        pairs = zip(ends[0].flatten().tolist(), ends[1].flatten().tolist(), strict=True)
        self.support = product(tuple(Interval(a, b) for a, b in pairs), self.event_shape)

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        inside = (x >= self.low) & (x <= self.high)  # a flow's inverse may leave the box
        return torch.where(inside, -(self.high - self.low).log(), -torch.inf)

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return ((x - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return torch.lerp(self.low.expand_as(u), self.high.expand_as(u), u)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self._icdf(_rand((*batch, *self.event_shape), self.low, generator), None)


@configurable
class CircularUniform(Independent):
    r"""Independent uniform angles on :math:`[-\pi, \pi)`: the base of flows on circles and tori.

    Its `cdf` starts at :math:`-\pi`, where the circle is cut open.

    Args:
        features: number of angles, or the shape of an event of angles.

    >>> import torch
    >>> round(CircularUniform(2).log_prob(torch.zeros(2)).item(), 4)
    -3.6758
    """

    support: Domain = Circle()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 1}, {"features": 2}, {"features": [2, 2]})
    like: Tensor

    def __init__(self, features: EventSize) -> None:
        super().__init__()
        self.event_shape = event_shape("CircularUniform", features)
        self.add_constant("like", 0.0)  # has the dtype and device of the model; its value is not used

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        return torch.full_like(x, -LOG_2PI)

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return (x / (2 * math.pi) + 0.5).clamp(0.0, 1.0)

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        x = 2 * math.pi * (u - 0.5)
        return torch.where(x < math.pi, x, -math.pi)  # the largest u may round to the open end, which is the other one

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self._icdf(_rand((*batch, *self.event_shape), self.like, generator), None)


@configurable
class StudentT(Independent):
    r"""Independent standard Student-t variables: like normals, with tails of power :math:`-(\nu + 1)`.

    Args:
        features: number of features, or the shape of an event such as (3, 32, 32).
        df: degrees of freedom ν; its initial value if ``learn_df``.
        learn_df: whether ν is a parameter, one per feature.

    Raises:
        ValueError: ``df`` is not positive.

    >>> import torch
    >>> round(StudentT(1, df=1.0).log_prob(torch.zeros(1)).item(), 4)
    -1.1447
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 1, "df": 1.5},
        {"features": 3, "df": 5.0, "learn_df": True},
        {"features": [2, 2], "df": 5.0, "learn_df": True},
    )
    log_df: Tensor

    def __init__(self, features: EventSize, df: float = 3.0, *, learn_df: bool = False) -> None:
        super().__init__()
        self.event_shape = event_shape("StudentT", features)
        positive("StudentT", "df", df)
        if learn_df:
            self.log_df = nn.Parameter(torch.full(self.event_shape, math.log(df)))
        else:
            self.add_constant(
                "log_df", torch.full(self.event_shape, math.log(df), dtype=torch.float64, device="cpu").tolist()
            )

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        return student_log_density(x, self.log_df)

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return student_cdf(x, self.log_df)

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return student_icdf(u, self.log_df)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        half = 0.5 * self.log_df.exp()
        normal = _randn((*batch, *self.event_shape), half, generator)
        # Gamma draws carry gradients to ν; torch's sampler takes the generator as its last argument. The draw for ν / 2
        # is that for ν / 2 + 1 times a power of a uniform number, kept as a logarithm: for small ν it underflows.
        above = standard_gamma((half + 1).expand_as(normal), generator=generator)
        log_gamma = above.log() + torch.log1p(-_rand(tuple(normal.shape), half, generator)) / half
        limit = math.log(torch.finfo(half.dtype).max) - 3  # leaves room for the factor, a normal number
        return normal * torch.exp((0.5 * (half.log() - log_gamma)).clamp(max=limit))


def _randn(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return normal(shape, like, generator)


def _rand(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return uniform(shape, like, generator)
