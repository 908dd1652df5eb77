"""Each feature moved on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import (
    check_univariate,
    free_params,
    from_columns,
    make_conditioner,
    to_columns,
)
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.networks import DENSE, Conditioner
from pushforward.univariate.base import Univariate, with_free

__all__ = ["Elementwise"]


@configurable
class Elementwise(TriangularMap):
    r"""Move every feature by a univariate map of its own, :math:`y_j = \tau(x_j;\ \theta_j(c))`.

    Without context the parameters are learned numbers; with context a network gives them. Both directions cost one
    pass. This is the one layer that one feature needs.

    A univariate that knows where to start from data (`Univariate.start`) does so when `initialize` first sees a sample
    on the in side: the start is kept as a buffer, and what is learned is the difference from it.

    Args:
        univariate: the map of each feature.
        features: number of features.
        context: number of context features.
        hidden: layer widths of the network that reads the context.
        conditioner: its registered name, such as ``"plain"`` or ``"residual"``.
        activation: its activation.
        dropout: its dropout probability.
        data_start: whether to start from data where the univariate knows how.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    >>> import torch
    >>> from pushforward.univariate import Affine
    >>> Elementwise(Affine(), 2)(torch.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "Affine"}, "features": 1},
        {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 3},
        {"univariate": {"type": "Affine"}, "features": 2, "context": 2, "hidden": [8]},
        {"univariate": {"type": "GaussianMixtureCDF", "components": 2}, "features": 2},
        {"univariate": {"type": "TailTransform"}, "features": 2, "context": 1, "hidden": [8], "data_start": False},
        {
            "univariate": {"type": "RationalQuadratic", "bins": 4},
            "features": 1,
            "context": 1,
            "hidden": [8, 8],
            "conditioner": "residual",
            "activation": "silu",
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
        data_start: bool = True,
    ) -> None:
        super().__init__()
        check_univariate("Elementwise", univariate)
        at_least("Elementwise", "features", features, 1)
        at_least("Elementwise", "context", context, 0)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.domain, self.codomain = univariate.domain, univariate.codomain
        self.inverse_kind: Kind = univariate.inverse_kind
        self.univariate = univariate
        self.conditioner: Conditioner | None = None
        if context:
            outputs = (univariate.num_params - univariate.num_free) * features
            options = {"hidden": hidden, "activation": activation, "dropout": dropout}
            self.conditioner = make_conditioner("Elementwise", DENSE, conditioner, context, outputs, **options)
            self.params = free_params(univariate, features)
        else:
            self.params = nn.Parameter(torch.zeros(univariate.num_params, features))
        starts = data_start and type(univariate).start is not Univariate.start
        self.register_buffer("start", torch.zeros(univariate.num_params, features) if starts else None)
        # A buffer, so that a loaded model does not start again.
        self.register_buffer("initialized", torch.tensor(False) if starts else None)

    start: Tensor | None
    initialized: Tensor | None

    @property
    def data_dependent(self) -> bool:
        return self.start is not None

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if self.start is None or self.initialized is None or inverse or bool(self.initialized):
            return
        start = self.univariate.start(to_columns(x))
        if start is not None:
            self.start.copy_(start)
            self.initialized.fill_(True)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return from_columns(self.univariate.value(*self._columns(x, context)), x.shape[:-1])

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return from_columns(self.univariate.inverse_value(*self._columns(y, context)), y.shape[:-1])

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self.univariate(*self._columns(x, context))
        return from_columns(y, x.shape[:-1]), from_columns(log_slope, x.shape[:-1])

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slope = self.univariate.inverse(*self._columns(y, context))
        return from_columns(x, y.shape[:-1]), from_columns(log_slope, y.shape[:-1])

    def _columns(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x as (features, n), and the parameters."""
        columns = to_columns(x)
        learned = None if self.params is None else self.params[..., None]  # shared by all rows
        if self.conditioner is None or context is None:
            params = cast(Tensor, learned)
        else:
            params = with_free(self.conditioner(to_columns(context)).unflatten(0, (-1, x.shape[-1])), learned)
        if self.start is not None:
            params = params + self.start[..., None]
        return columns, params
