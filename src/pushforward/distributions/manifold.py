"""Densities near surfaces of lower dimension than the data."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.injective import Lift
from pushforward.core.bijection import KINDS, Kind
from pushforward.core.checks import at_least, broadcast
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL, Domain, Real
from pushforward.core.exactness import Exactness
from pushforward.core.noise import normal

__all__ = ["ManifoldFlow", "ProbabilisticPCA"]

LOG_2PI = math.log(2 * math.pi)


@configurable
class ManifoldFlow(Distribution):
    r"""A density of d dimensions on a learned surface in D, with normal noise off it.

    .. math:: \log q(x) = \log q(z) + \log|\det \nabla (z, v)(x)| + \log N(v;\ 0, \sigma^2 I_{D-d})

    where (z, v) are the coordinates of x on and off the surface. It is an exact density in all D dimensions:

    * of a `LinearLift` v is the offset from the plane at right angles, whatever the density of z is;
    * of a `CurvedLift` :math:`h(z, 0)`, v are the last D - d coordinates of :math:`h^{-1}(x)`.

    The density on the surface itself, with respect to its d-dimensional Hausdorff measure, is that of
    ``Flow(model.latent, model.lift)``; noise in every direction, also along the plane, has a closed form for a normal
    z alone: `ProbabilisticPCA`. `initialize` sets a `LinearLift` to the principal axes, measures z, and sets σ to the
    size of what is left. Densities cost one pass of the lift and of the latent distribution.

    Args:
        latent: the distribution of z, a vector of d real features, such as a named flow.
        lift: the map from z to the surface.
        scale: the standard deviation σ of the noise at the start.

    Shape:
        ``x``: (*batch, features).

    Raises:
        ValueError: ``latent`` and ``lift`` do not fit, or ``scale`` is not positive.

    References:
        | Flows for simultaneous manifold learning and density estimation (Brehmer and Cranmer, 2020), arXiv:2003.13913
        | Rectangular Flows for Manifold Learning (Caterini et al., 2021), arXiv:2106.01413

    >>> import torch
    >>> from pushforward.bijections import LinearLift
    >>> from pushforward.distributions import StandardNormal
    >>> model = ManifoldFlow(StandardNormal(1), LinearLift(3, 1))
    >>> model.reconstruction_error(torch.tensor([1.0, 3.0, 4.0])).item()
    5.0
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "latent": {"type": "StandardNormal", "features": 1},
            "lift": {"type": "LinearLift", "features": 2, "latent": 1},
            "scale": 0.5,
        },
        {
            "latent": {"type": "Normal", "loc": [0.0]},
            "lift": {
                "type": "CurvedLift",
                "bijection": {
                    "type": "Coupling",
                    "univariate": {"type": "Affine"},
                    "features": 2,
                    "hidden": [8],
                    "activation": "tanh",
                },
                "latent": 1,
            },
        },
    )

    def __init__(self, latent: Distribution, lift: Lift, *, scale: float = 1.0) -> None:
        super().__init__()
        if not isinstance(lift, Lift):
            raise ValueError(f"ManifoldFlow: lift must be a LinearLift or a CurvedLift; got {type(lift).__name__}.")
        if latent.event_shape != lift.in_shape or not isinstance(latent.support, Real):
            raise ValueError(
                f"ManifoldFlow: latent must have real events of shape {lift.in_shape}, from which lift starts; got "
                f"shape {latent.event_shape} on {latent.support}."
            )
        if not isinstance(lift.codomain, Real):
            raise ValueError(f"ManifoldFlow: lift must end in real numbers; got {lift.codomain}.")
        if not scale > 0:
            raise ValueError(f"ManifoldFlow: scale must be a positive number; got {scale!r}.")
        shapes = {part.context_shape for part in (latent, lift)} - {None}
        if len(shapes) > 1:
            raise ValueError(
                f"ManifoldFlow: latent and lift must take the same context; got {sorted(map(str, shapes))}."
            )
        self.latent, self.lift = latent, lift
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.event_shape, self.context_shape = lift.out_shape, next(iter(shapes), None)
        self.stochastic = latent.stochastic

    @property
    def dtype(self) -> torch.dtype | None:
        return self.lift.out_dtype or self.log_scale.dtype

    @property
    def context_dtype(self) -> torch.dtype | None:
        return self.latent.context_dtype if self.latent.context_shape else self.lift.dtype

    @property
    def exactness(self) -> Exactness:
        return self.latent.exactness

    @property
    def log_prob_kind(self) -> Kind:
        return max(self.lift.inverse_kind, self.latent.log_prob_kind, key=KINDS.index)

    @property
    def sample_kind(self) -> Kind:
        return max(self.lift.forward_kind, self.latent.sample_kind, key=KINDS.index)

    def _contexts(self, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """The context for the latent distribution, and for the lift."""
        return (
            None if self.latent.context_shape is None else context,
            None if self.lift.context_shape is None else context,
        )

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        of_latent, of_lift = self._contexts(context)
        self.lift._initialize(x, of_lift, inverse=True)
        z, offset, _ = self.lift._to_coordinates(x, of_lift)
        self.latent._initialize(z, of_latent)
        variance = offset.square().sum(dim=-1).mean() / self.lift._off_surface()
        self.log_scale.copy_(0.5 * variance.clamp(min=torch.finfo(x.dtype).eps ** 2).log())

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        of_latent, of_lift = self._contexts(context)
        z, offset, ladj = self.lift._to_coordinates(x, of_lift)
        missing = self.lift._off_surface()
        distance = (offset * torch.exp(-self.log_scale)).clamp(-_largest(x), _largest(x)).square().sum(dim=-1)
        noise = -0.5 * distance - missing * (self.log_scale + 0.5 * LOG_2PI)
        return self.latent._log_prob(*self.latent._arguments(z, of_latent, generator)) + ladj + noise

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        of_latent, of_lift = self._contexts(context)
        z = self.latent._rsample(batch, of_latent, generator)
        noise = normal((*batch, *self.event_shape), z, generator)
        return self.lift._from_coordinates(z, self.log_scale.exp() * noise, of_lift)

    def project(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The points of the surface with the coordinates z of x, (*batch, *event_shape): for a `LinearLift` the nearest
        ones."""
        of_lift = self._contexts(self._checked(x, context)[1])[1]
        return self.lift._forward(self.lift._inverse(x, of_lift), of_lift)

    def reconstruction_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The distance of x from its point on the surface, in the units of the data, (*batch,)."""
        return torch.linalg.vector_norm(x - self.project(x, context), dim=-1)

    def _checked(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        dtypes = self.dtype, self.context_dtype
        return broadcast("ManifoldFlow", "x", x, self.event_shape, context, self.context_shape, *dtypes)


@configurable
class ProbabilisticPCA(Distribution):
    r"""Probabilistic principal component analysis: a normal on a plane with noise in every direction.

    .. math:: x = W z + b + \sigma \varepsilon, \quad z \sim N(0, I_d),\ \varepsilon \sim N(0, I_D), \qquad x \sim N(b,\
        W W^\top + \sigma^2 I)

    The density is exact. `initialize` sets b, W and σ to their maximum-likelihood values, which are a closed form in
    the eigenvalues of the covariance. Densities cost a QR decomposition of W and a D × d product.

    Args:
        features: number of features D.
        latent: number of dimensions d.

    Shape:
        ``x``: (*batch, features).

    Raises:
        ValueError: ``latent`` is below one, or not below ``features``.

    References:
        | Probabilistic Principal Component Analysis (Tipping and Bishop, 1999), doi:10.1111/1467-9868.00196

    >>> import torch
    >>> round(ProbabilisticPCA(2, 1).log_prob(torch.zeros(2)).item(), 4)
    -2.1845
    """

    support: Domain = REAL
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 2, "latent": 1}, {"features": 4, "latent": 2})

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        at_least("ProbabilisticPCA", "features", features, 2)
        at_least("ProbabilisticPCA", "latent", latent, 1)
        if latent >= features:
            raise ValueError(f"ProbabilisticPCA: latent must be below the {features} features; got {latent}.")
        self.event_shape, self.latent = (features,), latent
        self.columns = nn.Parameter(torch.eye(features, latent))
        self.loc = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        flat = x.reshape(-1, x.shape[-1]).to(torch.float64)
        mean = flat.mean(dim=0)
        variances, axes = torch.linalg.eigh((flat - mean).t() @ (flat - mean) / len(flat))
        noise = variances[: -self.latent].mean().clamp(min=1e-12 * variances[-1] + torch.finfo(torch.float32).tiny)
        axes, variances = axes[:, -self.latent :].flip(1), variances[-self.latent :].flip(0)
        self.loc.copy_(mean)
        self.columns.copy_(axes * (variances - noise).clamp(min=0).sqrt())
        self.log_scale.copy_(0.5 * noise.log())

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        # Along the plane the covariance is R Rᵀ + σ² I, at right angles to it σ² I: no difference of large numbers.
        q, r = torch.linalg.qr(self.columns)
        variance = (2 * self.log_scale).exp()
        eye = torch.eye(self.latent, dtype=r.dtype, device=r.device)
        factor = torch.linalg.cholesky(r @ r.t() + variance * eye)
        centred = x - self.loc
        along = centred @ q
        off = (centred - along @ q.t()) * torch.exp(-self.log_scale)
        rows = torch.linalg.solve_triangular(factor, along.reshape(-1, self.latent).t(), upper=False)
        distances = [off, rows.t().reshape(along.shape)]
        squared = sum(d.clamp(-_largest(x), _largest(x)).square().sum(dim=-1) for d in distances)
        features = self.event_shape[0]
        log_volume = (features - self.latent) * self.log_scale + factor.diagonal().log().sum()
        return -0.5 * squared - log_volume - 0.5 * features * LOG_2PI

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        size = (*batch, self.latent + self.event_shape[0])
        noise = normal(size, self.loc, generator)
        z, noise = noise.split([self.latent, self.event_shape[0]], dim=-1)
        return self.loc + z @ self.columns.t() + self.log_scale.exp() * noise

    def project(self, x: Tensor) -> Tensor:
        """The nearest points of the plane, (*batch, features)."""
        x, _ = broadcast("ProbabilisticPCA", "x", x, self.event_shape, None, None, self.dtype, None)
        q, _ = torch.linalg.qr(self.columns)
        return self.loc + ((x - self.loc) @ q) @ q.t()

    def reconstruction_error(self, x: Tensor) -> Tensor:
        """The distance of x from the plane, in the units of the data, (*batch,)."""
        return torch.linalg.vector_norm(x - self.project(x), dim=-1)


def _largest(x: Tensor) -> float:
    """A magnitude whose square, and a sum of such squares, is finite."""
    return math.sqrt(torch.finfo(x.dtype).max) * 1e-4
