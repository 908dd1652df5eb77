"""Distribution functions of mixtures, followed by the quantile function of a single component.

Always of the smaller tail. Probabilities are plain numbers, whose error is relative, as long as their logs are of
moderate size. Farther out they are kept as logs, measured against the tail of the component that is heaviest there.
The logs themselves grow like :math:`x^2`, and their differences would lose all digits; what remains after that common
part is taken out is of moderate size at any distance.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import at_least, below_one, positive
from pushforward.core.config import configurable
from pushforward.core.execution_mode import needs_derivatives, runs_directly
from pushforward.core.numerics import concrete_bool, solve_between
from pushforward.core.reference import REFERENCES
from pushforward.core.special import log_mills, log_normal, ndtr, normal_point
from pushforward.univariate.base import Iterative
from pushforward.univariate.mixture_fit import fit_gaussians
from pushforward.univariate.mixture_native import native_roots

__all__ = ["GaussianMixtureCDF", "LogisticMixtureCDF"]

LOG_WIDTH = 4.0  # by default, largest size of a log-width, counted from the width that zero parameters give
LEAST = 1e-9  # of plain tails: log-slopes are differences of logs of this size
SPREAD = 0.5  # how far components stand apart at zero parameters, in units of their law's own quantiles


class Components(NamedTuple):
    """A mixture; every entry has shape (components, *s), here with the background last."""

    log_weight: Tensor
    location: Tensor
    log_width: Tensor


class Plain(NamedTuple):
    """What plain probabilities need of a mixture."""

    weight: Tensor
    location: Tensor
    steepness: Tensor
    log_rate: Tensor
    """Log of the weight over the width."""


class MixtureCDF(Iterative):
    r"""What the mixtures share: the components, the choice of a tail and the bracket of the inverse.

    A subclass gives the law of a component plainly, and for far out by its hazard rate (density over tail) and by its
    log-tail with c(near) added, where :math:`e^{-c(v)}` is how the tail falls: c(v) = v for a logistic, v² / 2 for a
    normal. ``near`` is the smallest v, or zero if that is negative.
    """

    smoothness = 99
    reference: ClassVar[str]
    """Of a component, and of y; the native kernel calls it so, too."""
    variance: ClassVar[float]
    unit: ClassVar[float] = 1.0
    """What plain formulas measure distances in, as a part of the width of a component."""
    places: Tensor

    def __init__(
        self,
        components: int = 8,
        *,
        bound: float = 10.0,
        background: float = 1e-3,
        log_widths: float = LOG_WIDTH,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        positive(owner, "log_widths", log_widths)
        self.log_widths = log_widths
        at_least(owner, "components", components, 1)
        positive(owner, "bound", bound)
        below_one(owner, "background", background, "the whole weight")
        self.components, self.bound, self.background = components, bound, background
        self.num_params = 3 * components
        # Equal components would get equal gradients and stay equal for ever. So they stand apart from the start, just
        # so wide that mean and variance of the mixture are those of a single component.
        ranks = (torch.arange(components, dtype=torch.float64, device="cpu") + 0.5) / components
        places = SPREAD * self._plain_point(1 - ranks)[0]
        between = (bound * torch.tanh(places / bound)).square().mean().item()
        self.log_width = 0.5 * math.log1p(-between / self.variance)
        self.add_constant("places", places.tolist())

    @staticmethod
    @abstractmethod
    def _reach(p: float) -> float:
        """A distance, in units, at which tail and density are about this small."""

    @staticmethod
    @abstractmethod
    def _plain_tail(v: Tensor, weight: Tensor) -> Tensor:
        """w P(V > v), v in units, to the last digit where that is small."""

    @staticmethod
    @abstractmethod
    def _plain_density(v: Tensor, log_weight: Tensor) -> Tensor:
        """w times the density at v, in units. Uses v up where no gradients are recorded."""

    @staticmethod
    @abstractmethod
    def _plain_point(tail: Tensor) -> tuple[Tensor, Tensor]:
        """(v, log-density at v) where P(V > v) is ``tail``."""

    @staticmethod
    @abstractmethod
    def _tail(v: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        """(log P(V > v) + c(near), log-hazard at v)."""

    @staticmethod
    @abstractmethod
    def _point(log_tail: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        """(v, log-hazard at v) for the v ≥ 0 with this log-tail, c(near) added."""

    def start(self, x: Tensor) -> Tensor:
        """The maximum-likelihood mixture of each feature, found by expectation maximisation from its quantiles."""
        least = math.exp(self.log_width - 0.9 * LOG_WIDTH)
        weight, location, deviation = fit_gaussians(x, self.components, self.background, least)
        width = deviation.log() - 0.5 * math.log(self.variance)
        raw = [
            weight.log(),
            _unbounded(location, self.bound) - self.places.to(torch.float64)[:, None],
            _unbounded(width - self.log_width, self.log_widths),
        ]
        return torch.cat(raw).to(x.dtype)

    def widening(self) -> Tensor:
        """All components wider, none of them moved."""
        return torch.tensor([0.0, 0.0, 1.0]).repeat_interleave(self.components)

    def _prepare(self, params: Tensor) -> Components:
        weight, location, width = params.unflatten(0, (3, self.components)).unbind()
        places = self.places.reshape(-1, *(1,) * (params.ndim - 1))
        inner = Components(
            torch.log_softmax(weight, dim=0) + math.log1p(-self.background),
            self.bound * torch.tanh((places + location) / self.bound),
            self.log_width + self.log_widths * torch.tanh(width / self.log_widths),
        )
        background = (math.log(self.background), 0.0, 0.0)
        sides = (0, 0) * (params.ndim - 1)
        return Components(*(F.pad(t, (*sides, 0, 1), value=v) for t, v in zip(inner, background, strict=True)))

    # A mixture of the law's own kind is known without the map: logs of sums, in which nothing is lost at any distance.
    def log_density(self, x: Tensor, params: Tensor) -> Tensor:
        log_weight, location, log_width = self._prepare(params)
        u = (x - location) * torch.exp(-log_width)
        return torch.logsumexp(log_weight - log_width + REFERENCES[self.reference].log_density(u), dim=0)

    def log_tails(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        log_weight, location, log_width = self._prepare(params)
        u, below = (x - location) * torch.exp(-log_width), REFERENCES[self.reference].log_below
        return torch.logsumexp(log_weight + below(u), dim=0), torch.logsumexp(log_weight + below(-u), dim=0)

    def log_mass(self, low: Tensor, high: Tensor, params: Tensor, width: Tensor | None = None) -> Tensor:
        log_weight, location, log_width = self._prepare(params)
        steepness = torch.exp(-log_width)
        below, above = ((x - location) * steepness for x in (low, high))
        own = above - below if width is None else width * steepness
        return torch.logsumexp(log_weight + REFERENCES[self.reference].log_mass(below, above, own), dim=0)

    def _evaluate(self, x: Tensor, prepared: Components) -> tuple[Tensor, Tensor]:
        y, log_slope, upper, far = self._nearby(x, prepared)
        some = concrete_bool(far.any())
        if some is None:
            return self._by_logs(x, upper, prepared)
        if some:
            far_y, far_slope = self._by_logs(x[far], upper[far], _pick(prepared, far))
            y, log_slope = y.masked_scatter(far, far_y), log_slope.masked_scatter(far, far_slope)
        return y, log_slope

    def _sketch(self, x: Tensor, prepared: Components) -> tuple[Tensor, Tensor]:
        return self._nearby(x, prepared)[:2]

    def _nearby(self, x: Tensor, prepared: Components) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(y, log τ'(x)) by plain numbers, on which side of the median x lies, and where it is too far out for them."""
        plain = self._plain(prepared)
        v = self._beyond(x, plain)
        with torch.no_grad():
            upper = self._plain_tail(v, plain.weight).sum(dim=0) <= 0.5
            side = torch.where(upper, 1.0, -1.0).to(x.dtype)
        tail, density = self._plainly(v * side, plain)
        with torch.no_grad():
            # NaN counts as far. The square of the density is what a second derivative divides by.
            far = ~((tail >= LEAST) & (density >= torch.finfo(x.dtype).tiny ** 0.4))
        # Nothing of these in the derivatives; so much out that a guess comes to lie far out too.
        v, log_density = self._plain_point(tail.masked_fill(far, LEAST))
        return v * side, density.masked_fill(far, 1.0).log() - log_density, upper, far

    def _plain(self, components: Components) -> Plain:
        log_weight, location, log_width = components
        return Plain(log_weight.exp(), location, torch.exp(-log_width) / self.unit, log_weight - log_width)

    def _beyond(self, x: Tensor, plain: Plain) -> Tensor:
        """How far x lies above each component, in units, (components, *s)."""
        reach = self._reach(torch.finfo(x.dtype).tiny ** 0.75)  # subnormal numbers would take many times as long
        # In place, for fresh memory costs as much as the arithmetic; autograd copies what it needs.
        return F.hardtanh_((x - plain.location).mul_(plain.steepness), -reach, reach)

    def _plainly(self, v: Tensor, plain: Plain) -> tuple[Tensor, Tensor]:
        """The mixture's tail and density where x lies v (components, *s) beyond each component."""
        return self._plain_tail(v, plain.weight).sum(dim=0), self._plain_density(v, plain.log_rate).sum(dim=0)

    @torch.no_grad()
    def _root(self, params: Tensor, y: Tensor, prepared: Components) -> Tensor:
        if self._native and self._many(params, y) and runs_directly(y):
            plain = self._plain(prepared)
            low, high = self._bracket(torch.stack(y.aminmax(dim=-1), dim=-1), prepared)
            found = native_roots(
                self.reference,
                y,
                (*plain[:3], self._plain_density(torch.zeros_like(plain.log_rate), plain.log_rate)),
                (low[..., :1], high[..., 1:]),
                unit=self.unit,
                reach=self._reach(torch.finfo(y.dtype).tiny ** 0.75),
                least=LEAST,
            )
            if found is not None:
                return found
        return super()._root(params, y, prepared)

    def _solve(self, y: Tensor, prepared: Components, start: Tensor | None = None) -> Tensor:
        """The log of the plain tail is a cheaper function than the map, and has the same root."""
        target = self._plain_tail(y.abs() / self.unit, torch.ones_like(y))
        far = ~(target >= LEAST)
        some = concrete_bool(far.any())
        if some is None:
            return super()._solve(y, prepared, start)
        side = torch.where(y > 0, 1.0, -1.0).to(y.dtype)

        def log_tail(x: Tensor, plain: Plain) -> tuple[Tensor, Tensor]:
            tail, density = self._plainly(self._beyond(x, plain).mul_(side), plain)
            return -side * tail.log(), (density / tail).log()

        near = y.masked_fill(far, 0.0) if some else y
        target = target.masked_fill(far, 0.5) if some else target

        def bracket(*_: Any) -> tuple[Tensor, Tensor]:
            return self._bracket(near, prepared)

        found = solve_between(log_tail, bracket, -side * target.log(), self._plain(prepared), start)
        if some:
            guess = None if start is None else start[far]
            found = found.masked_scatter(far, super()._solve(y[far], _pick(prepared, far), guess))
        return found

    def _by_logs(self, x: Tensor, upper: Tensor, prepared: Components) -> tuple[Tensor, Tensor]:
        """What `_evaluate` gives, at any distance."""
        log_weight, location, log_width = prepared
        u = (x - location) * torch.exp(-log_width)  # (components, *s)
        v = torch.where(upper, u, -u)
        near = v.detach().amin(dim=0).clamp(min=0.0)
        log_tail, log_hazard = self._tail(v, near)
        weighted = log_weight + log_tail
        y, log_hazard_there = self._point(torch.logsumexp(weighted, dim=0), near)
        # The mixture's hazard rate is the mean of the components', each weighted by its share of the tail. Log-shares
        # by log_softmax, not by subtraction: their huge gradients then cancel here, not against those of y.
        log_rate = torch.logsumexp(torch.log_softmax(weighted, dim=0) + log_hazard - log_width, dim=0)
        return torch.where(upper, y, -y), log_rate - log_hazard_there

    def _bracket(self, y: Tensor, prepared: Components) -> tuple[Tensor, Tensor]:
        """A mixture reaches y between the first and the last of its components to reach it."""
        reached = torch.addcmul(prepared.location, prepared.log_width.exp(), y)
        return reached.amin(dim=0), reached.amax(dim=0)


