"""Several maps of one number, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.config import configurable
from pushforward.univariate.base import Univariate

__all__ = ["Composed"]


@configurable
class Composed(Univariate):
    r"""Maps applied one after the other as one map, whose parameters one conditioner gives.

    .. math:: y = (\tau_m \circ \dots \circ \tau_1)(x), \qquad \tau_i = \tau_i(\cdot\,; \theta_i)

    An `Affine` before a spline moves and scales what a box of fixed size could not reach: conditional distributions
    whose location depends on other features. Both directions cost what the parts cost.

    Args:
        parts: the maps, the first one first.

    Raises:
        ValueError: there is no part, or one does not start where the one before it ends.

    >>> import torch
    >>> from pushforward.univariate import Affine, RationalQuadratic
    >>> both = Composed([Affine(), RationalQuadratic(4)])
    >>> both(torch.tensor([2.0]), torch.zeros(both.num_params, 1))[0].round(decimals=4)
    tensor([2.])
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"parts": [{"type": "Affine"}, {"type": "RationalQuadratic", "bins": 3, "tails": "linear"}]},
        {"parts": [{"type": "Bernstein", "degree": 4}, {"type": "Affine"}, {"type": "Affine", "bound": 1.0}]},
    )

    def __init__(self, parts: Sequence[Univariate]) -> None:
        super().__init__()
        parts = list(parts)
        if not parts or not all(isinstance(part, Univariate) and part.features is None for part in parts):
            raise ValueError(
                "Composed: parts must list one or more univariates. Put it inside of a PerFeature, not around."
            )
        for a, b in pairwise(parts):
            if a.codomain != b.domain:
                raise ValueError(
                    f"Composed: {type(a).__name__} ends in {a.codomain} but {type(b).__name__} starts from {b.domain}."
                )
        self.parts = nn.ModuleList(parts)
        self.domain, self.codomain = parts[0].domain, parts[-1].codomain
        self.smoothness = min(part.smoothness for part in parts)
        iterative = any(part.inverse_kind == "iterative" for part in parts)
        self.inverse_kind = "iterative" if iterative else "exact"
        self.num_params, self.num_free = (sum(getattr(p, name) for p in parts) for name in ("num_params", "num_free"))
        # What a conditioner decides comes first, part by part, then what it does not.
        self.sizes = [part.num_params - part.num_free for part in parts] + [part.num_free for part in parts]

    def _each(self, params: Tensor, *, backwards: bool = False) -> list[tuple[Any, Tensor]]:
        """The parts and the parameters of each."""
        pieces = params.split(self.sizes)
        count = len(self.parts)
        pairs = [
            (part, torch.cat([part_params, free]) if free.shape[0] else part_params)
            for part, part_params, free in zip(self.parts, pieces[:count], pieces[count:], strict=True)
        ]
        return pairs[::-1] if backwards else pairs

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(x)
        for part, part_params in self._each(params):
            x, log_slope = part(x, part_params)
            total = total + log_slope
        return x, total

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(y)
        for part, part_params in self._each(params, backwards=True):
            y, log_slope = part.inverse(y, part_params)
            total = total + log_slope
        return y, total

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        for part, part_params in self._each(params):
            x = part.value(x, part_params)
        return x

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        for part, part_params in self._each(params, backwards=True):
            y = part.inverse_value(y, part_params)
        return y
