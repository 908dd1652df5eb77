"""Maps of the whole space onto the simplex of shares: non-negative numbers that sum to one."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.bijection import Bijection
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.core.domain import Simplex

__all__ = ["CentredSoftmax", "StickBreaking"]

REMEDY = "One share is always one."


@configurable
class StickBreaking(Bijection):
    r"""Break a stick of length one into shares, one after the other.

    .. math:: y_k = s_k \prod_{i < k} (1 - s_i), \qquad s_k = \sigma\bigl(x_k - \log(K - k)\bigr), \qquad
              \log|\det| = \sum_k \log y_k + \log(1 - s_k)

    for k below the number K of shares; the last share is what is left. The shift takes x = 0 to equal shares.
    Densities on the simplex are with respect to Lebesgue measure of all shares but the last, as for Dirichlet
    distributions. The first shares do not depend on later x. Both directions cost one sum over the shares.

    Args:
        features: number K of shares; x has one entry less.

    Shape:
        ``x``: (*batch, features - 1), ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two shares.

    References:
        | Stan Reference Manual: the unit simplex transform (Stan Development Team, 2024)

    >>> import torch
    >>> [round(y, 4) for y in StickBreaking(4)(torch.zeros(3)).tolist()]
    [0.25, 0.25, 0.25, 0.25]
    """

    codomain = Simplex()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 2}, {"features": 4})
    offset: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("StickBreaking", "features", features, 2, REMEDY)
        self.in_shape, self.out_shape = (features - 1,), (features,)
        self.add_constant("offset", [math.log(features - k) for k in range(1, features)])

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        t = x - self.offset
        log_share, log_rest = F.logsigmoid(t), F.logsigmoid(-t)
        after = log_rest.cumsum(dim=-1)
        log_y = log_share + after - log_rest
        y = torch.cat([log_y, after[..., -1:]], dim=-1).exp()
        return y, (log_y + log_rest).sum(dim=-1)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_y = _positive(y).log()
        # What is left after each share, added up from the far end: nothing cancels.
        log_left = torch.logcumsumexp(log_y.flip(-1), dim=-1).flip(-1)
        t = log_y[..., :-1] - log_left[..., 1:]
        return t + self.offset, -(log_y[..., :-1] + F.logsigmoid(-t)).sum(dim=-1)


@configurable
class CentredSoftmax(Bijection):
    r"""Shares by the softmax of scores of which one is given up, so that the map is invertible.

    .. math:: y = \operatorname{softmax}(H x), \qquad \log|\det| = \sum_k \log y_k + \log|\det C|

    With ``basis="isometric"`` the columns of H are orthonormal and sum to zero (the isometric log-ratio transform): all
    shares are treated alike, and :math:`|\det C| = \sqrt K`. With ``basis="last"`` the score of the last share is zero
    (the additive log-ratio transform), and :math:`|\det C| = 1`. Densities on the simplex are with respect to Lebesgue
    measure of all shares but the last, as for Dirichlet distributions. Both directions cost one product with H.

    Args:
        features: number K of shares; x has one entry less.
        basis: ``"isometric"`` or ``"last"``.

    Shape:
        ``x``: (*batch, features - 1), ``y``: (*batch, features), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two shares, or ``basis`` has no such value.

    References:
        | The Statistical Analysis of Compositional Data (Aitchison, 1982)
        | Isometric Logratio Transformations for Compositional Data Analysis (Egozcue et al., 2003),
          doi:10.1023/A:1023818214614

    >>> import torch
    >>> [round(y, 4) for y in CentredSoftmax(3, basis="last")(torch.tensor([math.log(2), 0.0])).tolist()]
    [0.5, 0.25, 0.25]
    """

    codomain = Simplex()
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"features": 4}, {"features": 3, "basis": "last"})
    scores: Tensor

    def __init__(self, features: int, *, basis: str = "isometric") -> None:
        super().__init__()
        at_least("CentredSoftmax", "features", features, 2, REMEDY)
        one_of("CentredSoftmax", "basis", basis, ("isometric", "last"))
        self.in_shape, self.out_shape = (features - 1,), (features,)
        self.isometric = basis == "isometric"
        self.log_volume = 0.5 * math.log(features) if self.isometric else 0.0
        self.add_constant("scores", _helmert(features) if self.isometric else _without_last(features))

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_y = torch.log_softmax(x @ self.scores.t(), dim=-1)
        return log_y.exp(), log_y.sum(dim=-1) + self.log_volume

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_y = _positive(y).log()
        x = log_y @ self.scores if self.isometric else log_y[..., :-1] - log_y[..., -1:]
        # Shares that sum to one up to rounding: the volume is that of the nearest ones that do.
        return x, -(torch.log_softmax(log_y, dim=-1).sum(dim=-1) + self.log_volume)


def _positive(y: Tensor) -> Tensor:
    """Shares of zero as the smallest number: x stays finite on the edge of the simplex."""
    return y.clamp(min=torch.finfo(y.dtype).tiny)


def _helmert(features: int) -> list[list[float]]:
    """Orthonormal columns, (features, features - 1), each of which sums to zero."""
    columns = []
    for k in range(1, features):
        size = math.sqrt(k * (k + 1))
        columns.append([1 / size] * k + [-k / size] + [0.0] * (features - k - 1))
    return [list(row) for row in zip(*columns, strict=True)]


def _without_last(features: int) -> list[list[float]]:
    return [[float(i == j) for j in range(features - 1)] for i in range(features)]
