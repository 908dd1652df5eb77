"""Some entries transformed by maps whose parameters are computed from the others.

Kept entries pass through unchanged and are read by the conditioner; moved entries are transformed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.bijections.layout import (
    channels,
    check_conditional,
    check_univariate,
    embed,
    free_params,
    make_conditioner,
    to_features_first,
)
from pushforward.bijections.split import HalfSplit, Mask, split_of
from pushforward.core.bijection import Bijection, Kind
from pushforward.core.capabilities import RecomputedPass, SupportsRecompute, SupportsSlopes
from pushforward.core.checks import at_least, one_of
from pushforward.core.config import configurable
from pushforward.core.domain import REAL, Domain
from pushforward.core.entries import domain_of_each, product
from pushforward.core.shapes import EventSize, event_shape
from pushforward.networks import CONV, DENSE
from pushforward.univariate.base import Univariate

__all__ = ["Coupling"]


@configurable
class Coupling(Bijection, SupportsSlopes, SupportsRecompute):
    r"""Transform some entries by univariate maps whose parameters are a function of the other, kept entries.

    .. math:: y_a = x_a, \qquad y_b = \tau\bigl(x_b;\ \theta(x_a, c)\bigr)

    Both directions cost one pass of the conditioner :math:`\theta`. The layer has no kernel of its own: with kernels
    on, those of its univariate map run.

    Args:
        univariate: the map of each moved entry.
        features: number of features D, of which the first ⌊D/2⌋ are kept and the others moved; or the shape of an
            event such as (3, 32, 32), channels first, which is cut into halves along ``axis``.
        context: number of context features, which the conditioner reads as well.
        hidden: layer widths of the conditioner.
        conditioner: its registered name: ``"plain"`` or ``"residual"`` reads all kept entries at once, ``"conv"``,
            ``"residual_conv"``, ``"gated_conv"`` or ``"glow_conv"`` a neighbourhood of each cell of an event
            (channels, *spatial).
        activation: its activation.
        dropout: its dropout probability.
        swap: exchange the roles: keep the last ⌊D/2⌋ and move the first ⌈D/2⌉; with ``mask``, move the entries where
            it is true.
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
        check_conditional("Coupling", univariate)
        self.split = split_of("Coupling", shape, mask, axis, swap=swap)
        # y_j depends on x_1..x_j alone only if the kept entries come first.
        self.is_triangular = isinstance(self.split, HalfSplit) and not swap
        self.domain, self.codomain, self.kept_domain = self._domains(univariate)
        # Of a map with one part for each feature, the parts of the moved entries.
        self.univariate = univariate = univariate.select([j for j, keep in enumerate(self.split.keeps) if not keep])
        self.inverse_kind: Kind = univariate.inverse_kind
        # A convolution needs a full grid (channels, *spatial). Kept channels form one; entries kept by a mask are put
        # in a grid of the event's shape, with zeros at the moved entries.
        self.zero_fills_grid = conditioner in CONV and not isinstance(self.split, HalfSplit)
        self.free = free_params(univariate, self.split.moved)
        num_conditional = univariate.num_params - univariate.num_free
        options = {"hidden": hidden, "activation": activation, "dropout": dropout}
        self.conditioner = self._build_conditioner(conditioner, num_conditional, context, options)

    def _build_conditioner(self, name: str, num_conditional: int, context: int, options: dict[str, Any]) -> nn.Module:
        """A network from kept entries and context to the conditional parameters of each moved entry (of each entry of
        the event, if kept ones are placed in a grid with zeros)."""
        split, inputs = self.split, channels(self.kept_domain)
        if name in DENSE:
            size = split.kept * inputs + context
            return make_conditioner("Coupling", DENSE, name, size, num_conditional * split.moved, **options)
        spatial = self.in_shape[1:]
        cells = math.prod(spatial)
        kept, moved = (self.in_shape[0],) * 2 if self.zero_fills_grid else (split.kept // cells, split.moved // cells)
        options = {**options, "context": context, "channels": inputs}
        return make_conditioner("Coupling", CONV, name, (kept, *spatial), num_conditional * moved, **options)

    def _domains(self, univariate: Univariate) -> tuple[Domain, Domain, Domain]:
        """(domain of x, domain of y, domain of the vector of kept entries)."""
        is_kept, ends = self.split.keeps, (univariate.domain, univariate.codomain)
        domains_in, domains_out = (list(domain_of_each(domain, len(is_kept))) for domain in ends)
        for j, keep in enumerate(is_kept):
            # A kept entry passes unchanged, so its two domains must agree: that of the univariate map if it takes it to
            # itself, else the reals.
            if keep and domains_in[j] != domains_out[j]:
                domains_in[j] = domains_out[j] = REAL
        kept_domains = tuple(compress(domains_in, is_kept))
        domain, codomain = product(tuple(domains_in), self.in_shape), product(tuple(domains_out), self.in_shape)
        return domain, codomain, product(kept_domains)

    def _forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        kept, moved, params, free = self._parts_and_params(x, context)
        return self._event(kept, self.univariate.value_with_free(moved, params, free), x)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        kept, moved, params, free = self._parts_and_params(y, context)
        return self._event(kept, self.univariate.inverse_value_with_free(moved, params, free), y)

    def _forward_and_ladj(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, params, free = self._parts_and_params(x, context)
        moved, log_slope = self.univariate.forward_with_free(moved, params, free)
        return self._event(kept, moved, x), self._ladj(log_slope, x)

    def _inverse_and_ladj(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, params, free = self._parts_and_params(y, context)
        moved, log_slope = self.univariate.inverse_with_free(moved, params, free)
        return self._event(kept, moved, y), self._ladj(log_slope, y)

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, params, free = self._parts_and_params(x, context)
        moved, log_slope = self.univariate.forward_with_free(moved, params, free)
        return self._event(kept, moved, x), self._all_slopes(log_slope, x)

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, params, free = self._parts_and_params(y, context)
        moved, log_slope = self.univariate.inverse_with_free(moved, params, free)
        return self._event(kept, moved, y), self._all_slopes(log_slope, y)

    def _ladj(self, log_slope: Tensor, x: Tensor) -> Tensor:
        return log_slope.sum(dim=0).reshape(x.shape[: x.ndim - len(self.in_shape)])

    def _all_slopes(self, log_slope: Tensor, x: Tensor) -> Tensor:
        zeros = log_slope.new_zeros(self.split.kept, log_slope.shape[-1])  # of the kept entries
        return self._event(zeros, log_slope, x)

    def _parts_and_params(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Kept entries (kept, n), moved entries (moved, n), and conditional and free parameters of the latter."""
        kept, moved = self.split.parts(self._entries(x))
        return kept, moved, self._params(kept, context), self._free()

    def _recompute_from_output(self, y: Tensor, context: Tensor | None, *, inverse: bool) -> RecomputedPass:
        # Kept entries are the same before and after: one pass of the conditioner serves the inversion and the pass.
        kept, moved_out = (part.detach() for part in self.split.parts(self._entries(y)))
        kept.requires_grad_()
        params, free = self._params(kept, context), self._free()
        univariate = self.univariate
        with torch.no_grad():
            undo = univariate.value_with_free if inverse else univariate.inverse_value_with_free
            moved_in = undo(moved_out, params, free)
        moved_in.requires_grad_()
        apply = univariate.inverse_with_free if inverse else univariate.forward_with_free
        moved_out, log_slope = apply(moved_in, params, free)
        outputs = self._event(kept, moved_out, y), self._ladj(log_slope, y)
        with torch.no_grad():
            x = self._event(kept, moved_in, y)
        return RecomputedPass(x, outputs, (kept, moved_in), lambda kept, moved: self._event(kept, moved, y))

    def _entries(self, x: Tensor) -> Tensor:
        """(*batch, *event shape) as (entries, n), without a copy."""
        return to_features_first(x.flatten(-len(self.in_shape)))

    def _event(self, kept: Tensor, moved: Tensor, like: Tensor) -> Tensor:
        """Kept and moved entries in the shape of the event ``like``."""
        return self.split.join(kept, moved).t().reshape(like.shape)

    def _params(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """Conditional parameters, (num_conditional, moved, n)."""
        inputs = embed(self.kept_domain, kept)
        if self.zero_fills_grid:
            entries = inputs.unflatten(0, (self.split.kept, -1))
            inputs = self.split.join(entries, entries.new_zeros(self.split.moved, *entries.shape[1:])).flatten(0, 1)
        if context is not None:
            inputs = torch.cat([to_features_first(context), inputs])
        params = self.conditioner(inputs)
        if not self.zero_fills_grid:
            return params.unflatten(0, (-1, self.split.moved))
        params = params.unflatten(0, (-1, math.prod(self.in_shape))).movedim(0, 1)  # (entries, num_conditional, n)
        return self.split.parts(params)[1].movedim(0, 1)

    def _free(self) -> Tensor | None:
        """Free parameters, (num_free, moved, 1)."""
        return None if self.free is None else self.free[..., None]
