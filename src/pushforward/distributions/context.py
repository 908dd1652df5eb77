"""Maps of a flow's context: a bijection such as `Standardize`, or any network that embeds the context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward.core.bijection import Bijection
from pushforward.core.constants import HasConstants
from pushforward.core.execution_mode import runs_eagerly
from pushforward.core.shapes import event_shape

__all__ = ["ContextMap", "context_map_dtype", "context_map_shapes", "map_context"]

Shape = tuple[int, ...]


class ContextMap(HasConstants):
    """A map of contexts that states their shape and dtype."""

    in_shape: Shape

    @property
    def in_dtype(self) -> torch.dtype | None:
        """The dtype of the contexts; None: any floating dtype, or that of the weights of the flow."""
        return None


def context_map_shapes(context_map: nn.Module, stated: int | Sequence[int] | None) -> tuple[Shape, Shape]:
    """The shapes of one context before and after the map.

    Args:
        context_map: a bijection, or any module that takes (n, *shape) to (n, *embedded shape).
        stated: the shape before; may be left out for bijections and modules with an attribute ``in_shape``.
    """
    name = type(context_map).__name__
    if not isinstance(context_map, nn.Module):
        raise ValueError(f"Flow: context_map must be a bijection or another torch.nn.Module; got {name}.")
    in_shape = getattr(context_map, "in_shape", None)
    if stated is None and not isinstance(in_shape, tuple):
        raise ValueError(
            f"Flow: context_map ({name}) does not state the shape of its input. Pass the shape of one context, such as "
            "context_shape=(3, 32, 32)."
        )
    shape: Shape = in_shape if stated is None else event_shape("Flow", stated, name="context_shape")  # type: ignore[assignment]
    if isinstance(in_shape, tuple) and in_shape != shape:
        raise ValueError(f"Flow: context_map ({name}) takes contexts of shape {in_shape}; got context_shape={shape}.")
    if not isinstance(context_map, Bijection):
        return shape, _embedded_shape(context_map, shape)
    if context_map.context_shape is not None:
        raise ValueError(f"Flow: context_map ({name}) must not ask for a context itself. Build it with context=0.")
    return shape, context_map.out_shape


def map_context(context_map: nn.Module, context: Tensor, shape: Shape) -> Tensor:
    """The mapped context, (*batch, *embedded shape); a network sees one batch axis, and contexts that are repeated for
    several points once."""
    if isinstance(context_map, Bijection):
        return context_map._forward(*context_map._arguments(context, None, None))
    batch = context.shape[: context.ndim - len(shape)]
    if not context_map.training and runs_eagerly(context):
        for axis, size in enumerate(batch):
            if size > 1 and context.stride(axis) == 0:
                context = context.narrow(axis, 0, 1)
    different = context.shape[: len(batch)]
    embedded: Tensor = context_map(context.reshape(-1, *shape))
    return embedded.reshape(*different, *embedded.shape[1:]).expand(*batch, *embedded.shape[1:])


def context_map_dtype(context_map: nn.Module) -> torch.dtype | None:
    """The dtype of the contexts that the map takes; None: any floating dtype."""
    if isinstance(context_map, Bijection | ContextMap):
        return context_map.in_dtype
    return next((p.dtype for p in context_map.parameters() if p.is_floating_point()), None)


@torch.no_grad()
def _embedded_shape(network: nn.Module, shape: Shape) -> Shape:
    """The shape that the network gives one context, found by one pass over two contexts of zeros."""
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    training = {module: module.training for module in network.modules()}
    network.eval()  # so that running statistics are left alone, and nothing is drawn
    try:
        embedded = network(torch.zeros(2, *shape, dtype=like.dtype, device=like.device))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"Flow: context_map ({type(network).__name__}) cannot be applied to contexts of shape {(2, *shape)}: "
            f"{reason}"
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    if not isinstance(embedded, Tensor) or embedded.ndim < 1 or embedded.shape[0] != 2:
        got = tuple(embedded.shape) if isinstance(embedded, Tensor) else type(embedded).__name__
        raise ValueError(
            f"Flow: context_map ({type(network).__name__}) must give one embedding per context, (n, ...) for (n, ...); "
            f"got {got} for contexts of shape {(2, *shape)}."
        )
    return tuple(embedded.shape[1:])
