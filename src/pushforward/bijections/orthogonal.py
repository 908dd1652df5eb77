"""Learned orthogonal maps: products of reflections, the Cayley transform and the matrix exponential."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.linear_map import LinearMap
from pushforward.bijections.matrices import cayley, orthogonal_exp, reflections, skew, skew_places
from pushforward.core.cache import TensorCache
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.core.execution_mode import runs_eagerly_without_grad
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["Householder", "Orthogonal", "OrthogonalMap", "paired_axes"]


class OrthogonalMap(LinearMap, ABC):
    r"""A linear map that keeps lengths: :math:`y = Q x` with :math:`Q^\top Q = I`, so that :math:`\log|\det| = 0`.

    A subclass gives Q alone as its weights; one that describes it otherwise writes the two products as well.
    """

    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        return x @ weights[0].mT

    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        return y @ weights[0]

    def _log_det(self, *weights: Tensor) -> Tensor:
        return torch.zeros_like(weights[0][..., 0, 0])


@configurable
class Householder(OrthogonalMap):
    r"""A product of Householder reflections.

    .. math:: y = H_1 \cdots H_K\, x, \qquad H_k = I - 2\, \frac{v_k v_k^\top}{\|v_k\|^2}

    It starts at the identity if K is even, for reflections come in pairs that begin equal. Both directions cost three
    products with K × D and K × K matrices; :math:`\log|\det| = 0`. With as many reflections as by default every
    rotation can be reached. With context a network adds to the vectors.

    Args:
        features: number of features D.
        reflections: number of reflections K; by default D, or D - 1 where D is odd. An odd number flips an orientation.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features or no reflection, or an option of the network is out of its range.

    References:
        | Improving Variational Auto-Encoders using Householder Flow (Tomczak and Welling, 2016), arXiv:1611.09630

    >>> import torch
    >>> flip = Householder(2, reflections=1)  # at its start, of the first feature
    >>> flip(torch.tensor([3.0, 4.0])).tolist()
    [-3.0, 4.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {
            "features": 4,
            "reflections": 3,
            "context": 1,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )

    def __init__(
        self,
        features: int,
        *,
        reflections: int | None = None,
        **network: Unpack[ContextNetwork],
    ) -> None:
        super().__init__()
        at_least("Householder", "features", features, 2, "One feature cannot be turned.")
        self.in_shape = self.out_shape = (features,)
        self.vectors = nn.Parameter(paired_axes("Householder", features, reflections))
        self._read_context(self.vectors.numel(), **network)

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        return reflections(*self._with_changes(context, self.vectors))

    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        units, core = weights
        return x - x @ units.mT @ core.mT @ units

    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        units, core = weights
        return y - y @ units.mT @ core @ units


METHODS = {"cayley": cayley, "exponential": orthogonal_exp}


@configurable
class Orthogonal(OrthogonalMap):
    r"""A rotation from a skew-symmetric matrix :math:`A = -A^\top`, by one of two formulas.

    .. math:: y = (I + A)^{-1} (I - A)\, x \qquad \text{or} \qquad y = \exp(A)\, x

    The entries of A below its diagonal are learned from zero, the identity. The exponential reaches every rotation. The
    Cayley transform costs one solve instead, and reaches all but those that turn a plane by half a turn, which it comes
    near to. :math:`\log|\det| = 0`. Both directions cost one D × D product beside the matrix, :math:`O(D^3)`. With
    context a network adds to A, and each point costs a matrix of its own. `Rotation` starts at the principal axes of
    the data instead.

    Args:
        features: number of features D.
        method: ``"cayley"`` or ``"exponential"``.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features, or an option is out of its range.

    References:
        | Improving Normalizing Flows via Better Orthogonal Parameterizations (Goliński et al., 2019), ICML workshop on
          invertible neural networks and normalizing flows
        | Cheap Orthogonal Constraints in Neural Networks (Lezcano-Casado and Martínez-Rubio, 2019), arXiv:1901.08428

    >>> import torch
    >>> turn = Orthogonal(2, method="cayley")
    >>> with torch.no_grad():
    ...     _ = turn.angles.fill_(1.0)  # A = [[0, -1], [1, 0]]
    >>> [round(value, 4) for value in turn(torch.tensor([1.0, 2.0])).tolist()]
    [2.0, -1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 4, "method": "cayley"},
        {"features": 3, "method": "exponential"},
        {"features": 3, "method": "exponential", "context": 2, "hidden": [8]},
        {
            "features": 3,
            "method": "cayley",
            "context": 1,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )
    places: Tensor

    def __init__(
        self,
        features: int,
        *,
        method: str = "exponential",
        **network: Unpack[ContextNetwork],
    ) -> None:
        super().__init__()
        at_least("Orthogonal", "features", features, 2, "One feature cannot be turned.")
        one_of("Orthogonal", "method", method, tuple(METHODS))
        self.in_shape = self.out_shape = (features,)
        self.method = method
        self.angles = nn.Parameter(torch.zeros(features * (features - 1) // 2))
        self.add_constant("places", skew_places(features), torch.int64)
        self._read_context(self.angles.numel(), **network)
        self._cache = TensorCache()

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        (angles,) = self._with_changes(context, self.angles)
        # Elsewhere comparing would wait for the device.
        if context is None and runs_eagerly_without_grad(angles) and angles.is_cpu:
            return (self._cache(self._turn, angles),)
        return (self._turn(angles),)

    def _turn(self, angles: Tensor) -> Tensor:
        return METHODS[self.method](skew(angles, self.places))


def paired_axes(owner: str, features: int, count: int | None) -> Tensor:
    """Normal vectors of ``count`` reflections, (count, features): unit vectors in pairs of equal ones.

    By default as many as every rotation needs: an even number of at most ``features``.
    """
    if count is not None:
        at_least(owner, "reflections", count, 1)
    number = features - features % 2 if count is None else count
    return torch.eye(features)[[k // 2 % features for k in range(number)]]
