"""The increasing triangular map whose parameters a masked network gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.columns import (
    check_univariate,
    free_params,
    from_columns,
    make_conditioner,
    to_columns,
    with_free,
)
from pushforward.core.bijection import Bijection, Kind
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.networks import MASKED
from pushforward.univariate.base import Univariate

__all__ = ["Autoregressive"]


@configurable
class Autoregressive(Bijection):
    r"""Move each feature by a map whose parameters the features before it decide: an increasing triangular map.

    .. math:: y_j = \tau\bigl(x_j;\ \theta_j(x_{<j}, c)\bigr), \qquad \log|\det| = \sum_j \log \tau'(x_j)

    The forward direction costs one pass of the masked conditioner. The inverse goes one feature at a time on the
    conditioner's incremental interface, about one pass of arithmetic in all.

    Args:
        univariate: the map of each feature.
        features: number of features D.
        context: number of context features; all D maps depend on them.
        hidden: layer widths of the conditioner; a layer too narrow for D degrees is widened.
        conditioner: its registered name, such as ``"plain"`` or ``"residual"``.
        activation: its activation.
        dropout: its dropout probability.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), arXiv:1705.07057
        | Triangular transformations of measures (Bogachev et al., 2005), doi:10.1070/SM2005v196n03ABEH000882

    >>> import torch
    >>> from pushforward.univariate import Affine
    >>> layer = Autoregressive(Affine(), 3, hidden=(8,))
    >>> layer.inverse(layer(torch.ones(3))).tolist()
    [1.0, 1.0, 1.0]
    """

    inverse_kind: Kind = "sequential"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "Affine"}, "features": 4, "hidden": [12]},
        {"univariate": {"type": "Shift"}, "features": 2, "hidden": [4, 4], "activation": "tanh"},
        {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 3, "context": 2, "hidden": [12, 12]},
        {"univariate": {"type": "Affine"}, "features": 5, "context": 1, "hidden": [2], "activation": "silu"},
        {
            "univariate": {"type": "RationalQuadratic", "bins": 4},
            "features": 3,
            "context": 1,
            "hidden": [12, 12],
            "conditioner": "residual",
            "dropout": 0.1,
        },
    )

    def __init__(
        self,
        univariate: Univariate,
        features: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_univariate("Autoregressive", univariate)
        at_least("Autoregressive", "features", features, 2, "Use Elementwise for one feature.")
        at_least("Autoregressive", "context", context, 0)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.domain, self.codomain = univariate.domain, univariate.codomain
        self.univariate = univariate
        options = {"context": context, "hidden": hidden, "activation": activation, "dropout": dropout}
        conditional = univariate.num_params - univariate.num_free
        self.conditioner = make_conditioner("Autoregressive", MASKED, conditioner, features, conditional, **options)
        self.free = free_params(univariate, features)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        batch = x.shape[:-1]
        columns = to_columns(x)  # (features, n)
        params = self.conditioner(columns, None if context is None else to_columns(context))
        params = with_free(params, None if self.free is None else self.free[..., None])
        y, log_slope = self.univariate(columns, params)
        return from_columns(y, batch), log_slope.sum(dim=0).reshape(batch)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        pairs = self._one_by_one(self.univariate.inverse, y, context)
        x, log_slopes = zip(*pairs, strict=True)
        return from_columns(torch.stack(x), y.shape[:-1]), torch.stack(log_slopes).sum(dim=0).reshape(y.shape[:-1])

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        pairs = self._one_by_one(lambda y, params: (self.univariate.inverse_value(y, params), None), y, context)
        return from_columns(torch.stack([x for x, _ in pairs]), y.shape[:-1])

    def _one_by_one(self, invert: Callable[..., tuple[Tensor, Any]], y: Tensor, context: Tensor | None) -> list[Any]:
        columns = to_columns(y).contiguous()  # (features, n)
        conditioner: Any = self.conditioner  # whatever is registered offers `prefix`
        prefix = conditioner.prefix(columns, None if context is None else to_columns(context))
        pairs = []
        for j, y_j in enumerate(columns.unbind()):
            params = with_free(prefix.params(), None if self.free is None else self.free[:, j, None])
            pair = invert(y_j, params)
            prefix.push(pair[0])
            pairs.append(pair)
        return pairs
