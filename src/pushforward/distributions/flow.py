"""A simple density pushed through a bijection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor

from pushforward.bijections.chain import KINDS
from pushforward.core.allocator import keep_freed_memory
from pushforward.core.bijection import Bijection, Kind
from pushforward.core.checks import broadcast
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Real
from pushforward.core.execution_mode import runs_directly
from pushforward.core.native_build import Compilable
from pushforward.distributions.autoregressive import AutoregressiveDistribution
from pushforward.distributions.base import Independent
from pushforward.distributions.row_blocks import in_row_blocks, row_width

__all__ = ["Flow"]


@configurable
class Flow(AutoregressiveDistribution):
    r"""The density of :math:`x = T(z)` with :math:`z \sim p`.

    .. math:: q(x) = p\bigl(T^{-1}(x)\bigr)\, \bigl|\det \nabla T^{-1}(x)\bigr|

    Samples go through the bijection's forward, densities through its inverse: for cheap densities give a stack of
    layers turned around, ``Flow(base, stack.inv)``; for cheap samples give it as it is.

    Where T is triangular (see `Bijection.is_triangular`) and the base ordered, features are known one after the other:
    `cdf`, `icdf`, `given` and `marginal` are exact.

    Args:
        base: the distribution p of z.
        bijection: T, from the latent z to the data x.
        context_map: a bijection applied to the context first, such as `Standardize` for a context in raw units.

    Raises:
        ValueError: base and bijection do not fit in shape or domain.

    >>> import torch
    >>> from pushforward.bijections import RadialSquash
    >>> from pushforward.distributions import StandardNormal
    >>> flow = Flow(StandardNormal(2), RadialSquash(2))
    >>> flow.log_prob(torch.tensor([[0.0, 0.0], [2.0, 0.0]])).tolist()
    [-1.8378770351409912, -inf]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "base": {"type": "StandardNormal", "features": 1},
            "bijection": {
                "type": "Elementwise",
                "univariate": {"type": "RationalQuadratic", "bins": 4},
                "features": 1,
            },
        },
        {
            "base": {"type": "StandardNormal", "features": 2},
            "bijection": {"type": "RadialSquash", "features": 2},
        },
        {
            "base": {"type": "StudentT", "features": 2, "df": 4.0},
            "bijection": {
                "type": "Inverse",
                "bijection": {
                    "type": "Chain",
                    "parts": [
                        {"type": "Standardize", "features": 2},
                        {
                            "type": "Autoregressive",
                            "univariate": {"type": "Affine"},
                            "features": 2,
                            "context": 1,
                            "hidden": [8],
                        },
                    ],
                },
            },
            "context_map": {"type": "Standardize", "features": 1},
        },
    )

    def __init__(self, base: Distribution, bijection: Bijection, *, context_map: Bijection | None = None) -> None:
        super().__init__()
        keep_freed_memory()
        if base.event_shape != bijection.in_shape:
            raise ValueError(
                f"Flow: base has events of shape {base.event_shape} but bijection starts from {bijection.in_shape}. "
                "Build both with the same number of features."
            )
        if not _covers(base, bijection):
            raise ValueError(
                f"Flow: base lives on {base.support} but bijection starts from {bijection.domain}. "
                "Choose a base with that support, or turn the bijection around with .inv."
            )
        shapes = {part.context_shape for part in (base, bijection)} - {None}
        if len(shapes) > 1:
            raise ValueError(f"Flow: base and bijection must take the same context; got {sorted(map(str, shapes))}.")
        self.base, self.bijection, self.context_map = base, bijection, context_map
        self._row_width: int | None = None  # found out when it is first needed
        self.event_shape, self.support = bijection.out_shape, bijection.codomain
        self.context_shape = next(iter(shapes), None)
        if context_map is not None:
            if context_map.out_shape != self.context_shape:
                raise ValueError(
                    f"Flow: context_map ends in shape {context_map.out_shape} but the context has {self.context_shape}."
                )
            self.context_shape = context_map.in_shape

    @property
    def dtype(self) -> torch.dtype | None:
        return self.bijection.out_dtype or self.base.dtype

    @property
    def context_dtype(self) -> torch.dtype | None:
        if self.context_map is not None and self.context_map.in_dtype is not None:
            return self.context_map.in_dtype
        return self.bijection.dtype or self.base.dtype

    @property
    def log_prob_kind(self) -> Kind:
        return self.bijection.inverse_kind

    @property
    def sample_kind(self) -> Kind:
        return self.bijection.forward_kind

    @property
    def cdf_kind(self) -> Kind:
        return max(self._ordered_base().cdf_kind, self.bijection.inverse_kind, key=KINDS.index)

    @property
    def icdf_kind(self) -> Kind:
        return max(self._ordered_base().icdf_kind, self.bijection.forward_kind, key=KINDS.index)

    @property
    def is_exact(self) -> bool:
        return self.base.is_exact and {"round_trip", "inverse_ladj"} <= self.bijection.properties

    def use_kernels(self, **options: Any) -> None:
        """Use native kernels from now on, in place, and compile what samples do feature by feature.

        On the CPU autoregressive layers of affine maps and rational-quadratic splines find all features of a sample in
        one kernel, mostly ten times as fast; masked networks, affine maps and rational-quadratic splines have kernels
        for densities and gradients, splines and mixtures for inverses. Other layers keep their loop over the features;
        where an inverse is a long formula, its step becomes one kernel. All of it is compiled at the first use, in some
        ten seconds a kernel, and kept in torch's cache for later processes. Copies, pickles and saved files are not
        compiled. Where there is no C++ compiler a `RuntimeWarning` says so, and all goes on as before.

        Inside ``torch.compile`` the kernels of densities and gradients are nodes of its graphs: ``torch.compile(flow)``
        after this is the fastest way to train small flows, and what ``fit(compile=True)`` does. On a GPU
        rational-quadratic splines have Triton kernels outside of graphs.

        Args:
            **options: of ``torch.compile``, such as ``dynamic=`` or ``backend=``, for the steps. With another backend
                than ``"inductor"`` there is no native kernel.
        """
        for part in self.modules():
            if isinstance(part, Compilable):
                part.compile_step(**options)

    @final
    def to_latent(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """z = T⁻¹(x), shape (*batch, *latent shape)."""
        dtypes = self.dtype, self.context_dtype
        x, context = broadcast("Flow", "x", x, self.event_shape, context, self.context_shape, *dtypes)
        return self._pull(x, self._map_context(context))

    @final
    def to_data(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """x = T(z), shape (*batch, *event_shape)."""
        dtypes = self.base.dtype, self.context_dtype
        z, context = broadcast("Flow", "z", z, self.base.event_shape, context, self.context_shape, *dtypes)
        return self._push(z, self._map_context(context))

    @property
    def noise(self) -> Independent:
        return self._ordered_base().noise

    def _ordered_base(self) -> AutoregressiveDistribution:
        return cast(AutoregressiveDistribution, self.base)  # `_obstacle` has been asked

    def _obstacle(self) -> str:
        if not self.bijection.is_triangular:
            return (
                f", for {type(_mixing(self.bijection)).__name__} mixes the order of the features. Build the flow from "
                "triangular parts alone: one layer (depth=1), or layers with nothing between them (mix='none')"
            )
        if not isinstance(self.base, AutoregressiveDistribution):
            return f", for its base {type(self.base).__name__} has none"
        return self.base._obstacle()

    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        known, base = self._map_context(context), self._ordered_base()

        def pull(x: Tensor, known: Tensor | None) -> tuple[Tensor, ...]:
            return self.bijection._inverse_and_slopes(x, self._for(self.bijection, known))

        z, log_slopes = self._in_blocks(pull, self.event_shape, x, known)
        noise, base_slopes = base._to_noise_and_slopes(z, self._for(self.base, known))
        return noise, log_slopes + base_slopes

    def _to_noise(self, x: Tensor, context: Tensor | None) -> Tensor:
        known = self._map_context(context)
        z = self._pull(x, known)
        return self._ordered_base()._to_noise(z, self._for(self.base, known))

    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        known = self._map_context(context)
        z = self._ordered_base()._from_noise(noise, self._for(self.base, known))
        return self._push(z, known)

    def _push(self, z: Tensor, known: Tensor | None) -> Tensor:
        """x = T(z) at a mapped context."""
        return self._in_blocks(
            lambda z, c: (self.bijection._forward(z, self._for(self.bijection, c)),), self.bijection.in_shape, z, known
        )[0]

    def _pull(self, x: Tensor, known: Tensor | None) -> Tensor:
        """z = T⁻¹(x) at a mapped context."""
        return self._in_blocks(
            lambda x, c: (self.bijection._inverse(x, self._for(self.bijection, c)),), self.bijection.out_shape, x, known
        )[0]

    def _in_blocks(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        event_shape: tuple[int, ...],
        x: Tensor,
        context: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """function(x, context), where nothing is recorded block by block, so that large batches fit into memory."""
        if not runs_directly(x):
            return function(x, context)
        if self._row_width is None:
            self._row_width = row_width(self)
        return in_row_blocks(function, self._row_width, len(event_shape), x, context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        known = self._map_context(context)

        def log_prob(x: Tensor, known: Tensor | None) -> tuple[Tensor]:
            z, ladj = self.bijection._inverse_and_ladj(x, self._for(self.bijection, known))
            return (self.base._log_prob(z, self._for(self.base, known)) + ladj,)

        return self._in_blocks(log_prob, self.event_shape, x, known)[0]

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        known = self._map_context(context)
        z = self.base._rsample(batch, self._for(self.base, known), generator)
        return self._push(z, known)

    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        known = self._map_context(context)
        z, log_prob = self.base._rsample_and_log_prob(batch, self._for(self.base, known), generator)

        def push(z: Tensor, known: Tensor | None) -> tuple[Tensor, ...]:
            return self.bijection._forward_and_ladj(z, self._for(self.bijection, known))

        x, ladj = self._in_blocks(push, self.bijection.in_shape, z, known)
        return x, log_prob - ladj

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        if self.context_map is not None and context is not None:
            self.context_map._initialize(context, None, inverse=False)
        known = self._map_context(context)
        self.bijection._initialize(x, self._for(self.bijection, known), inverse=True)

    def _map_context(self, context: Tensor | None) -> Tensor | None:
        return context if self.context_map is None or context is None else self.context_map._forward(context, None)

    @staticmethod
    def _for(part: Distribution | Bijection, context: Tensor | None) -> Tensor | None:
        return context if part.context_shape else None


def _mixing(bijection: Bijection) -> Bijection:
    """The first innermost part that is not triangular."""
    inside = (part for part in bijection.modules() if isinstance(part, Bijection) and part is not bijection)
    return next((_mixing(part) for part in inside if not part.is_triangular), bijection)


def _covers(base: Distribution, bijection: Bijection) -> bool:
    """Whether the bijection takes every point of the base: the domains agree, or it takes all real points."""
    return base.support == bijection.domain or isinstance(bijection.domain, Real)
