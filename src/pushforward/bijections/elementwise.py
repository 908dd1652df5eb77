"""Each feature transformed on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import (
    check_conditional,
    check_univariate,
    free_params,
    make_conditioner,
    to_features_first,
)
from pushforward.core.bijection import Kind, TriangularMap
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.entries import domain_of_each, product
from pushforward.core.shapes import EventSize, event_shape
from pushforward.networks import DENSE, Conditioner
from pushforward.univariate.base import Univariate, with_free
from pushforward.univariate.distribution import distribution_of

__all__ = ["Elementwise"]


@configurable
class Elementwise(TriangularMap):
    r"""Transform every feature by a univariate map of its own, :math:`y_j = \tau(x_j;\ \theta_j(c))`.

    Without context the parameters are learned numbers; with context a network gives them. Both directions cost one
    pass. With a single feature this is the only layer needed: there is nothing to condition on. Kernels need parameters
    for each point: those that all points share, without context, run by the definition.

    Data-dependent initialisation: the first call of `initialize` with a sample of x stores the parameters that
    `UnivariateDistribution.initial_params` gives for it, where there are any, in the buffer ``start``. The parameters
    in use are ``start`` plus the learned ones, which begin at zero.

    Args:
        univariate: the map of each feature.
        features: number of features, or the shape of an event such as (3, 32, 32); every entry has its own map.
        context: number of context features.
        hidden: layer widths of the network that reads the context.
        conditioner: its registered name, such as ``"plain"`` or ``"residual"``.
        activation: its activation.
        dropout: its dropout probability.
        data_start: whether to start from data where the univariate knows how.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: a size is not positive, or the univariate is none or has maps for another number of features.

    >>> import torch
    >>> from pushforward.univariate import Affine
    >>> Elementwise(Affine(), 2)(torch.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "Affine"}, "features": 1},
        {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 3},
        {"univariate": {"type": "Affine"}, "features": 2, "context": 2, "hidden": [8]},
        {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": [2, 2, 2], "context": 1, "hidden": [8]},
        {
            "univariate": {"type": "PerFeature", "parts": [{"type": "CircularShift"}, {"type": "Affine"}]},
            "features": 2,
            "context": 1,
            "hidden": [8],
        },
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

    start: Tensor | None
    """Initial parameters, added to the learned ones."""
    initialized: Tensor | None

    def __init__(
        self,
        univariate: Univariate,
        features: EventSize,
        *,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        conditioner: str = "plain",
        activation: str = "relu",
        dropout: float = 0.0,
        data_start: bool = True,
    ) -> None:
        super().__init__()
        at_least("Elementwise", "context", context, 0)
        self.in_shape = self.out_shape = event_shape("Elementwise", features)
        entries = math.prod(self.in_shape)
        check_univariate("Elementwise", univariate, entries)
        if context:
            check_conditional("Elementwise", univariate)
        self.context_shape = (context,) if context else None
        self.domain = product(domain_of_each(univariate.domain, entries), self.in_shape)
        self.codomain = product(domain_of_each(univariate.codomain, entries), self.in_shape)
        self.inverse_kind: Kind = univariate.inverse_kind
        self.univariate = univariate
        self.conditioner: Conditioner | None = None
        if context:
            num_outputs = (univariate.num_params - univariate.num_free) * entries
            options = {"hidden": hidden, "activation": activation, "dropout": dropout}
            self.conditioner = make_conditioner("Elementwise", DENSE, conditioner, context, num_outputs, **options)
            # Only the parameters that the conditioner does not give; None if there are none.
            self.params = free_params(univariate, entries)
        else:
            num_params = univariate.num_params
            self.params = nn.Parameter(torch.zeros(num_params, entries)) if num_params else None
        has_data_start = data_start and distribution_of(univariate).data_dependent
        self.register_buffer("start", torch.zeros(univariate.num_params, entries) if has_data_start else None)
        # A buffer, so that a loaded model does not start again.
        self.register_buffer("initialized", torch.tensor(False) if has_data_start else None)

    @property
    def data_dependent(self) -> bool:
        return self.start is not None

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        if inverse or self.start is None or self.initialized is None:  # only inputs of `forward` can initialise
            return
        if bool(self.initialized):
            return
        start = distribution_of(self.univariate).initial_params(self._entries(x))
        if start is not None:
            self.start.copy_(start)
            self.initialized.fill_(True)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return _to_event(self.univariate.value(*self._entries_and_params(x, context)), x)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return _to_event(self.univariate.inverse_value(*self._entries_and_params(y, context)), y)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self.univariate.forward(*self._entries_and_params(x, context))
        return _to_event(y, x), _to_event(log_slope, x)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slope = self.univariate.inverse(*self._entries_and_params(y, context))
        return _to_event(x, y), _to_event(log_slope, y)

    def _entries_and_params(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The entries of x as (entries, n), and all parameters: (num_params, entries, n), without context (.., 1)."""
        entries = self._entries(x)
        # Without context all parameters, otherwise the free ones, if there are any; shared by all points.
        shared = None if self.params is None else self.params[..., None]
        if self.conditioner is None or context is None:
            params = entries.new_empty(0, len(entries), 1) if shared is None else shared
        else:
            params = with_free(self.conditioner(to_features_first(context)).unflatten(0, (-1, len(entries))), shared)
        if self.start is not None:
            params = params + self.start[..., None]
        return entries, params

    def _entries(self, x: Tensor) -> Tensor:
        """(*batch, *event shape) as (entries, n)."""
        return to_features_first(x.flatten(-len(self.in_shape)))


def _to_event(entries: Tensor, like: Tensor) -> Tensor:
    """(entries, n) in the shape of the event ``like``, without a copy."""
    return entries.t().reshape(like.shape)
