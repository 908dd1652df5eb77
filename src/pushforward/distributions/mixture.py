"""Normals with a full covariance, and mixtures of normals with covariances of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.knothe import (
    COVARIANCES,
    GaussianRosenblatt,
    MixtureRosenblatt,
    cholesky_factor,
    mixture_parts,
)
from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least, finite_numbers, one_of
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain
from pushforward.core.execution_mode import needs_derivatives
from pushforward.distributions.autoregressive import AutoregressiveDistribution
from pushforward.distributions.base import Independent, StandardNormal

__all__ = ["GaussianMixture", "MultivariateNormal"]


@configurable
class MultivariateNormal(AutoregressiveDistribution):
    r"""A normal with a full covariance, :math:`x = \mu + L z` with L lower triangular.

    `initialize` sets mean and covariance to those of the data (the maximum-likelihood fit).

    Args:
        loc: mean of each feature.
        covariance: rows of the covariance matrix; the identity by default.

    Raises:
        ValueError: the shapes do not fit, or the covariance is not symmetric and positive definite.

    >>> import torch
    >>> normal = MultivariateNormal([0.0, 0.0], [[2.0, 1.0], [1.0, 1.0]])
    >>> round(normal.log_prob(torch.zeros(2)).item(), 4)
    -1.8379
    >>> round(normal.given(torch.tensor([2.0])).icdf(torch.tensor([0.5])).item(), 4)
    1.0
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"loc": [0.5]},
        {"loc": [0.0, 1.0], "covariance": [[2.0, 0.6], [0.6, 0.5]]},
    )

    def __init__(self, loc: Sequence[float], covariance: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__()
        self.event_shape = (len(finite_numbers("MultivariateNormal", "loc", loc)),)
        cholesky_factor("MultivariateNormal", "covariance", covariance, len(loc))
        self.rosenblatt = GaussianRosenblatt(loc, covariance)
        self.standard = StandardNormal(len(loc))

    @property
    def noise(self) -> Independent:
        return self.standard

    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.rosenblatt._inverse_and_slopes(x, None)

    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        return self.rosenblatt._forward(noise, None)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        flat = x.reshape(-1, x.shape[-1]).to(torch.float64)
        centred = flat - flat.mean(dim=0)
        factor, failed = torch.linalg.cholesky_ex(centred.t() @ centred / len(flat))
        if int(failed):
            raise ValueError(
                "MultivariateNormal: the data lie in a lower-dimensional plane (a column is constant or a sum of "
                "others); drop one of those columns."
            )
        self.rosenblatt.set_moments(flat.mean(dim=0), factor)


@configurable
class GaussianMixture(AutoregressiveDistribution):
    r"""A mixture of normals, :math:`q(x) = \sum_k w_k\, N(x; \mu_k, \Sigma_k)`.

    Learned are the logits of the weights, the means and the Cholesky factors. Samples choose a component first; their
    gradients are those of the Knothe-Rosenblatt map (implicit reparameterisation). Densities cost K D² operations.

    Args:
        weights: one positive number per component, in proportion.
        means: the mean of each component.
        covariances: the covariance of each component, as rows; identities by default.
        covariance: which covariances are learned: ``"full"``, ``"tied"`` (one full one for all components),
            ``"diagonal"`` or ``"spherical"`` (multiples of the identity). Those given must be of that kind.

    Raises:
        ValueError: the shapes do not fit, a covariance is not symmetric and positive definite, or it is not of the
            kind ``covariance``.

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018), arXiv:1805.08498

    >>> import torch
    >>> mixture = GaussianMixture([1.0, 3.0], [[-2.0], [2.0]])
    >>> round(mixture.cdf(torch.zeros(1)).item(), 3)  # 1/4 lies on the left
    0.261
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"weights": [0.4, 0.6], "means": [[-1.0], [2.0]]},
        {
            "weights": [1.0, 2.0, 1.0],
            "means": [[-1.0, 0.0], [1.0, 1.0], [0.0, -2.0]],
            "covariances": [[[1.0, 0.4], [0.4, 0.5]], [[0.5, -0.3], [-0.3, 1.0]], [[2.0, 0.0], [0.0, 0.3]]],
        },
        {
            "weights": [1.0, 2.0],
            "means": [[-1.0, 0.0], [1.0, 1.0]],
            "covariances": [[[1.0, 0.4], [0.4, 0.5]], [[1.0, 0.4], [0.4, 0.5]]],
            "covariance": "tied",
        },
        {"weights": [1.0, 2.0], "means": [[-1.0, 0.0], [1.0, 1.0]], "covariance": "diagonal"},
        {"weights": [1.0, 2.0], "means": [[-1.0, 0.0], [1.0, 1.0]], "covariance": "spherical"},
    )

    def __init__(
        self,
        weights: Sequence[float],
        means: Sequence[Sequence[float]],
        *,
        covariances: Sequence[Sequence[Sequence[float]]] | None = None,
        covariance: str = "full",
    ) -> None:
        super().__init__()
        one_of("GaussianMixture", "covariance", covariance, COVARIANCES)
        _, loc, _ = mixture_parts("GaussianMixture", weights, means, covariances)
        self.event_shape = (loc.shape[-1],)
        self.rosenblatt = MixtureRosenblatt(weights, means, covariances=covariances, covariance=covariance)
        self.standard = StandardNormal(loc.shape[-1])

    @property
    def noise(self) -> Independent:
        return self.standard

    @classmethod
    def spread(
        cls, features: int, components: int, *, covariance: str = "full", scale: float = 1.0, seed: int = 0
    ) -> GaussianMixture:
        """A mixture to be learned: equal weights, identities, and means drawn from a normal.

        Args:
            features: number of features.
            components: number of components.
            covariance: which covariances are learned.
            scale: standard deviation of the means.
            seed: decides them.

        Raises:
            ValueError: a size is below one, or ``covariance`` has no such value.

        >>> GaussianMixture.spread(2, 3, covariance="spherical").rosenblatt.cholesky.shape
        torch.Size([3, 1])
        """
        at_least("GaussianMixture", "features", features, 1)
        at_least("GaussianMixture", "components", components, 1)
        random = torch.Generator().manual_seed(seed)
        means = scale * torch.randn(components, features, dtype=torch.float64, generator=random, device="cpu")
        return cls([1.0] * components, means.tolist(), covariance=covariance)

    @property
    def icdf_kind(self) -> Kind:
        return self.rosenblatt.forward_kind

    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.rosenblatt._inverse_and_slopes(x, None)

    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        return self.rosenblatt._forward(noise, None)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.rosenblatt.log_density(x)

    def _mean(self, context: Tensor | None) -> Tensor:
        return torch.softmax(self.rosenblatt.logits, dim=0) @ self.rosenblatt.loc

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        with torch.no_grad():
            z = self.standard._rsample(batch, None, generator)
            u = torch.rand((*batch, 1), dtype=z.dtype, device=z.device, generator=generator)
            component = (u >= torch.softmax(self.rosenblatt.logits, dim=0).cumsum(dim=0)[:-1]).sum(dim=-1)
            x = self.rosenblatt.loc[component] + (self.rosenblatt.factors[component] @ z[..., None]).squeeze(-1)
        return self.rosenblatt.reparametrize(x) if needs_derivatives() else x
