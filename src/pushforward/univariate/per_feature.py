"""Different maps for different features of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.checks import at_least
from pushforward.core.config import configurable
from pushforward.core.entries import product
from pushforward.univariate.base import Univariate
from pushforward.univariate.distribution import UnivariateDistribution, distribution_of

__all__ = ["PerFeature"]


@configurable
class PerFeature(Univariate):
    r"""A map for each feature, or for each group of neighbouring features: angles beside real numbers, for example.

    .. math:: y_j = \tau_{g(j)}(x_j;\ \theta_j)

    `Elementwise`, `Coupling` and `Autoregressive` take it with as many features as it is for (entries of an event in
    row-major order); `Coupling` uses the maps of the features that it moves. The domain of such a layer is the
    `Product` of the maps' domains, and conditioners see the cosine and sine of each feature that lives on a circle.

    All features have as many parameters as the map with the most; the others leave their last ones unused. Both
    directions cost what the maps cost, one call each.

    Args:
        parts: the maps, in the order of the features.
        counts: how many features each map serves; one by default.

    Shape:
        ``x``, ``y``: (features, *s), ``params``: (num_params, features, *s).

    Raises:
        ValueError: there is no part, a part is for a number of features itself, or counts do not fit.

    >>> import torch
    >>> from pushforward.univariate import CircularShift, Shift
    >>> shift = PerFeature([CircularShift(), Shift()], [1, 2])
    >>> y, _ = shift(torch.tensor([[3.0], [3.0], [0.0]]), torch.ones(1, 3, 1))
    >>> [round(value, 4) for value in y.flatten().tolist()]
    [-2.2832, 4.0, 1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"parts": [{"type": "CircularRationalQuadratic", "bins": 3}, {"type": "Affine"}], "counts": [1, 2]},
        {"parts": [{"type": "SumOfSquares", "degree": 2}, {"type": "RationalQuadratic", "bins": 3}]},
    )

    def __init__(self, parts: Sequence[Univariate], counts: Sequence[int] | None = None) -> None:
        super().__init__()
        parts = list(parts)
        if not parts or not all(isinstance(part, Univariate) and part.features is None for part in parts):
            raise ValueError("PerFeature: parts must list one or more univariates, none of which is a PerFeature.")
        self.counts = [1] * len(parts) if counts is None else list(counts)
        if len(self.counts) != len(parts):
            raise ValueError(
                f"PerFeature: counts must list one number per part; got {len(self.counts)} for {len(parts)}."
            )
        for count in self.counts:
            at_least("PerFeature", "counts", count, 1)
        self.num_free = max(part.num_free for part in parts)
        conditional = max(part.num_params - part.num_free for part in parts)
        self.num_params = conditional + self.num_free
        self.maps = nn.ModuleList(_Padded(part, conditional, self.num_free) for part in parts)
        self.map_of = [k for k, count in enumerate(self.counts) for _ in range(count)]
        self.features = len(self.map_of)
        self.domain = product(tuple(parts[k].domain for k in self.map_of))
        self.codomain = product(tuple(parts[k].codomain for k in self.map_of))
        self.smoothness = min(part.smoothness for part in parts)
        self.inverse_kind = "iterative" if any(part.inverse_kind == "iterative" for part in parts) else "exact"

    @property
    def parts(self) -> list[Univariate]:
        """The maps, in the order of the features."""
        return [padded.part for padded in self._padded()]

    def _padded(self) -> list[Any]:
        return list(self.maps)

    @property
    def point_width(self) -> int:
        return max(self.num_params, *(part.point_width for part in self.parts))

    def for_feature(self, j: int) -> Univariate:
        return self._padded()[self.map_of[j]]

    def select(self, features: Sequence[int]) -> Univariate:
        parts = self.parts
        runs = [(k, len(list(run))) for k, run in groupby(self.map_of[j] for j in features)]
        if len({k for k, _ in runs}) == 1:
            return parts[runs[0][0]]
        return PerFeature([parts[k] for k, _ in runs], [count for _, count in runs])

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._pairs("forward", x, params)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self._pairs("inverse", y, params)

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        return torch.cat(self._each("value", x, params))

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        return torch.cat(self._each("inverse_value", y, params))

    def _pairs(self, method: str, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        values, log_slopes = zip(*self._each(method, x, params), strict=True)
        return torch.cat(values), torch.cat(log_slopes)

    def _each(self, method: str, x: Tensor, params: Tensor) -> list[Any]:
        """What each map gives for its features."""
        wide = params.expand(-1, len(self.map_of), *params.shape[2:])
        pieces = zip(self.maps, x.split(self.counts), wide.split(self.counts, dim=1), strict=True)
        return [getattr(padded, method)(piece, its) for padded, piece, its in pieces]


class _Padded(Univariate):
    """A map that is given more parameters than it has: of those that a conditioner decides, and of the free ones, it
    uses the first.

    Args:
        part: the map.
        conditional: number of parameters that a conditioner decides.
        num_free: number of free parameters, which follow.
    """

    def __init__(self, part: Univariate, conditional: int, num_free: int) -> None:
        super().__init__()
        self.part, self.conditional = part, conditional
        self.num_params, self.num_free = conditional + num_free, num_free
        self.domain, self.codomain, self.smoothness = part.domain, part.codomain, part.smoothness
        self.inverse_kind = part.inverse_kind
        self.decided = part.num_params - part.num_free

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.part.forward(x, self._used(params))

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.part.inverse(y, self._used(params))

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        return self.part.value(x, self._used(params))

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        return self.part.inverse_value(y, self._used(params))

    def _used(self, params: Tensor) -> Tensor:
        end = self.conditional + self.part.num_free
        if end == self.conditional or self.decided == self.conditional:  # one slice, no copy
            return params[: self.decided + self.part.num_free]
        return torch.cat([params[: self.decided], params[self.conditional : end]])

    def fill(self, params: Tensor, used: Tensor) -> None:
        """Write the parameters of the map where `_used` reads them."""
        params[: self.decided] = used[: self.decided]
        params[self.conditional : self.conditional + self.part.num_free] = used[self.decided :]


class _PerFeatureDistribution(UnivariateDistribution):
    """Each feature's distribution is that of its map."""

    def __init__(self, univariate: PerFeature) -> None:
        super().__init__(univariate)
        self.each = [distribution_of(part) for part in univariate.parts]
        self.counts, self.padded = univariate.counts, univariate._padded()
        self.data_dependent = any(distribution.data_dependent for distribution in self.each)

    def initial_params(self, x: Tensor) -> Tensor | None:
        params = x.new_zeros(self.univariate.num_params, len(x))
        pieces = zip(self.padded, self.each, x.split(self.counts), params.split(self.counts, dim=1), strict=True)
        for padded, distribution, sample, its in pieces:
            initial = distribution.initial_params(sample)
            if initial is not None:
                padded.fill(its, initial)
        return params


@distribution_of.register
def _(univariate: PerFeature) -> UnivariateDistribution:
    return _PerFeatureDistribution(univariate)
