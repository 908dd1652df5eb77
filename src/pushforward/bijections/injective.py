r"""Maps onto surfaces: from d dimensions into D > d.

The image of a lift f is a d-dimensional surface. Its ladj is the log-volume :math:`\tfrac12 \log\det J^\top J` of the
D × d Jacobian J, so that ``Flow(base, lift)`` has the density on the surface with respect to its d-dimensional
Hausdorff measure (length for curves, area for surfaces). Almost no point of the space lies on the surface: the density
of others is zero, though the inverse finds one for them that does, and a density in the space needs noise off it:
`pushforward.distributions.ManifoldFlow`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.inherited import LikeItsPart
from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import Real

__all__ = ["CurvedLift", "Lift", "LinearLift"]


class Lift(Bijection):
    """A map from d dimensions onto a surface in D, with coordinates of the space around it.

    Subclasses write the two hooks of every `Bijection`, whose inverse takes any point to one of the surface, and those
    of the coordinates.
    """

    keeps_dimension = False
    lifts = "forward"
    properties = frozenset({"left_inverse", "inverse_ladj", "jacobian"})

    @abstractmethod
    def _to_coordinates(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(z, offset, ladj): coordinates on the surface (*batch, d); the offset from it, whose square is that of D - d
        further coordinates; and the log-determinant of all D coordinates with respect to y."""

    @abstractmethod
    def _from_coordinates(self, z: Tensor, noise: Tensor, context: Tensor | None) -> Tensor:
        """The point with coordinates z and an offset made of ``noise`` (*batch, D), standard normal times a scale."""

    def _off_surface(self) -> int:
        """How many dimensions are missing, D - d."""
        return self.out_shape[0] - self.in_shape[0]


