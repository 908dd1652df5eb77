"""Triangular, skew-symmetric and orthogonal matrices from unconstrained numbers.

All functions take leading batch axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "above_places",
    "cayley",
    "matrix_exp",
    "orthogonal_exp",
    "reflections",
    "reflections_matrix",
    "skew",
    "skew_places",
    "strictly_upper",
]


def above_places(features: int) -> list[list[int]]:
    """For each entry of a matrix where `strictly_upper` finds it: the entries above the diagonal row by row, then a
    zero."""
    count = features * (features - 1) // 2
    places = [[count] * features for _ in range(features)]
    above = ((row, column) for row in range(features) for column in range(row + 1, features))
    for k, (row, column) in enumerate(above):
        places[row][column] = k
    return places


def strictly_upper(above: Tensor, places: Tensor) -> Tensor:
    """The matrix with these entries above its diagonal, else zeros: (*batch, M (M - 1) / 2) to (*batch, M, M)."""
    values = torch.cat([above, above.new_zeros((*above.shape[:-1], 1))], dim=-1)
    return values.index_select(-1, places.flatten()).unflatten(-1, places.shape)


def skew_places(features: int) -> list[list[int]]:
    """For each entry of a skew-symmetric matrix where `skew` finds it: the entries below the diagonal row by row, then
    their negatives, then a zero."""
    count = features * (features - 1) // 2
    places = [[2 * count] * features for _ in range(features)]
    below = ((row, column) for row in range(features) for column in range(row))
    for k, (row, column) in enumerate(below):
        places[row][column], places[column][row] = k, count + k
    return places


def skew(below: Tensor, places: Tensor) -> Tensor:
    """The skew-symmetric matrix with these entries below its diagonal, (*batch, D (D - 1) / 2) to (*batch, D, D)."""
    values = torch.cat([below, -below, below.new_zeros((*below.shape[:-1], 1))], dim=-1)
    return values.index_select(-1, places.flatten()).unflatten(-1, places.shape)


def orthogonal_exp(skew_matrix: Tensor) -> Tensor:
    """exp(A) of skew-symmetric matrices (*batch, D, D), orthogonal to rounding at every size of A.

    References:
        | Iterative Berechnung der reziproken Matrix (Schulz, 1933)
    """
    # Squaring adds up rounding errors, in float32 to more than one step takes out where the norm is large.
    return _nearest_orthogonal(_nearest_orthogonal(matrix_exp(skew_matrix)))


def matrix_exp(matrix: Tensor) -> Tensor:
    """The exponentials of matrices (*batch, D, D)."""
    # Never as a single matrix: of one torch 2.13 computes 2 × 10⁻⁵ too much for norms around 0.5 in float32
    # (https://github.com/pytorch/pytorch/issues/196592).
    matrices = matrix.reshape(-1, *matrix.shape[-2:])
    return torch.linalg.matrix_exp(torch.cat([matrices, matrices[:1]]))[: len(matrices)].reshape(matrix.shape)


def cayley(skew_matrix: Tensor) -> Tensor:
    r""":math:`(I + A)^{-1} (I - A)` of skew-symmetric matrices (*batch, D, D), orthogonal to rounding."""
    eye = torch.eye(skew_matrix.shape[-1], dtype=skew_matrix.dtype, device=skew_matrix.device)
    return _nearest_orthogonal(torch.linalg.solve(eye + skew_matrix, eye - skew_matrix))


def _nearest_orthogonal(q: Tensor) -> Tensor:
    """One Newton-Schulz step towards the nearest orthogonal matrix, which squares the distance to it."""
    return 1.5 * q - 0.5 * (q @ (q.mT @ q))


def reflections(vectors: Tensor) -> tuple[Tensor, Tensor]:
    r"""The product :math:`H_1 \cdots H_K = I - U^\top T U` of reflections :math:`H_k = I - 2 u_k u_k^\top`.

    T is the inverse of the upper triangular matrix with one half on its diagonal and :math:`u_i^\top u_j` above it, so
    K reflections of n points cost products of matrices instead of K passes. A vector of length zero counts as the first
    unit vector.

    Args:
        vectors: normal vectors of any length, (*batch, K, D).

    Returns:
        The unit vectors U, (*batch, K, D), and T, (*batch, K, K).

    References:
        | Accumulating Householder transformations, revisited (Joffrain et al., 2006), doi:10.1145/1141885.1141886
    """
    # Scaled by their largest entry first: squares of tiny or huge numbers would leave the dtype's range.
    largest = vectors.abs().amax(dim=-1, keepdim=True).detach()
    first = torch.eye(vectors.shape[-1], dtype=vectors.dtype, device=vectors.device)[0]
    scaled = torch.where(largest > 0, vectors / torch.where(largest > 0, largest, 1.0), first)
    units = scaled / scaled.square().sum(dim=-1, keepdim=True).sqrt()
    eye = torch.eye(vectors.shape[-2], dtype=vectors.dtype, device=vectors.device)
    products = units @ units.mT
    # Half of the squared lengths, which rounding leaves not quite one: Q is then orthogonal to rounding all the same.
    inverse = products.triu(1) + 0.5 * torch.diag_embed(products.diagonal(dim1=-2, dim2=-1))
    return units, torch.linalg.solve_triangular(inverse, eye.expand_as(inverse), upper=True)


def reflections_matrix(vectors: Tensor) -> Tensor:
    """The product of reflections as a matrix, (*batch, K, D) to (*batch, D, D)."""
    units, core = reflections(vectors)
    eye = torch.eye(vectors.shape[-1], dtype=vectors.dtype, device=vectors.device)
    return eye - units.mT @ (core @ units)
