"""Layers led by their context: away from what they would be without a label."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, TypeVar, cast

from torch import Tensor, nn

from pushforward.bijections.autoregressive import Autoregressive
from pushforward.bijections.coupling import Coupling
from pushforward.bijections.elementwise import Elementwise
from pushforward.bijections.inherited import LikeItsPart
from pushforward.core.bijection import Bijection
from pushforward.core.capabilities import SupportsSlopes
from pushforward.core.config import configurable
from pushforward.networks import AutoregressiveConditioner
from pushforward.networks.paired import PairedAutoregressiveConditioner, PairedConditioner
from pushforward.univariate.guided import AFFINE_MAPS, GuidedAffine

__all__ = ["FirstContext", "Guided", "shares_parts"]

Part = TypeVar("Part", bound=nn.Module)

LAYERS = (Autoregressive, Coupling, Elementwise)


class _Delegating(LikeItsPart, SupportsSlopes):
    """A bijection that another one computes, of whose kind it is."""

    def _follow(self, bijection: Bijection, context: int) -> None:
        self.bijection = bijection
        self.in_shape, self.out_shape = bijection.in_shape, bijection.out_shape
        self.context_shape = (context,)
        self.domain, self.codomain = bijection.domain, bijection.codomain
        self.forward_kind, self.inverse_kind = bijection.forward_kind, bijection.inverse_kind
        self.log_det, self.forward_log_det = bijection.log_det, bijection.forward_log_det
        self.stochastic, self.is_triangular = bijection.stochastic, bijection.is_triangular
        self.keeps_domain, self.keeps_dimension = bijection.keeps_domain, bijection.keeps_dimension
        self.lifts, self.accuracy, self.properties = bijection.lifts, bijection.accuracy, bijection.properties

    def _inner_arguments(self, x: Tensor, context: Tensor | None, *generator: Any) -> tuple[Any, ...]:
        """The arguments of the other one's hooks."""
        return (x, context, *generator)

    def _forward_and_ladj(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        return self.bijection._forward_and_ladj(*self._inner_arguments(*arguments))

    def _inverse_and_ladj(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        return self.bijection._inverse_and_ladj(*self._inner_arguments(*arguments))

    def _forward(self, *arguments: Any) -> Tensor:
        return self.bijection._forward(*self._inner_arguments(*arguments))

    def _inverse(self, *arguments: Any) -> Tensor:
        return self.bijection._inverse(*self._inner_arguments(*arguments))

    def _forward_and_slopes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return cast(SupportsSlopes, self.bijection)._forward_and_slopes(*self._inner_arguments(x, context))

    def _inverse_and_slopes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return cast(SupportsSlopes, self.bijection)._inverse_and_slopes(*self._inner_arguments(y, context))

    def _initialize(self, x: Tensor, context: Tensor | None, *, inverse: bool) -> None:
        self.bijection._initialize(*self._inner_arguments(x, context), inverse=inverse)


@configurable
class Guided(_Delegating):
    r"""An affine layer whose context is a pair, of a label and of what stands for none, and which leads from the latter
    to the former.

    The layer takes data towards the latent, as :math:`z_j = (x_j - \mu_j) / \sigma_j` with functions of earlier
    features and of the context. These functions at both contexts are combined as `univariate.GuidedAffine` does. They
    stay functions of the same features, so that this is a layer of the same kind, with exact determinants and inverses.
    Each direction costs a pass of the conditioner with twice as many points.

    Args:
        layer: `Autoregressive`, `Coupling` or `Elementwise` with affine maps and a context; its weights are shared.
        weight: the weight w of guidance, at least 0; 0 is the layer at the first context.

    Shape:
        ``x``, ``y``: those of the layer, ``context``: (*batch, 2 · context): the label, then what stands for none.

    Raises:
        ValueError: the layer is of another kind, has no context or maps that are not affine, or the weight is
            negative.

    References:
        | Normalizing Flows are Capable Generative Models (Zhai et al., 2024), arXiv:2412.06329

    >>> import torch
    >>> from pushforward.univariate import Affine
    >>> layer = Guided(Autoregressive(Affine(), 2, context=1), weight=1.0)
    >>> layer(torch.ones(2), torch.tensor([1.0, 0.0])).tolist()  # layers start as the identity
    [1.0, 1.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "layer": {
                "type": "Autoregressive", "univariate": {"type": "Affine"}, "features": 4, "context": 1, "hidden": [8],
                "conditioner": "transformer", "conditioner_options": {"heads": 2}, "solver": "jacobi",
            },
            "weight": 1.5,
        },
        {
            "layer": {
                "type": "Autoregressive", "univariate": {"type": "Affine"}, "features": 3, "context": 2, "hidden": [8],
            },
            "weight": 0.5,
        },
        {
            "layer": {
                "type": "Coupling", "univariate": {"type": "Affine"}, "features": 3, "context": 1, "hidden": [8],
            },
            "weight": 1.0,
        },
        {
            "layer": {
                "type": "Elementwise", "univariate": {"type": "Shift"}, "features": 2, "context": 1, "hidden": [8],
            },
            "weight": 2.0,
        },
    )  # fmt: skip

    def __init__(self, layer: Bijection, *, weight: float) -> None:
        super().__init__()
        part: Any = layer
        if not isinstance(layer, LAYERS) or not layer.context_shape or not isinstance(part.univariate, AFFINE_MAPS):
            got = f"{type(layer).__name__}{'' if layer.context_shape else ' without context'}"
            got += f" of {type(part.univariate).__name__}" if isinstance(layer, LAYERS) else ""
            raise ValueError(
                "Guided: leads layers of affine maps (Autoregressive, Coupling or Elementwise of Affine or Shift) that "
                f"have a context; got {got}."
            )
        context = math.prod(layer.context_shape)
        univariate = GuidedAffine(part.univariate, weight=weight)
        autoregressive = isinstance(part.conditioner, AutoregressiveConditioner)
        paired = PairedAutoregressiveConditioner if autoregressive else PairedConditioner
        guided = shares_parts(layer, univariate=univariate, conditioner=paired(part.conditioner, context))
        guided.context_shape = (2 * context,)
        self._follow(guided, 2 * context)


@configurable
class FirstContext(_Delegating):
    r"""A map that reads the first features of its context alone, beside others that read all of it.

    Args:
        bijection: a map with a context; its weights are shared.
        context: number of context features, of which it reads the first ones.

    Shape:
        ``x``, ``y``: those of the map, ``context``: (*batch, context).

    Raises:
        ValueError: the map has no context, or a larger one.

    >>> from pushforward.univariate import Shift
    >>> FirstContext(Elementwise(Shift(), 1, context=1), context=3).context_shape
    (3,)
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "bijection": {
                "type": "Elementwise", "univariate": {"type": "Affine"}, "features": 2, "context": 1, "hidden": [8],
            },
            "context": 1,
        },
    )  # fmt: skip

    def __init__(self, bijection: Bijection, *, context: int) -> None:
        super().__init__()
        if not bijection.context_shape or bijection.context_shape[0] > context:
            raise ValueError(
                f"FirstContext: bijection must have a context of at most {context} features; got "
                f"{bijection.context_shape or 'none'}."
            )
        self._follow(bijection, context)

    def _inner_arguments(self, x: Tensor, context: Tensor | None, *generator: Any) -> tuple[Any, ...]:
        (size,) = cast(tuple[int], self.bijection.context_shape)
        return (x, None if context is None else context[..., :size], *generator)


def shares_parts(module: Part, **replaced: nn.Module) -> Part:
    """A module that shares parts, weights and buffers with another one, but for the parts replaced."""
    twin = copy.copy(module)
    for name in ("_modules", "_parameters", "_buffers"):
        vars(twin)[name] = vars(module)[name].copy()
    for name, part in replaced.items():
        setattr(twin, name, part)
    return twin
