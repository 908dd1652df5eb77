"""Distributions of rotations of space, by unit quaternions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.core.bijection import Kind
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Domain, Sphere
from pushforward.core.exactness import Exactness
from pushforward.core.spaces import Rotations

__all__ = ["RotationDistribution", "rotation_matrix"]


@configurable
class RotationDistribution(Distribution):
    r"""The distribution of the rotations that random unit quaternions stand for.

    .. math:: q(R) = \pi^2 \bigl(p(u) + p(-u)\bigr)

    for both quaternions u and -u of the rotation R, with p a density on the unit sphere of four dimensions, with
    respect to its area. The density q is with respect to the Haar measure of all rotations, by which the uniform
    distribution has density one. A density is the same at u and at -u, whatever p is; where p has that symmetry (maps
    that keep opposite points opposite, from the uniform distribution) nothing is mixed. Points have a first entry that
    is not negative. Densities cost twice those of p.

    Args:
        quaternions: a distribution on the sphere of unit vectors of four entries, such as ``sphere_flow(4)``.

    Shape:
        ``x``: (*batch, 4), quaternions (w, x, y, z); of both signs for densities.

    Raises:
        ValueError: the distribution does not live on that sphere.

    References:
        | Normalizing Flows on Tori and Spheres (Rezende et al., 2020), arXiv:2002.02428
        | Delving into Discrete Normalizing Flows on SO(3) Manifold for Probabilistic Rotation Modeling
          (Liu et al., 2023), arXiv:2304.03937

    >>> import torch
    >>> from pushforward.distributions import SphericalUniform
    >>> uniform = RotationDistribution(SphericalUniform(4))
    >>> round(uniform.log_prob(torch.tensor([1.0, 0.0, 0.0, 0.0])).abs().item(), 4)
    0.0
    """

    support: Domain = Rotations()
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "quaternions": {
                "type": "Flow",
                "base": {"type": "SphericalUniform", "features": 4},
                "bijection": {
                    "type": "Chain",
                    "parts": [
                        {"type": "SphereMoebius", "features": 4, "context": 1, "hidden": [8]},
                        {"type": "SphereLinear", "features": 4},
                    ],
                },
            }
        },
        {"quaternions": {"type": "SphericalUniform", "features": 4}},
    )

    def __init__(self, quaternions: Distribution) -> None:
        super().__init__()
        if not isinstance(quaternions, Distribution) or (quaternions.support, quaternions.event_shape) != (
            Sphere(),
            (4,),
        ):
            raise ValueError(
                "RotationDistribution: quaternions must be a distribution of unit vectors of four entries, such as "
                f"SphericalUniform(4); got {type(quaternions).__name__}."
            )
        self.quaternions = quaternions
        self.event_shape, self.context_shape = (4,), quaternions.context_shape
        self.stochastic, self.reparametrized = quaternions.stochastic, quaternions.reparametrized

    @property
    def dtype(self) -> torch.dtype | None:
        return self.quaternions.dtype

    @property
    def context_dtype(self) -> torch.dtype | None:
        return self.quaternions.context_dtype

    @property
    def exactness(self) -> Exactness:
        return self.quaternions.exactness

    @property
    def log_prob_kind(self) -> Kind:
        return self.quaternions.log_prob_kind

    @property
    def sample_kind(self) -> Kind:
        return self.quaternions.sample_kind

    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        both = [
            self.quaternions._log_prob(*self.quaternions._arguments(signed, context, generator)) for signed in (x, -x)
        ]
        return torch.logaddexp(*both) + 2 * math.log(math.pi)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        x = self.quaternions._rsample(batch, context, generator)
        return torch.where(x[..., :1] < 0, -x, x)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        self.quaternions._initialize(x, context)


def rotation_matrix(quaternion: Tensor) -> Tensor:
    """The orthogonal matrices (*batch, 3, 3) of unit quaternions (w, x, y, z), (*batch, 4).

    >>> turn = rotation_matrix(torch.tensor([math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]))  # by 90° around z
    >>> [round(value, 4) + 0.0 for value in (turn @ torch.tensor([1.0, 0.0, 0.0])).tolist()]
    [0.0, 1.0, 0.0]
    """
    w, x, y, z = quaternion.unbind(dim=-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
