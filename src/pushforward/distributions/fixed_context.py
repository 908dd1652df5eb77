"""An autoregressive distribution with its context fixed."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from pushforward.core.checks import check_context
from pushforward.core.distribution import Distribution, FixedContext
from pushforward.distributions.protocols import RosenblattTransform

__all__ = ["AutoregressiveFixedContext"]


class AutoregressiveFixedContext(FixedContext):
    """A conditional autoregressive distribution with its context fixed, which keeps its Rosenblatt transform; what
    `AutoregressiveDistribution.condition` returns."""

    @property
    def _transform(self) -> RosenblattTransform:
        return cast(RosenblattTransform, self.distribution)

    def marginal(self, features: int) -> Distribution:
        """As `AutoregressiveDistribution.marginal`."""
        return self._transform.marginal(features).condition(self.context)

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """As `AutoregressiveDistribution.cdf`, at the fixed context."""
        check_context("FixedContext", context, None)
        return self._transform.cdf(x, self.context)

    def icdf(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """As `AutoregressiveDistribution.icdf`, at the fixed context."""
        check_context("FixedContext", context, None)
        return self._transform.icdf(u, self.context)
