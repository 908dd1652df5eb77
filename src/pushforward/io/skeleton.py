"""Models without weights, for weights that come from a file."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core.config import build
from pushforward.core.constants import HasConstants, round_constants
from pushforward.core.random_state import seeded

__all__ = ["assign", "skeleton"]


def skeleton(config: dict[str, Any]) -> Any:
    """The model of a config, if possible without memory for its weights: they are to come from a file.

    Weights and saved buffers then are on the meta device, and constants hold their values. A part that cannot be built
    so, such as one of a user whose constructor reads the values of tensors, makes the model an ordinary one.
    """
    with seeded(0):  # initial weights are drawn and thrown away, without a trace in a fit of another thread
        with suppress(Exception):  # whatever is wrong is wrong on the CPU too, and is reported from there
            with torch.device("meta"):
                model = build(config)
            if _fill_constants(model):
                return model
        return build(config)


def _fill_constants(model: Any) -> bool:
    """Give the constants of a model on the meta device their values; whether that is all that no file holds."""
    if not isinstance(model, nn.Module):
        return False
    for part in model.modules():
        known = part.constants if isinstance(part, HasConstants) else frozenset()
        hidden = any(isinstance(value, Tensor) for value in vars(part).values())
        if hidden or not part._non_persistent_buffers_set <= known:
            return False
        for name in part._non_persistent_buffers_set:
            buffer = part._buffers[name]
            part._buffers[name] = None if buffer is None else torch.empty_like(buffer, device="cpu")
    round_constants(model)
    return True


def assign(model: nn.Module, name: str, before: Tensor, tensor: Tensor) -> None:
    """Put a tensor in the place of the weight or buffer ``before``, which may be on the meta device."""
    path, _, own = name.rpartition(".")
    part = model.get_submodule(path)
    if own in part._parameters:
        part._parameters[own] = nn.Parameter(tensor, requires_grad=before.requires_grad)
    else:
        part._buffers[own] = tensor
