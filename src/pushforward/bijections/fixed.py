"""Linear maps that are not learned: by a matrix of the user's, random rotations, and the discrete cosine transform."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.linear_map import LinearMap
from pushforward.bijections.orthogonal import OrthogonalMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.shapes import event_numbers

__all__ = ["DiscreteCosine", "Linear", "RandomRotation"]


@configurable
class Linear(LinearMap):
    r"""A linear map by a fixed matrix: :math:`y = W x + b`; nothing is learned.

    The inverse matrix and :math:`\log|\det W|` are computed once, in float64. Both directions cost one product.

    Args:
        matrix: the rows of W, D lists of D numbers.
        bias: D numbers b; by default zeros.

    Shape:
        ``x``, ``y``: (*batch, D), ``ladj``: (*batch,).

    Raises:
        ValueError: the matrix is not square, holds what is no finite number or is singular to rounding, or the bias has
            another length.

    >>> import torch
    >>> y, ladj = Linear([[0.0, 2.0], [-1.0, 0.0]]).forward_and_ladj(torch.tensor([3.0, 4.0]))
    >>> y.tolist(), round(ladj.exp().item(), 4)
    ([8.0, -3.0], 2.0)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"matrix": [[-2.0]]},
        {"matrix": [[1.0, 2.0, -0.5], [-1.0, 0.5, 1.0], [0.5, 1.0, -2.0]], "bias": [1.0, 0.0, -3.0]},
    )
    matrix: Tensor
    inverse_matrix: Tensor
    bias: Tensor
    log_abs_det: Tensor

    def __init__(self, matrix: Sequence[Sequence[float]], *, bias: Sequence[float] | None = None) -> None:
        super().__init__()
        rows = event_numbers("Linear", "matrix", matrix)
        if rows.ndim != 2 or rows.shape[0] != rows.shape[1]:
            raise ValueError(f"Linear: matrix must be square, a list of D rows of D numbers; got {tuple(rows.shape)}.")
        rank = int(torch.linalg.matrix_rank(rows))
        if rank < len(rows):
            raise ValueError(
                f"Linear: matrix must be invertible; got one of size {len(rows)} and rank {rank}. Leave out features "
                "that depend on the others."
            )
        shift = torch.zeros(len(rows), device="cpu") if bias is None else event_numbers("Linear", "bias", bias)
        if shift.shape != rows.shape[:1]:
            raise ValueError(f"Linear: bias must list {len(rows)} numbers, one a row; got shape {tuple(shift.shape)}.")
        self.in_shape = self.out_shape = (len(rows),)
        self.add_constant("matrix", rows.tolist())
        self.add_constant("inverse_matrix", torch.linalg.inv(rows).tolist())
        self.add_constant("bias", shift.tolist())
        self.add_constant("log_abs_det", torch.linalg.slogdet(rows)[1].item())

    @property
    def dtype(self) -> torch.dtype | None:
        return self.matrix.dtype

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        return self.matrix, self.inverse_matrix, self.bias, self.log_abs_det

    def _multiply(self, x: Tensor, *weights: Tensor) -> Tensor:
        return x @ weights[0].mT + weights[2]

    def _solve(self, y: Tensor, *weights: Tensor) -> Tensor:
        return (y - weights[2]) @ weights[1].mT

    def _log_det(self, *weights: Tensor) -> Tensor:
        return weights[3]


@configurable
class RandomRotation(OrthogonalMap):
    r"""A fixed random rotation, :math:`y = Q x` with Q uniform among all rotations; nothing is learned.

    Its seed decides Q, on every machine and in every version of Python and torch up to rounding. Both directions cost
    one product; :math:`\log|\det| = 0`.

    Args:
        features: number of features D.
        seed: a whole number; layers of one flow should have different ones.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features, or the seed is negative.

    References:
        | How to generate random matrices from the classical compact groups (Mezzadri, 2006), arXiv:math-ph/0609050
        | Iterative Gaussianization: from ICA to Random Rotations (Laparra et al., 2011), arXiv:1602.00229

    >>> import torch
    >>> y = RandomRotation(5, seed=3)(torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0]))
    >>> round(y.norm().item(), 4)
    5.0
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 3}, {"features": 4, "seed": 1})
    matrix: Tensor

    def __init__(self, features: int, *, seed: int = 0) -> None:
        super().__init__()
        at_least("RandomRotation", "features", features, 2, "One feature cannot be rotated.")
        at_least("RandomRotation", "seed", seed, 0)
        self.in_shape = self.out_shape = (features,)
        self.add_constant("matrix", _uniform_rotation(features, int(seed)).tolist())

    @property
    def dtype(self) -> torch.dtype | None:
        return self.matrix.dtype

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        return (self.matrix,)


@configurable
class DiscreteCosine(OrthogonalMap):
    r"""The orthonormal discrete cosine transform (DCT-II) of a vector, such as a time series; nothing is learned.

    .. math:: y_k = s_k \sum_{n=0}^{D-1} x_n \cos \frac{\pi (n + \frac12) k}{D}, \qquad
        s_0 = D^{-1/2}, \quad s_k = (D / 2)^{-1/2}

    Layers behind it see frequencies, from low to high, in place of neighbouring values. Both directions cost one
    product; :math:`\log|\det| = 0`.

    Args:
        features: number of features D.

    Shape:
        ``x``, ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature.

    References:
        | Discrete Cosine Transform (Ahmed et al., 1974), doi:10.1109/T-C.1974.223784

    >>> import torch
    >>> DiscreteCosine(4)(torch.ones(4)).abs().round(decimals=4).tolist()  # a constant has frequency zero alone
    [2.0, 0.0, 0.0, 0.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 4},)
    matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("DiscreteCosine", "features", features, 1)
        self.in_shape = self.out_shape = (features,)
        scales = [math.sqrt((2 if k else 1) / features) for k in range(features)]
        rows = [
            [scale * math.cos(math.pi * (n + 0.5) * k / features) for n in range(features)]
            for k, scale in enumerate(scales)
        ]
        self.add_constant("matrix", rows)

    @property
    def dtype(self) -> torch.dtype | None:
        return self.matrix.dtype

    def _weights(self, context: Tensor | None) -> tuple[Tensor, ...]:
        return (self.matrix,)


def _uniform_rotation(features: int, seed: int) -> Tensor:
    """The Q of a QR decomposition of normal numbers, in float64; with R's diagonal positive it is uniform."""
    # Python promises that this generator's `random` gives the same numbers in all versions; torch promises nothing.
    uniform = random.Random(seed).random

    def normal() -> float:
        return math.sqrt(-2 * math.log(1 - uniform())) * math.cos(2 * math.pi * uniform())

    numbers = torch.tensor(
        [[normal() for _ in range(features)] for _ in range(features)], dtype=torch.float64, device="cpu"
    )
    q, r = torch.linalg.qr(numbers)
    q = q * r.diagonal().sign()
    # A reflection becomes a rotation by a flip of the last column.
    return torch.cat([q[:, :-1], q[:, -1:] * torch.linalg.det(q).sign()], dim=1)
