"""What the pictures are drawn of: models on the CPU in evaluation mode, contexts and points in their dtype."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow
from pushforward.evaluate.arrays import Floats, evaluation_mode

__all__ = ["as_floats", "context_of", "drawable", "latents", "of_base", "of_model"]

Model = TypeVar("Model", bound=nn.Module)


@contextmanager
def drawable(model: Model) -> Iterator[Model]:
    """The model in evaluation mode, without gradients; on another device a copy of it on the CPU."""
    devices = {tensor.device.type for tensor in [*model.parameters(), *model.buffers()]}
    if devices - {"cpu"}:
        model = copy.deepcopy(model).cpu()
    with torch.no_grad(), evaluation_mode(model):
        yield model


def context_of(owner: str, model: Any, context: Any) -> Tensor | None:
    """One context of a conditional model as a tensor in its dtype; refuses a missing one, or one of another shape."""
    shape = model.context_shape
    if shape is None:
        if context is not None:
            raise ValueError(f"{owner}: the model is not conditional. Leave context out.")
        return None
    if context is None:
        raise ValueError(f"{owner}: the model is conditional. Pass context=, one of shape {tuple(shape)}.")
    dtype = model.context_dtype if isinstance(model, Distribution) else model.dtype
    one = _tensor(context, dtype)
    if one.shape != shape:
        raise ValueError(f"{owner}: context must be one of shape {tuple(shape)}; got {tuple(one.shape)}.")
    return one


def of_model(owner: str, name: str, model: Distribution, points: Any, *shape: int) -> Tensor:
    """Points of a model as a tensor on the CPU in its dtype; refuses another shape, of which -1 is any number."""
    tensor = _tensor(points, model.dtype)
    fits = tensor.ndim == len(shape) and all(b in (-1, a) for a, b in zip(tensor.shape, shape, strict=True))
    if not fits:
        wanted = ", ".join("n" if size == -1 else str(size) for size in shape)
        raise ValueError(f"{owner}: {name} must have the shape ({wanted}); got {tuple(tensor.shape)}.")
    return tensor


def latents(flow: Flow, count: int, context: Tensor | None, seed: int) -> Tensor:
    """Points of the latent space of a flow on the CPU, (count, *latent shape), all for one context."""
    generator = torch.Generator().manual_seed(seed)
    if flow.base.context_shape is None:
        return flow.base.sample(count, generator=generator)
    return flow.base.sample((), of_base(flow, context, count), generator=generator)


def of_base(flow: Flow, context: Tensor | None, *batch: int) -> Tensor | None:
    """The context of the base of a flow, mapped, for a batch of points; None where it has none."""
    if flow.base.context_shape is None or context is None:
        return None
    mapped = flow._map_context(context[None])
    return None if mapped is None else mapped[0].expand(*batch, *mapped.shape[1:])


def as_floats(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().double().numpy()


def _tensor(values: Any, dtype: torch.dtype | None) -> Tensor:
    tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    return tensor.to(dtype or torch.get_default_dtype())
