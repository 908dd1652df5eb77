"""Dense linear maps in factored form."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least
from pushforward.core.config import configurable

__all__ = ["LU"]


@configurable
class LU(Bijection):
    r"""A linear map kept as its triangular factors: :math:`y = L U x + b`, with :math:`L` of unit diagonal.

    The diagonal of U is :math:`\exp(s)`, so :math:`\log|\det| = \sum_j s_j`. It starts at the identity. The forward
    direction costs two D × D products, the inverse two triangular solves.

    Args:
        features: number of features D.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032

    >>> import torch
    >>> LU(2)(torch.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 1}, {"features": 4})

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("LU", "features", features, 1)
        self.in_shape = self.out_shape = (features,)
        self.factors = nn.Parameter(torch.zeros(features, features))  # L below the diagonal, U above it
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def _triangles(self) -> tuple[Tensor, Tensor]:
        lower = self.factors.tril(-1) + torch.eye(self.in_shape[0], dtype=self.dtype, device=self.bias.device)
        return lower, self.factors.triu(1) + torch.diag(self.log_diagonal.exp())

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        lower, upper = self._triangles()
        y = x @ (lower @ upper).t() + self.bias
        return y, self.log_diagonal.sum().expand(x.shape[:-1])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        lower, upper = self._triangles()
        columns = (y - self.bias).reshape(-1, y.shape[-1]).t()  # one solve for all points
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        return columns.t().reshape(y.shape), -self.log_diagonal.sum().expand(y.shape[:-1])
