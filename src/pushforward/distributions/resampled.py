"""A base whose points are accepted or rejected by a learned function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Estimate, Exactness
from pushforward.core.moments import average
from pushforward.core.numerics import concrete_bool
from pushforward.distributions.base import Independent
from pushforward.distributions.draws import uniforms
from pushforward.networks import DENSE

__all__ = ["Resampled"]


@configurable
class Resampled(Distribution):
    r"""Points of a base, each accepted with a learned probability a(x); the last of ``attempts`` is always taken.

    .. math:: q(x) = \pi(x) \Bigl((1 - r) \frac{a(x)}{Z} + r\Bigr), \qquad
              Z = E_\pi[a], \quad r = (1 - Z)^{\text{attempts} - 1}

    It gives a flow a base of several modes or with holes, which maps without tears cannot make. Z is estimated: by the
    mean over a lattice of quantiles of the base, always the same, so that densities repeat; with a generator, as in
    `fit`, over a lattice shifted at random. So `log_prob` is an estimate, and says so: a consistent one, which tends to
    the log-density as ``points`` grows, but not an unbiased one, for it holds the logarithm of an estimate of Z.
    `normaliser` gives Z with its standard error s: the error of log_prob is about s / Z, its bias over random lattices
    of the order :math:`s^2 / Z^2`. Densities cost a pass of the network over the lattice; points about 1 / Z passes and
    at most ``attempts``. Points carry no gradients, for they are chosen.

    Args:
        base: independent features with quantiles and without context, such as `StandardNormal`.
        hidden: layer widths of the network that computes a.
        attempts: largest number of points drawn for one that is returned.
        points: number of points of the lattice.
        activation: of the network.

    Shape:
        ``x``: (*batch, features).

    Raises:
        ValueError: the base is no vector of independent features, or a size is too small.

    References:
        | Resampling Base Distributions of Normalizing Flows (Stimper et al., 2021), arXiv:2110.15828
        | Resampled Priors for Variational Autoencoders (Bauer and Mnih, 2018), arXiv:1810.11428

    >>> from pushforward.distributions import StandardNormal
    >>> resampled = Resampled(StandardNormal(2), hidden=(8,))
    >>> resampled.exactness, resampled.normaliser().value.item()
    ('consistent', 0.5)
    """

    reparametrized = False
    stochastic = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"base": {"type": "StandardNormal", "features": 2}, "hidden": [8], "activation": "tanh"},
        {"base": {"type": "Uniform", "low": [0.0], "high": [1.0]}, "hidden": [8], "attempts": 3, "points": 512},
    )
    steps: Tensor

    def __init__(
        self,
        base: Independent,
        *,
        hidden: Sequence[int] = (64, 64),
        attempts: int = 100,
        points: int = 2048,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        if not isinstance(base, Independent) or base.context_shape is not None or len(base.event_shape) != 1:
            raise ValueError(
                "Resampled: base must be a vector of independent features with quantiles and without context, such as "
                f"StandardNormal(2); got {type(base).__name__}."
            )
        at_least("Resampled", "attempts", attempts, 2, "With one, every point is taken.")
        at_least("Resampled", "points", points, 2)
        self.base, self.attempts, self.points = base, attempts, points
        self.event_shape, self.support = base.event_shape, base.support
        (features,) = base.event_shape
        self.network = DENSE["plain"](features, 1, hidden=hidden, activation=activation, dropout=0.0)
        self.add_constant("steps", _lattice_steps(features))

    @property
    def exactness(self) -> Exactness:
        return "consistent"

    def _logits(self, x: Tensor) -> Tensor:
        """a(x) before the sigmoid, (*batch,)."""
        out: Tensor = self.network(x.reshape(-1, x.shape[-1]).t())
        return out.reshape(x.shape[:-1])

    def _accepted_share(self, shift: Tensor | None) -> Tensor:
        """The mean of a over the lattice, moved by ``shift`` (*s, features) of its cells."""
        counts = torch.arange(self.points, dtype=torch.float64, device=self.steps.device)[:, None]
        # In float64, where the last digits of many steps are not lost.
        u = (counts + 0.5) * self.steps.to(torch.float64) + 0.5
        u = u if shift is None else u + shift.to(torch.float64)[..., None, :]
        u = torch.remainder(u, 1.0).to(self.steps.dtype)
        eps = torch.finfo(u.dtype).eps
        return torch.sigmoid(self._logits(self.base._icdf(u.clamp(eps / 4, 1 - eps / 2), None))).mean(dim=-1)

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        shift = None if generator is None else uniforms(self.event_shape, self.steps, generator)
        share = self._accepted_share(shift).clamp(torch.finfo(x.dtype).tiny, 1 - torch.finfo(x.dtype).eps)
        log_rest = (self.attempts - 1) * torch.log1p(-share)
        taken = F.logsigmoid(self._logits(x)) - share.log() + torch.log(-torch.expm1(log_rest))
        return self.base._log_prob(x, None) + torch.logaddexp(taken, log_rest.expand_as(taken))

    @torch.no_grad()
    def normaliser(self, *, shifts: int = 32, generator: torch.Generator | None = None) -> Estimate:
        """Z, the share of points that are accepted, as the mean over several random lattices.

        Args:
            shifts: number of lattices.
            generator: source of their shifts; torch's global one by default.

        Raises:
            ValueError: there are fewer than two shifts.
        """
        at_least("Resampled", "shifts", shifts, 2)
        return average(self._accepted_share(uniforms((shifts, *self.event_shape), self.steps, generator)))

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        x = self.base._rsample(batch, None, generator)
        waiting = torch.ones(batch, dtype=torch.bool, device=x.device)
        for _ in range(self.attempts - 1):
            u = uniforms(batch, self.steps, generator)
            waiting = waiting & (u >= torch.sigmoid(self._logits(x)))
            if concrete_bool(~waiting.any()):
                break
            x = torch.where(waiting[..., None], self.base._rsample(batch, None, generator), x)
        return x

    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        x = self._rsample(batch, context, generator)
        return x, self._log_prob(x, None)


def _lattice_steps(features: int) -> list[float]:
    """The steps of an additive sequence that fills the cube evenly: powers of the root of g^(D + 1) = g + 1."""
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (features + 1))
    return [math.fmod(root ** -(j + 1), 1.0) for j in range(features)]