@configurable
class LinearLift(Lift):
    r"""A linear map onto a d-dimensional plane in D dimensions: :math:`y = W z + b`.

    .. math:: \tfrac12 \log\det W^\top W, \qquad z = (W^\top W)^{-1} W^\top (y - b)

    The inverse is the orthogonal projection to the plane. `initialize` sets b to the mean and W to the first principal
    axes, times the standard deviations along them unless ``orthonormal``. It starts as the first d coordinates. Both
    directions cost a QR decomposition, :math:`O(D d^2)`, and a D × d product.

    Args:
        features: number of features D.
        latent: number of dimensions d of the plane.
        orthonormal: whether the columns of W are orthonormal (of volume one): those of the Q of a QR decomposition.

    Shape:
        ``x``: (*batch, latent), ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: ``latent`` is below one, or not below ``features``.

    References:
        | Probabilistic Principal Component Analysis (Tipping and Bishop, 1999), doi:10.1111/1467-9868.00196
        | Rectangular Flows for Manifold Learning (Caterini et al., 2021), arXiv:2106.01413

    >>> import torch
    >>> part = LinearLift(3, 2)
    >>> part.inverse(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "latent": 2},
        {"features": 4, "latent": 1, "orthonormal": True},
    )
    initialized: Tensor

    def __init__(self, features: int, latent: int, *, orthonormal: bool = False) -> None:
        super().__init__()
        _check_sizes("LinearLift", features, latent)
        self.in_shape, self.out_shape, self.orthonormal = (latent,), (features,), orthonormal
        self.columns = nn.Parameter(torch.eye(features, latent))
        self.bias = nn.Parameter(torch.zeros(features))
        # A buffer, so that a loaded model is not measured again.
        self.register_buffer("initialized", torch.tensor(False))

    @property
    def data_dependent(self) -> bool:
        return True

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if not inverse or bool(self.initialized):
            return
        flat = x.reshape(-1, x.shape[-1]).to(torch.float64)
        mean = flat.mean(dim=0)
        covariance = (flat - mean).t() @ (flat - mean) / len(flat)
        variances, axes = torch.linalg.eigh(covariance)
        axes, variances = axes.flip(1)[:, : self.in_shape[0]], variances.flip(0)[: self.in_shape[0]]
        # Directions in which the data do not vary keep a small scale: W needs independent columns.
        least = (1e-6 * variances[0]).clamp(min=torch.finfo(torch.float32).tiny)
        self.bias.copy_(mean)
        self.columns.copy_(axes if self.orthonormal else axes * torch.maximum(variances, least).sqrt())
        self.initialized.fill_(True)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Q with orthonormal columns and an upper triangular R of positive diagonal, Q R = W."""
        q, r = torch.linalg.qr(self.columns)
        signs = torch.where(r.diagonal() < 0, -1.0, 1.0).to(r.dtype)
        return q * signs, r * signs[:, None]

    def _project(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(z, Q, orthonormal coordinates on the plane, log-volume of W)."""
        q, r = self._factors()
        along = (y - self.bias) @ q
        if self.orthonormal:
            return along, q, along, y.new_zeros(y.shape[:-1])
        columns = torch.linalg.solve_triangular(r, along.reshape(-1, along.shape[-1]).t(), upper=True)
        return columns.t().reshape(along.shape), q, along, r.diagonal().log().sum().expand(y.shape[:-1])

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        q, r = self._factors()
        if self.orthonormal:
            return x @ q.t() + self.bias, x.new_zeros(x.shape[:-1])
        return x @ self.columns.t() + self.bias, r.diagonal().log().sum().expand(x.shape[:-1])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, _, _, volume = self._project(y)
        return z, -volume

    def _to_coordinates(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        z, q, along, volume = self._project(y)
        return z, y - self.bias - along @ q.t(), -volume

    def _from_coordinates(self, z: Tensor, noise: Tensor, context: Tensor | None) -> Tensor:
        q, _ = self._factors()
        return self._forward(z, context) + noise - (noise @ q) @ q.t()


@configurable
class CurvedLift(Lift, LikeItsPart):
    r"""An invertible map of D dimensions, applied to d coordinates and zeros: :math:`y = h(z, 0)`.

    .. math:: \tfrac12 \log\det J^\top J, \qquad J = \frac{\partial h(z, 0)}{\partial z}, \qquad z = h^{-1}(y)_{1..d}

    J is computed exactly, by d Jacobian-vector products. The inverse drops the last D - d coordinates of
    :math:`h^{-1}(y)`: of points on the surface it is the inverse; of others the point that it finds is not the nearest
    one. Values cost one pass of h, ladj d + 1 of them and a QR decomposition per point.

    Args:
        bijection: the map h of vectors of D features; the context, if it takes one, moves the surface.
        latent: number of dimensions d of the surface.

    Shape:
        ``x``: (*batch, latent), ``y``: (*batch, features), ``context``: that of ``bijection``, ``ladj``: (*batch,).

    Raises:
        ValueError: ``bijection`` is no map of vectors of real numbers to such, or ``latent`` is not below their length.

    References:
        | Flows for simultaneous manifold learning and density estimation (Brehmer and Cranmer, 2020), arXiv:2003.13913
        | Rectangular Flows for Manifold Learning (Caterini et al., 2021), arXiv:2106.01413

    >>> import torch
    >>> from pushforward.bijections import Flip
    >>> CurvedLift(Flip(3), 1).forward_and_ladj(torch.tensor([2.0]))
    (tensor([0., 0., 2.]), tensor(0.))
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "bijection": {
                "type": "Chain",
                "parts": [
                    {
                        "type": "Coupling",
                        "univariate": {"type": "Affine"},
                        "features": 3,
                        "context": 1,
                        "hidden": [8],
                        "activation": "tanh",
                    },
                    {"type": "LU", "features": 3},
                ],
            },
            "latent": 2,
        },
    )

    def __init__(self, bijection: Bijection, latent: int) -> None:
        super().__init__()
        if not isinstance(bijection, Bijection) or len(bijection.in_shape) != 1 or len(bijection.out_shape) != 1:
            raise ValueError(f"CurvedLift: bijection must map vectors to vectors; got {type(bijection).__name__}.")
        name, plain = type(bijection).__name__, bijection.keeps_dimension and bijection.log_det == "exact"
        if not plain or bijection.stochastic or not all(isinstance(d, Real) for d in (bijection.domain,)):
            raise ValueError(
                f"CurvedLift: bijection must be exact and keep the dimension, and start from real numbers; got {name}."
            )
        _check_sizes("CurvedLift", bijection.in_shape[0], latent)
        self.bijection, self.codomain = bijection, bijection.codomain
        self.in_shape, self.out_shape, self.context_shape = (latent,), bijection.out_shape, bijection.context_shape
        self.forward_kind, self.inverse_kind = bijection.forward_kind, bijection.inverse_kind

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if inverse:
            self.bijection._initialize(x, context, inverse=True)

    def _pad(self, z: Tensor) -> Tensor:
        return torch.cat([z, z.new_zeros((*z.shape[:-1], self._off_surface()))], dim=-1)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.bijection._forward(self._pad(x), context)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self.bijection._inverse(y, context)[..., : self.in_shape[0]]

    def _log_volume(self, z: Tensor, context: Tensor | None) -> Tensor:
        z = z.contiguous()  # forward-mode derivatives need memory of their own for every row
        basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        columns = [
            torch.func.jvp(lambda t: self._forward(t, context), (z,), (axis.expand(z.shape).clone(),))[1]
            for axis in basis
        ]
        r = torch.linalg.qr(torch.stack(columns, dim=-1)).R  # no square of J, whose digits would be lost
        return r.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(x, context), self._log_volume(x, context)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._inverse(y, context)
        return z, -self._log_volume(z, context)

    def _to_coordinates(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        u, ladj = self.bijection._inverse_and_ladj(y, context)
        latent = self.in_shape[0]
        return u[..., :latent], u[..., latent:], ladj

    def _from_coordinates(self, z: Tensor, noise: Tensor, context: Tensor | None) -> Tensor:
        return self.bijection._forward(torch.cat([z, noise[..., : self._off_surface()]], dim=-1), context)


def _check_sizes(owner: str, features: int, latent: int) -> None:
    at_least(owner, "features", features, 2)
    at_least(owner, "latent", latent, 1)
    if latent >= features:
        raise ValueError(f"{owner}: latent must be below the {features} features; got {latent}. Use LU for as many.")
