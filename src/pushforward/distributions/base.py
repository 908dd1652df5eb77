"""The simple densities that flows push forward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least, positive
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL, Domain, Interval, Product

__all__ = ["MultivariateNormal", "Normal", "StandardNormal", "StudentT", "Uniform"]

LOG_2PI = math.log(2 * math.pi)
Numbers = Sequence[float]


def _normal_log_prob(z: Tensor) -> Tensor:
    """Sum of standard normal log-densities over the last axis.

    Points whose square would overflow are moved in: a finite, very small density in their place, and no infinity that
    a zero gradient could turn into NaN.
    """
    limit = math.sqrt(torch.finfo(z.dtype).max) * 1e-4
    z = z.clamp(-limit, limit)
    return -0.5 * (z.square().sum(dim=-1) + z.shape[-1] * LOG_2PI)


def _columns(owner: str, name: str, values: Numbers) -> Tensor:
    values = [float(value) for value in values]
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{owner}: {name} must list one finite number per feature; got {values}.")
    return torch.tensor(values)


@configurable
class StandardNormal(Distribution):
    r"""Independent standard normals, :math:`z \sim N(0, I)`.

    Args:
        features: number of features.

    >>> import torch
    >>> round(StandardNormal(2).log_prob(torch.zeros(2)).item(), 4)
    -1.8379
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 1}, {"features": 3})
    like: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("StandardNormal", "features", features, 1)
        self.event_shape = (features,)
        self.register_buffer("like", torch.zeros(()), persistent=False)  # follows .to(...); holds nothing

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return _normal_log_prob(x)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return _randn((*batch, *self.event_shape), self.like, generator)


@configurable
class Normal(Distribution):
    r"""Independent normals with learned or given means and standard deviations.

    `initialize` sets both to those of the data (the maximum-likelihood fit).

    Args:
        loc: mean of each feature.
        scale: standard deviation of each feature; one by default.

    >>> import torch
    >>> round(Normal([1.0], [2.0]).log_prob(torch.tensor([1.0])).item(), 4)
    -1.6121
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"loc": [0.5]}, {"loc": [0.0, 1.0], "scale": [0.5, 2.0]})

    def __init__(self, loc: Numbers, scale: Numbers | None = None) -> None:
        super().__init__()
        self.loc = nn.Parameter(_columns("Normal", "loc", loc))
        scales = torch.ones_like(self.loc) if scale is None else _columns("Normal", "scale", scale)
        if scales.shape != self.loc.shape or not bool((scales > 0).all()):
            raise ValueError(f"Normal: scale must be {len(self.loc)} positive numbers; got {scale!r}.")
        self.log_scale = nn.Parameter(scales.detach().log())
        self.event_shape = (len(self.loc),)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        flat = x.reshape(-1, x.shape[-1])
        self.loc.copy_(flat.mean(dim=0))
        self.log_scale.copy_(flat.std(dim=0, correction=0).clamp(min=torch.finfo(x.dtype).tiny).log())

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return _normal_log_prob((x - self.loc) * (-self.log_scale).exp()) - self.log_scale.sum()

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        z = _randn((*batch, *self.event_shape), self.loc, generator)
        return self.loc + self.log_scale.exp() * z


@configurable
class MultivariateNormal(Distribution):
    r"""A normal with a full covariance, :math:`x = \mu + L z` with L lower triangular.

    `initialize` sets mean and covariance to those of the data (the maximum-likelihood fit).

    Args:
        loc: mean of each feature.
        covariance: rows of the covariance matrix; the identity by default.

    >>> import torch
    >>> normal = MultivariateNormal([0.0, 0.0], [[2.0, 1.0], [1.0, 1.0]])
    >>> round(normal.log_prob(torch.zeros(2)).item(), 4)
    -1.8379
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"loc": [0.5]},
        {"loc": [0.0, 1.0], "covariance": [[2.0, 0.6], [0.6, 0.5]]},
    )

    def __init__(self, loc: Numbers, covariance: Sequence[Numbers] | None = None) -> None:
        super().__init__()
        self.loc = nn.Parameter(_columns("MultivariateNormal", "loc", loc))
        features = len(self.loc)
        self.event_shape = (features,)
        rows = torch.eye(features) if covariance is None else torch.tensor([[float(v) for v in r] for r in covariance])
        if rows.shape != (features, features) or not torch.allclose(rows, rows.t()):
            raise ValueError(f"MultivariateNormal: covariance must be a symmetric {features} × {features} matrix.")
        factor, failed = torch.linalg.cholesky_ex(rows)
        if int(failed):
            raise ValueError("MultivariateNormal: covariance must be positive definite; some direction has none.")
        self.log_diagonal = nn.Parameter(factor.diagonal().log())
        self.lower = nn.Parameter(factor.tril(-1))

    @property
    def factor(self) -> Tensor:
        """The Cholesky factor L of the covariance, (features, features)."""
        return self.lower.tril(-1) + torch.diag(self.log_diagonal.exp())

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        flat = x.reshape(-1, x.shape[-1]).to(torch.float64)
        centred = flat - flat.mean(dim=0)
        factor, failed = torch.linalg.cholesky_ex(centred.t() @ centred / len(flat))
        if int(failed):
            raise ValueError(
                "MultivariateNormal: the data lie in a lower-dimensional plane (a column is constant or a sum of "
                "others); drop one of those columns."
            )
        self.loc.copy_(flat.mean(dim=0))
        self.log_diagonal.copy_(factor.diagonal().log())
        self.lower.copy_(factor.tril(-1))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        columns = (x - self.loc).reshape(-1, x.shape[-1]).t()
        z = torch.linalg.solve_triangular(self.factor, columns, upper=False).t().reshape(x.shape)
        return _normal_log_prob(z) - self.log_diagonal.sum()

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        z = _randn((*batch, *self.event_shape), self.loc, generator)
        return self.loc + z @ self.factor.t()


