"""Distribution functions of mixtures, followed by the quantile function of a single component.

The smaller tail is the one computed. Where its log is of moderate size, probabilities are plain numbers, whose relative
error is small. Farther out they are kept as logs, relative to the tail of the component that is heaviest there: logs
grow like :math:`x^2`, and their differences would lose all digits; what remains without that common part is of moderate
size at any distance.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import at_least, below_one, positive
from pushforward.core.numerics import concrete_bool, solve_between
from pushforward.univariate.base import Iterative

__all__ = ["Components", "MixtureCDF"]

LOG_WIDTH = 4.0  # by default, the largest distance of a log-width from that at zero parameters
LEAST = 1e-9  # the smallest tail probability that is computed as a plain number
SPREAD = 0.5  # how far components stand apart at zero parameters, as a part of quantiles of the reference distribution


class Components(NamedTuple):
    """A mixture; every entry has shape (components, *s)."""

    log_weight: Tensor
    location: Tensor
    log_width: Tensor


class Plain(NamedTuple):
    """A mixture in the form from which probabilities are computed as plain numbers."""

    weight: Tensor
    location: Tensor
    steepness: Tensor
    log_rate: Tensor
    """Log of the weight over the width."""


class MixtureCDF(Iterative):
    r"""What the mixtures share: the components, the choice of a tail and the bracket of the inverse.

    A subclass gives tail and density of a component as plain numbers, and for far out its log-hazard (of density over
    tail) and its log-tail with c(near) added, where the tail falls like :math:`e^{-c(v)}`: c(v) = v for a logistic,
    v² / 2 for a normal. ``near`` is the smallest v, or zero if that is negative.
    """

    smoothness = 99
    reference: ClassVar[str]
    """The name in `core.reference.REFERENCES` of the distribution of a component and of y."""
    variance: ClassVar[float]
    unit: ClassVar[float] = 1.0
    """The unit of distances in plain formulas, as a part of the width of a component."""
    places: Tensor
    starts: Tensor
    inverse_bounds: Tensor
    signed_bounds: Tensor
    middles: Tensor
    last_component: Tensor

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
        # What a location is, and minus a log-width: middle + bound · tanh(start + parameter / bound), each (2, ..., 1).
        self.add_constant("starts", [(places / bound)[:, None].tolist(), [[0.0]] * components])
        self.add_constant("inverse_bounds", [[[1 / bound]], [[1 / log_widths]]])
        self.add_constant("signed_bounds", [[[bound]], [[-log_widths]]])
        self.add_constant("middles", [[[0.0]], [[-self.log_width]]])
        self.add_constant("last_component", [[[math.log(background)]], [[0.0]], [[0.0]]])

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

    def mixture(self, params: Tensor) -> Components:
        """The mixture with these parameters, (num_params, *s), the background component last."""
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

    def _prepare(self, params: Tensor) -> Components:
        return self.mixture(params)

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

        root = solve_between(log_tail, bracket, -side * target.log(), self._plain(prepared), start)
        if some:
            guess = None if start is None else start[far]
            root = root.masked_scatter(far, super()._solve(y[far], _pick(prepared, far), guess))
        return root

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


def _pick(components: Components, rows: Tensor) -> Components:
    """Those of the points that the mask ``rows`` (*s) names."""
    return Components(*(part.expand(-1, *rows.shape)[:, rows] for part in components))
