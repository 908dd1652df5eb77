"""A distribution of this library as one of `torch.distributions`, and of Pyro where that has been imported."""

from __future__ import annotations

import functools
import sys
from typing import Any, ClassVar, Protocol

import torch
from torch import Size, Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import constraints, register_kl

from pushforward.core.domain import Domain

__all__ = ["KL_DRAWS", "TorchView", "torch_view"]

KL_DRAWS = 4_096
"""Draws from which `torch.distributions.kl_divergence` is estimated where one of the two is a `TorchView`."""


ONE = Size()
"""The shape of one draw."""


class Viewed(Protocol):
    """What a view needs of a distribution."""

    event_shape: tuple[int, ...]
    support: Domain
    reparametrized: bool

    @property
    def context_shape(self) -> tuple[int, ...] | None: ...
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...
    def sample(self, shape: tuple[int, ...], context: Tensor | None = None) -> Tensor: ...
    def rsample(self, shape: tuple[int, ...], context: Tensor | None = None) -> Tensor: ...


class _Inside(constraints.Constraint):
    """Events that lie in a domain."""

    def __init__(self, domain: Domain, event_shape: tuple[int, ...], discrete: bool) -> None:
        self.domain, self.event_dim, self.is_discrete = domain, len(event_shape), discrete
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        inside = self.domain.contains(value)
        left = self.event_dim - self.domain.event_ndim
        return inside.flatten(-left).all(dim=-1) if left else inside

    def __repr__(self) -> str:
        return f"inside({self.domain})"


class TorchView(TorchDistribution):
    r"""A distribution, with its context fixed if it has one, with the interface of ``torch.distributions``.

    It has a batch shape, that of the context, and can be expanded; it works inside ``Independent``,
    ``MixtureSameFamily`` and ``TransformedDistribution``. ``kl_divergence`` with it is the mean of log-ratios over
    `KL_DRAWS` draws. Randomness comes from torch's global generator, as everywhere in ``torch.distributions``.

    Args:
        distribution: of any kind.
        context: (*batch, *context_shape), where it is conditional.
        batch_shape: that of the view, to which the one of the context expands.

    Raises:
        ValueError: a context is missing, unexpected, or does not expand to the batch shape.

    >>> import torch
    >>> import pushforward as pf
    >>> view = pf.distributions.StandardNormal(2).as_torch().expand((3,))
    >>> isinstance(view, torch.distributions.Distribution), view.batch_shape, view.event_shape
    (True, torch.Size([3]), torch.Size([2]))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        distribution: Viewed,
        context: Tensor | None = None,
        *,
        batch_shape: tuple[int, ...] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        shape, name = distribution.context_shape, type(distribution).__name__
        if (shape is None) != (context is None):
            what = "takes no context; got one. Leave it out" if shape is None else "needs a context. Pass as_torch(c)"
            raise ValueError(f"{name}: {what}.")
        batch: tuple[int, ...] = ()
        if context is not None and shape is not None:
            if context.ndim < len(shape) or tuple(context.shape[context.ndim - len(shape) :]) != tuple(shape):
                raise ValueError(
                    f"{name}: context must have shape (*batch, {', '.join(map(str, shape))}); got "
                    f"{tuple(context.shape)}."
                )
            batch = tuple(context.shape[: context.ndim - len(shape)])
            if batch_shape is not None:
                context = context.expand(*batch_shape, *shape)
        self.distribution, self.context = distribution, context
        super().__init__(
            Size(batch if batch_shape is None else batch_shape), Size(distribution.event_shape), validate_args
        )

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.distribution.reparametrized

    @property
    def support(self) -> constraints.Constraint:
        return _Inside(self.distribution.support, tuple(self.event_shape), not self.distribution.reparametrized)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TorchView:
        """The same distribution for every entry of a larger batch shape."""
        return type(self)(self.distribution, self.context, batch_shape=tuple(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of (*sample, *batch, *event) values, (*sample, *batch)."""
        if self._validate_args:
            self._validate_sample(value)
        out: Tensor = self.distribution.log_prob(value, self.context)
        return out.expand(torch.broadcast_shapes(out.shape, self.batch_shape))

    def sample(self, sample_shape: Any = ONE) -> Tensor:
        """Draws (*sample, *batch, *event), without gradients."""
        return self.distribution.sample(self._drawn(sample_shape), self.context)

    def rsample(self, sample_shape: Any = ONE) -> Tensor:
        """Draws (*sample, *batch, *event), with gradients."""
        return self.distribution.rsample(self._drawn(sample_shape), self.context)

    def _drawn(self, sample_shape: Any) -> tuple[int, ...]:
        """What the distribution is asked for: a context brings the batch shape with it."""
        return tuple(sample_shape) if self.context is not None else (*sample_shape, *self.batch_shape)

    def __repr__(self) -> str:
        return f"TorchView({type(self.distribution).__name__}, batch_shape={tuple(self.batch_shape)}, " + (
            f"event_shape={tuple(self.event_shape)})"
        )


@functools.cache
def _view_class(mixin: type | None) -> type[TorchView]:
    return TorchView if mixin is None else type("TorchView", (TorchView, mixin), {"__doc__": TorchView.__doc__})


def torch_view(distribution: Viewed, context: Tensor | None = None) -> TorchView:
    """The view of a distribution. Where Pyro has been imported, one that stands in its ``sample`` statements too."""
    pyro = sys.modules.get("pyro.distributions.torch_distribution")
    return _view_class(getattr(pyro, "TorchDistributionMixin", None))(distribution, context)


def _mean_log_ratio(p: TorchDistribution, q: TorchDistribution) -> Tensor:
    x = p.rsample((KL_DRAWS,)) if p.has_rsample else p.sample((KL_DRAWS,))
    return (p.log_prob(x) - q.log_prob(x)).mean(dim=0)


for _pair in ((TorchView, TorchDistribution), (TorchDistribution, TorchView), (TorchView, TorchView)):
    register_kl(*_pair)(_mean_log_ratio)