@configurable
class Uniform(Distribution):
    r"""Independent uniforms on [low, high].

    Args:
        low: lower end of each feature.
        high: upper end of each feature.

    >>> import torch
    >>> Uniform([0.0], [2.0]).log_prob(torch.tensor([[1.0], [3.0]])).tolist()
    [-0.6931471824645996, -inf]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"low": [0.0], "high": [1.0]},
        {"low": [-1.0, 0.0], "high": [1.0, 3.0]},
    )
    low: Tensor
    high: Tensor

    def __init__(self, low: Numbers, high: Numbers) -> None:
        super().__init__()
        self.register_buffer("low", _columns("Uniform", "low", low))
        self.register_buffer("high", _columns("Uniform", "high", high))
        if self.low.shape != self.high.shape or not bool((self.low < self.high).all()):
            raise ValueError(f"Uniform: low must lie below high, feature by feature; got {low} and {high}.")
        self.event_shape = (len(self.low),)
        intervals = [Interval(a, b) for a, b in zip(self.low.tolist(), self.high.tolist(), strict=True)]
        self.support = intervals[0] if len(set(intervals)) == 1 else Product(tuple(intervals))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        inside = ((x >= self.low) & (x <= self.high)).all(dim=-1)  # a flow's inverse may leave the box
        return torch.where(inside, -(self.high - self.low).log().sum(), -torch.inf)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        u = torch.rand((*batch, *self.event_shape), dtype=self.low.dtype, device=self.low.device, generator=generator)
        return torch.lerp(self.low.expand_as(u), self.high.expand_as(u), u)


@configurable
class StudentT(Distribution):
    r"""Independent standard Student-t variables: like normals, with tails of power :math:`-(\nu + 1)`.

    Args:
        features: number of features.
        df: degrees of freedom ν; learned from there on if ``learn_df``.
        learn_df: whether ν is a parameter, one per feature.

    >>> import torch
    >>> round(StudentT(1, df=1.0).log_prob(torch.zeros(1)).item(), 4)
    -1.1447
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 1, "df": 1.5},
        {"features": 3, "df": 5.0, "learn_df": True},
    )
    log_df: Tensor

    def __init__(self, features: int, df: float = 3.0, *, learn_df: bool = False) -> None:
        super().__init__()
        at_least("StudentT", "features", features, 1)
        positive("StudentT", "df", df)
        log_df = torch.full((features,), math.log(df))
        if learn_df:
            self.log_df = nn.Parameter(log_df)
        else:
            self.register_buffer("log_df", log_df)
        self.event_shape = (features,)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        df = self.log_df.exp()
        norm = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (math.log(math.pi) + self.log_df)
        # log(1 + x²/ν) for |x| so large that x² overflows: 2 log|x| - log ν.
        size = x.abs()
        far = size > 1e3 * df.sqrt().clamp(min=1.0) / math.sqrt(torch.finfo(x.dtype).eps)
        near = torch.log1p(torch.where(far, 0.0, x).square() / df)
        tail = 2 * torch.where(far, size, 1.0).log() - self.log_df
        return (norm - 0.5 * (df + 1) * torch.where(far, tail, near)).sum(dim=-1)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        df = self.log_df.exp()
        normal = _randn((*batch, *self.event_shape), df, generator)
        # Gamma draws carry gradients to ν; torch's sampler takes the generator as its last argument.
        gamma = torch._standard_gamma((df / 2).expand_as(normal), generator=generator)
        return normal * (df / 2 / gamma.clamp(min=torch.finfo(df.dtype).tiny)).sqrt()


def _randn(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
