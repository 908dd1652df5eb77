"""Autoregressive distributions: exact conditionals and marginals, and the Rosenblatt transform."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from pushforward.core.bijection import KINDS, Kind
from pushforward.core.checks import at_least, broadcast, check_dtype, common_batch
from pushforward.core.distribution import Distribution
from pushforward.core.entries import contains_each, ends, restrict
from pushforward.core.exactness import Exactness
from pushforward.core.screening import screen, warn_unsolved
from pushforward.distributions.fixed_context import AutoregressiveFixedContext
from pushforward.distributions.protocols import Noise

__all__ = ["AutoregressiveDistribution", "Conditional"]


class AutoregressiveDistribution(Distribution):
    r"""Independent noise pushed through an increasing triangular map: each feature is distributed given those before.

    .. math:: x_j = T_j(\varepsilon_1, \dots, \varepsilon_j), \qquad q(x) = \prod_j q(x_j \mid x_{<j})

    A subclass says what its ``noise`` is and writes the two directions of the map. The first features do not depend on
    those after them, which makes conditionals on the first ones exact, at the cost of a pass of the whole map.

    References:
        | Remarks on a multivariate transformation (Rosenblatt, 1952), doi:10.1214/aoms/1177729394
    """

    independent: bool = False
    """Whether no feature depends on another."""

    @property
    @abstractmethod
    def noise(self) -> Noise:
        """The distribution of ε."""

    @abstractmethod
    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(ε, log ∂ε_j/∂x_j), each (*batch, features)."""

    @abstractmethod
    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        """x = T(ε)."""

    def _to_noise(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._to_noise_and_slopes(x, context)[0]

    @property
    def cdf_kind(self) -> Kind:
        """How the map to the noise is computed: in closed form, feature by feature, or by solving equations."""
        return "exact"

    @property
    def icdf_kind(self) -> Kind:
        """How the map from the noise is computed: in closed form, feature by feature, or by solving equations."""
        return "exact"

    @property
    def has_conditionals(self) -> bool:
        """Whether `given`, `marginal`, `cdf` and `icdf` exist: not for flows whose map mixes the order of features."""
        return not self._why_no_conditionals()

    def _why_no_conditionals(self) -> str:
        """The end of a sentence that says why there are none; empty where there are."""
        return ""

    def _log_probs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log q(x_j | x_<j), (*batch, features): their sum is the log-density."""
        noise, log_slopes = self._to_noise_and_slopes(x, context)
        return self.noise._log_probs(noise, None) + log_slopes

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._log_probs(x, context).sum(dim=-1)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return self._from_noise(self.noise._rsample(batch, None, generator), context)

    def _cdf(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.noise._cdf(self._to_noise(x, context), None)

    def _icdf(self, u: Tensor, context: Tensor | None) -> Tensor:
        return self._from_noise(self.noise._icdf(u, None), context)

    @final
    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""The Rosenblatt transform :math:`u_j = F(x_j \mid x_{<j})`: independent uniforms where x is drawn from here.

        For one feature this is the distribution function. On a circle, which has no first point, u is measured from the
        point that the map takes to the cut of the noise, and uniform all the same. Costs one pass from data to latent.

        Returns:
            (*batch, features): 0 and 1 at -inf and inf and on the two sides of the support; NaN at a NaN, after an
            entry that cannot be conditioned on (NaN, infinite or outside the support), and where context is not finite.

        Raises:
            ValueError: a shape or dtype is wrong, or context is missing or unexpected.
            NotInvertibleError: a part of the map mixes the order of the features.
        """
        self._require_conditionals()
        x, context, ok = self._enter("x", x, context, self.dtype)
        anchor = self.support.anchor(x)
        inside = contains_each(self.support, x) & screen(x, 0)[0]
        u = self._cdf(torch.where(inside, x, anchor), context)
        side = torch.where(x.isnan(), torch.nan, (x > anchor).to(x.dtype))
        return self._answer(u, inside, side, ok, self.cdf_kind)

    @final
    def icdf(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        r"""The inverse of `cdf`: quantiles :math:`x_j = F^{-1}(u_j \mid x_{<j})`, one feature after the other.

        Costs one pass from latent to data.

        Returns:
            (*batch, features): the ends of the support at 0 and 1; NaN outside [0, 1], after an entry that is not
            strictly between 0 and 1, and where context is not finite.

        Raises:
            ValueError: a shape or dtype is wrong, or context is missing or unexpected.
            NotInvertibleError: a part of the map mixes the order of the features.
        """
        self._require_conditionals()
        u, context, ok = self._enter("u", u, context, self.noise.dtype)
        inside = (u > 0) & (u < 1)
        x = self._icdf(torch.where(inside, u, 0.5), context)
        low, high = (x.new_tensor(values) for values in zip(*ends(self.support, x.shape[-1]), strict=True))
        end = torch.where(u == 0, low, torch.where(u == 1, high, torch.nan))
        return self._answer(x, inside, end, ok, self.icdf_kind)

    def condition(self, context: Tensor) -> Distribution:
        return AutoregressiveFixedContext(self, context)

    def given(self, observed: Tensor) -> Distribution:
        r"""The exact distribution of the other features, given the first ones.

        .. math:: q(x_{>k} \mid x_{\le k}) = \prod_{j > k} q(x_j \mid x_{<j})

        A conditional flow may get its context before or after: ``flow.condition(c).given(observed)`` and
        ``flow.given(observed).condition(c)`` are the same. Densities cost one pass from data to latent, samples one
        pass in each direction.

        Args:
            observed: the first k features, (*batch, k) with 1 ≤ k < features. Densities broadcast x against its rows,
                and ``sample(shape)`` gives (*shape, *batch, features - k).

        Returns:
            a distribution of events (features - k,). A row of ``observed`` that is NaN has density NaN, one that is
            infinite or outside the support -inf; their samples are NaN.

        Raises:
            ValueError: the shape or dtype of ``observed`` is wrong.
            NotInvertibleError: a part of the map mixes the order of the features.
        """
        return Conditional(self, self._check_observed(observed), self.event_shape[0])

    def marginal(self, features: int) -> Distribution:
        """The exact distribution of the first ``features`` features, at the cost of the whole.

        Raises:
            ValueError: there are fewer features than that.
            NotInvertibleError: a part of the map mixes the order of the features.
        """
        like = next(t for t in [*self.parameters(), *self.buffers()] if t.is_floating_point())
        return Conditional(self, like.new_empty(0, dtype=self.dtype), self._check_count(features))

    def _enter(
        self, name: str, x: Tensor, context: Tensor | None, dtype: torch.dtype | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        shapes = self.event_shape, context, self.context_shape
        x, context = broadcast(type(self).__name__, name, x, *shapes, dtype, self.context_dtype)
        x, context = self._spread(name, x, context)
        fixed_ok, _ = self._fixed_rows()
        ok = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) & fixed_ok
        if context is not None:
            context, context_ok, _ = self._screened_context(context)
            ok = ok & context_ok
        return x, context, ok

    def _answer(self, out: Tensor, inside: Tensor, edge: Tensor, ok: Tensor, kind: Kind) -> Tensor:
        """``out``, or ``edge`` where an entry is not inside; NaN after such an entry, where features depend on each
        other, and in rows that are not ok."""
        if kind == "iterative":
            warn_unsolved(type(self).__name__, out, ok & inside.all(dim=-1))
        out = torch.where(inside, out, edge.to(out.dtype))
        if not self.independent:
            out = torch.where((~inside).long().cumsum(dim=-1) > (~inside).long(), torch.nan, out)
        return torch.where(ok[..., None], out, torch.nan)

    def _require_conditionals(self) -> None:
        if reason := self._why_no_conditionals():
            raise self._no_conditionals(reason)

    def _check_observed(self, observed: Tensor) -> Tensor:
        self._require_conditionals()
        (features,), owner = self.event_shape, type(self).__name__
        if not isinstance(observed, Tensor) or observed.ndim < 1 or not 1 <= observed.shape[-1] < features:
            got = tuple(observed.shape) if isinstance(observed, Tensor) else type(observed).__name__
            raise ValueError(
                f"{owner}: observed must hold the first k of {features} features, (*batch, k) with 1 ≤ k < {features}; "
                f"got {got}."
            )
        check_dtype(owner, "observed", observed, self.dtype)
        return observed

    def _check_count(self, features: int) -> int:
        self._require_conditionals()
        at_least(type(self).__name__, "features", features, 1)
        if features > self.event_shape[0]:
            raise ValueError(f"{type(self).__name__}: there are {self.event_shape[0]} features; got {features}.")
        return features


class Conditional(AutoregressiveDistribution):
    r"""Features k + 1 to m of an autoregressive distribution, given the first k: what `given` and `marginal` return.

    .. math:: q(x_{k+1..m} \mid x_{\le k}) = \prod_{j = k + 1}^m q(x_j \mid x_{<j})

    In the place of the features after m stands a fixed point of the support, on which those before do not depend.

    Shape:
        With ``observed`` of shape (*batch, k), samples are (*shape, *batch, m - k).
    """

    observed: Tensor

    def __init__(self, distribution: AutoregressiveDistribution, observed: Tensor, stop: int) -> None:
        super().__init__()
        self.start, self.stop = observed.shape[-1], stop
        self.event_shape, self.batch_shape = (stop - self.start,), tuple(observed.shape[:-1])
        self.context_shape, self.independent = distribution.context_shape, distribution.independent
        self.support = restrict(distribution.support, self.start, stop)
        self.distribution = distribution
        self.columns = distribution.noise.columns(self.start, stop)
        self.register_buffer("observed", observed)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Conditional:
        observed = self.observed
        super()._apply(fn, recurse)
        # In the dtype of x, which may stay float64 in a float32 model.
        self.observed = observed.to(device=self.observed.device, dtype=self.distribution.dtype)
        return self

    @property
    def dtype(self) -> torch.dtype | None:
        return self.distribution.dtype

    @property
    def context_dtype(self) -> torch.dtype | None:
        return self.distribution.context_dtype

    @property
    def exactness(self) -> Exactness:
        return self.distribution.exactness

    @property
    def cdf_kind(self) -> Kind:
        return self.distribution.cdf_kind

    @property
    def icdf_kind(self) -> Kind:
        return max(self.distribution.cdf_kind, self.distribution.icdf_kind, key=KINDS.index)

    @property
    def log_prob_kind(self) -> Kind:
        return self.cdf_kind

    @property
    def sample_kind(self) -> Kind:
        return self.icdf_kind

    @property
    def noise(self) -> Noise:
        return self.columns

    def given(self, observed: Tensor) -> Distribution:
        observed = self._check_observed(observed)
        shape = tuple(observed.shape[:-1])
        batch = common_batch("Conditional", "observed", shape, "what is observed already", self.batch_shape)
        both = [part.expand(*batch, part.shape[-1]) for part in (self.observed, observed)]
        return Conditional(self.distribution, torch.cat(both, dim=-1), self.stop)

    def marginal(self, features: int) -> Distribution:
        return Conditional(self.distribution, self.observed, self.start + self._check_count(features))

    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        whole = _padded(torch.cat([self._beside(x), x], dim=-1), self.distribution)
        noise, log_slopes = self.distribution._to_noise_and_slopes(whole, context)
        return noise[..., self.start : self.stop], log_slopes[..., self.start : self.stop]

    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        if self.start:
            whole = self.distribution._to_noise(_padded(self._beside(noise), self.distribution), context)
            noise = torch.cat([whole[..., : self.start], noise], dim=-1)
        x = self.distribution._from_noise(_padded(noise, self.distribution.noise), context)
        return x[..., self.start : self.stop]

    def _fixed_rows(self) -> tuple[Tensor, Tensor]:
        ok, nan = screen(self.observed, 1)
        if self.start:
            ok = ok & contains_each(restrict(self.distribution.support, 0, self.start), self.observed).all(dim=-1)
        return ok, nan

    def _beside(self, x: Tensor) -> Tensor:
        """The observed features in the batch shape of x; a fixed point of the support in rows that are not usable."""
        anchor = self.distribution.support.anchor(self.observed).expand(*self.distribution.event_shape)
        observed = torch.where(self._fixed_rows()[0][..., None], self.observed, anchor[: self.start])
        return observed.expand(*x.shape[:-1], self.start)


def _padded(first: Tensor, whole: Distribution | Noise) -> Tensor:
    """The first features, followed by a fixed point of the support for the others."""
    filling = whole.support.anchor(first).expand(*first.shape[:-1], *whole.event_shape)
    return torch.cat([first, filling[..., first.shape[-1] :]], dim=-1)
