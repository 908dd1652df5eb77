"""Some entries moved by maps whose parameters are computed from the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import channels, check_univariate, embed, free_params, make_conditioner, to_columns
from pushforward.bijections.split import HalfSplit, Mask, split_of
from pushforward.core.bijection import Bijection, Kind
from pushforward.core.capabilities import RecomputedPass, SupportsRecompute, SupportsSlopes
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain, domain_of_each, product
from pushforward.core.shapes import EventSize, event_shape
from pushforward.networks import CONV, DENSE
from pushforward.univariate.base import Univariate, with_free

__all__ = ["Coupling"]


@configurable
class Coupling(Bijection, SupportsSlopes, SupportsRecompute):
    r"""Move some entries by univariate maps whose parameters are a function of the other, kept entries.

    .. math:: y_a = x_a, \qquad y_b = \tau\bigl(x_b;\ \theta(x_a, c)\bigr)

    Both directions cost one pass of the conditioner :math:`\theta`.

    Args:
        univariate: the map of each moved entry.
        features: number of features D, of which the first ⌊D/2⌋ are kept and the others moved; or the shape of an
            event such as (3, 32, 32), channels first, which is cut into halves along ``axis``.
        context: number of context features, which the conditioner reads as well.
        hidden: layer widths of the conditioner.
        conditioner: its registered name: ``"plain"`` or ``"residual"`` reads all kept entries at once, ``"conv"`` or
            ``"residual_conv"`` a neighbourhood of each cell of an event (channels, *spatial).
        activation: its activation.
        dropout: its dropout probability.
        swap: exchange the roles: keep the last ⌊D/2⌋ and move the first ⌈D/2⌉, or move where ``mask`` is true.
        mask: the kept entries instead of halves: a nested list of booleans that broadcasts to the event, or
            ``"checkerboard"``: cells whose spatial indices have an even sum (of a vector: every other feature).
        axis: the axis that is cut into halves; by default the first one, the channels of an image.

    Shape:
        ``x``, ``y``: (*batch, *event shape), ``context``: (*batch, context), ``ladj``: (*batch,).

    Raises:
        ValueError: there are fewer than two features, or the event cannot be split in this way.

    References:
        | NICE: Non-linear Independent Components Estimation (Dinh et al., 2014), arXiv:1410.8516
        | Density estimation using Real NVP (Dinh et al., 2016), arXiv:1605.08803

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
            "univariate": {
                "type": "PerFeature",
                "parts": [{"type": "CircularRationalQuadratic", "bins": 3}, {"type": "Affine"}],
                "counts": [3, 2],
            },
            "features": 5,
            "context": 1,
            "hidden": [8],
            "swap": True,
        },
        {
            "univariate": {"type": "RationalQuadratic", "bins": 4},
            "features": 3,
            "hidden": [8, 8],
            "conditioner": "residual",
            "dropout": 0.1,
        },
        {"univariate": {"type": "Affine"}, "features": 4, "hidden": [8], "mask": [True, False, False, True]},
        {"univariate": {"type": "Affine"}, "features": [2, 3], "hidden": [8], "axis": 1, "swap": True},
        {"univariate": {"type": "Affine"}, "features": [3, 2, 2], "hidden": [4], "conditioner": "conv"},
        {
            "univariate": {"type": "RationalQuadratic", "bins": 3},
            "features": [2, 2, 3],
            "context": 1,
            "hidden": [6, 6],
            "conditioner": "residual_conv",
            "activation": "silu",
            "mask": "checkerboard",
        },
    )

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
        swap: bool = False,
        mask: Mask | None = None,
        axis: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(features, int):
            at_least("Coupling", "features", features, 2, "Use Elementwise for one feature.")
        at_least("Coupling", "context", context, 0)
        one_of("Coupling", "conditioner", conditioner, (*DENSE, *CONV))
        shape = event_shape("Coupling", features)
        self.in_shape = self.out_shape = shape
        self.context_shape = (context,) if context else None
        check_univariate("Coupling", univariate, math.prod(shape))
        self.split = split_of("Coupling", shape, mask, axis, swap=swap)
        self.is_triangular = isinstance(self.split, HalfSplit) and not swap
        self.domain, self.codomain, self.kept_domain = self._domains(univariate)
        self.univariate = univariate = univariate.select([j for j, keep in enumerate(self.split.keeps) if not keep])
        self.inverse_kind: Kind = univariate.inverse_kind
        # A convolution needs a whole grid: halves of the channels are one, other kept entries are put among zeros.
        self.fills_grid = conditioner in CONV and not isinstance(self.split, HalfSplit)
        self.free = free_params(univariate, self.split.moved)
        outputs = univariate.num_params - univariate.num_free
        options = {"hidden": hidden, "activation": activation, "dropout": dropout}
        self.conditioner = self._build_conditioner(conditioner, outputs, context, options)

    def _build_conditioner(self, name: str, outputs: int, context: int, options: dict[str, Any]) -> nn.Module:
        """A network from kept entries and context to ``outputs`` parameters of each moved entry (of each entry where
        it fills the grid)."""
        split, inputs = self.split, channels(self.kept_domain)
        if name in DENSE:
            size = split.kept * inputs + context
            return make_conditioner("Coupling", DENSE, name, size, outputs * split.moved, **options)
        spatial = self.in_shape[1:]
        cells = math.prod(spatial)
        kept, moved = (self.in_shape[0],) * 2 if self.fills_grid else (split.kept // cells, split.moved // cells)
        options = {**options, "context": context, "channels": inputs}
        return make_conditioner("Coupling", CONV, name, (kept, *spatial), outputs * moved, **options)

    def _domains(self, univariate: Univariate) -> tuple[Domain, Domain, Domain]:
        """The domains of events before and after, and that of the vector of kept entries."""
        ends = (domain_of_each(domain, len(self.split.keeps)) for domain in (univariate.domain, univariate.codomain))
        entries = list(zip(self.split.keeps, *ends, strict=True))
        # Where a map takes its domain to itself, a kept entry lives there too; elsewhere it is real.
        kept = [before if before == after else REAL for _, before, after in entries]
        before = tuple(k if keep else before for k, (keep, before, _) in zip(kept, entries, strict=True))
        after = tuple(k if keep else after for k, (keep, _, after) in zip(kept, entries, strict=True))
        apart = tuple(k for k, keep in zip(kept, self.split.keeps, strict=True) if keep)
        return product(before, self.in_shape), product(after, self.in_shape), product(apart)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._move(_joined(lambda *arguments: (self.univariate.value(*arguments), None)), x, context)[0]

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self._move(_joined(lambda *arguments: (self.univariate.inverse_value(*arguments), None)), y, context)[0]

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self._move(self.univariate.forward_with_free, x, context)
        return y, self._ladj(log_slope, x)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slope = self._move(_joined(self.univariate.inverse), y, context)
        return x, self._ladj(log_slope, y)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self._move(self.univariate.forward_with_free, x, context)
        return y, self._all_slopes(log_slope, x)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slope = self._move(_joined(self.univariate.inverse), y, context)
        return x, self._all_slopes(log_slope, y)

    def _ladj(self, log_slope: Tensor, x: Tensor) -> Tensor:
        return log_slope.sum(dim=0).reshape(x.shape[: x.ndim - len(self.in_shape)])

    def _all_slopes(self, log_slope: Tensor, x: Tensor) -> Tensor:
        unmoved = log_slope.new_zeros(self.split.kept, log_slope.shape[-1])
        return self._event(unmoved, log_slope, x)

    def _move(self, move: Callable[..., Any], x: Tensor, context: Tensor | None) -> tuple[Tensor, Any]:
        """The event with its moved entries replaced, and the log-slopes (moved, n) or ``move``'s second result."""
        kept, moved = self.split.parts(self._entries(x))
        moved, log_slope = move(moved, self._params(kept, context), self._free())
        return self._event(kept, moved, x), log_slope

    def _recompute_from_output(self, y: Tensor, context: Tensor | None, *, inverse: bool) -> RecomputedPass:
        # The kept entries are the same before and after: both directions share one pass of the conditioner.
        kept, moved = (part.detach() for part in self.split.parts(self._entries(y)))
        kept.requires_grad_()
        params, free = self._params(kept, context), self._free()
        univariate = self.univariate
        with torch.no_grad():
            before = (univariate.value if inverse else univariate.inverse_value)(moved, with_free(params, free))
        before.requires_grad_()
        if inverse:
            after, log_slope = univariate.inverse(before, with_free(params, free))
        else:
            after, log_slope = univariate.forward_with_free(before, params, free)
        outputs = self._event(kept, after, y), self._ladj(log_slope, y)
        with torch.no_grad():
            x = self._event(kept, before, y)
        return RecomputedPass(x, outputs, (kept, before), lambda kept, moved: self._event(kept, moved, y))

    def _entries(self, x: Tensor) -> Tensor:
        """(*batch, *event shape) as (entries, n), without a copy."""
        return to_columns(x.flatten(-len(self.in_shape)))

    def _event(self, kept: Tensor, moved: Tensor, like: Tensor) -> Tensor:
        """Kept and moved entries in the shape of the event ``like``."""
        return self.split.join(kept, moved).t().reshape(like.shape)

    def _params(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """Conditional parameters, (num_params, moved, n)."""
        inputs = embed(self.kept_domain, kept)
        if self.fills_grid:
            entries = inputs.unflatten(0, (self.split.kept, -1))
            inputs = self.split.join(entries, entries.new_zeros(self.split.moved, *entries.shape[1:])).flatten(0, 1)
        if context is not None:
            inputs = torch.cat([to_columns(context), inputs])
        params = self.conditioner(inputs)
        if not self.fills_grid:
            return params.unflatten(0, (-1, self.split.moved))
        return self.split.parts(params.unflatten(0, (-1, math.prod(self.in_shape))).movedim(0, 1))[1].movedim(0, 1)

    def _free(self) -> Tensor | None:
        return None if self.free is None else self.free[..., None]


def _joined(move: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor, Tensor | None], Any]:
    """``move`` of all parameters, as a function of the conditional and the free ones."""
    return lambda x, params, free: move(x, with_free(params, free))
