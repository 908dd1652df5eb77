"""Linear maps by their QR decomposition."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.linear_map import LinearMap
from pushforward.bijections.matrices import above_places, reflections, strictly_upper
from pushforward.bijections.orthogonal import paired_axes
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["QR"]


@configurable
class QR(LinearMap):
    r"""A linear map by its QR decomposition: :math:`y = Q R x + b`, with Q a product of Householder reflections.

    R is upper triangular with diagonal :math:`\exp(s)`, so :math:`\log|\det| = \sum_j s_j`. It starts at the identity:
    reflections come in pairs, and the two of a pair begin equal. Both directions cost products with Q and R; the
    inverse of R is a triangular solve. With as many reflections as by default every matrix of positive determinant can
    be reached. With context a network adds to all parameters, to s at most 3 in size.

    Args:
        features: number of features D.
        reflections: number of reflections K; by default D, or D - 1 where D is odd. An odd number flips an orientation.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features or no reflection, or an option of the network is out of its range.

    References:
        | Emerging Convolutions for Generative Normalizing Flows (Hoogeboom et al., 2019), arXiv:1901.11137
        | Improving Variational Auto-Encoders using Householder Flow (Tomczak and Welling, 2016), arXiv:1611.09630

    >>> import torch
    >>> y, ladj = QR(3).forward_and_ladj(torch.tensor([1.0, 2.0, 3.0]))
    >>> torch.allclose(y, torch.tensor([1.0, 2.0, 3.0])), ladj.item()
    (True, 0.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {
            "features": 3,
            "reflections": 1,
            "context": 2,
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
        reflections: int | None = None,
        **network: Unpack[ContextNetwork],
    ) -> None:
        super().__init__()
        at_least("QR", "features", features, 2, "For one feature use Diagonal.")
        self.in_shape = self.out_shape = (features,)
        self.vectors = nn.Parameter(paired_axes("QR", features, reflections))
        self.above = nn.Parameter(torch.zeros(features * (features - 1) // 2))  # the diagonal of R, row by row
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.add_constant("places", above_places(features), torch.int64)
        self._read_context(sum(numbers.numel() for numbers in self.parameters()), **network)

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        parameters = self.vectors, self.above, self.log_diagonal, self.bias
        vectors, above, log_diagonal, bias = self._with_changes(context, *parameters, logs=(2,))
        upper = strictly_upper(above, self.places) + torch.diag_embed(log_diagonal.exp())
        return *reflections(vectors), upper, log_diagonal, bias

    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        units, core, upper, _, bias = weights
        x = x @ upper.mT
        return x - x @ units.mT @ core.mT @ units + bias[..., None, :]

    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        units, core, upper, _, bias = weights
        y = y - bias[..., None, :]
        y = y - y @ units.mT @ core @ units
        return torch.linalg.solve_triangular(upper, y.mT, upper=True).mT

    def _log_det(self, *weights: Tensor) -> Tensor:
        return weights[3].sum(dim=-1)
