"""Learned linear maps by the exponential of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.linear_map import LinearMap
from pushforward.bijections.matrices import matrix_exp
from pushforward.core.checks import at_least, positive
from pushforward.core.config import configurable

__all__ = ["MatrixExponential"]


@configurable
class MatrixExponential(LinearMap):
    r"""A linear map by the exponential of a matrix, whose determinant is that of a trace.

    .. math:: y = e^M x + b, \qquad x = e^{-M} (y - b), \qquad \log|\det| = \operatorname{tr} M

    Every M will do, so nothing is constrained, and the inverse is as accurate as the map. It reaches every matrix with
    a real logarithm, all rotations and stretchings among them, but no reflections. Zero weights are the identity. Both
    directions cost one exponential, :math:`O(D^3)`, and one product. With context a network adds to M and b, and each
    point costs an exponential of its own.

    Args:
        features: number of features D.
        bound: size at which the entries of M are softly bounded, by :math:`b \tanh(\cdot / b)`.
        context: number of context features.
        hidden: layer widths of the network that reads the context.
        conditioner: its registered name, such as ``"plain"`` or ``"residual"``.
        activation: its activation.
        dropout: its dropout probability.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: an option is out of its range.

    References:
        | The Convolution Exponential and Generalized Sylvester Flows (Hoogeboom et al., 2020), arXiv:2006.01910
        | Generative Flows with Matrix Exponential (Xiao and Liu, 2020), arXiv:2007.09651

    >>> import torch
    >>> spiral = MatrixExponential(2)
    >>> with torch.no_grad():
    ...     _ = spiral.exponent.copy_(torch.tensor([[0.5, -1.0], [1.0, 0.5]]))
    >>> y, ladj = spiral.forward_and_ladj(torch.tensor([1.0, 0.0]))
    >>> round(y.norm().log().item(), 2), round(ladj.item(), 2)  # bounded a little
    (0.5, 0.99)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {
            "features": 2,
            "bound": 2.0,
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
        bound: float = 3.0,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        at_least("MatrixExponential", "features", features, 1)
        positive("MatrixExponential", "bound", bound)
        self.in_shape = self.out_shape = (features,)
        self.bound = bound
        self.exponent = nn.Parameter(torch.zeros(features, features))
        self.bias = nn.Parameter(torch.zeros(features))
        self._read_context(
            features * (features + 1),
            context=context,
            hidden=hidden,
            conditioner=conditioner,
            activation=activation,
            dropout=dropout,
        )

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        exponent, bias = self._with_changes(context, self.exponent, self.bias)
        return self.bound * torch.tanh(exponent / self.bound), bias

    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        return x @ matrix_exp(weights[0]).mT + weights[1][..., None, :]

    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        return (y - weights[1][..., None, :]) @ matrix_exp(-weights[0]).mT

    def _log_det(self, *weights: Tensor) -> Tensor:
        return weights[0].diagonal(dim1=-2, dim2=-1).sum(dim=-1)
