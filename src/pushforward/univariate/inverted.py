"""An increasing map turned around."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from pushforward.core.config import configurable
from pushforward.univariate.base import Univariate

__all__ = ["Inverted"]


@configurable
class Inverted(Univariate):
    r"""The inverse of another map with the same parameters, :math:`y = \tau^{-1}(x; \theta)`.

    ``Inverted(CDF("normal"))`` is the normal quantile function, ``Inverted(Softplus())`` takes positive numbers to real
    ones. A layer of such maps has its cheap direction where the map has its inverse, which must be a closed formula.

    Args:
        univariate: the map τ.

    Raises:
        ValueError: ``univariate`` is none, has one map for each feature, or its inverse is a numeric search.

    >>> import torch
    >>> from pushforward.univariate import CDF
    >>> round(Inverted(CDF("normal"))(torch.tensor([0.975]), torch.empty(0, 1))[0].item(), 2)
    1.96
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"univariate": {"type": "SinhArcsinh", "bound": 1.5}},
        {"univariate": {"type": "CDF", "family": "normal"}},
        {"univariate": {"type": "Softplus"}},
    )

    def __init__(self, univariate: Univariate) -> None:
        super().__init__()
        if not isinstance(univariate, Univariate) or univariate.features is not None:
            raise ValueError("Inverted: univariate must be one Univariate. Put it inside of a PerFeature, not around.")
        if univariate.inverse_kind != "exact":
            raise ValueError(
                f"Inverted: the inverse of {type(univariate).__name__} is a numeric search. Turn the layer around "
                "instead, by .inv of the bijection."
            )
        self.univariate = univariate
        self.num_params, self.num_free = univariate.num_params, univariate.num_free
        self.domain, self.codomain = univariate.codomain, univariate.domain
        self.smoothness = univariate.smoothness

    @property
    def point_width(self) -> int:
        return self.univariate.point_width

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.univariate.inverse(x, params)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return self.univariate.forward(y, params)

    def value(self, x: Tensor, params: Tensor) -> Tensor:
        return self.univariate.inverse_value(x, params)

    def inverse_value(self, y: Tensor, params: Tensor) -> Tensor:
        return self.univariate.value(y, params)
