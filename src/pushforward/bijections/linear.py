"""Dense linear maps of triangular factors: invertible for all parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.linear_map import LinearMap
from pushforward.bijections.parametric import bounded
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["LU", "PLU"]


@configurable
class LU(LinearMap):
    r"""A linear map parametrised by its triangular factors: :math:`y = L U x + b`, with :math:`L` of unit diagonal.

    The diagonal of U is :math:`\exp(s)`, so :math:`\log|\det| = \sum_j s_j`. It starts at the identity. The forward
    direction costs two D × D products, the inverse two triangular solves. With context a network adds to all
    parameters, to s at most 3 in size; each point then has factors of its own.

    Args:
        features: number of features D.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature, or an option of the network is out of its range.

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032

    >>> import torch
    >>> LU(2)(torch.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 1},
        {"features": 4},
        {
            "features": 3,
            "context": 2,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )

    def __init__(self, features: int, **network: Unpack[ContextNetwork]) -> None:
        super().__init__()
        at_least(type(self).__name__, "features", features, 1)
        self.in_shape = self.out_shape = (features,)
        self.factors = nn.Parameter(torch.zeros(features, features))  # L below the diagonal, U above it
        self.log_diagonal = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self._read_context(features * features + features, **network)

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        factors, log_diagonal, bias = _changed(self.factors, self.log_diagonal, self.bias, self._changes(context))
        return _unit_lower(factors), _upper(factors, log_diagonal), log_diagonal, bias

    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        lower, upper, _, bias = weights
        return x @ (lower @ upper).mT + bias[..., None, :]

    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        lower, upper, _, bias = weights
        columns = (y - bias[..., None, :]).mT
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, columns, upper=True).mT

    def _log_det(self, *weights: Tensor) -> Tensor:
        return weights[2].sum(dim=-1)


@configurable
class PLU(LU):
    r"""An `LU` map followed by a fixed permutation: :math:`y = P L U x + b`.

    With some permutation every invertible matrix has such factors, up to the signs of the diagonal of U, while `LU`
    alone leaves out some. It starts at the permutation and costs what `LU` costs.

    Args:
        features: number of features D.
        permutation: output j is entry ``permutation[j]`` of L U x; by default the order is reversed.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature, ``permutation`` is none of that many, or an option of the network is out of its
            range.

    References:
        | Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018), arXiv:1807.03039

    >>> import torch
    >>> PLU(3, permutation=[2, 0, 1])(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [3.0, 1.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3, "permutation": [1, 2, 0]},
        {
            "features": 2,
            "context": 1,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )
    order: Tensor
    order_back: Tensor

    def __init__(
        self,
        features: int,
        *,
        permutation: Sequence[int] | None = None,
        **network: Unpack[ContextNetwork],
    ) -> None:
        super().__init__(features, **network)
        order = list(range(features))[::-1] if permutation is None else list(permutation)
        if sorted(order) != list(range(features)):
            raise ValueError(
                f"PLU: permutation must list the numbers 0 to {features - 1}, each once; got {order}. Leave it out for "
                "the reversed order."
            )
        self.add_constant("order", order, torch.int64)
        self.add_constant("order_back", sorted(range(features), key=order.__getitem__), torch.int64)

    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        lower, upper, _, bias = weights
        return x @ (lower @ upper).index_select(-2, self.order).mT + bias[..., None, :]

    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        lower, upper, log_diagonal, bias = weights
        unordered = (y - bias[..., None, :]).index_select(-1, self.order_back)
        return super()._solve(unordered, lower, upper, log_diagonal, torch.zeros_like(bias))


def _unit_lower(factors: Tensor) -> Tensor:
    return factors.tril(-1) + torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)


def _upper(factors: Tensor, log_diagonal: Tensor) -> Tensor:
    return factors.triu(1) + torch.diag_embed(log_diagonal.exp())


def _changed(
    factors: Tensor, log_diagonal: Tensor, bias: Tensor, changes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Off-diagonal entries, logs of the diagonal and bias, with what a network adds to them."""
    if changes is None:
        return factors, log_diagonal, bias
    features = bias.shape[-1]
    square, of_bias = changes.tensor_split((features * features,), dim=-1)
    square = square.unflatten(-1, (features, features))
    diagonal = bounded(square.diagonal(dim1=-2, dim2=-1))
    return factors + square, log_diagonal + diagonal, bias + of_bias
