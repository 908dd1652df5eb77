"""A simple density pushed through a bijection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import Any, ClassVar, TypeVar, cast, final

import torch
from torch import Tensor, nn

from pushforward.core.allocator import keep_freed_memory
from pushforward.core.bijection import KINDS, Bijection, Kind
from pushforward.core.capabilities import SupportsSlopes
from pushforward.core.checks import broadcast
from pushforward.core.config import configurable
from pushforward.core.data_start import awaits_data
from pushforward.core.distribution import Distribution
from pushforward.core.exactness import Exactness, least_exact
from pushforward.core.execution_mode import execution, runs_eagerly_without_grad
from pushforward.core.surface import Surface, on_surface
from pushforward.distributions.autoregressive import AutoregressiveDistribution
from pushforward.distributions.context import context_map_dtype, context_map_shapes, map_context
from pushforward.distributions.pairing import check_pair, mixing
from pushforward.distributions.protocols import Noise
from pushforward.distributions.row_blocks import in_row_blocks, row_width, solved_in_steps
from pushforward.distributions.steps import Step, steps_of

__all__ = ["Flow"]

import_module("pushforward.kernels")  # registers the fast paths that `Flow.use_kernels` switches on

Method = TypeVar("Method", bound=Callable[..., Any])


def _in_scope(method: Method) -> Method:
    """Run a method of a flow with kernels, if `Flow.use_kernels` has switched them on."""

    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        if not self._kernels:
            return method(self, *args, **options)
        with execution(kernels=True):
            return method(self, *args, **options)

    return cast(Method, call)


@configurable
class Flow(AutoregressiveDistribution):
    r"""The density of :math:`x = T(z)` with :math:`z \sim p`.

    .. math:: q(x) = p\bigl(T^{-1}(x)\bigr)\, \bigl|\det \nabla T^{-1}(x)\bigr|

    Samples go through the bijection's forward, densities through its inverse: for cheap densities give a stack of
    layers turned around, ``Flow(base, stack.inv)``; for cheap samples give the stack itself.

    Where T lifts z onto a surface of lower dimension (`LinearLift`, `CurvedLift`), the support is a `Surface`: q is the
    density on it with respect to its area, zero for points off it, which ``flow.to_data(flow.to_latent(x))`` takes to
    it. A density in the whole space is that of `ManifoldFlow`.

    Where T is triangular (see `Bijection.is_triangular`) and the base is a distribution of independent features, the
    conditionals :math:`q(x_j \mid x_{<j})` are known: `cdf`, `icdf`, `given` and `marginal` are exact.

    Args:
        base: the distribution p of z.
        bijection: T, from the latent z to the data x.
        context_map: a map applied to the context first: a bijection such as `Standardize` for a context in raw units,
            or any ``torch.nn.Module`` that takes (n, *context_shape) to (n, *embedded shape), such as an embedding
            network. It is trained with the flow. To be saved, its class must be ``@configurable``.
        context_shape: the shape of one context before such a network; bijections and networks with an attribute
            ``in_shape`` state it themselves.

    Raises:
        ValueError: base, bijection and context_map do not fit in shape, domain or dimension.

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
            "base": {"type": "StandardNormal", "features": 1},
            "bijection": {"type": "LinearLift", "features": 2, "latent": 1},
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
            "context_shape": 1,
        },
    )

    takes_any_module: ClassVar[tuple[str, ...]] = ("base", "bijection", "context_map")
    _kernels = False

    def __init__(
        self,
        base: Distribution,
        bijection: Bijection,
        *,
        context_map: nn.Module | None = None,
        context_shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        keep_freed_memory()
        if isinstance(base, Distribution) and isinstance(bijection, Bijection):
            bijection.set_shape(base.event_shape, space=base.support)
        check_pair(base, bijection)
        shapes = {part.context_shape for part in (base, bijection)} - {None}
        if len(shapes) > 1:
            raise ValueError(f"Flow: base and bijection must take the same context; got {sorted(map(str, shapes))}.")
        self.base, self.bijection, self.context_map = base, bijection, context_map
        self._row_widths: dict[bool, int] = {}  # of points on their way to data or from there, when first needed
        self.event_shape, self.support = bijection.out_shape, bijection.codomain
        if bijection.lifts == "forward":
            self.support = Surface(bijection.codomain, base.support.dimension(base.event_shape))
        self.context_shape = next(iter(shapes), None)
        self.stochastic = base.stochastic or bijection.stochastic
        if context_map is None and context_shape is not None:
            raise ValueError("Flow: context_shape is that of the input of a context_map; got no context_map.")
        if context_map is not None:
            before, after = context_map_shapes(context_map, context_shape)
            if after != self.context_shape:
                raise ValueError(f"Flow: context_map ends in shape {after} but the context has {self.context_shape}.")
            self.context_shape = before

    @property
    def dtype(self) -> torch.dtype | None:
        return self.bijection.out_dtype or self.base.dtype

    @property
    def context_dtype(self) -> torch.dtype | None:
        dtype = None if self.context_map is None else context_map_dtype(self.context_map)
        return dtype or self.bijection.dtype or self.base.dtype

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
    def exactness(self) -> Exactness:
        return least_exact(self.base.exactness, self.bijection.log_det)

    def use_kernels(self, enabled: bool = True) -> None:
        """Let native kernels run in place of the plain operations of this flow from now on.

        Results are equal up to floating-point rounding. On the CPU autoregressive layers of affine maps and
        rational-quadratic splines compute all features of a sample in one native call, mostly ten times as fast; masked
        networks, affine maps and rational-quadratic splines have kernels for densities and gradients, splines and
        mixtures for inverses. Other layers keep their loop over the features; where an inverse is a long formula, its
        step is compiled. All of it is compiled at the first use, in some ten seconds a kernel, and kept in torch's
        cache for later processes. Where there is no C++ compiler a `RuntimeWarning` says so, and the plain operations
        run as before. On a GPU rational-quadratic splines have Triton kernels.

        Inside ``torch.compile`` the kernels of densities and gradients are nodes of its graphs: ``torch.compile(flow)``
        after this is the fastest way to train small flows, and what ``fit(compile=True)`` does.

        The switch belongs to this object: copies, pickles and saved files come without it. To use kernels in one block
        of code only, or in parts of a flow, there is ``core.execution_mode.execution(kernels=True)``.

        Args:
            enabled: False switches kernels off again.
        """
        self._kernels = enabled

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state.pop("_kernels", None)
        return state

    @final
    @_in_scope
    def to_latent(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """z = T⁻¹(x), shape (*batch, *latent shape)."""
        dtypes = self.dtype, self.context_dtype
        x, context = broadcast("Flow", "x", x, self.event_shape, context, self.context_shape, *dtypes)
        return self._pull(x, self._map_context(context), generator)

    @final
    @_in_scope
    def to_data(self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """x = T(z), shape (*batch, *event_shape)."""
        dtypes = self.base.dtype, self.context_dtype
        z, context = broadcast("Flow", "z", z, self.base.event_shape, context, self.context_shape, *dtypes)
        return self._push(z, self._map_context(context), generator)

    def steps(self, z: Tensor, context: Tensor | None = None) -> list[Step]:
        """Where z (*batch, *latent shape) is after each part of T, with log-determinants; see `steps.Step`."""
        dtypes = self.base.dtype, self.context_dtype
        z, context = broadcast("Flow", "z", z, self.base.event_shape, context, self.context_shape, *dtypes)
        return steps_of(self.bijection, z, self._map_context(context))

    @property
    def noise(self) -> Noise:
        return self._ordered_base().noise

    def _ordered_base(self) -> AutoregressiveDistribution:
        return cast(AutoregressiveDistribution, self.base)  # `has_conditionals` has been asked

    def _why_no_conditionals(self) -> str:
        if not self.bijection.is_triangular:
            return (
                f", for {type(mixing(self.bijection)).__name__} mixes the order of the features. Build the flow from "
                "triangular parts alone: one layer (depth=1), or layers with nothing between them (mix='none')"
            )
        if not isinstance(self.base, AutoregressiveDistribution):
            return f", for its base {type(self.base).__name__} has none"
        return self.base._why_no_conditionals()

    @_in_scope
    def _to_noise_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context, base = self._map_context(context), self._ordered_base()
        pull = cast(SupportsSlopes, self.bijection)._inverse_and_slopes  # `_why_no_conditionals` has been asked
        z, log_slopes = self._in_blocks(pull, x, context)
        noise, base_slopes = base._to_noise_and_slopes(*base._arguments(z, context, None))
        return noise, log_slopes + base_slopes

    @_in_scope
    def _to_noise(self, x: Tensor, context: Tensor | None) -> Tensor:
        context, base = self._map_context(context), self._ordered_base()
        z = self._pull(x, context)
        return base._to_noise(*base._arguments(z, context, None))

    @_in_scope
    def _from_noise(self, noise: Tensor, context: Tensor | None) -> Tensor:
        context, base = self._map_context(context), self._ordered_base()
        z = base._from_noise(*base._arguments(noise, context, None))
        return self._push(z, context)

    @_in_scope
    def _log_prob(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        def log_prob(x: Tensor, context: Tensor | None) -> tuple[Tensor]:
            z, ladj = self.bijection._inverse_and_ladj(*self.bijection._arguments(x, context, generator))
            value = self.base._log_prob(*self.base._arguments(z, context, generator)) + ladj
            if not isinstance(self.support, Surface):
                return (value,)
            nearest = self.bijection._forward(*self.bijection._arguments(z, context, generator))
            return (torch.where(on_surface(x, nearest, len(self.event_shape)), value, -torch.inf),)

        return self._in_blocks(log_prob, x, self._map_context(context))[0]

    @_in_scope
    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        context = self._map_context(context)
        z = self.base._rsample(batch, self._for_base(context), generator)
        return self._push(z, context, generator)

    @_in_scope
    def _rsample_and_log_prob(
        self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        if self.exactness == "bound":  # the forward direction of a surjection does not give the bound at its image
            return super()._rsample_and_log_prob(batch, context, generator)
        context = self._map_context(context)
        z, log_prob = self.base._rsample_and_log_prob(batch, self._for_base(context), generator)

        def push(z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            return self.bijection._forward_and_ladj(*self.bijection._arguments(z, context, generator))

        x, ladj = self._in_blocks(push, z, context, to_data=True)
        return x, log_prob - ladj

    def _push(self, z: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """x = T(z) at a mapped context."""
        forward, arguments = self.bijection._forward, self.bijection._arguments

        def push(z: Tensor, context: Tensor | None) -> tuple[Tensor]:
            return (forward(*arguments(z, context, generator)),)

        return self._in_blocks(push, z, context, to_data=True)[0]

    def _pull(self, x: Tensor, context: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """z = T⁻¹(x) at a mapped context."""
        inverse, arguments = self.bijection._inverse, self.bijection._arguments
        return self._in_blocks(lambda x, context: (inverse(*arguments(x, context, generator)),), x, context)[0]

    def _in_blocks(
        self, function: Callable[..., tuple[Tensor, ...]], x: Tensor, context: Tensor | None, *, to_data: bool = False
    ) -> tuple[Tensor, ...]:
        """function(x, context) at a mapped context; in blocks of rows where no derivatives are recorded."""
        context = context if self.bijection.context_shape is not None or self.base.context_shape is not None else None
        if not runs_eagerly_without_grad(x):
            return function(x, context)
        if to_data not in self._row_widths:
            self._row_widths[to_data] = row_width(self, solved_in_steps(self.bijection) if to_data else ())
        shape = self.base.event_shape if to_data else self.event_shape
        return in_row_blocks(function, self._row_widths[to_data], len(shape), x, context)

    def _initialize(self, x: Tensor, context: Tensor | None) -> None:
        if isinstance(self.context_map, Bijection) and context is not None:
            self.context_map._initialize(context, None, inverse=False)
        if not awaits_data(self.bijection):  # a pass over the data would set nothing, and may cost much
            return
        arguments = self.bijection._arguments(x, self._map_context(context), None)
        self.bijection._initialize(*arguments[:2], inverse=True)

    def _map_context(self, context: Tensor | None) -> Tensor | None:
        if self.context_map is None or context is None:
            return context
        return map_context(self.context_map, context, self.context_shape or ())

    def _for_base(self, context: Tensor | None) -> Tensor | None:
        return None if self.base.context_shape is None else context
