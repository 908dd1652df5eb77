"""Half of the features moved, steered by the other half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.bijections.layout import (
    channels,
    check_univariate,
    embed,
    free_params,
    from_columns,
    make_conditioner,
    to_columns,
)
from pushforward.core.bijection import Bijection, Kind, RecomputedPass
from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Product
from pushforward.networks import DENSE
from pushforward.univariate.base import Univariate, with_free

__all__ = ["Coupling"]


@configurable
class Coupling(Bijection):
    r"""Move half of the features by a map whose parameters the other half decides.

    .. math:: y_a = x_a, \qquad y_b = \tau\bigl(x_b;\ \theta(x_a, c)\bigr)

    Both directions cost one pass of the conditioner :math:`\theta`.

    Args:
        univariate: the map of each moved feature.
        features: number of features D; the first ⌊D/2⌋ steer, the others move.
        context: number of context features, which steer as well.
        hidden: layer widths of the conditioner.
        conditioner: its registered name, such as ``"plain"`` or ``"residual"``.
        activation: its activation.
        dropout: its dropout probability.
        swap: let the last features steer and the first ⌈D/2⌉ move instead.

    Shape:
        ``x``, ``y``: (*batch, features), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features.

    References:
        | NICE: Non-linear Independent Components Estimation (Dinh et al., 2014), arXiv:1410.8516

    >>> import torch
    >>> from pushforward.univariate import Shift
    >>> Coupling(Shift(), 3, hidden=(8,))(torch.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "Affine"}, "features": 5, "hidden": [8]},
        {"univariate": {"type": "Shift"}, "features": 2, "hidden": [8, 8], "swap": True, "activation": "tanh"},
        {"univariate": {"type": "RationalQuadratic", "bins": 4}, "features": 4, "context": 2, "hidden": [8]},
        {
            "univariate": {"type": "RationalQuadratic", "bins": 4},
            "features": 3,
            "hidden": [8, 8],
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
        swap: bool = False,
    ) -> None:
        super().__init__()
        check_univariate("Coupling", univariate)
        at_least("Coupling", "features", features, 2, "Use Elementwise for one feature.")
        at_least("Coupling", "context", context, 0)
        self.in_shape = self.out_shape = (features,)
        self.context_shape = (context,) if context else None
        self.univariate, self.swap = univariate, swap
        self.inverse_kind: Kind = univariate.inverse_kind
        self.steering, self.moved = features // 2, features - features // 2
        # Where a map takes its domain to itself, both halves live there; elsewhere the steering half is real.
        self.steering_domain = univariate.domain if univariate.domain == univariate.codomain else REAL
        self.domain = self._event_domain(univariate.domain)
        self.codomain = self._event_domain(univariate.codomain)
        outputs = (univariate.num_params - univariate.num_free) * self.moved
        options = {"hidden": hidden, "activation": activation, "dropout": dropout}
        inputs = self.steering * channels(self.steering_domain) + context
        self.conditioner = make_conditioner("Coupling", DENSE, conditioner, inputs, outputs, **options)
        self.free = free_params(univariate, self.moved)

    def _event_domain(self, moved: Any) -> Any:
        if moved == self.steering_domain:
            return moved
        parts = (self.steering_domain,) * self.steering + (moved,) * self.moved
        return Product(parts[::-1] if self.swap else parts)

    @property
    def is_triangular(self) -> bool:
        return not self.swap

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._move(_joined(lambda *given: (self.univariate.value(*given), None)), x, context)[0]

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self._move(_joined(lambda *given: (self.univariate.inverse_value(*given), None)), y, context)[0]

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self._move(self.univariate.forward_with_free, x, context)
        return y, log_slope.sum(dim=0).reshape(x.shape[:-1])

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slope = self._move(_joined(self.univariate.inverse), y, context)
        return x, log_slope.sum(dim=0).reshape(y.shape[:-1])

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self._move(self.univariate.forward_with_free, x, context)
        return y, self._all_slopes(log_slope, x)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slope = self._move(_joined(self.univariate.inverse), y, context)
        return x, self._all_slopes(log_slope, y)

    def _all_slopes(self, log_slope: Tensor, x: Tensor) -> Tensor:
        still = log_slope.new_zeros(self.steering, log_slope.shape[-1])
        return from_columns(torch.cat([still, log_slope]), x.shape[:-1])

    def _move(self, move: Callable[..., Any], x: Tensor, context: Tensor | None) -> tuple[Tensor, Any]:
        """The whole event after the move, and the log-slopes (moved, n) or whatever ``move`` returns second."""
        steer, moving = self._halves(x)
        moving, log_slope = move(moving, self._params(steer, context), self._free())
        return self._whole(steer, moving, x.shape[:-1]), log_slope

    def _recompute_from_output(self, y: Tensor, context: Tensor | None, *, inverse: bool) -> RecomputedPass:
        # What steers is the same before and after: both ways share one pass of the conditioner.
        steer, moved = (half.detach() for half in self._halves(y))
        steer.requires_grad_()
        params, free = self._params(steer, context), self._free()
        own = self.univariate
        with torch.no_grad():
            before = (own.value if inverse else own.inverse_value)(moved, with_free(params, free))
        before.requires_grad_()
        if inverse:
            again, log_slope = own.inverse(before, with_free(params, free))
        else:
            again, log_slope = own.forward_with_free(before, params, free)
        batch = y.shape[:-1]
        outputs = self._whole(steer, again, batch), log_slope.sum(dim=0).reshape(batch)
        with torch.no_grad():
            x = self._whole(steer, before, batch)
        return RecomputedPass(x, outputs, (steer, before), lambda steer, moving: self._whole(steer, moving, batch))

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What steers (steering, n) and what is moved (moved, n)."""
        columns = to_columns(x)  # (features, n)
        cut = self.moved if self.swap else self.steering
        first, second = columns[:cut], columns[cut:]
        return (second, first) if self.swap else (first, second)

    def _whole(self, steer: Tensor, moved: Tensor, batch: tuple[int, ...]) -> Tensor:
        return from_columns(torch.cat([moved, steer] if self.swap else [steer, moved]), batch)

    def _params(self, steer: Tensor, context: Tensor | None) -> Tensor:
        """Conditional parameters, (num_params, moved, n)."""
        seen = embed(self.steering_domain, steer)
        if context is not None:
            seen = torch.cat([to_columns(context), seen])
        return self.conditioner(seen).unflatten(0, (-1, self.moved))

    def _free(self) -> Tensor | None:
        return None if self.free is None else self.free[..., None]


def _joined(move: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor, Tensor | None], Any]:
    """The same for conditional and free parameters apart."""
    return lambda x, params, free: move(x, with_free(params, free))
