"""Maps that bend space along several directions at once."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from pushforward.bijections.bend import slope_ratio, unbend
from pushforward.bijections.matrices import (
    above_places,
    cayley,
    orthogonal_exp,
    reflections_matrix,
    skew,
    skew_places,
    strictly_upper,
)
from pushforward.bijections.parametric import ParametricMap
from pushforward.bijections.triangular import rectified
from pushforward.core.bijection import Kind
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.networks.context_parameters import ContextNetwork

__all__ = ["Sylvester"]

METHODS = ("householder", "cayley", "exponential")


@configurable
class Sylvester(ParametricMap):
    r"""Bend space along M orthogonal directions at once: a `Planar` map with a layer of M hidden units.

    .. math:: y = x + Q R\, \tanh(\tilde R\, Q^\top x + b), \qquad
        \log|\det| = \sum_i \log\bigl(1 + r_{ii} \tilde r_{ii} \tanh'_i\bigr)

    Q has M orthonormal columns; R and :math:`\tilde R` are upper triangular. Their diagonals are made such that
    :math:`r_{ii} \tilde r_{ii} > -1`, so the map is invertible for all parameters. It starts at R = 0, the identity,
    and at random directions Q. Forward costs four products with D × M and M × M matrices. The inverse finds
    :math:`v = Q^\top x` by back substitution, from the last entry to the first: as R and :math:`\tilde R` are
    triangular, each is the root of an increasing function of one number, and lies within \|r_ii\| of a number that is
    known by then. A row where a search fails is NaN.

    Args:
        features: number of features D.
        rank: number of directions M; by default D.
        method: what Q is made of: ``"householder"``, M reflections; or a D × D rotation by ``"cayley"`` or
            ``"exponential"``, see `Orthogonal`, of which Q has the first M columns.
        **network: see `networks.context_parameters.ContextNetwork`.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there is no feature, there are more directions than features, or an option is out of its range.

    References:
        | Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018), arXiv:1803.05649

    >>> import torch
    >>> part, x = Sylvester(3, rank=2), torch.tensor([1.0, -2.0, 3.0])
    >>> with torch.no_grad():
    ...     _ = part.diagonal.fill_(2.0)
    >>> bool((part(x) - x).norm() > 0.5), torch.allclose(part.inverse(part(x)), x, atol=1e-5)
    (True, True)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"features": 3},
        {"features": 4, "rank": 2, "method": "exponential"},
        {
            "features": 3,
            "rank": 2,
            "method": "cayley",
            "context": 1,
            "hidden": [8],
            "conditioner": "residual",
            "activation": "silu",
            "dropout": 0.1,
        },
    )
    inverse_kind: Kind = "iterative"
    places: Tensor
    places_of_angles: Tensor

    def __init__(
        self,
        features: int,
        *,
        rank: int | None = None,
        method: str = "householder",
        **network: Unpack[ContextNetwork],
    ) -> None:
        super().__init__()
        at_least("Sylvester", "features", features, 1)
        rank = features if rank is None else rank
        at_least("Sylvester", "rank", rank, 1)
        if rank > features:
            raise ValueError(f"Sylvester: rank must be at most the number of features, {features}; got {rank}.")
        one_of("Sylvester", "method", method, METHODS)
        self.in_shape = self.out_shape = (features,)
        self.rank, self.method = rank, method
        # Maps of one flow must not all start in the same directions: their gradients would be the same.
        shape = (rank, features) if method == "householder" else (features * (features - 1) // 2,)
        # A single feature has a single direction.
        self.directions = nn.Parameter(torch.randn(shape)) if features > 1 else None
        self.diagonal = nn.Parameter(torch.stack([torch.zeros(rank), torch.ones(rank)]))  # of R and of R̃
        self.above = nn.Parameter(torch.zeros(2, rank * (rank - 1) // 2))
        self.bias = nn.Parameter(torch.zeros(rank))
        self.add_constant("places", above_places(rank), torch.int64)
        if method != "householder" and features > 1:
            self.add_constant("places_of_angles", skew_places(features), torch.int64)
        self._read_context(sum(numbers.numel() for numbers in self.parameters()), **network)

    def _numbers(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Q (*batch, features, rank), R and R̃ (*batch, rank, rank), b and g = 1 + r_ii r̃_ii (*batch, rank)."""
        parameters = self.diagonal, self.above, self.bias, *([] if self.directions is None else [self.directions])
        diagonal, above, b, *directions = self._with_changes(context, *parameters)
        r, r_tilde = diagonal.unbind(dim=-2)
        product = r * r_tilde
        inner = strictly_upper(above, self.places)
        outer_upper, inner_upper = inner.unbind(dim=-3)
        outer = outer_upper + torch.diag_embed(r * slope_ratio(product))
        q = self._columns(directions[0]) if directions else torch.ones_like(outer)
        return q, outer, inner_upper + torch.diag_embed(r_tilde), b, rectified(product)

    def _columns(self, directions: Tensor) -> Tensor:
        """Orthonormal columns, (*batch, features, rank)."""
        if self.method == "householder":
            return reflections_matrix(directions)[..., : self.rank]
        rotation = cayley if self.method == "cayley" else orthogonal_exp
        return rotation(skew(directions, self.places_of_angles))[..., : self.rank]

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        q, outer, inner, b, g = self._numbers(context)
        t = torch.tanh(_times(inner, _times(q.mT, x)) + b)
        square = t.square()
        ladj = torch.log(square + g * (1 - square)).sum(dim=-1)  # sums of positive terms
        return x + _times(q, _times(outer, t)), ladj

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        q, outer, inner, b, g = self._numbers(context)
        goal = _times(q.mT, y)
        v: list[Tensor] = []  # Q^T x and the values of tanh, from the last entry back to the first
        t: list[Tensor] = []
        ladj, solved = torch.zeros_like(goal[..., 0]), torch.ones_like(goal[..., 0], dtype=torch.bool)
        for i in reversed(range(self.rank)):
            shift, target = b[..., i].expand_as(ladj), goal[..., i]
            if v:
                shift = shift + (inner[..., i, i + 1 :] * torch.stack(v[::-1], dim=-1)).sum(dim=-1)
                target = target - (outer[..., i, i + 1 :] * torch.stack(t[::-1], dim=-1)).sum(dim=-1)
            r, w = outer[..., i, i].expand_as(ladj), inner[..., i, i].expand_as(ladj)
            root, log_slope = unbend(target, (r, w, shift, g[..., i].expand_as(ladj)))
            # A root that is missing makes its row NaN only at the end: before, NaN would reach the gradients of
            # parameters that all rows share.
            solved = solved & root.isfinite()
            root = torch.where(solved, root, 0.0)
            v.append(root)
            t.append(torch.tanh(w * root + shift))
            ladj = ladj + torch.where(solved, log_slope, 0.0)
        x = y - _times(q, _times(outer, torch.stack(t[::-1], dim=-1)))
        return torch.where(solved[..., None], x, torch.nan), torch.where(solved, ladj, torch.nan)


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """The product of a matrix, or of one for each point, with points (*batch, columns)."""
    return x @ matrix.mT if matrix.ndim == 2 else (matrix @ x[..., None]).squeeze(-1)