@configurable
class LogisticMixtureCDF(MixtureCDF):
    r"""The distribution function of a mixture of logistics, then the logit: logistic where x is such a mixture.

    .. math:: y = \operatorname{logit} \sum_{k=0}^{K} w_k\, \sigma\!\left(\frac{x - \mu_k}{s_k}\right), \qquad
              \mu_k \in (-b, b), \quad \mu_0 = 0,\ s_0 = 1,\ w_0 = \epsilon

    The fixed background component 0 keeps slopes between far components away from zero. The tails are straight lines
    of slope :math:`1 / \max_k s_k`. Zero parameters give components that stand apart and together nearly a single
    logistic: the closest member to the identity that can be learned from. The inverse is numeric, between the
    smallest and the largest :math:`\mu_k + s_k y`.

    Args:
        components: K; the map has 3 K parameters.
        bound: b, the largest distance of a component from zero.
        background: the weight :math:`\epsilon` of component 0.
        log_widths: how far the log of a width may go from where zero parameters have it.

    Raises:
        ValueError: ``background`` is not below one.

    References:
        | Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design
          (Ho et al., 2019), arXiv:1902.00275

    >>> import torch
    >>> y, log_slope = LogisticMixtureCDF(4)(torch.tensor([0.0, 1e6]), torch.zeros(12, 2))
    >>> round(y[0].item(), 6), round(y[1].item() / 1e6, 3)
    (0.0, 1.0)
    """

    reference = "logistic"
    variance = math.pi**2 / 3
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"components": 3},
        {"components": 2, "bound": 4.0, "background": 0.02, "log_widths": 5.0},
    )

    @staticmethod
    def _reach(p: float) -> float:
        return -math.log(p)

    @staticmethod
    def _plain_tail(v: Tensor, weight: Tensor) -> Tensor:
        return torch.sigmoid(-v) * weight

    @staticmethod
    def _plain_density(v: Tensor, log_weight: Tensor) -> Tensor:
        return torch.sigmoid(v) * torch.sigmoid(-v) * log_weight.exp()

    @staticmethod
    def _plain_point(tail: Tensor) -> tuple[Tensor, Tensor]:
        log_tail, log_rest = tail.log(), torch.log1p(-tail)
        return log_rest - log_tail, log_tail + log_rest

    @staticmethod
    def _tail(v: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        log_below = F.logsigmoid(v)
        return torch.where(v >= 0, log_below - (v - near), F.logsigmoid(-v)), log_below

    @staticmethod
    def _point(log_tail: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        log_below = torch.log1p(-torch.exp(log_tail - near))
        return near - log_tail + log_below, log_below


@configurable
class GaussianMixtureCDF(MixtureCDF):
    r"""The distribution function of a mixture of Gaussians, then the normal quantile: normal where x is such a mixture.

    .. math:: y = \Phi^{-1} \sum_{k=0}^{K} w_k\, \Phi\!\left(\frac{x - \mu_k}{s_k}\right), \qquad
              \mu_k \in (-b, b), \quad \mu_0 = 0,\ s_0 = 1,\ w_0 = \epsilon

    The fixed background component 0 keeps slopes between far components away from zero. The tails approach straight
    lines of slope :math:`1 / \max_k s_k`. Zero parameters give components that stand apart and together nearly a
    single normal: the closest member to the identity that can be learned from. The inverse is numeric, between the
    smallest and the largest :math:`\mu_k + s_k y`.

    Args:
        components: K; the map has 3 K parameters.
        bound: b, the largest distance of a component from zero.
        background: the weight :math:`\epsilon` of component 0.
        log_widths: how far the log of a width may go from where zero parameters have it.

    Raises:
        ValueError: ``background`` is not below one.

    References:
        | Gaussianization (Chen and Gopinath, 2000)
        | Gaussianization Flows (Meng et al., 2020), arXiv:2003.01941

    >>> import torch
    >>> y, log_slope = GaussianMixtureCDF(4)(torch.tensor([0.0, 1e6]), torch.zeros(12, 2))
    >>> round(y[0].item(), 6), round(y[1].item() / 1e6, 3)
    (0.0, 1.0)
    """

    reference = "gaussian"
    variance = 1.0
    unit = math.sqrt(2)
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"components": 3},
        {"components": 2, "bound": 4.0, "background": 0.02, "log_widths": 5.0},
    )

    @staticmethod
    def _reach(p: float) -> float:
        return math.sqrt(-math.log(p))

    @staticmethod
    def _plain_tail(v: Tensor, weight: Tensor) -> Tensor:
        return torch.erfc(v).mul_(0.5 * weight)

    @staticmethod
    def _plain_density(v: Tensor, log_weight: Tensor) -> Tensor:
        square = v.square() if needs_derivatives() else v.mul_(v)
        return square.neg_().add_(log_weight - 0.5 * math.log(2 * math.pi)).exp_()

    @staticmethod
    def _plain_point(tail: Tensor) -> tuple[Tensor, Tensor]:
        v = -torch.special.ndtri(tail)
        return v, -0.5 * (v.square() + math.log(2 * math.pi))

    @staticmethod
    def _tail(v: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        right, left, beyond = v.clamp(min=0.0), v.clamp(max=0.0), v > 0
        ratio = log_mills(right)
        most = torch.log1p(-ndtr(left))  # the tail left of the middle is most of all
        log_tail = torch.where(beyond, ratio + log_normal(right, near), most)
        return log_tail, torch.where(beyond, -ratio, log_normal(left, torch.zeros_like(v)) - most)

    @staticmethod
    def _point(log_tail: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        v = normal_point(log_tail, near)
        return v, -log_mills(v)


def _pick(components: Components, rows: Tensor) -> Components:
    """Those of the points that the mask ``rows`` (*s) names."""
    return Components(*(part.expand(-1, *rows.shape)[:, rows] for part in components))


def _unbounded(value: Tensor, bound: float) -> Tensor:
    """What b tanh(· / b) takes to this value, or close to the bound where it lies beyond."""
    return bound * torch.atanh((value / bound).clamp(-0.99, 0.99))
